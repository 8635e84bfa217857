import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EVENTS } from "../../explore/events.ts";
import { explore } from "../../explore/explore.ts";
import type { ExploreReport } from "../../explore/explore.ts";

/** Longest time of one exploration; the depths below are reached long before on a processor of one's own. */
const SECONDS = 120;

function accountOf({ violation }: ExploreReport): string {
  return violation === undefined ? "" : [violation.error, ...violation.path].join("\n  ");
}

describe("everything that can happen", () => {
  test("on one hart, with one TVM and two pages: all states", async () => {
    const report = await explore({ size: { harts: 1, tvms: 1, pages: 2, places: 1 }, seconds: SECONDS });
    assert.equal(accountOf(report), "");
    assert(report.complete);
    assert(report.states > 3000, `${report.states} states`);
    // Every event succeeds somewhere.
    const never = EVENTS.filter((event) => !report.answers[event]?.["success"]);
    assert.deepEqual(never, []);
  });

  test("on two harts, with two TVMs, four pages and two places: all sequences of eight events", async () => {
    const report = await explore({
      size: { harts: 2, tvms: 2, pages: 4, places: 2 },
      seconds: SECONDS,
      maxDepth: 8,
    });
    assert.equal(accountOf(report), "");
    assert.equal(report.depth, 8);
  });
});

describe("do the checks bite?", () => {
  const size = { harts: 2, tvms: 1, pages: 2, places: 1 };
  const faults = {
    "pages are not zeroed": () => ({ zeroBytes: () => {} }),
    "G-stage translations are not flushed": () => ({ hfenceGvmaVmid: () => {} }),
  };
  for (const [fault, door] of Object.entries(faults)) {
    test(`found by the shortest path: ${fault}`, async () => {
      const { violation } = await explore({ size, seconds: SECONDS, door });
      assert(violation);
      assert(violation.path.length <= 12, violation.path.join("\n"));
    });
  }
});
