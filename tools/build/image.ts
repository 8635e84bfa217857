import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { BuildFailure } from "./failure.ts";
import { EMERGENCY_STACK_SIZE, type ImageModule } from "./modules.ts";
import { recordedEntries } from "./recording-door.ts";
import type { WasmInfo } from "./wasm-module.ts";

/** From C to an image: gcc, the linker, and the files that they need. */

const run = promisify(execFile);
const TOOL_PREFIX = process.env.SALUS_TOOL_PREFIX ?? "riscv64-unknown-elf-";

const MACHINE_FLAGS = ["-march=rv64imac_zicsr_zifencei", "-mabi=lp64", "-mcmodel=medany"];

/**
 * Flags that make gcc compile what TypeScript means. The first four have a test each:
 * records overlay each other; address 0 is an address; our memset must not become a call of memset;
 * tp holds the hart record. The rest keeps frames regular for backtraces and the image small.
 */
export const MEANING_FLAGS = [
  "-fno-strict-aliasing",
  "-fno-delete-null-pointer-checks",
  "-fno-tree-loop-distribute-patterns",
  "-ffixed-tp",
];
const SHAPE_FLAGS = [
  "-std=gnu11",
  "-ffreestanding",
  "-nostdlib",
  "-fno-pic",
  "-fno-common",
  "-fno-shrink-wrap",
  // Scheduling before register allocation spills where many values live (a hash, field arithmetic); cores that reorder gain nothing by it.
  "-fno-schedule-insns",
  // Rare cases stay functions of their own: merged into a hot caller they would have it save all registers.
  "-fno-inline-functions-called-once",
  "-fno-reorder-blocks-and-partition",
  "-fno-stack-protector",
  "-fno-asynchronous-unwind-tables",
  "-fno-ident",
  "-msmall-data-limit=0",
  "-Werror=implicit-function-declaration",
  "-Werror=int-conversion",
  "-Werror=incompatible-pointer-types",
  "-Werror=return-type",
];
const FLAVOUR_FLAGS = { release: ["-O2", "-g0"], debug: ["-Og", "-g"] };

export type Flavour = keyof typeof FLAVOUR_FLAGS;

/** Runs one tool. Its messages name TypeScript functions, not C ones. */
export async function runTool(tool: string, args: string[], names: Map<string, string>, cwd: string): Promise<string> {
  const command = TOOL_PREFIX + tool;
  try {
    const { stdout } = await run(command, args, { cwd, maxBuffer: 256 << 20 });
    return stdout;
  } catch (error) {
    const { stderr, code } = error as { stderr?: string; code?: string };
    if (code === "ENOENT") throw new BuildFailure(`${command} is not installed (set SALUS_TOOL_PREFIX to use another)`);
    const text = (stderr ?? String(error)).replace(/\bw2c_module_\w+/g, (name) => names.get(name) ?? name);
    throw new BuildFailure(...text.trim().split("\n"));
  }
}

/** Compiles the module's C; leaves its call graph with frame sizes beside it. */
export async function compileC(
  source: string,
  flavour: Flavour,
  includes: string[],
  names: Map<string, string>,
  small = false,
): Promise<string> {
  const object = source.replace(/\.c$/, ".o");
  const size = small && flavour === "release" ? ["-Os"] : [];
  const args = [...MACHINE_FLAGS, ...FLAVOUR_FLAGS[flavour], ...size, ...MEANING_FLAGS, ...SHAPE_FLAGS];
  const whole = path.basename(source) === "memory.c" ? [] : ["-fwhole-program"];
  const folders = includes.map((folder) => `-I${folder}`);
  const output = path.join(includes[0], path.basename(object));
  await runTool(
    "gcc",
    [...args, ...whole, "-fcallgraph-info=su", ...folders, "-c", source, "-o", output],
    names,
    includes[0],
  );
  return output;
}

/** Assembles the machine layer of one module. */
export async function assemble(module: ImageModule, machineFolder: string, outputFolder: string): Promise<string[]> {
  // Assembly calls the wrappers instead.
  const entries = module.recordLogSize ? recordedEntries(module.exports).map(({ name }) => name) : [];
  const objects = module.assembly.map((file) => path.join(outputFolder, file.replace(/\.S$/, ".o")));
  await Promise.all(
    module.assembly.map((file, index) =>
      runTool(
        "gcc",
        [
          ...MACHINE_FLAGS,
          `-DBOOT_STACK_SIZE=${module.bootStackSize}`,
          `-DEMERGENCY_STACK_SIZE=${EMERGENCY_STACK_SIZE}`,
          ...entries.map((name) => `-D${name}=recorded_${name}`),
          `-I${machineFolder}`,
          "-c",
          path.join(machineFolder, file),
          "-o",
          objects[index],
        ],
        new Map(),
        outputFolder,
      ),
    ),
  );
  return objects;
}

/** All static data of the module as one block that begins at `base`. */
export function staticDataBlock(info: WasmInfo, base: number): Uint8Array {
  const end = Math.max(base, ...info.data.map(({ address, bytes }) => address + bytes.length));
  const block = new Uint8Array(end - base);
  for (const { address, bytes } of info.data) block.set(bytes, address - base);
  return block;
}

/** Assembles a file of bytes as the only content of a section. */
export async function blockObject(bytes: Uint8Array, section: string, name: string, folder: string): Promise<string> {
  const binary = path.join(folder, `${name}.bin`);
  const source = path.join(folder, `${name}.S`);
  const object = path.join(folder, `${name}.o`);
  writeFileSync(binary, bytes);
  writeFileSync(source, `.section ${section}, "a"\n.balign 16\n.incbin "${path.basename(binary)}"\n`);
  await runTool("gcc", [...MACHINE_FLAGS, "-c", source, "-o", object], new Map(), folder);
  return object;
}

/**
 * Assembles the image of an embedded module (its text, and `dataOffset` bytes from its start its read-only data) with the symbols by which the
 * hypervisor finds the parts. Whole pages: they are mapped where they lie.
 */
export async function embeddedObject(binary: string, dataOffset: number, folder: string): Promise<string> {
  const source = path.join(folder, "embedded.S");
  const object = path.join(folder, "embedded.o");
  const lines = [
    '.section .embedded, "a"',
    ".balign 4096",
    ".global image_HelperStart, image_HelperConstants, image_HelperEnd",
    "image_HelperStart:",
    `.incbin "${binary}"`,
    ".balign 4096",
    "image_HelperEnd:",
    `.set image_HelperConstants, image_HelperStart + ${dataOffset}`,
  ];
  writeFileSync(source, lines.join("\n") + "\n");
  await runTool("gcc", [...MACHINE_FLAGS, "-c", source, "-o", object], new Map(), folder);
  return object;
}

/** Links; throws with the reason of the linker script's check that failed. */
export async function link(
  objects: string[],
  { base, recordLogSize = 0 }: ImageModule,
  staticData: number,
  machineFolder: string,
  output: string,
): Promise<void> {
  await runTool(
    "ld",
    [
      ...["-T", path.join(machineFolder, "image.ld"), "--no-check-sections", "-z", "max-page-size=4096"],
      ...["--defsym", `IMAGE_BASE=${base}`, "--defsym", `STATIC_DATA=${staticData}`],
      ...["--defsym", `RECORD_LOG_SIZE=${recordLogSize}`],
      ...["-o", output, ...objects],
    ],
    new Map(),
    path.dirname(output),
  );
}

/** Bytes of text of a linked image. */
export async function textSize(elf: string, base: number, folder: string): Promise<number> {
  return (await symbolAddress(elf, "text_end", folder)) - base;
}

/** Address of a symbol that image.ld defines. */
export async function symbolAddress(elf: string, name: string, folder: string): Promise<number> {
  const symbols = await runTool("nm", [elf], new Map(), folder);
  const found = new RegExp(`^([0-9a-f]+) \\w ${name}$`, "m").exec(symbols);
  if (!found) throw new Error(`${elf} has no symbol ${name}`);
  return parseInt(found[1], 16);
}

/** Writes the header with every CSR number of `csrFile` and the members of the ImageSymbol of `doorFile`. */
export function writeDoorLists(csrFile: string, doorFile: string, folder: string): void {
  const numbers = [...readFileSync(csrFile, "utf8").matchAll(/^export const [A-Z0-9_]+: u32 = (0x[0-9a-f]{3});/gm)];
  const csrs = [...new Set(numbers.map(([, number]) => number))].map((number) => `X(${number})`);
  const members = /enum ImageSymbol \{([\s\S]*?)\}/.exec(readFileSync(doorFile, "utf8"));
  const symbols = [...(members?.[1] ?? "").matchAll(/^\s*(\w+) = (\d+),/gm)].map(([, name, value]) =>
    name === "ProgramCounter" ? `PC(${value})` : `X(${value}, image_${name})`,
  );
  const lines = [
    `#define FOR_EACH_CSR(X) ${csrs.join(" ")}`,
    `#define FOR_EACH_IMAGE_SYMBOL(X, PC) ${symbols.join(" ")}`,
  ];
  writeFileSync(path.join(folder, "door-lists.h"), lines.join("\n") + "\n");
}
