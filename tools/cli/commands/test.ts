import { ensureTools, type Need } from "../../setup/index.ts";
import { coloursFor } from "../../terminal.ts";
import { runCoverageSuite } from "../../test/coverage-suite.ts";
import { runNodeTests, type NodeTestOptions } from "../../test/node-tests.ts";
import { select } from "../../test/suites.ts";
import { Tally } from "../../test/tally.ts";
import { progress } from "../report.ts";
import { checkInto } from "./check.ts";

export interface TestFlags {
  only?: string;
  qemu?: string;
  debug?: boolean;
  plain?: boolean;
  verbose?: boolean;
}

/**
 * `salus test`: checks, unit tests, what they reach, and the boots in QEMU, or what the names say.
 *
 * @returns true if something ran and nothing failed
 */
export async function test(names: string[], flags: TestFlags): Promise<boolean> {
  const selection = select(names);
  const tally = new Tally(coloursFor(process.stdout, flags.plain), (line) => process.stdout.write(`${line}\n`));
  const { unit, qemu, linux } = selection.files;
  const machines = qemu.length + linux.length > 0;
  const choice = flags.qemu ?? (process.env["QEMU"] || undefined);
  if (unit.length > 0 || machines) {
    const needs: Need[] = machines ? ["compiler", "openssl", "qemu", "ssh"] : ["compiler", "openssl"];
    await ensureTools({ needs, qemu: choice, log: progress });
  }
  // The test processes read the same variables as the command line.
  if (choice !== undefined) process.env["QEMU"] = choice;
  if (flags.debug) process.env["SALUS_FLAVOUR"] = "debug";

  const options: Omit<NodeTestOptions, "files" | "showTests"> = {
    tally,
    only: flags.only,
    signal: abortWhenTold(),
  };
  if (selection.check) await checkInto(tally);
  if (unit.length > 0) {
    tally.suite("Unit tests");
    await runNodeTests({ ...options, files: unit, showTests: flags.verbose ?? false });
  }
  if (selection.coverage) await runCoverageSuite(tally);
  for (const [name, files] of [
    ["QEMU", qemu],
    ["Linux", linux],
  ] as const) {
    if (files.length === 0) continue;
    tally.suite(name);
    // One machine at a time: the runs are timed, and an emulated machine uses all processors.
    await runNodeTests({ ...options, files, showTests: true, concurrency: 1 });
  }
  return tally.close();
}

/** Aborts when this process is told to end, so that no test process is left behind. */
function abortWhenTold(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      controller.abort();
      // Told once more, or when all is ended, it ends by the same signal.
      setTimeout(() => process.kill(process.pid, signal), 500).unref();
    });
  }
  return controller.signal;
}
