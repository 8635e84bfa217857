import { figureOf, type Figure } from "./figures.ts";
import { SETUPS, type Row, type SetupName } from "./rows.ts";
import { runBench, type BenchImages, type BenchRun } from "./run.ts";

/** The figures of rows: each machine that they need runs once. */

export interface Measured {
  figures: Figure[];
  runs: Map<SetupName, BenchRun>;
}

export interface MeasureOptions {
  qemu: string;
  images: BenchImages;
  /** Counts single instructions of the hypervisor too. */
  detail?: boolean;
  log: (line: string) => void;
}

/** @throws Failure if a run does not end as it should */
export async function measureRows(
  rows: readonly Row[],
  { qemu, images, detail = false, log }: MeasureOptions,
): Promise<Measured> {
  const runs = new Map<SetupName, BenchRun>();
  for (const name of new Set(rows.map((row) => row.on))) {
    log(`counting on the ${name} machine`);
    runs.set(name, await runBench(qemu, images, SETUPS[name], detail));
  }
  return { figures: rows.map((row) => figureOf(row, runs.get(row.on)!, images)), runs };
}
