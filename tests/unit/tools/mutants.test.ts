import assert from "node:assert/strict";
import { test } from "node:test";
import type { Unit } from "../../../tools/coverage/instrument.ts";
import { hypervisorSources } from "../../../tools/coverage/sources.ts";
import { faulty, locate, rank, type NamedFault } from "../../../tools/mutants/fault.ts";
import { faultsOf } from "../../../tools/mutants/operators.ts";
import { mutantReport } from "../../../tools/mutants/report.ts";
import { spread } from "../../../tools/mutants/select.ts";
import { commonWords, Odds, testsReaching, type Result } from "../../../tools/mutants/run.ts";
import { NAMED_FAULTS } from "../../mutants/named/index.ts";

const SOURCE = `
const LIMIT: u64 = 4;
export function check(a: u64, b: u64): i64 {
  if (a < b && known(a)) return SBI_FAILED;
  assert(a != 0, "no zero");
  put(a, b);
  total += a << 2;
  return known(b) ? 1 : 0;
}
`;

test("every named fault fits the sources", () => {
  assert(locate(NAMED_FAULTS, hypervisorSources()).length >= 40);
});

test("tests of a fault outside the hypervisor's module are those of its folder", () => {
  const [fault] = locate(
    [{ id: "x", file: "/crypto/a", from: "one", to: "1", description: "", caughtBy: "" }],
    new Map([["crypto/a.ts", "one"]]),
  );
  const entry = (file: string, failure?: string) => ({ file, inputs: "", seconds: 1, reached: [0], failure });
  const tests = [
    entry("tests/unit/vm/a.test.ts"),
    entry("tests/unit/crypto/a.test.ts"),
    entry("tests/unit/crypto/b.test.ts", "fails without a fault"),
  ];
  const found = testsReaching(fault, { units: [], tests });
  assert.deepEqual(
    found.map(({ file }) => file),
    ["tests/unit/crypto/a.test.ts"],
  );
  assert.deepEqual(testsReaching({ ...fault, file: "hypervisor/a.ts" }, { units: [], tests }), []);
  const place = { file: "hypervisor/helper/run.ts", line: 1, column: 1, label: "", function: "", start: 0, end: 9 };
  const unit: Unit = { kind: "function", ...place, plus: [0], minus: [] };
  assert.equal(testsReaching({ ...fault, file: "umode/a.ts" }, { units: [unit], tests }).length, 2);
});

test("a test named after the place is tried early", () => {
  assert.equal(commonWords("hypervisor/memory/fence.ts", "tests/unit/simulated/fences.test.ts"), 1);
  assert.equal(commonWords("hypervisor/vm/mmio-decode.ts", "tests/unit/vm/mmio-decode.test.ts"), 3);
  assert.equal(commonWords("hypervisor/sbi/pmu.ts", "tests/unit/calls/covi.test.ts"), 0);
});

test("a test that noticed the faults of a place is tried early for others there", () => {
  const odds = new Odds();
  const [place, neighbour, elsewhere] = ["hypervisor/vm/a.ts", "hypervisor/vm/b.ts", "hypervisor/boot/c.ts"];
  for (let i = 0; i < 3; i++) odds.learn(place, "tests/x.test.ts", true);
  for (let i = 0; i < 3; i++) odds.learn(place, "tests/y.test.ts", false);
  const chances = [place, neighbour, elsewhere].map((source) => odds.of(source, "tests/x.test.ts"));
  assert.deepEqual(
    chances,
    [...chances].sort((a, b) => b - a),
  );
  assert(chances[0] > 0.5 && chances[2] < 0.5);
  assert(odds.of(place, "tests/y.test.ts") < odds.of(place, "tests/z.test.ts"));
});

test("a named fault that does not fit says why", () => {
  const sources = new Map([["hypervisor/a.ts", "one two two"]]);
  const fault: NamedFault = { id: "x", file: "a", from: "one", to: "1", description: "", caughtBy: "" };
  const [located] = locate([fault], sources);
  assert.equal(faulty(located, "one two two"), "1 two two");
  const [outside] = locate([{ ...fault, file: "/crypto/a" }], new Map([["crypto/a.ts", "one"]]));
  assert.equal(outside.file, "crypto/a.ts");
  for (const [change, why] of [
    [{ from: "three" }, /not contain/],
    [{ from: "two" }, /more than once/],
    [{ file: "b" }, /no hypervisor\/b.ts/],
    [{ to: "one" }, /changes nothing/],
  ] as const) {
    assert.throws(() => locate([{ ...fault, ...change }], sources), why);
  }
  assert.throws(() => locate([fault, fault], sources), /used twice/);
});

test("generated faults", () => {
  const faults = faultsOf("hypervisor/a.ts", SOURCE);
  const texts = faults.map((fault) => `${fault.kind}: ${fault.description}`).sort();
  assert.deepEqual(texts, [
    "arithmetic: +=  ->  -=",
    "arithmetic: <<  ->  >>",
    "drop-assignment: total += a << 2;  ->  ;",
    "drop-call: put(a, b);  ->  ;",
    "logic: a < b && known(a)  ->  (a < b || known(a))",
    "negate: a < b && known(a)  ->  !(a < b && known(a))",
    "negate: known(b)  ->  !(known(b))",
    "off-by-one: 0  ->  (0 + 1)",
    "off-by-one: 1  ->  (1 + 1)",
    "off-by-one: 2  ->  (2 + 1)",
    "relation: <  ->  <=",
    "return-zero: SBI_FAILED  ->  0",
    "swap-arguments: put(a, b)  ->  put(b, a)",
  ]);
  assert.equal(new Set(faults.map(({ id }) => id)).size, faults.length);
  const moved = faultsOf("hypervisor/a.ts", `\n// a line more\n${SOURCE}`);
  assert.deepEqual(
    moved.map(({ id }) => id),
    faults.map(({ id }) => id),
  );
});

test("the same seed chooses the same faults", () => {
  assert.equal(rank("a", 1), rank("a", 1));
  assert.notEqual(rank("a", 1), rank("a", 2));
  assert.deepEqual(spread([1, 2, 3, 4, 5, 6], 3), [1, 3, 5]);
  assert.deepEqual(spread([1, 2], 3), [1, 2]);
});

test("the report counts what compiles, and explained survivors apart", () => {
  const [first, second, third] = faultsOf("hypervisor/a.ts", SOURCE);
  const result = (fault: typeof first, outcome: Result["outcome"]): Result => ({
    fault,
    outcome,
    seconds: 1,
    known: false,
  });
  const results = [
    result(first, { verdict: "caught", test: "tests/a.test.ts", how: "" }),
    result(second, { verdict: "survived", tests: 3 }),
    result(third, { verdict: "invalid", why: "" }),
  ];
  const report = mutantReport(results, new Map());
  assert.deepEqual([report.generated.tried, report.generated.killRate, report.generated.unexplained], [2, 50, 1]);
  const explained = mutantReport(results, new Map([[second.id, "equal"], [first.id, "wrong"]])); // prettier-ignore
  assert.deepEqual([explained.generated.unexplained, explained.generated.killRateOfRest], [0, 100]);
  assert.deepEqual(explained.stale, [first.id]);
});
