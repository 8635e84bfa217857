import { beginTest, endTest } from "../../lib/protocol";
import { testCreation } from "./creation";
import { makeFixture, releaseFixture, renewUnfenced } from "./fixture";
import { testHostMemoryCalls } from "./host-memory-calls";
import { testUnknownCalls } from "./unknown-calls";

/**
 * Every error that a host can provoke without a running guest, asserted by value. (Those that need one are with the scenarios: page
 * life, two harts, COVG.)
 */
export function runErrorCases(): void {
  testUnknownCalls();
  beginTest("prepare pages for the error cases");
  const fixture = makeFixture();
  if (!endTest()) return;
  testHostMemoryCalls(fixture);
  beginTest("one page is unfenced again");
  renewUnfenced(fixture);
  endTest();
  testCreation(fixture);
  beginTest("errors left no trace");
  releaseFixture(fixture);
  endTest();
}
