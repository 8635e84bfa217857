import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { repository } from "../../../tools/repository.ts";
import { runTestFile } from "../../../tools/test/hypervisor-tests.ts";

/** One test file in a process of its own, for coverage and faults. */

const folder = mkdtempSync(path.join(tmpdir(), "salus-test-file-"));
after(() => rmSync(folder, { recursive: true }));

function run(name: string, body: string, timeoutSeconds: number): ReturnType<typeof runTestFile> {
  const file = path.join(folder, `${name}.mjs`);
  writeFileSync(file, `import { test } from "node:test";\n${body}\n`);
  return runTestFile(path.relative(repository, file), { timeoutSeconds, environment: {} });
}

test("a test that passes, and one that fails", async () => {
  const good = await run("good", 'test("good", () => {});', 20);
  assert.deepEqual([good.passed, good.failure], [true, undefined]);
  const bad = await run("bad", 'test("bad", () => { throw new Error("the reason"); });', 20);
  assert.equal(bad.passed, false);
  assert.match(bad.failure!, /the reason/);
});

test("the first failure ends the process, in a group of tests too", async () => {
  const body =
    'import { describe } from "node:test"; describe("group", () => { test("bad", () => { throw new Error("the reason"); }); });';
  const bad = await run("early", `${body}\ntest("busy", () => { for (;;); });`, 20);
  assert.match(bad.failure!, /^bad: the reason/);
});

test("one that computes for ever ends when its processor time is over", async () => {
  const busy = await run("busy", 'test("busy", () => { for (;;); });', 2);
  assert.equal(busy.passed, false);
  assert.match(busy.failure!, /no end within 2 s of processor time/);
});

test("one that waits longer than its limit, as on a busy computer, passes", async () => {
  const slow = await run("slow", 'test("slow", () => new Promise((done) => setTimeout(done, 5000)));', 4);
  assert.deepEqual([slow.passed, slow.failure], [true, undefined]);
});
