import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { compileTypeScript } from "../../tools/build/assemblyscript.ts";
import { IMAGE_BASE } from "../../tools/build/modules.ts";
import { buildFolder, repository } from "../../tools/repository.ts";
import { substitute } from "../../tools/test/substitute.ts";
import { MachineFault } from "./errors.ts";

/**
 * The hypervisor as the simulated machine loads it: the wasm module of the build, without the steps that turn it into
 * RISC-V code, so that no cross compiler is needed.
 */
export interface HypervisorModule {
  wasm: WebAssembly.Module;
  binary: Uint8Array;
  /** Address of its static data: text would end before it. */
  dataBase: number;
}

/** Room that text has in the image. Nothing is there in simulated RAM. */
const TEXT_ROOM = 256 * 1024;
export const DATA_BASE = IMAGE_BASE + TEXT_ROOM;
const CACHE = path.join(buildFolder, "simulated");

let loaded: Promise<HypervisorModule> | undefined;

/** Compiles the hypervisor of this tree, or takes what an earlier process made of the same sources. */
export function hypervisorModule(): Promise<HypervisorModule> {
  loaded ??= load();
  return loaded;
}

/** A module that somebody else built (build/<flavour>/salus.wasm). */
export function hypervisorModuleFrom(file: string, dataBase: number): HypervisorModule {
  const binary = readFileSync(file);
  return { wasm: new WebAssembly.Module(binary), binary, dataBase };
}

/** Names that the door's declarations list. */
export function declaredPrimitives(): string[] {
  const files = ["hypervisor/riscv/hw.ts", "crypto/hw.ts"];
  const text = files.map((file) => readFileSync(path.join(repository, file), "utf8")).join("");
  return [...text.matchAll(/^export declare function (\w+)/gm)].map(([, name]) => name);
}

async function load(): Promise<HypervisorModule> {
  if (substitute.wasm !== undefined) return hypervisorModuleFrom(substitute.wasm, DATA_BASE);
  const file = path.join(CACHE, `${sourceDigest()}.wasm`);
  if (!existsSync(file)) {
    mkdirSync(CACHE, { recursive: true });
    const unfinished = `${file}.${process.pid}`;
    writeFileSync(unfinished, await compile());
    // Test files run in processes of their own at the same time: whoever is last replaces equal bytes.
    renameSync(unfinished, file);
  }
  return hypervisorModuleFrom(file, DATA_BASE);
}

async function compile(): Promise<Uint8Array> {
  const warnings: string[] = [];
  const { module } = await compileTypeScript({
    root: repository,
    entry: "hypervisor/main.ts",
    memoryBase: DATA_BASE,
    log: (line) => warnings.push(line),
  });
  try {
    if (!module.validate()) throw new MachineFault("the compiled hypervisor is not a valid module");
    // As tools/build does it for a release.
    module.setDebugInfo(true);
    module.runPasses(["remove-unused-module-elements"]);
    module.optimize(3, 0, true);
    return module.toBinary(null).output;
  } finally {
    module.dispose();
  }
}

/** Changes whenever the module could. */
function sourceDigest(): string {
  const hash = createHash("sha256");
  const files = globSync(["hypervisor/**/*.ts", "crypto/**/*.ts", "tools/build/{assemblyscript.ts,rt/*.ts}"], {
    cwd: repository,
  });
  for (const file of [...files, "machine/simulated/hypervisor-module.ts"].sort()) {
    hash
      .update(file)
      .update("\0")
      .update(readFileSync(path.join(repository, file)))
      .update("\0");
  }
  return hash.digest("hex").slice(0, 20);
}
