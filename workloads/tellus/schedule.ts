import { loadAcquire64, pause, storeRelease64 } from "../lib/hw";
import { deadlineIn, deadlineInMs, hasPassed, PATIENCE } from "../lib/deadline";
import { armTimer, NEVER } from "../lib/interrupts";
import { lock, unlock } from "../lib/lock";
import { thisHart } from "../lib/records";
import { describeOutcome, runOnce, serveExit } from "./run-loop";
import { ensureNacl } from "./state";
import { Outcome, Tvm } from "./tvm";

/**
 * All vCPUs of a TVM on several harts: hart k of the schedule runs vCPUs k, k + harts, k + 2 * harts and so on, each for a slice of
 * time, until the guest shuts down.
 */
@unmanaged
export class Schedule {
  tvm: Tvm;
  harts: u64;
  /** Set by the first hart that sees the end (atomic). */
  over: u64;
  /** 1 if the end was the guest's shutdown. */
  wellOver: u64;

  overAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Schedule>("over"));
  }
}

/** Milliseconds for a vCPU when others wait for the same hart. */
const TIME_SLICE: u64 = 5;

/** Seconds for the whole schedule. */
const SCHEDULE_PATIENCE: u64 = 4 * PATIENCE;

/** This hart's share of the schedule. Returns the number of failed checks on this hart. */
export function runSchedule(schedule: Schedule): u64 {
  const tvm = schedule.tvm;
  const hart = thisHart();
  const failuresBefore = hart.testFailures;
  ensureNacl();
  const deadline = deadlineIn(SCHEDULE_PATIENCE);
  while (loadAcquire64(schedule.overAddress()) == 0 && !hasPassed(deadline)) {
    for (let vcpu = hart.index; vcpu < tvm.vcpuCount; vcpu += schedule.harts) {
      if (loadAcquire64(schedule.overAddress()) != 0) break;
      if (tvm.isStarted(vcpu)) runSlice(schedule, tvm, vcpu);
      else pause();
    }
  }
  armTimer(NEVER);
  return <u64>(hart.testFailures - failuresBefore);
}

function runSlice(schedule: Schedule, tvm: Tvm, vcpu: u64): void {
  armTimer(deadlineInMs(TIME_SLICE));
  const exit = runOnce(tvm, vcpu);
  lock(lockOf(tvm));
  const outcome = serveExit(tvm, vcpu, exit);
  unlock(lockOf(tvm));
  if (outcome == Outcome.Continue || outcome == Outcome.Stopped) return;
  schedule.wellOver = outcome == Outcome.Shutdown ? 1 : 0;
  if (outcome != Outcome.Shutdown) describeOutcome(outcome);
  storeRelease64(schedule.overAddress(), 1);
}

function lockOf(tvm: Tvm): u64 {
  return <u64>(changetype<usize>(tvm) + offsetof<Tvm>("lock"));
}
