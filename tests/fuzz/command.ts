import { Eid } from "../unit/support/simulated/sbi.ts";

/**
 * What a fuzzing run consists of: commands, each one instruction (or one event) of one hart. They are plain data, so that a run can be written
 * to a file, played again, and shrunk by leaving commands out.
 *
 * A guest id is written as "guest N", N being the number that the command gave which created the guest: it stays right when other
 * commands are left out.
 */
export type Value = bigint | `guest ${number}`;

export type Command =
  /** ecall with a7, a6 and a0-a5; `makes`: the number under which the guest id that it answers is known. */
  | { hart: number; do: "call"; eid: number | bigint; fid: number | bigint; args: Value[]; makes?: number }
  /** The guest loads or stores 8 bytes, or as many as `width` says. */
  | { hart: number; do: "load"; at: bigint; width?: Width }
  | { hart: number; do: "store"; at: bigint; value: Value; width?: Width }
  /** Fetches an instruction from there. */
  | { hart: number; do: "jump"; at: bigint }
  | { hart: number; do: "wfi" }
  | { hart: number; do: "sfence" }
  /** Uses a floating-point register. */
  | { hart: number; do: "fp" }
  | { hart: number; do: "csr"; csr: number; value: bigint }
  /** The PCI function with that requester id reads 4 bytes of memory, or writes them, if it is a bus master; or sends its interrupt message. */
  | { hart: number; do: "dma"; device: number; at: bigint; value?: bigint }
  | { hart: number; do: "message"; device: number; number: number }
  /** The IOMMU takes its time with commands from now on, or does those that wait, and later ones at once. */
  | { hart: number; do: "iommu"; commands: "late" | "at once" }
  /** Time passes; the hart does nothing but take what is pending. */
  | { hart: number; do: "rest"; ticks: number };

export type Width = 1 | 2 | 4;

/** A machine and what happened on it. */
export interface Run {
  machine: string;
  commands: Command[];
}

/** One line, as JSON: addresses as hexadecimal strings. */
export function toJson(run: Run): string {
  const lines = run.commands.map((command) =>
    JSON.stringify(command, (_, value: unknown) => (typeof value === "bigint" ? "0x" + value.toString(16) : value)),
  );
  return `{\n  "machine": ${JSON.stringify(run.machine)},\n  "commands": [\n    ${lines.join(",\n    ")}\n  ]\n}\n`;
}

export function fromJson(text: string): Run {
  return JSON.parse(text, (_, value: unknown) =>
    typeof value === "string" && /^0x[0-9a-f]+$/.test(value) ? BigInt(value) : value,
  ) as Run;
}

/** As people read it. */
export function describe(command: Command): string {
  const text = (value: Value | number): string => (typeof value === "string" ? value : "0x" + value.toString(16));
  const where = `hart ${command.hart}: `;
  switch (command.do) {
    case "call": {
      const name =
        functionName(Number(command.eid), Number(command.fid)) ?? `${text(command.eid)}/${text(command.fid)}`;
      const made = command.makes === undefined ? "" : ` -> guest ${command.makes}`;
      return `${where}${name}(${command.args.map(text).join(", ")})${made}`;
    }
    case "load":
      return `${where}load ${text(command.at)}${command.width ? `, ${command.width} bytes` : ""}`;
    case "jump":
      return `${where}jump ${text(command.at)}`;
    case "store":
      return `${where}store ${text(command.value)} at ${text(command.at)}${command.width ? `, ${command.width} bytes` : ""}`;
    case "dma": {
      const what = command.value === undefined ? "reads" : `writes ${text(command.value)} to`;
      return `device ${text(command.device)} ${what} ${text(command.at)}`;
    }
    case "message":
      return `device ${text(command.device)} sends its message ${command.number}`;
    case "iommu":
      return `the IOMMU carries out commands ${command.commands}`;
    case "csr":
      return `${where}csr ${text(command.csr)} := ${text(command.value)}`;
    case "rest":
      return `${where}rest for ${command.ticks} ticks`;
    default:
      return where + command.do;
  }
}

/** All functions, by extension: their numbers are their places. */
export const FUNCTIONS: Record<keyof typeof Eid, readonly string[]> = {
  putchar: ["putchar"],
  getchar: ["getchar"],
  base: [
    "specVersion",
    "implementationId",
    "implementationVersion",
    "probe",
    "vendorId",
    "architectureId",
    "machineId",
  ],
  time: ["setTimer"],
  ipi: ["sendIpi"],
  rfence: ["fenceI", "sfenceVma", "sfenceVmaAsid"],
  hsm: ["hartStart", "hartStop", "hartStatus", "hartSuspend"],
  srst: ["systemReset"],
  dbcn: ["write", "read", "writeByte"],
  pmu: [
    ...["numCounters", "counterGetInfo", "counterConfigMatching", "counterStart", "counterStop", "counterFwRead"],
    ...["counterFwReadHi", "snapshotSetShmem"],
  ],
  nacl: ["probeFeature", "setShmem"],
  covh: [
    ...["tsmGetInfo", "convertPages", "reclaimPages", "initiateFence", "localFence", "tvmCreate", "tvmFinalize"],
    ...["tvmDestroy", "addMemoryRegion", "addPageTablePages", "addMeasuredPages", "addZeroPages", "addSharedPages"],
    ...["cpuCreate", "cpuRun", "tvmInitiateFence", "blockPages", "unblockPages", "promotePage", "demotePage"],
    "removePages",
  ],
  covi: [
    ...["tvmAiaInit", "setImsicAddress", "convertImsic", "reclaimImsic", "bindImsic", "unbindImsicBegin"],
    ...["unbindImsicEnd", "injectExternalInterrupt", "rebindImsicBegin", "rebindImsicClone", "rebindImsicEnd"],
  ],
  covg: [
    ...["addMmioRegion", "removeMmioRegion", "shareMemory", "unshareMemory"],
    ...["allowExternalInterrupt", "denyExternalInterrupt", "attestationCapabilities", "extendMeasurement"],
    ...["evidence", "retrieveSecret", "readMeasurement"],
  ],
  atst: ["capabilities", "evidence", "extendMeasurement", "readMeasurement"],
};

const extensionNames = new Map<number, keyof typeof Eid>(
  (Object.entries(Eid) as [keyof typeof Eid, number][]).map(([name, eid]) => [eid, name]),
);

/** "covh.convertPages", or undefined for a call that does not exist. */
export function functionName(eid: number, fid: number): string | undefined {
  const extension = extensionNames.get(eid);
  if (extension === undefined) return undefined;
  // Legacy calls have no function number.
  const name = FUNCTIONS[extension][eid < 0x10 ? 0 : fid];
  return name === undefined ? undefined : `${extension}.${name}`;
}
