import { FAILED_MARK, OPEN_MARK, PASSED_MARK, type Colours } from "../terminal.ts";
import { meetsBudget, type Figure } from "./figures.ts";
import { ABSENT_ROWS, ROWS } from "./rows.ts";

/** The figures for people. */

const HEADINGS = ["", "operation", "hypervisor", "total", "budget", "original", "against original"];

/** Lines of the table; rows that cannot be measured yet are among `absent`. */
export function tableLines(figures: Figure[], absent: typeof ABSENT_ROWS, colours: Colours): string[] {
  const { green, red, dim, bold } = colours;
  const rows = figures.map((figure) => {
    const { label, unit } = ROWS.find(({ name }) => name === figure.name)!;
    const met = figure.budget === null ? null : meetsBudget(figure);
    return {
      mark: met === null ? " " : met ? green(PASSED_MARK) : red(FAILED_MARK),
      cells: [
        unit === "bytes" ? `${label}, bytes` : label,
        number(figure.hypervisor),
        number(figure.total),
        number(figure.budget),
        number(figure.original),
        figure.original === null ? "" : `${(figure.original / figure.hypervisor).toFixed(1)} x`,
      ],
      paint: met === false ? red : (text: string) => text,
    };
  });
  for (const { label, budget, original, why } of absent) {
    const cells = [`${label}: ${why}`, "", "", number(budget), number(original), ""];
    rows.push({ mark: colours.yellow(OPEN_MARK), cells, paint: dim });
  }
  const [, ...headings] = HEADINGS;
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map(({ cells }) => cells[column].length)),
  );
  const line = (cells: string[]): string =>
    cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join("  ");
  return [
    bold(`  ${line(headings)}`.trimEnd()),
    ...rows.map(({ mark, cells, paint }) => `${mark} ${paint(line(cells).trimEnd())}`),
  ];
}

/** 12345.6 as "12,345.6"; nothing for null. */
export function number(value: number | null): string {
  return value === null ? "" : value.toLocaleString("en-US", { maximumFractionDigits: 1 });
}
