import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { Failure } from "../failure.ts";
import { repository } from "../repository.ts";
import { meetsBudget, type Figure } from "./figures.ts";

/**
 * bench/baseline.json: the figures that must not get worse. What a compiler makes of the same source differs, so they are kept by its
 * version.
 */

const FILE = path.join(repository, "bench", "baseline.json");
/** How much worse than the file a figure may be. */
const TOLERANCE = 0.02;

export interface BaselineEntry {
  total: number;
  hypervisor: number;
  /** Whether the row met its budget: then it has to go on doing so. Null without a budget. */
  budgetMet: boolean | null;
}

/** Rows by name, by compiler. */
export type Baseline = Record<string, Record<string, BaselineEntry>>;

/** "gcc 12.2.0": the key of the baseline. */
export async function compilerVersion(compiler: string): Promise<string> {
  const { stdout } = await promisify(execFile)(compiler, ["-dumpfullversion"]);
  return `gcc ${stdout.trim()}`;
}

/** @throws Failure if the file is damaged */
export function readBaseline(): Baseline {
  try {
    return JSON.parse(readFileSync(FILE, "utf8")) as Baseline;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new Failure(`bench/baseline.json cannot be read: ${(error as Error).message}`);
  }
}

export function writeBaseline(baseline: Baseline): void {
  writeFileSync(FILE, `${JSON.stringify(baseline, null, 2)}\n`);
}

/** The baseline with the figures of this compiler in place of those of the same rows. */
export function updated(baseline: Baseline, compiler: string, figures: Figure[]): Baseline {
  const rows = { ...baseline[compiler] };
  for (const figure of figures) {
    const budgetMet = figure.budget === null ? null : meetsBudget(figure);
    rows[figure.name] = { total: figure.total, hypervisor: figure.hypervisor, budgetMet };
  }
  return { ...baseline, [compiler]: rows };
}

/**
 * What is worse than the file says.
 *
 * @returns a sentence for each row that is; none if all is well
 * @throws Failure if the file has nothing for this compiler
 */
export function regressions(baseline: Baseline, compiler: string, figures: Figure[]): string[] {
  const rows = baseline[compiler];
  if (!rows) {
    const known = Object.keys(baseline).join(", ") || "no compiler";
    throw new Failure(`bench/baseline.json has figures for ${known}, not for ${compiler}: add them with --update`);
  }
  return figures.flatMap((figure) => {
    const entry = rows[figure.name];
    if (!entry) return [`${figure.name} is not in bench/baseline.json: add it with --update`];
    const found: string[] = [];
    for (const kind of ["hypervisor", "total"] as const) {
      if (figure[kind] <= entry[kind] * (1 + TOLERANCE)) continue;
      const percent = ((figure[kind] / entry[kind] - 1) * 100).toFixed(1);
      found.push(
        `${figure.name}: ${kind} is ${figure[kind]}, ${percent} % more than the ${entry[kind]} of the baseline`,
      );
    }
    if (entry.budgetMet && !meetsBudget(figure)) {
      found.push(`${figure.name}: ${figure.hypervisor} is over the budget of ${figure.budget}, which was met`);
    }
    return found;
  });
}
