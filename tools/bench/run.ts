import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { Failure } from "../failure.ts";
import { packHostImageFile } from "../image/host-image.ts";
import { DEFAULT_MACHINE, hostImageAddress, qemuArguments, type Machine } from "../qemu/machine.ts";
import { runQemu } from "../qemu/runner.ts";
import { buildFolder } from "../repository.ts";
import { BUSY, type Setup } from "./rows.ts";
import { buildPlugin, pluginArguments, readReport, type Interval, type PluginReport, type Region } from "./plugin.ts";

/** One run of the benchmark in QEMU. */

const RAM_START = 0x8000_0000;
/** The firmware has everything up to the hypervisor's image. */
export const FIRMWARE_BYTES = 0x20_0000;
const IMAGE_START = RAM_START + FIRMWARE_BYTES;
/** The hypervisor's image may be this large. */
const IMAGE_ROOM = 0x20_0000;
const HOST_IMAGE_ROOM = 0x20_0000;
const TIMEOUT_SECONDS = 300;

/** The hypervisor's code lies where it is linked. */
const HYPERVISOR: Region = { name: "hypervisor", start: IMAGE_START, end: IMAGE_START + IMAGE_ROOM };
export interface BenchImages {
  /** The hypervisor's ELF. */
  hypervisor: string;
  /** Bytes of its raw image. */
  imageSize: number;
  /** The composite image of the benchmark's host and guest. */
  hostImage: { file: string; bytes: number };
  /** The counting plugin. */
  plugin: string;
}

export interface Measurement extends Interval {
  /** How many equal operations the interval consists of. */
  units: number;
}

export interface BenchRun {
  setup: Setup;
  measurements: Map<string, Measurement>;
  /** What the host found out instead of counting. */
  values: Map<string, number>;
  entered: PluginReport["entered"];
}

/**
 * Builds everything that a run needs.
 *
 * @param compiler the C compiler for this machine
 * @throws BuildFailure, Failure
 */
export async function buildBench(compiler: string, log: (line: string) => void): Promise<BenchImages> {
  // Loaded when it is needed: `salus --help` need not wait for a compiler.
  const { buildHypervisor, buildWorkload } = await import("../build/index.ts");
  const options = { flavour: "release", log } as const;
  const hypervisor = await buildHypervisor(options);
  const host = await buildWorkload("bench-host", options);
  const guest = await buildWorkload("bench-guest", options);
  const file = path.join(buildFolder, "release", "bench.bin");
  const bytes = packHostImageFile(host.bin, guest.bin, file);
  return {
    hypervisor: hypervisor.elf,
    imageSize: hypervisor.imageSize,
    hostImage: { file, bytes },
    plugin: await buildPlugin(compiler),
  };
}

/**
 * Boots the benchmark on the machine `setup`.
 *
 * @param detail count single instructions of the hypervisor too
 * @throws Failure if the run does not end as it should
 */
export async function runBench(qemu: string, images: BenchImages, setup: Setup, detail: boolean): Promise<BenchRun> {
  const folder = path.join(buildFolder, "bench");
  mkdirSync(folder, { recursive: true });
  const output = path.join(folder, `counts-${process.pid}.txt`);
  const console = path.join(folder, `console-${process.pid}.txt`);
  const hostAddress = hostImageAddress(setup.memoryMiB, images.hostImage.bytes);
  const regions: Region[] = [
    { name: "firmware", start: RAM_START, end: IMAGE_START },
    HYPERVISOR,
    // With several harts the host mostly waits for others: how long is the emulator's choice.
    ...(setup.what === BUSY ? [] : [{ name: "host", start: hostAddress, end: hostAddress + HOST_IMAGE_ROOM }]),
  ];
  const machine: Machine = {
    ...setup,
    numaNodes: 1,
    iommu: false,
    aia: DEFAULT_MACHINE.aia,
    extraArguments: [
      "-icount",
      "shift=0",
      // The device tree holds a random number, and the clock is read: both the same in every run.
      ...["-seed", "1", "-rtc", "base=2026-01-01,clock=vm"],
      // A console that takes each character at once, whoever reads it: the hypervisor polls the UART when it boots.
      ...["-serial", `file:${console}`, "-monitor", "none"],
      // Memory that nobody touches costs nothing, however much the machine has.
      ...[
        "-object",
        `memory-backend-ram,id=ram,size=${setup.memoryMiB}M,reserve=off`,
        "-machine",
        "memory-backend=ram",
      ],
      ...pluginArguments(images.plugin, output, regions, detail ? HYPERVISOR : undefined),
    ],
  };
  try {
    const result = await runQemu({
      executable: qemu,
      arguments: qemuArguments(machine, {
        hypervisor: images.hypervisor,
        hostImage: images.hostImage,
        ...(setup.what === undefined ? {} : { arguments: setup.what }),
      }),
      timeoutSeconds: TIMEOUT_SECONDS,
    });
    const lines = existsSync(console) ? readFileSync(console, "utf8").split(/\r*\n/) : [];
    if (result.timedOut || result.exitCode !== 0 || !lines.includes("bench: done")) {
      const last = [...lines.filter((line) => line.trim() !== "").slice(-5), ...result.messages];
      throw new Failure(`the benchmark did not run to its end:\n${last.join("\n")}`);
    }
    return combine(setup, lines, readReport(output));
  } finally {
    rmSync(output, { force: true });
    rmSync(console, { force: true });
  }
}

/**
 * Gives the counted intervals the names that the host announced, in the same order.
 *
 * @throws Failure if there are not as many
 */
export function combine(setup: Setup, lines: string[], report: PluginReport): BenchRun {
  const run: BenchRun = { setup, measurements: new Map(), values: new Map(), entered: report.entered };
  const names: [string, number][] = [];
  for (const line of lines) {
    const match = /^bench: (measure|value) (\S+) (\d+)$/.exec(line);
    if (match?.[1] === "value") run.values.set(match[2], Number(match[3]));
    else if (match) names.push([match[2], Number(match[3])]);
  }
  if (names.length !== report.intervals.length) {
    throw new Failure(`${names.length} measurements were announced, ${report.intervals.length} were counted`);
  }
  names.forEach(([name, units], index) => run.measurements.set(name, { units, ...report.intervals[index] }));
  return run;
}
