import assert from "node:assert/strict";
import { globSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { checkedModule } from "../../../machine/simulated/checked-module.ts";
import { DATA_BASE, hypervisorModuleFrom } from "../../../machine/simulated/hypervisor-module.ts";
import { repository } from "../../../tools/repository.ts";
import { runTestFile } from "../../../tools/test/hypervisor-tests.ts";
import { substituteEnvironment } from "../../../tools/test/substitute.ts";
import { describeFailure, fuzz } from "../../fuzz/fuzz.ts";

/** The call tests and a short fuzz once more, with a hypervisor whose every access is checked. */

const TIMEOUT_SECONDS = 120;
const FUZZ_RUNS = 24;
const FUZZ_SEED = 77;

describe("with every load and store checked", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "salus-checked-"));
  const wasm = path.join(folder, "checked.wasm");
  after(() => rmSync(folder, { recursive: true, force: true }));
  before(async () => writeFileSync(wasm, (await checkedModule()).binary));

  for (const file of globSync("tests/unit/calls/*.test.ts", { cwd: repository }).sort()) {
    test(file, async () => {
      const environment = substituteEnvironment(wasm, repository);
      const result = await runTestFile(file, { environment, timeoutSeconds: TIMEOUT_SECONDS });
      assert.equal(result.failure, undefined);
    });
  }

  test("random hosts and TVMs find nothing", async () => {
    const module = hypervisorModuleFrom(wasm, DATA_BASE);
    const report = await fuzz({ seed: FUZZ_SEED, seconds: 0, runs: FUZZ_RUNS, module });
    assert.equal(report.failures.map(describeFailure).join("\n\n"), "");
    assert(report.tally.tvmEntries > 100, `${report.tally.tvmEntries} entries of TVMs`);
  });
});
