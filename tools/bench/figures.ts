import { Failure } from "../failure.ts";
import type { Counts } from "./plugin.ts";
import type { Row } from "./rows.ts";
import { FIRMWARE_BYTES, type BenchImages, type BenchRun } from "./run.ts";

/** From what was counted to the figures of the rows. */

/** What `salus bench --json` prints for each row. */
export interface Figure {
  name: string;
  /** Instructions of all, for one operation or page. */
  total: number;
  /** The share of the hypervisor, with the firmware's work for it. */
  hypervisor: number;
  budget: number | null;
  original: number | null;
}

/** The figure of a row, from the run on its machine. */
export function figureOf(row: Row, run: BenchRun, images: BenchImages): Figure {
  const { name, budget, original } = row;
  const { total, hypervisor, units } = amounts(row, run, images);
  const scaled = (count: number): number => Math.round((count * 10) / (units * row.per)) / 10;
  return { name, total: scaled(total), hypervisor: scaled(hypervisor), budget, original };
}

function amounts(row: Row, run: BenchRun, images: BenchImages): { total: number; hypervisor: number; units: number } {
  switch (row.from) {
    case "boot": {
      const counts = difference(enteredAt(run, "host"), enteredAt(run, "hypervisor"));
      return { total: sum(counts), hypervisor: hypervisorShare(counts), units: 1 };
    }
    case "memory-kept": {
      const hosts = run.values.get("host-memory");
      if (hosts === undefined) throw new Failure("the benchmark's host did not say how much memory it has");
      const kept = run.setup.memoryMiB * 1024 * 1024 - FIRMWARE_BYTES - hosts;
      return { total: kept, hypervisor: kept, units: 1 };
    }
    case "image-size":
      return { total: images.imageSize, hypervisor: images.imageSize, units: 1 };
    default: {
      const measurement = run.measurements.get(row.from);
      if (!measurement) throw new Failure(`the benchmark's host did not measure ${row.from}`);
      const { units } = measurement;
      const counts = row.share === "own" ? measurement.own : measurement.counts;
      return { total: sum(counts), hypervisor: hypervisorShare(counts), units };
    }
  }
}

/** What hypervisor and firmware executed from the first instruction in one region to the first in another. */
export function enteredBetween(run: BenchRun, from: string, to: string): number {
  return hypervisorShare(difference(enteredAt(run, to), enteredAt(run, from)));
}

/** Work that the hypervisor leaves to the firmware is its work too. */
export function hypervisorShare(counts: Counts): number {
  return (counts["hypervisor"] ?? 0) + (counts["firmware"] ?? 0);
}

function enteredAt(run: BenchRun, region: string): Counts {
  const counts = run.entered[region];
  if (!counts) throw new Failure(`nothing was executed in the ${region}'s memory`);
  return counts;
}

function difference(later: Counts, earlier: Counts): Counts {
  return Object.fromEntries(Object.entries(later).map(([name, count]) => [name, count - (earlier[name] ?? 0)]));
}

function sum(counts: Counts): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

/** True if the figure is within its budget, or has none. */
export function meetsBudget({ hypervisor, budget }: Figure): boolean {
  return budget === null || hypervisor <= budget;
}
