import { compilerVersion, readBaseline, regressions, updated, writeBaseline } from "../../bench/baseline.ts";
import { updateDocument } from "../../bench/document.ts";
import type { Figure } from "../../bench/figures.ts";
import { measureRows } from "../../bench/measure.ts";
import { costs, profileLines, readSymbols } from "../../bench/profile.ts";
import { ROWS, type Row } from "../../bench/rows.ts";
import { buildBench } from "../../bench/run.ts";
import { tableLines } from "../../bench/table.ts";
import { UsageError } from "../../failure.ts";
import { ensureTools } from "../../setup/index.ts";
import { coloursFor } from "../../terminal.ts";
import { progress } from "../report.ts";

export interface BenchFlags {
  only?: string;
  profile?: string;
  json?: boolean;
  check?: boolean;
  update?: boolean;
  qemu?: string;
  plain?: boolean;
}

/**
 * `salus bench`: counts the instructions of every operation and sets them beside their budgets.
 *
 * @returns false if --check found a figure that got worse
 */
export async function bench(flags: BenchFlags): Promise<boolean> {
  const wanted = flags.profile ?? flags.only;
  const selected = ROWS.filter(({ name }) => wanted === undefined || name.includes(wanted));
  if (selected.length === 0) {
    throw new UsageError(`nothing that is measured is called "${wanted}"; there are ${namesOf(ROWS)}`);
  }
  const qemuChoice = flags.qemu ?? (process.env["QEMU"] || undefined);
  const { compiler, nativeCompiler, qemu } = await ensureTools({
    needs: ["compiler", "qemu", "nativeCompiler"],
    qemu: qemuChoice,
    log: progress,
  });
  const images = await buildBench(nativeCompiler!, progress);
  const { figures, runs } = await measureRows(selected, {
    qemu: qemu!,
    images,
    detail: flags.profile !== undefined,
    log: progress,
  });
  const write = (line: string): void => void process.stdout.write(`${line}\n`);
  const colours = coloursFor(process.stdout, flags.plain);
  if (flags.profile !== undefined) {
    const symbols = await readSymbols(compiler!, images.hypervisor);
    for (const row of selected) {
      const measurement = runs.get(row.on)!.measurements.get(row.from);
      if (!measurement) progress(`${row.name} has no profile: it is not marked by the benchmark's host`);
      else profileLines(row.label, costs(measurement, symbols, row.per), colours).forEach(write);
    }
    return true;
  }
  if (flags.json) write(JSON.stringify(figures));
  else tableLines(figures, colours).forEach(write);
  return against(figures, await compilerVersion(compiler!), flags);
}

/** Compares with the checked-in figures, or replaces them. */
function against(figures: Figure[], compiler: string, flags: BenchFlags): boolean {
  if (flags.update) {
    const baseline = updated(readBaseline(), compiler, figures);
    writeBaseline(baseline);
    updateDocument(baseline);
    progress(`bench/baseline.json has these figures for ${compiler} now`);
    return true;
  }
  if (!flags.check) return true;
  const { red, green } = coloursFor(process.stderr, flags.plain);
  const found = regressions(readBaseline(), compiler, figures);
  for (const sentence of found) process.stderr.write(`${red(sentence)}\n`);
  if (found.length === 0) {
    process.stderr.write(`${green(`${figures.length} figures are as good as those in bench/baseline.json`)}\n`);
  }
  return found.length === 0;
}

function namesOf(rows: readonly Row[]): string {
  return rows.map(({ name }) => name).join(", ");
}
