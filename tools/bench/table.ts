import { FAILED_MARK, PASSED_MARK, type Colours } from "../terminal.ts";
import { meetsBudget, type Figure } from "./figures.ts";
import { ROWS } from "./rows.ts";

/** The figures for people. */

const HEADINGS = ["", "operation", "hypervisor", "total", "budget", "original", "against original"];

/** Lines of the table. */
export function tableLines(figures: Figure[], colours: Colours): string[] {
  const { green, red, bold } = colours;
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
