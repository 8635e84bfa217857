import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { checkFloors, readExplanations, readFloors, writeFloors } from "../../coverage/floors.ts";
import { lastMeasurement, measure } from "../../coverage/measure.ts";
import { coverageReport, missingLines, tableLines } from "../../coverage/report.ts";
import { buildFolder } from "../../repository.ts";
import { coloursFor } from "../../terminal.ts";
import { progress } from "../report.ts";

export interface CoverageFlags {
  json?: boolean;
  missing?: boolean;
  all?: boolean;
  again?: boolean;
  update?: boolean;
  plain?: boolean;
}

/**
 * `salus coverage`: what the tests on the simulated machine reach of the hypervisor's TypeScript.
 *
 * @returns false if a test failed, a folder is below its floor, or a way of a branch is neither reached nor explained
 */
export async function coverage(flags: CoverageFlags): Promise<boolean> {
  const { red, green } = coloursFor(process.stderr, flags.plain);
  const measured =
    (flags.again ? undefined : lastMeasurement()) ??
    (await measure(availableParallelism(), ({ file, seconds, failure }) => {
      progress(`${file}: ${failure === undefined ? "passed" : `failed: ${failure}`} (${seconds.toFixed(1)} s)`);
    }));
  const report = coverageReport(measured, readExplanations());
  const write = (line: string): void => void process.stdout.write(`${line}\n`);
  if (flags.json) {
    const { files, folders, all } = report;
    write(
      JSON.stringify({ files, folders, all, missing: report.missing.map(({ unit, reason }) => ({ ...unit, reason })) }),
    );
  } else if (flags.missing) {
    missingLines(report, flags.all ?? false).forEach(write);
  } else {
    tableLines(report).forEach(write);
  }
  const listing = path.join(buildFolder, "coverage", "report.txt");
  writeFileSync(listing, [...tableLines(report), "", ...missingLines(report, true)].join("\n") + "\n");
  progress(`build/coverage/report.txt has the table and what was not reached (${countLines(listing)} lines)`);

  if (flags.update) writeFloors(report);
  const problems = [
    ...measured.tests.filter(({ failure }) => failure !== undefined).map(({ file, failure }) => `${file}: ${failure}`),
    ...checkFloors(report, readFloors()),
  ];
  for (const problem of problems) process.stderr.write(`${red(problem)}\n`);
  if (problems.length === 0)
    process.stderr.write(
      `${green("every folder is at its floor or above, and nothing is left unreached without a reason")}\n`,
    );
  return problems.length === 0;
}

function countLines(file: string): number {
  return readFileSync(file, "utf8").split("\n").length - 1;
}
