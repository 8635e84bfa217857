import { countLinux, PROCESSES, type LinuxCost } from "../../bench/linux.ts";
import { buildPlugin, type Counts } from "../../bench/plugin.ts";
import { buildHypervisorOnly } from "../../artifacts.ts";
import { ensureTools } from "../../setup/index.ts";
import { coloursFor } from "../../terminal.ts";
import { progress } from "../report.ts";
import type { BenchFlags } from "./bench.ts";

/** Instructions to the first process that Salus may add. */
const MOST_TO_INIT = 30_000_000;
/** Instructions for processes that are started, of those on the bare machine. */
const MOST_OF_BARE = 1.02;

/**
 * `salus bench linux`: what Linux costs as the host, beside the same on the bare machine.
 *
 * @returns false if --check found a goal missed
 */
export async function benchLinux(flags: BenchFlags): Promise<boolean> {
  const { nativeCompiler, qemu } = await ensureTools({
    needs: ["compiler", "qemu", "nativeCompiler"],
    qemu: flags.qemu ?? (process.env["QEMU"] || undefined),
    log: progress,
  });
  const hypervisor = await buildHypervisorOnly({ flavour: "release", log: progress });
  const plugin = await buildPlugin(nativeCompiler!);
  progress("counting on the bare machine");
  const bare = await countLinux(qemu!, plugin, undefined, progress);
  progress("counting under Salus");
  const hosted = await countLinux(qemu!, plugin, hypervisor, progress);
  const write = (line: string): void => void process.stdout.write(`${line}\n`);
  const added = hosted.toInit - bare.toInit;
  const ratio = hosted.processes / bare.processes;
  if (flags.json) write(JSON.stringify({ bare, hosted, added, ratio }));
  else table(bare, hosted).forEach(write);
  const { green, red } = coloursFor(process.stdout, flags.plain);
  const good = added <= MOST_TO_INIT && ratio <= MOST_OF_BARE;
  if (!flags.json) {
    const verdict = `${signed(added)} to the first process (goal: at most ${signed(MOST_TO_INIT)}), ${ratio.toFixed(4)} of bare afterwards (at most ${MOST_OF_BARE})`;
    write((good ? green : red)(verdict));
  }
  return good || !flags.check;
}

function table(bare: LinuxCost, hosted: LinuxCost): string[] {
  const cells = (name: string, ...columns: string[]): string =>
    name.padEnd(34) + columns.map((column) => column.padStart(16)).join("");
  const count = (value: number): string => value.toLocaleString("en");
  const row = (name: string, without: number, with_: number): string =>
    cells(name, count(without), count(with_), signed(with_ - without));
  // Only there it is known what lies where.
  const salus = (by: Counts): string => cells("  of these in Salus", "", count(by["hypervisor"]));
  return [
    cells("executed instructions", "bare machine", "under Salus", "difference"),
    row("power-on to the first process", bare.toInit, hosted.toInit),
    salus(hosted.toInitBy),
    row("power-on until all is quiet", bare.toQuiet, hosted.toQuiet),
    row(`${PROCESSES} processes started`, bare.processes, hosted.processes),
    salus(hosted.processesBy),
  ];
}

function signed(count: number): string {
  return (count >= 0 ? "+" : "") + count.toLocaleString("en");
}
