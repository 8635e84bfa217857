import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { Failure } from "../failure.ts";
import { CpioArchive } from "../linux/cpio.ts";
import { busyboxProgram } from "../linux/initramfs.ts";
import { debianKernel, STABLE_SUITE } from "../linux/kernel.ts";
import { DEFAULT_CPU, DEFAULT_MACHINE, qemuArguments, type Boot, type Machine } from "../qemu/machine.ts";
import { runQemu } from "../qemu/runner.ts";
import { buildFolder } from "../repository.ts";
import { CLOSE_MARK, markerProgram, OPEN_MARK } from "./marker-program.ts";
import { pluginArguments, readReport, type Counts, type Region } from "./plugin.ts";

/**
 * What a Linux host costs under Salus and on the bare machine: executed instructions from power-on to its first process, and for processes that
 * are started when all is quiet. Both runs have the same kernel, the same system and one hart; figures of two runs differ by less than half a percent.
 */

export interface LinuxCost {
  /** From power-on to the first process, firmware included. */
  toInit: number;
  /** The same until the kernel has ended what it does beside its first process. */
  toQuiet: number;
  /** For PROCESSES processes, one after the other: fork, exec, exit, wait. */
  processes: number;
  /** The same split by where the instructions lie. On the bare machine the kernel lies where the hypervisor would be. */
  toInitBy: Counts;
  processesBy: Counts;
}

export const PROCESSES = 200;
const MEMORY_MIB = 512;
const TIMEOUT_SECONDS = 240;
const REGIONS: Region[] = [
  { name: "firmware", start: 0x8000_0000, end: 0x8006_0000 },
  { name: "hypervisor", start: 0x8020_0000, end: 0x8040_0000 },
];

/** Between the two measurements the kernel ends what it does beside its first process. Time that nobody works in costs no time here. */
const FIRST_PROCESS = `#!/bin/busybox sh
/open-mark
/close-mark
/bin/busybox sleep 10
/open-mark
i=0
while [ $i -lt ${PROCESSES} ]; do
  /bin/busybox true
  i=$((i + 1))
done
/close-mark
/bin/busybox poweroff -f
`;

/**
 * Counts one boot.
 *
 * @param hypervisor Salus's ELF; undefined for the bare machine
 * @throws Failure
 */
export async function countLinux(
  qemu: string,
  plugin: string,
  hypervisor: string | undefined,
  log: (line: string) => void,
): Promise<LinuxCost> {
  const folder = path.join(buildFolder, "bench");
  mkdirSync(folder, { recursive: true });
  const kernel = await debianKernel(STABLE_SUITE, log);
  const initrd = path.join(folder, `linux-${process.pid}.cpio.gz`);
  const output = path.join(folder, `linux-${process.pid}.txt`);
  writeFileSync(initrd, gzipSync(await system(log)));
  const machine: Machine = {
    harts: 1,
    memoryMiB: MEMORY_MIB,
    cpu: DEFAULT_CPU,
    numaNodes: 1,
    iommu: true,
    aia: DEFAULT_MACHINE.aia,
    extraArguments: [
      ...["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"],
      ...pluginArguments(plugin, output, REGIONS),
    ],
  };
  const boot: Boot = {
    hostImage: { file: kernel.image, bytes: statSync(kernel.image).size },
    initrd: { file: initrd, bytes: statSync(initrd).size },
    // No console but the early one, and that quiet: characters are counted by nobody. No tests of the kernel's own cryptography: they are a third of
    // its boot, with random keys, and run beside the first process when they like.
    arguments: "earlycon=sbi quiet cryptomgr.notests",
  };
  if (hypervisor !== undefined) boot.hypervisor = hypervisor;
  try {
    const result = await runQemu({
      executable: qemu,
      arguments: qemuArguments(machine, boot),
      timeoutSeconds: TIMEOUT_SECONDS,
    });
    const { opened, intervals } = readReport(output);
    if (result.timedOut || result.exitCode !== 0 || opened.length !== 2 || intervals.length !== 2) {
      throw new Failure(`the machine did not run to its end:\n${result.lines.slice(-8).join("\n")}`);
    }
    const [toInitBy, processesBy] = [opened[0], intervals[1].counts];
    const [toInit, toQuiet] = opened.map(sum);
    return { toInit, toQuiet, processes: sum(processesBy), toInitBy, processesBy };
  } finally {
    rmSync(initrd, { force: true });
    rmSync(output, { force: true });
  }
}

async function system(log: (line: string) => void): Promise<Buffer> {
  const archive = new CpioArchive();
  archive.device("dev/console", 5, 1);
  archive.file("bin/busybox", readFileSync(await busyboxProgram(log)), 0o755);
  archive.file("open-mark", markerProgram(OPEN_MARK), 0o755);
  archive.file("close-mark", markerProgram(CLOSE_MARK), 0o755);
  archive.file("init", FIRST_PROCESS, 0o755);
  return archive.bytes();
}

function sum(counts: Counts): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}
