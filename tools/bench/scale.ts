import { markdownTable } from "./document.ts";
import { enteredBetween, hypervisorShare } from "./figures.ts";
import { BUSY, SETUPS, type Setup } from "./rows.ts";
import { number } from "./table.ts";
import { FIRMWARE_BYTES, runBench, type BenchImages, type BenchRun } from "./run.ts";

/** How costs grow: with memory, harts, TVMs and vCPUs. Executed instructions of hypervisor and firmware, as for the rows. */

export interface Curve {
  title: string;
  /** What is counted. */
  unit: string;
  /** What the horizontal axis counts. */
  along: string;
  points: Point[];
  /** How much faster than its work the cost grows (`growthOf`); 1 is as fast. */
  growth: number;
}

export interface Point {
  x: number;
  y: number;
  /** Units of work at this point: what the cost may be proportional to. */
  work: number;
}

/** How much more than its work a cost may grow along a curve. */
export const TOLERATED_GROWTH = 1.05;

const MEMORIES_MIB = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];
const HARTS = [1, 2, 4, 8, 16, 32];
const BUSY_HARTS = [1, 2, 4, 8];
const MIB = 1024 * 1024;

/** Runs every machine; `log` hears of each. Takes about two minutes. */
export async function measureCurves(qemu: string, images: BenchImages, log: (line: string) => void): Promise<Curve[]> {
  const run = async (setup: Setup): Promise<BenchRun> => {
    log(`counting on ${setup.harts} harts with ${setup.memoryMiB} MiB: ${setup.what}`);
    return runBench(qemu, images, setup, false);
  };
  const { reference } = SETUPS;
  const memory = new Map<number, BenchRun>();
  for (const memoryMiB of MEMORIES_MIB) {
    memory.set(memoryMiB, await run({ ...reference, memoryMiB, what: "bench.boot" }));
  }
  const harts = new Map<number, BenchRun>();
  for (const count of HARTS) harts.set(count, await run({ ...reference, harts: count, what: "bench.boot" }));
  const busy = new Map<number, BenchRun>();
  for (const count of BUSY_HARTS) busy.set(count, await run({ ...reference, harts: count, what: BUSY }));
  const many = await run({ ...reference, what: "bench.scale" });

  const constant = (): number => 1;
  return [
    curve(
      "boot against memory",
      "instructions",
      "GiB",
      memory,
      (mib) => mib / 1024,
      bootCost,
      (gib) => gib,
    ),
    curve(
      "memory kept against memory",
      "MiB",
      "GiB",
      memory,
      (mib) => mib / 1024,
      keptMiB,
      (gib) => gib,
    ),
    curve("boot against harts", "instructions of all harts", "harts", harts, same, bootCost, same),
    curve("convert 100 pages", "instructions", "harts", busy, same, (r) => cost(r, "convert-100"), constant),
    curve("fence", "instructions of all harts", "harts", busy, same, (r) => cost(r, "fence"), same),
    series(many, "exits-of-tvms", "TVM exit and resume", "TVMs"),
    series(many, "create-of-tvms", "create to finalize a TVM of one page", "TVMs"),
    series(many, "destroy-of-tvms", "destroy a TVM of one page", "TVMs"),
    series(many, "exits-of-vcpus", "TVM exit and resume", "vCPUs"),
  ];
}

function same(value: number): number {
  return value;
}

function curve(
  title: string,
  unit: string,
  along: string,
  runs: Map<number, BenchRun>,
  scale: (key: number) => number,
  costOf: (run: BenchRun) => number,
  workAt: (x: number) => number,
): Curve {
  const points = [...runs].map(([key, run]) => ({ x: scale(key), y: costOf(run), work: workAt(scale(key)) }));
  return { title, unit, along, points, growth: growthOf(points) };
}

/** A curve that the benchmark's host announces point by point; the cost of one operation should not change along it. */
function series(run: BenchRun, name: string, title: string, along: string): Curve {
  const points = [...run.measurements]
    .filter(([key]) => key.startsWith(`${name}@`))
    .map(([key, { counts, units }]) => ({
      x: Number(key.slice(name.length + 1)),
      y: Math.round((hypervisorShare(counts) * 10) / units) / 10,
      work: 1,
    }));
  return { title, unit: "instructions", along, points, growth: growthOf(points) };
}

/** The points of all curves, a curve a row. */
export function curveTable(curves: readonly Curve[]): string {
  const rows = curves.map(({ title, unit, along, points, growth }) => [
    title,
    unit,
    points.map(({ x, y }) => `${number(x)}: ${number(y)}`).join("; "),
    along,
    growth.toFixed(2),
  ]);
  return markdownTable(["cost", "in", "points", "along", "growth"], rows);
}

/**
 * How much faster than its work the cost grows. Where the work stays the same: the last cost against the least. Else the last step against the first
 * one, each by its work: what is fixed does not count.
 */
export function growthOf(points: Point[]): number {
  const [first, second] = points;
  const [before, last] = points.slice(-2);
  if (second.work === first.work) return last.y / Math.min(...points.map(({ y }) => y));
  const slope = (from: Point, to: Point): number => (to.y - from.y) / (to.work - from.work);
  return slope(before, last) / slope(first, second);
}

function bootCost(run: BenchRun): number {
  return enteredBetween(run, "hypervisor", "host");
}

function keptMiB(run: BenchRun): number {
  return (run.setup.memoryMiB * MIB - FIRMWARE_BYTES - run.values.get("host-memory")!) / MIB;
}

function cost(run: BenchRun, name: string): number {
  return hypervisorShare(run.measurements.get(name)!.counts);
}
