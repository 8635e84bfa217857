import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, fromJson, toJson } from "../../../tests/fuzz/command.ts";
import { describeFailure, fuzz, replay, reportJson } from "../../../tests/fuzz/fuzz.ts";
import { ERROR_ROWS, missingErrors, rowsReached } from "../../../tests/fuzz/error-rows.ts";
import { MACHINES } from "../../../tests/fuzz/machines.ts";
import { missingDeviceEvents, missingSuccesses } from "../../../tests/fuzz/tally.ts";
import { World } from "../../../tests/fuzz/world.ts";
import { worstCases } from "../../../tests/fuzz/worst.ts";
import { stackTable } from "../../../tests/fuzz/stack-table.ts";
import { conversion, lockTable, worstJson, worstTable } from "../../../tests/fuzz/worst-table.ts";
import { readBaseline } from "../../bench/baseline.ts";
import { writePart } from "../../bench/document.ts";
import { buildHypervisor } from "../../build/index.ts";
import { UsageError } from "../../failure.ts";
import { progress } from "../report.ts";

export interface FuzzFlags {
  seconds: number;
  seed: number;
  failures: number;
  save?: string;
  replay?: string;
  json?: boolean;
  worst?: boolean;
  update?: boolean;
}

/** The parts of docs/performance.md that `--worst --update` writes. */
const WORST_PART = "worst cases";
const LOCKS_PART = "locks";
const STACKS_PART = "stacks";

/**
 * `salus fuzz`: random hosts and TVMs on the simulated machine.
 *
 * @returns true if nothing was found
 */
export async function fuzzHypervisor(flags: FuzzFlags): Promise<boolean> {
  const write = (line: string): void => void process.stdout.write(`${line}\n`);
  if (flags.replay !== undefined) return replayFile(flags.replay, write);
  if (flags.update && !flags.worst) throw new UsageError("--update is for --worst");
  if (flags.worst) return searchWorst(flags, write);
  const report = await fuzz({
    seed: flags.seed,
    seconds: flags.seconds,
    maxFailures: flags.failures,
    log: progress,
  });
  report.failures.forEach((failure, index) => {
    write(describeFailure(failure));
    if (flags.save === undefined) return;
    mkdirSync(flags.save, { recursive: true });
    writeFileSync(path.join(flags.save, `seed-${flags.seed}-${index}.json`), toJson(failure.run));
  });
  const { tally, failures, seconds, cpuSeconds } = report;
  if (flags.json) write(reportJson(report));
  else {
    for (const [name, count] of Object.entries(tally.successes)) write(`${String(count).padStart(8)}  ${name}`);
    for (const [name, count] of Object.entries(tally.errors)) write(`${String(count).padStart(8)}  ${name}`);
    for (const [name, count] of Object.entries(tally.devices).sort())
      write(`${String(count).padStart(8)}  PCI: ${name}`);
    const rows = `${rowsReached(tally.errors).length} of ${Object.keys(ERROR_ROWS).length} rows of the error table`;
    write(`${rows} were reached`);
    for (const name of missingSuccesses(tally.successes)) write(`never succeeded: ${name}`);
    for (const name of missingErrors(tally.errors)) write(`never answered: ${name}`);
    for (const name of missingDeviceEvents(tally.devices)) write(`never happened: ${name}`);
    write(
      `${tally.tvmEntries} entries of TVMs, at most ${tally.mostTvms} TVMs at a time, ${tally.deepest} calls on one`,
    );
    const rate = Math.round(tally.calls / seconds);
    write(
      `${tally.calls} calls in ${seconds.toFixed(1)} s (${rate} a second), ${cpuSeconds.toFixed(1)} s of a processor`,
    );
    write(failures.length === 0 ? "nothing found" : `${failures.length} failures`);
  }
  return failures.length === 0;
}

/** `--worst`: what keeps a hart longest in the hypervisor, in place of failures, and the deepest stack. */
async function searchWorst(flags: FuzzFlags, write: (line: string) => void): Promise<boolean> {
  const convert = await conversion(readBaseline());
  // By the compiler that there is, from the call graph.
  const stacks = await buildHypervisor();
  const found = await worstCases({ seed: flags.seed, seconds: flags.seconds });
  const parts = {
    [WORST_PART]: worstTable(found.calls, convert),
    [LOCKS_PART]: lockTable(found.locks, convert),
    [STACKS_PART]: stackTable(stacks),
  };
  if (flags.json) write(worstJson(flags.seed, found, convert, stacks));
  else {
    for (const table of Object.values(parts)) write(`${table}\n`);
    write(`an instruction count is ${convert.base} and ${convert.ratio.toFixed(2)} for each operation`);
  }
  if (flags.update) for (const [part, table] of Object.entries(parts)) writePart(part, table);
  if (flags.save !== undefined) mkdirSync(flags.save, { recursive: true });
  for (const [name, { run }] of flags.save === undefined ? [] : [...found.calls, ...found.locks]) {
    writeFileSync(path.join(flags.save!, `${name.replaceAll(/[^a-zA-Z.]+/g, "-")}.json`), toJson(run));
  }
  return true;
}

async function replayFile(file: string, write: (line: string) => void): Promise<boolean> {
  const run = fromJson(readFileSync(file, "utf8"));
  const world = await World.boot(MACHINES[run.machine]);
  const error = replay(world, run.commands);
  for (const command of run.commands) write(describe(command));
  write(error === undefined ? "nothing found" : error.message);
  return error === undefined;
}
