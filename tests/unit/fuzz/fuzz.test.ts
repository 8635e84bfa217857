import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { before, describe, test } from "node:test";
import type { DoorReplacement } from "../../../machine/simulated/door.ts";
import { hypervisorModule } from "../../../machine/simulated/hypervisor-module.ts";
import { ECAM_BASE } from "../../../machine/simulated/pci.ts";
import { describe as describeCommand, fromJson } from "../../fuzz/command.ts";
import type { Run } from "../../fuzz/command.ts";
import { ERROR_ROWS, missingErrors } from "../../fuzz/error-rows.ts";
import { describeFailure, fuzz, replay } from "../../fuzz/fuzz.ts";
import type { FuzzReport } from "../../fuzz/fuzz.ts";
import { MACHINES } from "../../fuzz/machines.ts";
import { missingDeviceEvents, missingSuccesses } from "../../fuzz/tally.ts";
import { World } from "../../fuzz/world.ts";
import { repository } from "../../../tools/repository.ts";

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
    assert.deepEqual(missingSuccesses(report.tally.successes), []);
  });

  test("reach every row of the error table", () => {
    assert.deepEqual(missingErrors(report.tally.errors), []);
  });

  test("use devices in every way, and devices go everywhere", () => {
    assert.deepEqual(missingDeviceEvents(report.tally.devices), []);
    for (const event of ["DMA reads", "DMA writes", "DMA blocked", "messages"]) {
      assert(report.tally.devices[event] > 200, `${event}: ${report.tally.devices[event]}`);
    }
  });

  test("know every row of the error table", () => {
    // A row of docs/abi.md may be told apart further; its code and its first words stay.
    const text = readFileSync(path.join(repository, "docs/abi.md"), "utf8");
    const table = /\n## Errors\n([^]*?)\n## /.exec(text)![1];
    const rows = [...table.matchAll(/^\| (.+?) +\| [A-Z_]+ +\| +-\d+ /gm)].map(([, cause]) => cause);
    assert(rows.length >= 12, `${rows.length} rows`);
    const known = Object.keys(ERROR_ROWS);
    for (const cause of rows)
      assert(
        known.some((row) => cause.includes(row)),
        cause,
      );
    for (const row of known)
      assert(
        rows.some((cause) => cause.includes(row)),
        row,
      );
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
  const run = (usual: unknown, ...args: unknown[]): unknown => (usual as (...args: unknown[]) => unknown)(...args);
  const isCommandRegister = (at: bigint): boolean => at >> 28n === BigInt(ECAM_BASE) >> 28n && (at & 0xfffn) === 4n;
  const faults: Record<string, DoorReplacement> = {
    "pages are not zeroed": () => ({ zeroBytes: () => {}, cboZero: () => {} }),
    "G-stage translations are not flushed": () => ({ hfenceGvmaVmid: () => {} }),
    // IOTINVAL.GVMA becomes another fence.
    "translations of devices are not invalidated": (usual) => ({
      write64: (at: bigint, value: bigint) => run(usual.write64, at, (value & 0x3ffn) === 0x81n ? 2n : value),
    }),
    "devices decode whatever their BARs say": (usual) => ({
      mmioWrite32: (at: bigint, value: number) => run(usual.mmioWrite32, at, isCommandRegister(at) ? value | 3 : value),
    }),
    "every device is a bus master": (usual) => ({
      mmioWrite32: (at: bigint, value: number) => run(usual.mmioWrite32, at, isCommandRegister(at) ? value | 4 : value),
    }),
  };
  for (const [fault, door] of Object.entries(faults)) {
    test(`found: ${fault}`, async () => {
      const module = await hypervisorModule();
      const { failures } = await fuzz({ seed: 3, seconds: 0, runs: 24, maxFailures: 1, module, door });
      assert.equal(failures.length, 1);
    });
  }
});
