import { endLine, print, printDecimal } from "../../lib/console";
import { allocateZeroed, heapMark, heapRelease } from "../../lib/heap";
import { awaitIdle, commandResult, post } from "../../lib/mailbox";
import { beginTest, check, checkEqual, endTest } from "../../lib/protocol";
import { GuestScenario } from "../../lib/tvm-map";
import { HartCommand } from "../commands";
import { runSchedule, Schedule } from "../schedule";
import { hartAt, hartCount } from "../state";
import { buildGuest, releaseTvm } from "../tvm-builder";

const VCPUS: u64 = 4;

/** A TVM with four vCPUs: each on a hart of its own as far as there are harts, and all of them on one hart. */
export function testMultiprocessor(): void {
  const mark = heapMark();
  const harts = min<u64>(hartCount(), VCPUS);
  if (harts > 1) runOnHarts("a TVM with four vCPUs on several harts", harts);
  heapRelease(mark);
  runOnHarts("a TVM with four vCPUs on one hart", 1);
  heapRelease(mark);
}

function runOnHarts(name: string, harts: u64): void {
  beginTest(name);
  print("  harts that run vCPUs: ");
  printDecimal(harts);
  endLine();
  const tvm = buildGuest(GuestScenario.Multiprocessor, VCPUS, VCPUS);
  if (tvm.id != 0) {
    const schedule = changetype<Schedule>(<usize>allocateZeroed(1));
    schedule.tvm = tvm;
    schedule.harts = harts;
    runEverywhere(schedule);
    check(schedule.wellOver != 0, "the guest shuts down");
    checkEqual(tvm.shutdownReason, 0, "failed tests of the guest");
  }
  releaseTvm(tvm);
  endTest();
}

/** The schedule on the boot hart and the harts after it. */
function runEverywhere(schedule: Schedule): void {
  for (let index: u64 = 1; index < schedule.harts; index++) {
    post(hartAt(index), HartCommand.RunSchedule, changetype<usize>(schedule));
  }
  checkEqual(runSchedule(schedule), 0, "failed checks on the boot hart");
  for (let index: u64 = 1; index < schedule.harts; index++) {
    const hart = hartAt(index);
    if (check(awaitIdle(hart), "the hart comes back"))
      checkEqual(commandResult(hart), 0, "failed checks on another hart");
  }
}
