import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { promisify } from "node:util";
import { compileTypeScript, type CompiledModule } from "./assemblyscript.ts";
import { hashInputs, isUpToDate, readRecord, removeRecord, writeRecord, type BuildRecord } from "./build-record.ts";
import { withLock } from "./build-lock.ts";
import { MODULE_NAME, toCSource, type CSource } from "./c-source.ts";
import { checkInterface, readCallGraph, refuseAllocation, refuseMutableGlobals, refuseRecursion } from "./checks.ts";
import { BuildFailure } from "./failure.ts";
import * as image from "./image.ts";
import { lintSources } from "./lint.ts";
import { headersOf, HYPERVISOR, RECORDING_HYPERVISOR, TEXT_STEP, workloadModule, type ImageModule } from "./modules.ts";
import { recordingDoor } from "./recording-door.ts";
import { depthsThrough, readStackGraph, worstDepths } from "./stack-depth.ts";
import { readFunctions, readableName, renamings, symbolTable } from "./symbols.ts";
import { readWasm, type WasmInfo } from "./wasm-module.ts";

/**
 * The build pipeline as a library.
 *
 *     TypeScript --AssemblyScript--> wasm --Binaryen--> wasm --wasm2c--> C --gcc--> ELF and raw image
 *
 * Everything lands in build/<flavour>/. An unchanged module is not built again (build-record.ts).
 */

export { BuildFailure } from "./failure.ts";
export type Flavour = image.Flavour;

export interface BuildOptions {
  /** release: optimised; debug: hardly optimised, with debug information. Assertions stay on in both. */
  flavour?: Flavour;
  /** Receives progress and warnings, a line each. */
  log?: (line: string) => void;
  /** Build even if nothing changed, and without what the last build found out. */
  force?: boolean;
  /** Folder for the output; build/<flavour> of the repository by default. */
  outputFolder?: string;
}

export interface BuildResult {
  /** ELF image with symbols, and the raw image: both start at 0x80200000. */
  elf: string;
  bin: string;
  /** The optimised module with its names: what the simulated machine loads. */
  wasm: string;
  c: string;
  /** Address of the first byte of static data. */
  memoryBase: number;
  /** Worst-case bytes of stack, by exported function. */
  stackDepth: Record<string, number>;
  /** Worst-case bytes of stack of a trap that goes through a function, by its name; what was inlined is part of the function that it is in. */
  stackThrough: Record<string, number>;
  /** Bytes of the raw image. */
  imageSize: number;
  /** Where the log of a hypervisor that records begins, and its end. */
  recordLog?: { start: number; end: number };
  /** False if the last build was still good. */
  rebuilt: boolean;
}

/** The entry that the calls of hosts and guests come through. */
const TRAP = "trap";
const requireFromHere = createRequire(import.meta.url);
const run = promisify(execFile);
/** Generated beside the other intermediate files. */
const RECORDING_DOOR = "recording-door.h";

/** Builds the hypervisor: build/<flavour>/salus.{elf,bin,wasm,c}. */
export function buildHypervisor(options: BuildOptions = {}): Promise<BuildResult> {
  return buildModule(HYPERVISOR, options);
}

/** Builds the hypervisor that records (docs/debugging.md): build/<flavour>/salus-recording.{elf,bin,wasm,c}. */
export function buildRecordingHypervisor(options: BuildOptions = {}): Promise<BuildResult> {
  return buildModule(RECORDING_HYPERVISOR, options);
}

/** Builds the test VM workloads/<name>/main.ts: build/<flavour>/<name>.{elf,bin,wasm,c}. */
export function buildWorkload(name: string, options: BuildOptions = {}): Promise<BuildResult> {
  return buildModule(workloadModule(name), options);
}

/**
 * Builds one module.
 *
 * @throws BuildFailure with a line for each reason to refuse
 */
export async function buildModule(module: ImageModule, options: BuildOptions = {}): Promise<BuildResult> {
  const embedded = module.embedded && (await buildModule(module.embedded, options));
  const build = new ModuleBuild(module, options, embedded);
  mkdirSync(build.workFolder, { recursive: true });
  return withLock(path.join(build.workFolder, "lock"), async () => {
    const record = options.force ? undefined : readRecord(build.recordFile);
    if (record && !embedded?.rebuilt && isUpToDate(record, build.root)) return { ...record.result, rebuilt: false };
    return build.run(record);
  });
}

class ModuleBuild {
  readonly module: ImageModule;
  readonly flavour: Flavour;
  readonly log: (line: string) => void;
  /** Repository: what file names are relative to. */
  readonly root = path.resolve(import.meta.dirname, "../..");
  readonly machineFolder: string;
  readonly outputFolder: string;
  /** Intermediate files. */
  readonly workFolder: string;
  readonly recordFile: string;
  readonly embedded: BuildResult | undefined;

  constructor(module: ImageModule, options: BuildOptions, embedded: BuildResult | undefined) {
    this.module = module;
    this.embedded = embedded;
    this.flavour = options.flavour ?? "release";
    this.log = options.log ?? (() => {});
    this.machineFolder = path.join(this.root, "machine", "riscv");
    this.outputFolder = options.outputFolder ?? path.join(this.root, "build", this.flavour);
    this.workFolder = path.join(this.outputFolder, `${module.output}.work`);
    this.recordFile = path.join(this.workFolder, "record.json");
  }

  /**
   * Static data has to lie behind text, at an address that is compiled in before the size of text is known. So the
   * module is built for the room that text took last time (or is expected to), and once more if that was wrong.
   */
  async run(record: BuildRecord | undefined): Promise<BuildResult> {
    removeRecord(this.recordFile);
    let room = record?.textRoom ?? this.module.textRoom;
    for (let attempt = 0; attempt < 4; attempt++) {
      const compiled = await this.compile(this.module.base + room);
      const draft = path.join(this.workFolder, "draft.elf");
      await image.link(compiled.objects, this.module, compiled.memoryBase, this.machineFolder, draft);
      const needed =
        Math.ceil((await image.textSize(draft, this.module.base, this.workFolder)) / TEXT_STEP) * TEXT_STEP;
      if (needed <= room && room <= needed + TEXT_STEP) return this.finish(compiled, draft, room);
      this.log(`${this.module.name}: text needs ${needed / 1024} KiB, not ${room / 1024}: compiling again`);
      room = needed;
    }
    throw new BuildFailure(`${this.module.name}: found no layout`);
  }

  private async compile(memoryBase: number): Promise<CompiledImage> {
    const { module, root } = this;
    const compiled = await this.step("AssemblyScript", () =>
      compileTypeScript({ root, entry: module.entry, memoryBase, log: this.log }),
    );
    const inputs = hashInputs(root, compiled.files, this.embeddedFiles());
    lintSources(module, root, compiled.files);
    const info = await this.step("Binaryen", () => Promise.resolve(this.optimise(compiled)));
    compiled.module.dispose();
    const { c, names, indirectTargets } = await this.step("wasm2c", () => this.writeC(info));
    image.writeDoorLists(path.join(root, "hypervisor/riscv/csr.ts"), path.join(root, module.door), this.workFolder);
    if (module.recordLogSize) {
      const door = recordingDoor(readFileSync(path.join(root, module.door), "utf8"), module.exports);
      writeFileSync(path.join(this.workFolder, RECORDING_DOOR), door);
    }
    const objects = await this.step("gcc", async () => {
      const includes = [this.workFolder, this.machineFolder];
      const [start, main, memory, data] = await Promise.all([
        image.assemble(module, this.machineFolder, this.workFolder),
        image.compileC(c, this.flavour, includes, names, module.small === true),
        image.compileC(path.join(this.machineFolder, "memory.c"), "release", includes, new Map()),
        image.blockObject(image.staticDataBlock(info, memoryBase), ".static_data", "static-data", this.workFolder),
      ]);
      return [...start, main, memory, data, ...(await this.embeddedObjects())];
    });
    return { objects, memoryBase, names, indirectTargets, files: compiled.files, inputs };
  }

  private embeddedFiles(): string[] {
    return this.embedded ? [this.embedded.bin] : [];
  }

  private async embeddedObjects(): Promise<string[]> {
    const { module, embedded } = this;
    if (!module.embedded || !embedded) return [];
    const dataOffset = embedded.memoryBase - module.embedded.base;
    return [await image.embeddedObject(embedded.bin, dataOffset, this.workFolder)];
  }

  /** Checks the module as it was written, optimises it, and validates it before and after. */
  private optimise(compiled: CompiledModule): WasmInfo {
    const { module: wasm, files } = compiled;
    if (!wasm.validate()) throw new BuildFailure(`${this.module.entry}: AssemblyScript made an invalid module`);
    wasm.setDebugInfo(true);
    wasm.runPasses(["remove-unused-module-elements"]);
    const text = wasm.toText();
    const graph = readCallGraph(text);
    refuseAllocation(graph, files);
    refuseRecursion(graph, files);
    const release = this.flavour === "release";
    // Binaryen's -O3 takes three times as long and leaves gcc with more code, not less.
    wasm.optimize(release ? 2 : 1, 0, true);
    if (!wasm.validate()) throw new BuildFailure(`${this.module.entry}: Binaryen made an invalid module`);
    const binary = wasm.toBinary(null).output;
    const info = readWasm(binary);
    refuseMutableGlobals(info, text, files);
    checkInterface(info, this.module, this.root, this.machineFolder);
    writeFileSync(this.outputFile("wasm"), binary);
    return info;
  }

  private headers(): string[] {
    return [...headersOf(this.module), ...(this.module.recordLogSize ? [RECORDING_DOOR] : [])];
  }

  /** Whether a function (by its name in wasm) is one that need not be fast. */
  private isRare(): (name: string) => boolean {
    const { small } = this.module;
    return (name) => Array.isArray(small) && small.some((folder) => name.startsWith(folder));
  }

  private async writeC(info: WasmInfo): Promise<Omit<CSource, "text"> & { c: string }> {
    const raw = path.join(this.workFolder, "wasm2c.c");
    const wasm2c = path.join(path.dirname(requireFromHere.resolve("wabt/package.json")), "bin", "wasm2c");
    await run(process.execPath, [wasm2c, "--enable-memory64", "-n", MODULE_NAME, this.outputFile("wasm"), "-o", raw]);
    const { text, names, indirectTargets } = toCSource(readFileSync(raw, "utf8"), info, this.headers(), this.isRare());
    writeFileSync(this.outputFile("c"), text);
    return { c: this.outputFile("c"), names, indirectTargets };
  }

  /** Adds the symbol table, links for good, gives the symbols their names, and checks the stack. */
  private async finish(compiled: CompiledImage, draft: string, textRoom: number): Promise<BuildResult> {
    const elf = this.outputFile("elf");
    const bin = this.outputFile("bin");
    const { names, files } = compiled;
    const { stackDepth, stackThrough } = this.checkStack(compiled);
    await this.step("link", async () => {
      const functions = await readFunctions(draft, this.module, names, files, this.workFolder);
      const table = await image.blockObject(
        symbolTable(this.module.nameless ? [] : functions, this.module.base),
        ".symbol_table",
        "symbol-table",
        this.workFolder,
      );
      await image.link([...compiled.objects, table], this.module, compiled.memoryBase, this.machineFolder, elf);
      const renamed = path.join(this.workFolder, "renamed-symbols");
      writeFileSync(renamed, renamings(functions));
      await image.runTool("objcopy", [`--redefine-syms=${renamed}`, elf], names, this.workFolder);
      await image.runTool("objcopy", ["-O", "binary", elf, bin], names, this.workFolder);
    });
    const result: BuildResult = {
      elf,
      bin,
      wasm: this.outputFile("wasm"),
      c: this.outputFile("c"),
      memoryBase: compiled.memoryBase,
      stackDepth,
      stackThrough,
      imageSize: readFileSync(bin).length,
      rebuilt: true,
      ...(this.module.recordLogSize ? { recordLog: await this.recordLog(elf) } : {}),
    };
    writeRecord(this.recordFile, { inputs: compiled.inputs, files, embedded: this.embeddedFiles(), textRoom, result });
    return result;
  }

  /** Worst-case depth of every entry, and of the paths from `trap` through each function, in bytes. */
  private checkStack({
    names,
    files,
    indirectTargets,
  }: CompiledImage): Pick<BuildResult, "stackDepth" | "stackThrough"> {
    const graphs = [`${this.module.output}.ci`, "memory.ci"].map((file) =>
      readFileSync(path.join(this.workFolder, file), "utf8"),
    );
    const readable = (symbol: string): string => {
      const wasmName = names.get(symbol.replace(/\..*/, ""));
      return wasmName === undefined ? symbol : readableName(wasmName, this.module, files);
    };
    const roots = [...Object.keys(this.module.exports), ...this.module.stacks.flatMap(({ entries }) => entries)];
    const graph = readStackGraph(graphs, indirectTargets);
    const depths = worstDepths(graph, roots, readable);
    const failures: string[] = [];
    for (const { entries, size, what } of this.module.stacks) {
      const bytes = entries.reduce((sum, entry) => sum + depths.get(entry)!.bytes, 0);
      if (bytes <= size) continue;
      const path = entries.map((entry) => depths.get(entry)!.path.join(" -> ")).join(", then ");
      failures.push(`${what} has ${size} bytes, but up to ${bytes} are used: ${path}`);
    }
    if (failures.length > 0) throw new BuildFailure(...failures);
    return {
      stackDepth: Object.fromEntries([...depths].map(([name, { bytes }]) => [name, bytes])),
      stackThrough: roots.includes(TRAP) ? Object.fromEntries(depthsThrough(graph, TRAP, readable)) : {},
    };
  }

  private async recordLog(elf: string): Promise<{ start: number; end: number }> {
    const address = (name: string): Promise<number> => image.symbolAddress(elf, name, this.workFolder);
    return { start: await address("image_RecordLog"), end: await address("image_End") };
  }

  private outputFile(extension: string): string {
    return path.join(this.outputFolder, `${this.module.output}.${extension}`);
  }

  private async step<T>(name: string, work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    const result = await work();
    this.log(`${this.module.name}: ${name} ${((performance.now() - start) / 1000).toFixed(2)} s`);
    return result;
  }
}

interface CompiledImage {
  objects: string[];
  memoryBase: number;
  /** C name -> wasm name. */
  names: Map<string, string>;
  indirectTargets: string[];
  files: string[];
  /** Hash over what it was made of. */
  inputs: string;
}
