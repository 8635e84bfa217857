import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { compileTypeScript } from "../../tools/build/assemblyscript.ts";
import { IMAGE_BASE } from "../../tools/build/modules.ts";
import { buildFolder, repository } from "../../tools/repository.ts";
import { substitute } from "../../tools/test/substitute.ts";
import { MachineFault } from "./errors.ts";
import { HELPER_DATA_BASE } from "./helper.ts";

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
let loadedHelper: Promise<HypervisorModule> | undefined;

/** Compiles the hypervisor of this tree, or takes what an earlier process made of the same sources. */
export function hypervisorModule(): Promise<HypervisorModule> {
  loaded ??= load();
  return loaded;
}

/** The same for the user-mode helper. */
export function helperModule(): Promise<HypervisorModule> {
  loadedHelper ??= loadHelper();
  return loadedHelper;
}

/** A module that somebody else built (build/<flavour>/salus.wasm). */
export function hypervisorModuleFrom(file: string, dataBase: number): HypervisorModule {
  const binary = readFileSync(file);
  return { wasm: new WebAssembly.Module(binary), binary, dataBase };
}

/** The hypervisor of another tree, as it is shipped: `root` has copies of the sources. */
export async function hypervisorModuleOf(root: string): Promise<HypervisorModule> {
  const binary = await compile("hypervisor/main.ts", DATA_BASE, root);
  return { wasm: new WebAssembly.Module(binary), binary, dataBase: DATA_BASE };
}

/** Names that the door's declarations list. */
export function declaredPrimitives(): string[] {
  const files = ["hypervisor/riscv/hw.ts", "crypto/hw.ts"];
  const text = files.map((file) => readFileSync(path.join(repository, file), "utf8")).join("");
  return [...text.matchAll(/^export declare function (\w+)/gm)].map(([, name]) => name);
}

async function load(): Promise<HypervisorModule> {
  if (substitute.wasm !== undefined) return hypervisorModuleFrom(substitute.wasm, DATA_BASE);
  return loadCached("", "hypervisor/main.ts", ["hypervisor/**/*.ts", "crypto/**/*.ts", "umode/**/*.ts"], DATA_BASE);
}

async function loadHelper(): Promise<HypervisorModule> {
  const [entry, root] = ["umode/main.ts", substitute.helperSources];
  if (root === undefined) return loadCached("helper", entry, ["umode/**/*.ts", "crypto/**/*.ts"], HELPER_DATA_BASE);
  const binary = await compile(entry, HELPER_DATA_BASE, root);
  return { wasm: new WebAssembly.Module(binary), binary, dataBase: HELPER_DATA_BASE };
}

/** Compiles the module with this entry, or takes what was made of the same sources. */
async function loadCached(
  prefix: string,
  entry: string,
  sources: string[],
  dataBase: number,
): Promise<HypervisorModule> {
  const file = path.join(CACHE, `${prefix}${sourceDigest(sources)}.wasm`);
  if (!existsSync(file)) {
    mkdirSync(CACHE, { recursive: true });
    const unfinished = `${file}.${process.pid}`;
    writeFileSync(unfinished, await compile(entry, dataBase));
    // Test files run in processes of their own at the same time: whoever is last replaces equal bytes.
    renameSync(unfinished, file);
  }
  return hypervisorModuleFrom(file, dataBase);
}

async function compile(entry: string, memoryBase: number, root = repository): Promise<Uint8Array> {
  const warnings: string[] = [];
  const { module } = await compileTypeScript({
    root,
    entry,
    memoryBase,
    log: (line) => warnings.push(line),
  });
  try {
    if (!module.validate()) throw new MachineFault(`${entry} does not become a valid module`);
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
function sourceDigest(sources: string[]): string {
  const hash = createHash("sha256");
  const files = globSync([...sources, "tools/build/{assemblyscript.ts,rt/*.ts}"], {
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
