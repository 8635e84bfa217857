import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Failure } from "../failure.ts";
import { repository } from "../repository.ts";
import { missingLines, percent, type CoverageReport, type Explanation } from "./report.ts";

/** What must stay reached: the least share of branch ways by folder, and the reasons for what cannot be reached. */

/** Folder -> percent of branch ways. */
export type Floors = Record<string, number>;

/** The floor of folders that are not named. */
const OTHERS = "*";
const FLOORS = path.join(repository, "tests/coverage/floors.json");
const EXPLAINED = path.join(repository, "tests/coverage/explained.json");

export function readFloors(): Floors {
  return JSON.parse(readFileSync(FLOORS, "utf8")) as Floors;
}

/** Raises the floors to what was measured, a tenth of a percent below it: a branch that moves to another file is no failure. */
export function writeFloors(report: CoverageReport): void {
  const old: Floors = existsSync(FLOORS) ? readFloors() : {};
  const floors = report.folders.map(({ name, figures }) => {
    const now = Math.floor(percent(figures.branch) * 10 - 1) / 10;
    return [name, Math.max(old[name] ?? 0, now)] as const;
  });
  const others = old[OTHERS] === undefined ? [] : [[OTHERS, old[OTHERS]] as const];
  writeFileSync(FLOORS, JSON.stringify(Object.fromEntries([...others, ...floors]), null, 2) + "\n");
}

export function readExplanations(): Explanation[] {
  const entries = JSON.parse(readFileSync(EXPLAINED, "utf8")) as Explanation[];
  for (const entry of entries) {
    if (!entry.reason) throw new Failure(`tests/coverage/explained.json: ${entry.file} ${entry.function}: no reason`);
  }
  return entries;
}

/** So many ways may be missed by luck: keys are random in tests, and a busy computer makes some of them shorter. */
const LUCK = 3;

/**
 * Sentences about what is wrong: a folder below its floor, a way of a branch (or a function) that nothing reaches or explains, or an explanation of
 * something that is reached.
 */
export function checkFloors(report: CoverageReport, floors: Floors): string[] {
  const stale = report.stale.map(
    ({ file, function: name, unit }) =>
      `tests/coverage/explained.json explains ${file} ${name}${unit === undefined ? "" : `: ${unit}`}, which is reached or gone`,
  );
  return [...belowFloor(report, floors), ...unexplained(report), ...stale];
}

/** The same as far as it is no matter of luck: what `npm test` insists on. */
export function checkReached(report: CoverageReport, floors: Floors): string[] {
  const missed = unexplained(report);
  return [...belowFloor(report, floors, LUCK), ...(missed.length > LUCK ? missed : [])];
}

/** `spare`: ways by which a folder may fall short of its floor. */
function belowFloor(report: CoverageReport, floors: Floors, spare = 0): string[] {
  return report.folders.flatMap(({ name, figures }) => {
    const { reached, all } = figures.branch;
    const now = percent({ reached: Math.min(reached + spare, all), all });
    const floor = floors[name] ?? floors[OTHERS];
    if (floor === undefined) return [`tests/coverage/floors.json says nothing of ${name} (${now.toFixed(1)} %)`];
    return now < floor ? [`${name}: ${now.toFixed(1)} % of the branches are reached, the floor is ${floor} %`] : [];
  });
}

function unexplained(report: CoverageReport): string[] {
  return missingLines(report, false).map(
    (text) => `${text}: no test reaches it, and tests/coverage/explained.json does not say why`,
  );
}
