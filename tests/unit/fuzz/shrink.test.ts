import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { fromJson, toJson } from "../../fuzz/command.ts";
import type { Command } from "../../fuzz/command.ts";
import { shrink } from "../../fuzz/shrink.ts";

test("shrinking keeps exactly the entries that a failure needs", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(500), { maxLength: 120 }), fc.infiniteStream(fc.boolean()), (list, choices) => {
      const needed = list.filter(() => choices.next().value);
      const shortest = shrink(list, (shorter) => needed.every((entry) => shorter.includes(entry)));
      assert.deepEqual(shortest, needed);
    }),
    { numRuns: 200 },
  );
});

test("a run that was written to a file comes back as it was", () => {
  const value = fc.oneof(
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    fc.nat(50).map((number): `guest ${number}` => `guest ${number}`),
  );
  const command: fc.Arbitrary<Command> = fc.oneof(
    fc
      .tuple(fc.nat(3), fc.nat(), fc.nat(20), fc.array(value, { maxLength: 6 }))
      .map(([hart, eid, fid, args]): Command => ({ hart, do: "call", eid, fid, args })),
    fc.bigInt({ min: 0n, max: 1n << 63n }).map((at): Command => ({ hart: 1, do: "load", at })),
    fc.nat().map((ticks): Command => ({ hart: 0, do: "rest", ticks })),
  );
  fc.assert(
    fc.property(fc.array(command), (commands) => {
      const run = { machine: "two harts", commands };
      assert.deepEqual(fromJson(toJson(run)), run);
    }),
  );
});
