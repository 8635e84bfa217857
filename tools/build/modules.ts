/** The modules that the pipeline builds: the hypervisor, its user-mode helper and the test VMs, each one wasm module and one image. */
export interface ImageModule {
  name: string;
  /** Entry file, relative to the repository. */
  entry: string;
  /** File with the list of primitives, relative to the repository. */
  door: string;
  /** C headers in machine/riscv that implement them. */
  headers: string[];
  /** Packages that it uses: each has its own list of primitives, and a header in machine/riscv. */
  packages?: { door: string; header: string }[];
  /** Assembly files in machine/riscv, the start code first. */
  assembly: string[];
  /** Start of the names of TypeScript files that symbols leave out. */
  namePrefix: string;
  /** Functions that the machine layer calls: name -> signature. */
  exports: Record<string, string>;
  /** Name of the output files. */
  output: string;
  /** Address of its first byte. */
  base: number;
  /** A module whose image lies in the read-only data of this one. */
  embedded?: ImageModule;
  /** Folders in which raw loads and stores are allowed. */
  rawMemoryFolders: string[];
  bootStackSize: number;
  /** Smaller code comes before faster code: everywhere, or in functions of these folders. */
  small?: true | string[];
  /** Expected size of text, a multiple of TEXT_STEP. A wrong one costs a second compilation, nothing else. */
  textRoom: number;
  /** No table of its functions' names in the image: nothing in it makes backtraces. */
  nameless?: boolean;
  /** Wraps everything that goes through the door in code that records it (recording-door.ts), in a log of this many bytes at the end of the image. */
  recordLogSize?: number;
  /** Stacks, with the entries that can be on each at the same time. */
  stacks: { what: string; size: number; entries: string[] }[];
}

/** Address at which the firmware enters an image, and a host a guest's. */
export const IMAGE_BASE = 0x8020_0000;
/** Bytes of the stack of one hart. The worst case of every entry must fit. */
export const STACK_SIZE = 16 * 1024;
/** Bytes of the boot hart's stack in a test VM. */
export const WORKLOAD_STACK_SIZE = 2 * STACK_SIZE;
/** Bytes of the stack for a trap of the hypervisor itself, without the saved registers. */
export const EMERGENCY_STACK_SIZE = 4 * 1024;
/** Text is given room in steps of this size; one step more than needed is accepted, so that static data rarely moves. */
export const TEXT_STEP = 4 * 1024;

const PANIC_EXPORTS = {
  panicAssert: "(u64, u64, u32, u32) => void",
  panicWasm: "(u32) => void",
};

/** First byte of the helper's image in its own address space (hypervisor/helper/layout.ts). */
export const HELPER_BASE = 0x1_0000;
/** Bytes of its stack there. */
export const HELPER_STACK_SIZE = 8 * 1024;

/** The user-mode helper: an image of its own, which the hypervisor carries. */
export const HELPER: ImageModule = {
  name: "helper",
  entry: "umode/main.ts",
  door: "umode/hw.ts",
  headers: ["umode.h"],
  packages: [{ door: "crypto/hw.ts", header: "crypto.h" }],
  assembly: ["umode-start.S"],
  namePrefix: "umode/",
  exports: { ...PANIC_EXPORTS, main: "() => void" },
  output: "helper",
  base: HELPER_BASE,
  rawMemoryFolders: ["umode/", "crypto/"],
  bootStackSize: 0,
  textRoom: 16 * 1024,
  // It runs once for each piece of evidence, and every machine keeps it in memory.
  small: true,
  nameless: true,
  stacks: [{ what: "the helper's stack", size: HELPER_STACK_SIZE, entries: ["main"] }],
};

export const HYPERVISOR: ImageModule = {
  name: "hypervisor",
  entry: "hypervisor/main.ts",
  door: "hypervisor/riscv/hw.ts",
  headers: ["hw.h"],
  packages: [{ door: "crypto/hw.ts", header: "crypto.h" }],
  assembly: ["start.S", "trap.S", "extension-state.S"],
  namePrefix: "hypervisor/",
  exports: {
    ...PANIC_EXPORTS,
    boot: "(u64, u64) => u32",
    bootSecondary: "() => u32",
    trap: "() => u32",
    helperTrap: "() => u32",
    panicTrap: "(u64, u64, u64, u64, u64) => void",
  },
  output: "salus",
  base: IMAGE_BASE,
  embedded: HELPER,
  rawMemoryFolders: ["hypervisor/lib/", "hypervisor/riscv/", "crypto/"],
  bootStackSize: STACK_SIZE,
  textRoom: 116 * 1024,
  // What runs once.
  small: ["hypervisor/boot/"],
  stacks: [
    ...["boot", "bootSecondary", "trap", "helperTrap"].map((entry) => ({
      what: "a hart's stack",
      size: STACK_SIZE,
      entries: [entry],
    })),
    { what: "the emergency stack", size: EMERGENCY_STACK_SIZE, entries: ["panicTrap"] },
  ],
};

/** The files with lists of primitives of a module. */
export function doorsOf({ door, packages = [] }: ImageModule): string[] {
  return [door, ...packages.map((each) => each.door)];
}

/** The C headers that implement them. */
export function headersOf({ headers, packages = [] }: ImageModule): string[] {
  return [...headers, ...packages.map((each) => each.header)];
}

/** What the wrappers of the hypervisor that records call (recording-door.ts). The first argument is the log. */
export const RECORDER_EXPORTS = {
  recordWord: "(u64, u64) => void",
  recordTag: "(u64, u32) => void",
  recordValue: "(u64, u64) => void",
  recordBytes: "(u64, u64, u64) => void",
  recordEntry: "(u64, u64, u32) => void",
  recordExit: "(u64, u32, u32) => void",
};

/**
 * The hypervisor that records what goes through its door: the same TypeScript, and wrappers around the primitives and the entries. Not for anything but
 * debugging: what it reads of guests lies in its log.
 */
export const RECORDING_HYPERVISOR: ImageModule = {
  ...HYPERVISOR,
  name: "recording hypervisor",
  entry: "hypervisor/recording.ts",
  exports: { ...HYPERVISOR.exports, ...RECORDER_EXPORTS },
  recordLogSize: 256 << 20,
  output: "salus-recording",
  textRoom: 216 * 1024,
  stacks: HYPERVISOR.stacks.map((stack) => ({ ...stack, entries: stack.entries.map((entry) => `recorded_${entry}`) })),
};

/** The test VM `workloads/<name>/main.ts`. */
export function workloadModule(name: string): ImageModule {
  return {
    name,
    entry: `workloads/${name}/main.ts`,
    door: "workloads/lib/hw.ts",
    headers: ["workload.h"],
    assembly: ["workload-start.S"],
    namePrefix: "workloads/",
    exports: {
      ...PANIC_EXPORTS,
      main: "(u64, u64) => void",
      secondaryMain: "(u64, u64) => void",
      trap: "(u64) => void",
    },
    output: name,
    base: IMAGE_BASE,
    rawMemoryFolders: ["workloads/", "hypervisor/lib/", "hypervisor/riscv/"],
    bootStackSize: WORKLOAD_STACK_SIZE,
    textRoom: (name === "tellus" ? 76 : 32) * 1024,
    stacks: [{ what: "the boot hart's stack", size: WORKLOAD_STACK_SIZE, entries: ["main", "trap"] }],
  };
}
