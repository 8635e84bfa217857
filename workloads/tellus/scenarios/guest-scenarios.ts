import { heapMark, heapRelease } from "../../lib/heap";
import { beginTest, endTest } from "../../lib/protocol";
import { GuestScenario } from "../../lib/tvm-map";
import { runToShutdown } from "../run-loop";
import { buildGuest, releaseTvm } from "../tvm-builder";

/** Scenarios that the guest judges alone; the host only serves its exits. */
export function testGuestScenarios(): void {
  const mark = heapMark();
  runGuest("a guest with emulated devices", GuestScenario.Mmio);
  heapRelease(mark);
  runGuest("a guest with exceptions", GuestScenario.Exceptions);
  heapRelease(mark);
  runGuest("a guest with a clock and a timer", GuestScenario.Time);
  heapRelease(mark);
}

function runGuest(name: string, scenario: u64): void {
  beginTest(name);
  const tvm = buildGuest(scenario, 0, 1);
  if (tvm.id != 0) runToShutdown(tvm);
  releaseTvm(tvm);
  endTest();
}
