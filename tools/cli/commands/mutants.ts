import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { lastMeasurement, measure } from "../../coverage/measure.ts";
import { hypervisorSources } from "../../coverage/sources.ts";
import { Failure } from "../../failure.ts";
import type { Fault } from "../../mutants/fault.ts";
import { mutantReport, reportLines } from "../../mutants/report.ts";
import { tryFaults, type Result } from "../../mutants/run.ts";
import { explainedSurvivors, selectFaults, spread } from "../../mutants/select.ts";
import { buildFolder } from "../../repository.ts";
import { coloursFor } from "../../terminal.ts";
import { progress } from "../report.ts";

export interface MutantFlags {
  named?: boolean;
  generated?: boolean;
  count: number;
  seed: number;
  sample?: number;
  workers?: number;
  seconds?: number;
  json?: boolean;
  again?: boolean;
  plain?: boolean;
}

/**
 * `salus mutants`: puts faults into the hypervisor and sees whether the tests notice.
 *
 * @returns false if a fault survived that nobody has explained
 */
export async function mutants(names: string[], flags: MutantFlags): Promise<boolean> {
  const { red, green } = coloursFor(process.stderr, flags.plain);
  const sources = hypervisorSources();
  const coverage = lastMeasurement() ?? (await measureFirst(flags.workers));
  const selection = selectFaults({ sources, coverage, seed: flags.seed, names });
  const named = flags.generated ? [] : spread(selection.named, flags.sample ?? Infinity);
  const results: Result[] = [];
  const until = flags.seconds === undefined ? Infinity : performance.now() + flags.seconds * 1000;
  let left = 0;
  const attempt = async (faults: Fault[]): Promise<void> => {
    const before = results.length;
    const parallel = flags.workers ?? availableParallelism();
    const options = { sources, coverage, parallel, again: flags.again ?? false, until };
    results.push(...(await tryFaults(faults, { ...options, report: (result) => progress(lineOf(result)) })));
    left += faults.length - (results.length - before);
  };
  await attempt(named);
  if (!flags.named) {
    // Those that do not compile are no faults: others take their place.
    const wanted = Math.min(flags.sample ?? flags.count, flags.count);
    const waiting = [...selection.generated];
    const valid = (): number =>
      results.filter(({ fault, outcome }) => fault.kind !== "named" && outcome.verdict !== "invalid").length;
    while (left === 0 && valid() < wanted && waiting.length > 0) await attempt(waiting.splice(0, wanted - valid()));
  }

  const report = mutantReport(results, explainedSurvivors());
  const lines = reportLines(report);
  if (flags.json) process.stdout.write(`${JSON.stringify({ ...report, results })}\n`);
  else for (const line of lines) process.stdout.write(`${line}\n`);
  writeFileSync(path.join(buildFolder, "mutants", "report.txt"), lines.join("\n") + "\n");
  const unexplained = report.named.unexplained + report.generated.unexplained;
  if (unexplained > 0) process.stderr.write(`${red(`${unexplained} survivors without an explanation`)}\n`);
  for (const id of report.stale) {
    process.stderr.write(`${red(`tests/mutants/survivors.json explains ${id}, which is caught`)}\n`);
  }
  if (left > 0)
    process.stderr.write(`${red(`${left} faults were not tried in time; a further run goes on with them`)}\n`);
  const good = unexplained === 0 && report.stale.length === 0 && left === 0;
  if (good) process.stderr.write(`${green("every fault was caught, or is explained")}\n`);
  return good;
}

/** Which tests reach what decides which of them are run. They must pass: a test that always fails notices everything. */
async function measureFirst(workers = availableParallelism()) {
  const coverage = await measure(workers, ({ file, seconds }) => {
    progress(`${file}: what it reaches (${seconds.toFixed(1)} s)`);
  });
  const failed = coverage.tests.filter(({ failure }) => failure !== undefined);
  if (failed.length > 0) {
    throw new Failure(
      `without a fault these fail: ${failed.map(({ file, failure }) => `${file}: ${failure}`).join("\n")}`,
    );
  }
  return coverage;
}

function lineOf({ fault, outcome, seconds, known }: Result): string {
  const time = known ? "known" : `${seconds.toFixed(1)} s`;
  const what =
    outcome.verdict === "caught"
      ? `caught by ${outcome.test}: ${outcome.how}`
      : outcome.verdict === "survived"
        ? `SURVIVED ${outcome.tests} tests at ${fault.file}:${fault.line}: ${fault.description}`
        : `does not compile: ${outcome.why}`;
  return `${fault.id} (${time}): ${what}`;
}
