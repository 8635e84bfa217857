import { runChecks, type CheckResult } from "../../check/checks.ts";
import { coloursFor } from "../../terminal.ts";
import { Tally } from "../../test/tally.ts";

/**
 * `salus check`: types, lint and format of all sources.
 *
 * @returns true if all passed
 */
export async function check(flags: { plain?: boolean }): Promise<boolean> {
  const tally = new Tally(coloursFor(process.stdout, flags.plain), (line) => process.stdout.write(`${line}\n`));
  await checkInto(tally);
  return tally.close();
}

/** Runs the checks as a suite of `tally`. */
export async function checkInto(tally: Tally): Promise<void> {
  tally.suite("Checks");
  await runChecks(({ name, passed, output, seconds }: CheckResult) => {
    if (passed) tally.pass(name, seconds, true);
    else tally.fail(name, seconds, output);
  });
}
