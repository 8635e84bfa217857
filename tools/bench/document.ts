import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Failure } from "../failure.ts";
import { repository } from "../repository.ts";
import type { Baseline } from "./baseline.ts";
import { ROWS } from "./rows.ts";
import { number } from "./table.ts";

/** docs/performance.md, and the summary in README.md: the parts that the suite writes. Each lies between two comments that name it. */

/** The compiler whose figures the document has. */
export const REFERENCE_COMPILER = "gcc 12.2.0";
const FILE = path.join(repository, "docs", "performance.md");
const README = path.join(repository, "README.md");
/** Rows of the summary. */
const SUMMARY = [
  ...["boot", "null-call-host", "ecall-exit", "demand-zero-fault", "convert-100", "add-measured-100", "reclaim-100"],
  ...["create-to-finalize", "destroy", "memory-kept", "image-size"],
];

const CHART_FILE = path.join(repository, "docs", "growth.svg");

/** Replaces the image of the document. */
export function writeChart(svg: string): void {
  writeFileSync(CHART_FILE, svg);
}

/** Puts the figures of the baseline into the document, and the most important ones into the README. */
export function updateDocument(baseline: Baseline): void {
  writeFileSync(FILE, withPart(readDocument(), "figures", figureTable(baseline)));
  writeFileSync(README, withPart(readReadme(), "summary", summaryTable(baseline)));
}

export function readReadme(): string {
  return readFileSync(README, "utf8");
}

export function readDocument(): string {
  return readFileSync(FILE, "utf8");
}

/** Replaces a part of the document on disk. */
export function writePart(name: string, content: string): void {
  writeFileSync(FILE, withPart(readDocument(), name, content));
}

/**
 * The document with `content` as its part `name`.
 *
 * @throws Failure if it has no such part
 */
export function withPart(document: string, name: string, content: string): string {
  const { start, end } = placeOf(document, name);
  return `${document.slice(0, start)}\n\n${content}\n\n${document.slice(end)}`;
}

/** The part `name` of the document as it is. */
export function partOf(document: string, name: string): string {
  const { start, end } = placeOf(document, name);
  return document.slice(start, end).trim();
}

function placeOf(document: string, name: string): { start: number; end: number } {
  const begin = `<!-- made by the suite: ${name} -->`;
  const start = document.indexOf(begin) + begin.length;
  const end = document.indexOf(`<!-- end of ${name} -->`);
  if (start < begin.length || end < start) throw new Failure(`the document has no place for its part "${name}"`);
  return { start, end };
}

/** The table of all rows, with the reference compiler's figures. */
export function figureTable(baseline: Baseline): string {
  const entries = baseline[REFERENCE_COMPILER] ?? {};
  const rows = ROWS.filter(({ name }) => name in entries).map(({ name, label, budget, original, unit }) => [
    unit === "bytes" ? `${label}, bytes` : label,
    number(entries[name].hypervisor),
    number(budget),
    number(original),
  ]);
  return markdownTable(["operation", "Salus", "budget", "original"], rows);
}

/** The rows by which to compare, without budgets. */
export function summaryTable(baseline: Baseline): string {
  const entries = baseline[REFERENCE_COMPILER] ?? {};
  const rows = ROWS.filter(({ name }) => SUMMARY.includes(name)).map(({ name, label, original, unit }) => {
    const figure = entries[name].hypervisor;
    const ratio = figure > 0 && original !== null ? `${(original / figure).toFixed(1)} times` : "";
    return [unit === "bytes" ? `${label}, bytes` : label, number(figure), number(original), ratio];
  });
  return markdownTable(["executed instructions", "Salus", "rivosinc/salus", "less by"], rows);
}

/** A table as Prettier lays it out. */
export function markdownTable(headings: string[], rows: string[][]): string {
  const widths = headings.map((heading, column) =>
    Math.max(3, heading.length, ...rows.map((cells) => cells[column].length)),
  );
  const line = (cells: string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column])).join(" | ")} |`;
  return [line(headings), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}
