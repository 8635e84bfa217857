import assert from "node:assert/strict";
import { test } from "node:test";
import { fuzzEvidence, makeInput } from "../../fuzz/evidence/fuzz.ts";

const COUNT = 6000;

test("bent evidence is read or refused, and some of it gets far", () => {
  const report = fuzzEvidence({ seed: 1, first: 0, count: COUNT });
  assert.deepEqual(report.failures, []);
  assert.equal(report.inputs, COUNT);
  for (const [name, { refused }] of Object.entries(report.readers)) assert(refused > 50, name);
  assert(report.readers["certificate"].read > 20);
  assert(report.readers["token"].read > 20);
});

test("an input can be made again from seed and number", () => {
  const first = makeInput(3, 77);
  assert.deepEqual(makeInput(3, 77), first);
  assert.notDeepEqual(makeInput(4, 77).input, first.input);
});
