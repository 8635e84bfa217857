import assert from "node:assert/strict";
import { test } from "node:test";
import path from "node:path";
import { UsageError } from "../../../tools/failure.ts";
import { repository } from "../../../tools/repository.ts";
import { coloursFor } from "../../../tools/terminal.ts";
import { select } from "../../../tools/test/suites.ts";
import { Tally } from "../../../tools/test/tally.ts";

const FILES: Record<string, string[]> = {
  unit: ["tests/unit/a.test.ts", "tests/unit/memory/b.test.ts", "tests/unit/qemu-version.test.ts"].map((file) =>
    path.join(repository, file),
  ),
  qemu: ["tests/qemu/tellus.test.ts"].map((file) => path.join(repository, file)),
  linux: ["tests/linux/matrix.test.ts"].map((file) => path.join(repository, file)),
};
const selectFrom = (names: string[]) => select(names, (suite) => FILES[suite]);

test("no names select everything but what takes long", () => {
  assert.deepEqual(selectFrom([]), { check: true, coverage: true, files: { ...FILES, linux: [] } });
});

test("a name is a suite or a part of a file's path", () => {
  const nothing = { unit: [], qemu: [], linux: [] };
  assert.deepEqual(selectFrom(["check"]), { check: true, coverage: false, files: nothing });
  assert.deepEqual(selectFrom(["coverage"]), { check: false, coverage: true, files: nothing });
  assert.deepEqual(selectFrom(["qemu"]).files, { unit: [], qemu: FILES["qemu"], linux: [] });
  assert.deepEqual(selectFrom(["memory", "unit/memory/b"]).files, { unit: [FILES["unit"][1]], qemu: [], linux: [] });
  assert.deepEqual(selectFrom(["linux"]).files, { unit: [], qemu: [], linux: FILES["linux"] });
  assert.throws(() => selectFrom(["nonsense"]), UsageError);
});

function closing(fill: (tally: Tally) => void): { good: boolean; last: string } {
  const lines: string[] = [];
  const tally = new Tally(coloursFor({}), (line) => lines.push(line));
  fill(tally);
  return { good: tally.close(), last: lines.at(-1)! };
}

test("the closing line counts, and a run of nothing fails", () => {
  const good = closing((tally) => {
    tally.pass("a", 1, true);
    tally.pass("b", 1, false);
  });
  assert.deepEqual(good, { good: true, last: "2 passed, 0 failed" });
  const bad = closing((tally) => {
    tally.pass("a", 1, true);
    tally.fail("b", 1, "because");
    tally.skip("c", "no reason");
  });
  assert.deepEqual(bad, { good: false, last: "1 passed, 1 failed, 1 skipped" });
  assert.deepEqual(
    closing(() => {}),
    { good: false, last: "0 passed, 0 failed" },
  );
});
