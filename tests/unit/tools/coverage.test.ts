import assert from "node:assert/strict";
import { test } from "node:test";
import { instrument, presentProbes } from "../../../tools/coverage/instrument.ts";
import type { Coverage } from "../../../tools/coverage/measure.ts";
import { checkFloors, checkReached } from "../../../tools/coverage/floors.ts";
import { coverageReport, folderOf, missingLines } from "../../../tools/coverage/report.ts";

const SOURCE = `
export function f(a: i32, b: i32): i32 {
  const sum = a + b;
  if (a > 0 && b > 0) return sum;
  for (let i = 0; i < a; i++) sum += i;
  switch (a) {
    case 1:
    case 2:
      return b > 0 ? 1 : 2;
    default:
      break;
  }
  while (true) return 0;
}
`;

/** Runs instrumented text as JavaScript: the dialect's expressions mean the same there. */
function run(text: string, calls: [number, number][]): number[] {
  const counts: number[] = [];
  const plain = text
    .slice(0, text.lastIndexOf("\n// @ts-ignore"))
    .replace("export ", "")
    .replace("(a: i32, b: i32): i32", "(a, b)")
    .replace("const sum", "let sum");
  const hit = (probe: number): boolean => {
    counts[probe] = (counts[probe] ?? 0) + 1;
    return true;
  };
  // eslint-disable-next-line @typescript-eslint/no-implied-eval
  const call = new Function("coverageHit", `${plain}; return f;`)(hit);
  for (const [a, b] of calls) call(a, b);
  return counts;
}

function measurement(calls: [number, number][]): Coverage {
  const { text, units, nextProbe } = instrument("hypervisor/memory/f.ts", SOURCE, 0);
  const found = run(text, calls);
  const counts = Array.from({ length: nextProbe }, (_, probe) => found[probe] ?? 0);
  return { digest: "", base: "", units, counts, tests: [] };
}

test("no line moves, and every counter is there once", () => {
  const { text, nextProbe } = instrument("f.ts", SOURCE, 10);
  const lines = text.split("\n");
  SOURCE.split("\n").forEach((line, index) => {
    for (const word of line.match(/\w+/g) ?? []) assert(lines[index].includes(word), `${word} has left line ${index}`);
  });
  const used = [...text.matchAll(/coverageHit\((\d+)\)/g)].map(([, probe]) => Number(probe));
  for (let probe = 10; probe < nextProbe; probe++) assert.equal(used.filter((each) => each === probe).length, 1);
});

test("what was not reached is listed, with the way of the branch", () => {
  const missing = (calls: [number, number][]): string[] =>
    missingLines(coverageReport(measurement(calls), []), false).map((line) => line.replace(/^\S+ /, ""));
  assert.deepEqual(missing([]), ["f: never called"]);
  assert.deepEqual(missing([[1, 1]]), [
    "f: a > 0 && ...: false, decides alone",
    "f: if (a > 0 && b > 0): false",
    "f: loop while i < a: goes on",
    "f: loop while i < a: ends",
    "f: case 1",
    "f: case 2",
    "f: b > 0 ? true",
    "f: b > 0 ? false",
    "f: default",
  ]);
  assert.deepEqual(missing([[2, 2], [2, 0], [1, 0], [0, 1]]), ["f: b > 0 ? true"]); // prettier-ignore
});

test("explanations count as such until what they explain is reached; floors by folder", () => {
  const why = { file: "hypervisor/memory/f.ts", function: "f", unit: "b > 0 ? true", reason: "b is not positive here" };
  const some = coverageReport(measurement([[2, 2], [2, 0], [1, 0], [0, 1]]), [why]); // prettier-ignore
  assert.deepEqual(missingLines(some, false), []);
  assert.equal(some.all.unexplained, 0);
  assert.deepEqual(some.all.figures.branch, { reached: 10, all: 11 });
  assert.deepEqual(checkFloors(some, { "hypervisor/memory": 90 }), []);
  assert.equal(checkFloors(some, { "hypervisor/memory": 91 }).length, 1);
  assert.equal(checkFloors(some, {}).length, 1);
  const stale = checkFloors(coverageReport(measurement([[1, 1]]), [{ ...why, unit: "gone" }]), { "*": 0 });
  assert.equal(stale.filter((problem) => problem.includes("which is reached or gone")).length, 1);
});

test("a way that is neither reached nor explained is refused", () => {
  const missed = coverageReport(measurement([[2, 2], [2, 0], [1, 0], [0, 1]]), []); // prettier-ignore
  const [refusal, ...others] = checkFloors(missed, { "*": 0 });
  assert.match(refusal, /^hypervisor\/memory\/f\.ts:9:14 f: b > 0 \? true: no test reaches it, and .*explained\.json/);
  assert.deepEqual(others, []);
});

test("counters that the compiler left are read from the module's text", () => {
  const text =
    "    i32.const 7\n    call $hypervisor/hart/coverageHit\n    i32.const 8\n    call $hypervisor/hart/other";
  assert.deepEqual([...presentProbes(text)], [7]);
  assert.equal(folderOf("hypervisor/sbi/covh/block.ts"), "hypervisor/sbi");
  assert.equal(folderOf("hypervisor/main.ts"), "hypervisor");
});

test("npm test forgives what luck may change, and no more", () => {
  const lucky = coverageReport(measurement([[2, 2], [2, 0], [1, 0], [0, 1]]), []); // prettier-ignore
  assert.deepEqual(checkReached(lucky, { "hypervisor/memory": 100 }), []);
  const poor = coverageReport(measurement([[1, 1]]), []);
  assert(checkReached(poor, { "*": 0 }).every((problem) => problem.includes("no test reaches it")));
  assert(checkReached(poor, { "*": 0 }).length > 3);
  assert.equal(checkReached(poor, { "*": 100 }).length, checkReached(poor, { "*": 0 }).length + 1);
});
