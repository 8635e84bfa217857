import path from "node:path";
import type { Result } from "./run.ts";

/** What a run of faults says. */

export interface Tally {
  tried: number;
  caught: number;
  survived: number;
  /** Survivors without an explanation. */
  unexplained: number;
  /** Percent of the tried ones. */
  killRate: number;
  /** Percent of those that are not explained as no fault at all. */
  killRateOfRest: number;
}

export interface MutantReport {
  named: Tally;
  generated: Tally;
  /** Generated faults by operator. */
  byOperator: Record<string, Tally>;
  /** Faults that each test file caught. */
  byTest: Record<string, number>;
  survivors: { id: string; place: string; description: string; reason: string | undefined }[];
  /** Explained as survivors, but caught. */
  stale: string[];
}

export function mutantReport(results: readonly Result[], explained: ReadonlyMap<string, string>): MutantReport {
  const valid = results.filter(({ outcome }) => outcome.verdict !== "invalid");
  const generated = valid.filter(({ fault }) => fault.kind !== "named");
  const byTest: Record<string, number> = {};
  for (const { outcome } of valid) {
    if (outcome.verdict === "caught") byTest[outcome.test] = (byTest[outcome.test] ?? 0) + 1;
  }
  return {
    named: tallyOf(
      valid.filter(({ fault }) => fault.kind === "named"),
      explained,
    ),
    generated: tallyOf(generated, explained),
    byOperator: Object.fromEntries(
      [...Map.groupBy(generated, ({ fault }) => fault.kind)]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([operator, some]) => [operator, tallyOf(some, explained)]),
    ),
    byTest: Object.fromEntries(Object.entries(byTest).sort(([, a], [, b]) => b - a)),
    survivors: valid
      .filter(({ outcome }) => outcome.verdict === "survived")
      .map(({ fault }) => ({
        id: fault.id,
        place: `${fault.file}:${fault.line}`,
        description: fault.description,
        reason: explained.get(fault.id),
      }))
      .sort((a, b) => (a.place < b.place ? -1 : 1)),
    stale: valid
      .filter(({ fault, outcome }) => outcome.verdict === "caught" && explained.has(fault.id))
      .map(({ fault }) => fault.id),
  };
}

function tallyOf(results: readonly Result[], explained: ReadonlyMap<string, string>): Tally {
  const tried = results.length;
  const caught = results.filter(({ outcome }) => outcome.verdict === "caught").length;
  const unexplained = results.filter(
    ({ fault, outcome }) => outcome.verdict === "survived" && !explained.has(fault.id),
  ).length;
  const percent = (part: number, all: number): number => (all === 0 ? 100 : Math.round((1000 * part) / all) / 10);
  return {
    tried,
    caught,
    survived: tried - caught,
    unexplained,
    killRate: percent(caught, tried),
    killRateOfRest: percent(caught, caught + unexplained),
  };
}

/** The report, a line each. */
export function reportLines(report: MutantReport): string[] {
  const line = (name: string, tally: Tally): string =>
    `${name.padEnd(18)} ${String(tally.caught).padStart(4)} of ${String(tally.tried).padStart(4)} caught` +
    ` (${tally.killRate} %), ${tally.survived} survived, ${tally.unexplained} of them without explanation`;
  return [
    line("named", report.named),
    line("generated", report.generated),
    ...Object.entries(report.byOperator).map(([operator, tally]) => line(`  ${operator}`, tally)),
    "",
    "caught by",
    ...Object.entries(report.byTest).map(
      ([test, count]) => `${String(count).padStart(6)}  ${path.relative("tests", test)}`,
    ),
    ...(report.survivors.length > 0 ? ["", "survivors"] : []),
    ...report.survivors.flatMap(({ id, place, description, reason }) => [
      `  ${id}`,
      `      ${place}  ${description}`,
      `      ${reason ?? "NOT EXPLAINED"}`,
    ]),
  ];
}
