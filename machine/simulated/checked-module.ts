import { DATA_BASE } from "./hypervisor-module.ts";
import type { HypervisorModule } from "./hypervisor-module.ts";
import { compileTypeScript } from "../../tools/build/assemblyscript.ts";
import { repository } from "../../tools/repository.ts";

/**
 * The checked flavour of the hypervisor: every plain load and store asks before it happens (access-checker.ts).
 *
 * @param root a tree with `hypervisor/`, by default this one
 */
export async function checkedModule(root = repository): Promise<HypervisorModule> {
  const { module } = await compileTypeScript({
    root,
    entry: "hypervisor/main.ts",
    memoryBase: DATA_BASE,
    log: () => {},
  });
  try {
    module.setDebugInfo(true);
    module.runPasses(["remove-unused-module-elements", "instrument-memory"]);
    if (!module.validate()) throw new Error("the checked hypervisor is not a valid module");
    const binary = module.toBinary(null).output;
    return { wasm: new WebAssembly.Module(binary), binary, dataBase: DATA_BASE };
  } finally {
    module.dispose();
  }
}
