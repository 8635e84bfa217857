import { timesReached, type Coverage } from "./measure.ts";
import type { Unit, UnitKind } from "./instrument.ts";

/** What a measurement says: figures by file and folder, and what was not reached. */

export interface Share {
  reached: number;
  all: number;
}

export type Figures = Record<UnitKind | "line", Share>;

export interface Row {
  /** A file, a folder ("hypervisor/memory") or "all". */
  name: string;
  figures: Figures;
  /** Branch ways that are not reached and that no explanation covers. */
  unexplained: number;
}

/** An entry of tests/coverage/explained.json: ways that no test can reach, or need not. */
export interface Explanation {
  file: string;
  function: string;
  /** The label of the unit, as the listing shows it; without it every unit of the function is meant. */
  unit?: string;
  reason: string;
}

export interface CoverageReport {
  files: Row[];
  folders: Row[];
  all: Row;
  /** Not reached, in the order of the sources. */
  missing: { unit: Unit; reason: string | undefined }[];
  /** Explanations of something that is reached, or that does not exist any more. */
  stale: Explanation[];
}

export function percent({ reached, all }: Share): number {
  return all === 0 ? 100 : (100 * reached) / all;
}

export function coverageReport(coverage: Coverage, explanations: readonly Explanation[]): CoverageReport {
  const used = new Set<Explanation>();
  const missing = coverage.units
    .filter((unit) => timesReached(unit, coverage.counts) <= 0)
    .map((unit) => {
      const explanation = explanations.find((each) => explains(each, unit));
      if (explanation) used.add(explanation);
      return { unit, reason: explanation?.reason };
    });
  const unexplained = new Map(missing.map(({ unit, reason }) => [unit, reason === undefined]));
  const row = (name: string, units: Unit[]): Row => ({
    name,
    figures: figuresOf(units, coverage.counts),
    unexplained: units.filter((unit) => unit.kind === "branch" && unexplained.get(unit)).length,
  });
  const grouped = (key: (file: string) => string): Row[] =>
    [...Map.groupBy(coverage.units, (unit) => key(unit.file))].map(([name, units]) => row(name, units));
  return {
    files: grouped((file) => file).sort(byName),
    folders: grouped(folderOf).sort(byName),
    all: row("all", coverage.units),
    missing,
    stale: explanations.filter((explanation) => !used.has(explanation)),
  };
}

/** The first two parts of a path: hypervisor/memory; a file at the top of hypervisor/ counts as "hypervisor". */
export function folderOf(file: string): string {
  const parts = file.split("/");
  return parts.length === 2 ? parts[0] : parts.slice(0, 2).join("/");
}

function byName(a: Row, b: Row): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function explains(explanation: Explanation, unit: Unit): boolean {
  if (explanation.file !== unit.file || explanation.function !== unit.function) return false;
  return explanation.unit === undefined || explanation.unit === unit.label;
}

function figuresOf(units: readonly Unit[], counts: readonly number[]): Figures {
  const share = (some: readonly Unit[]): Share => ({
    reached: some.filter((unit) => timesReached(unit, counts) > 0).length,
    all: some.length,
  });
  const of = (kind: UnitKind): Unit[] => units.filter((unit) => unit.kind === kind);
  // A line is reached when the first statement on it is.
  const lines = new Map(
    of("statement")
      .map((unit) => [`${unit.file}:${unit.line}`, unit] as const)
      .reverse(),
  );
  return {
    function: share(of("function")),
    statement: share(of("statement")),
    line: share([...lines.values()]),
    branch: share(of("branch")),
  };
}

/** The table, a line each. */
export function tableLines(report: CoverageReport): string[] {
  const head = ["", "functions", "lines", "statements", "branches", "unexplained"];
  const cells = (row: Row): string[] => {
    const { figures } = row;
    const shares = [figures.function, figures.line, figures.statement, figures.branch];
    return [row.name, ...shares.map((share) => shareText(share)), String(row.unexplained)];
  };
  const rows = [head, ...report.files.map(cells), [], ...report.folders.map(cells), [], cells(report.all)];
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
      .join("  ")
      .trimEnd(),
  );
}

function shareText(share: Share): string {
  return share.all === 0 ? "-" : `${percent(share).toFixed(1)} % (${share.reached}/${share.all})`;
}

/** Functions and branch ways that were not reached, with file and line; a function that was not reached stands for all in it. `all`: the explained ones too. */
export function missingLines(report: CoverageReport, all: boolean): string[] {
  const functions = new Set(
    report.missing.filter(({ unit }) => unit.kind === "function").map(({ unit }) => `${unit.file} ${unit.function}`),
  );
  return report.missing.flatMap(({ unit, reason }) => {
    if (reason !== undefined && !all) return [];
    if (unit.kind === "statement") return [];
    if (unit.kind === "branch" && functions.has(`${unit.file} ${unit.function}`)) return [];
    const what = unit.kind === "function" ? `${unit.function}: never called` : `${unit.function}: ${unit.label}`;
    return [`${unit.file}:${unit.line}:${unit.column} ${what}${reason === undefined ? "" : `  [${reason}]`}`];
  });
}
