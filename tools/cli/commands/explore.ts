import { explore } from "../../../tests/explore/explore.ts";
import { progress } from "../report.ts";

export interface ExploreFlags {
  harts: number;
  tvms: number;
  pages: number;
  places: number;
  seconds: number;
  depth: number;
  /** Lists every pair of situation and event. */
  pairs?: boolean;
  json?: boolean;
}

/**
 * `salus explore`: every sequence of calls in a small world.
 *
 * @returns true if no invariant was violated
 */
export async function exploreHypervisor(flags: ExploreFlags): Promise<boolean> {
  const { harts, tvms, pages, places, seconds, depth } = flags;
  const write = (line: string): void => void process.stdout.write(`${line}\n`);
  const report = await explore({ size: { harts, tvms, pages, places }, seconds, maxDepth: depth, log: progress });
  if (report.violation) {
    write(report.violation.error);
    write(`after the shortest sequence that leads there:`);
    for (const event of report.violation.path) write(`  ${event}`);
  }
  if (flags.json) {
    write(JSON.stringify(report));
    return !report.violation;
  }
  write(`answers by event (0 is success):`);
  for (const [event, answers] of Object.entries(report.answers)) {
    write(`  ${event.padEnd(12)} ${answersText(answers)}`);
  }
  write(`${report.pairs.length} pairs of situation and event${flags.pairs ? ":" : ""}`);
  if (flags.pairs) {
    for (const pair of report.pairs) write(`  ${pair.event}: ${pair.situation}: ${answersText(pair.answers)}`);
  }
  write(`${report.transitions} events, of which ${report.refused} were refused and changed nothing`);
  const whole = report.complete ? "all there are" : `all sequences of ${report.depth} events`;
  const time = `${report.seconds.toFixed(0)} s, ${report.cpuSeconds.toFixed(0)} s of a processor`;
  write(`${report.states} distinct states (${whole}) in ${time}`);
  return !report.violation;
}

function answersText(answers: Record<string, number>): string {
  return Object.entries(answers)
    .map(([answer, count]) => `${answer}: ${count}`)
    .join("  ");
}
