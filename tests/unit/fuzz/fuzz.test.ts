import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { before, describe, test } from "node:test";
import { hypervisorModule } from "../../../machine/simulated/hypervisor-module.ts";
import { describe as describeCommand, fromJson } from "../../fuzz/command.ts";
import type { Run } from "../../fuzz/command.ts";
import { ERROR_ROWS } from "../../fuzz/error-rows.ts";
import { describeFailure, fuzz, replay } from "../../fuzz/fuzz.ts";
import type { FuzzReport } from "../../fuzz/fuzz.ts";
import { MACHINES } from "../../fuzz/machines.ts";
import { expectedSuccesses } from "../../fuzz/tally.ts";
import { World } from "../../fuzz/world.ts";

/** Random hosts and TVMs, the same ones every time: about 10 seconds of a processor. */
const RUNS = 320;
const SEED = 20;

describe("random hosts and TVMs", () => {
  let report: FuzzReport;
  before(async () => {
    report = await fuzz({ seed: SEED, seconds: 0, runs: RUNS });
  });

  test("find nothing", () => {
    assert.equal(report.failures.map(describeFailure).join("\n\n"), "");
  });

  test("succeed with every function, of hosts and of TVMs", () => {
    const { successes } = report.tally;
    const missing = expectedSuccesses().filter((name) => successes[name] === undefined);
    assert.deepEqual(missing, []);
  });

  test("reach every row of the error table", () => {
    const { errors } = report.tally;
    const missing = Object.values(ERROR_ROWS)
      .flat()
      .filter((name) => errors[name] === undefined);
    assert.deepEqual(missing, []);
  });

  test("get deep", () => {
    assert(report.tally.tvmEntries > 5_000, `${report.tally.tvmEntries} entries of TVMs`);
    assert(report.tally.deepest > 50, `${report.tally.deepest} calls on one TVM`);
    assert(report.tally.mostTvms >= 5, `${report.tally.mostTvms} TVMs at a time`);
  });
});

describe("past finds", () => {
  const folder = path.join(import.meta.dirname, "../../fuzz/corpus");
  for (const file of globSync("*.json", { cwd: folder }).sort()) {
    test(file, async () => {
      const run: Run = fromJson(readFileSync(path.join(folder, file), "utf8"));
      const world = await World.boot(MACHINES[run.machine]);
      assert.equal(replay(world, run.commands)?.message, undefined, run.commands.map(describeCommand).join("\n"));
    });
  }
});

describe("do the checks bite?", () => {
  const faults = {
    "pages are not zeroed": () => ({ zeroBytes: () => {}, cboZero: () => {} }),
    "G-stage translations are not flushed": () => ({ hfenceGvmaVmid: () => {} }),
  };
  for (const [fault, door] of Object.entries(faults)) {
    test(`found: ${fault}`, async () => {
      const module = await hypervisorModule();
      const { failures } = await fuzz({ seed: 3, seconds: 0, runs: 24, maxFailures: 1, module, door });
      assert.equal(failures.length, 1);
    });
  }
});
