import { availableParallelism } from "node:os";
import { checkReached, readExplanations, readFloors } from "../coverage/floors.ts";
import { lastMeasurement, measure } from "../coverage/measure.ts";
import { coverageReport, percent } from "../coverage/report.ts";
import { hypervisorSources } from "../coverage/sources.ts";
import { tryFaults } from "../mutants/run.ts";
import { explainedSurvivors, selectFaults, spread } from "../mutants/select.ts";
import type { Tally } from "./tally.ts";

/** Named faults that are tried, spread over all of them. All: `salus mutants`. */
const SAMPLE = 6;

/**
 * What the tests on the simulated machine reach, with its floors, and whether they notice a few faults of the hypervisor. The tests run once more
 * for that, with a hypervisor that counts.
 */
export async function runCoverageSuite(tally: Tally): Promise<void> {
  tally.suite("Coverage and faults");
  const parallel = availableParallelism();
  let begin = performance.now();
  const seconds = (): number => (performance.now() - begin) / 1000;
  const coverage = lastMeasurement() ?? (await measure(parallel, () => {}));
  const report = coverageReport(coverage, readExplanations());
  const problems = [
    ...coverage.tests.flatMap(({ file, failure }) => (failure === undefined ? [] : [`${file}: ${failure}`])),
    ...checkReached(report, readFloors()),
  ];
  const { reached, all } = report.all.figures.branch;
  const figure = `${percent({ reached, all }).toFixed(1)} % of ${all} branches of the hypervisor are reached`;
  if (problems.length === 0) tally.pass(`${figure}, no folder is below its floor`, seconds(), true);
  else tally.fail(figure, seconds(), problems.join("\n"));

  begin = performance.now();
  const sources = hypervisorSources();
  const { named } = selectFaults({ sources, coverage, seed: 0, names: [] });
  const explained = explainedSurvivors();
  await tryFaults(spread(named, SAMPLE), {
    sources,
    coverage,
    parallel,
    again: false,
    until: Infinity,
    report: ({ fault, outcome, seconds: taken }) => {
      if (outcome.verdict === "caught") tally.pass(`fault ${fault.id}: caught by ${outcome.test}`, taken, true);
      else if (!explained.has(fault.id)) {
        const why = outcome.verdict === "invalid" ? outcome.why : `${outcome.tests} tests passed with it`;
        tally.fail(`fault ${fault.id}`, taken, `${fault.description}\n${why}`);
      }
    },
  });
}
