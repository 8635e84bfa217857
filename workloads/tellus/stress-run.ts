import { csrClear, csrRead, csrSet, loadAcquire64, storeRelease64 } from "../lib/hw";
import { deadlineIn, hasPassed, PATIENCE } from "../lib/deadline";
import { armTimer, clearSoftwareInterrupt, NEVER, SIE_EXTERNAL, SIE_SOFTWARE, SIE_TIMER } from "../lib/interrupts";
import { thisHart, thisVm } from "../lib/records";
import { EXC_LOAD_GUEST_PAGE, EXC_STORE_GUEST_PAGE, SIE, TIME } from "../../hypervisor/riscv/csr";
import { STRESS_BYTES, STRESS_START } from "../lib/tvm-map";
import { describeOutcome, runOnce, serveExit } from "./run-loop";
import { ensureNacl } from "./state";
import { Outcome, Tvm } from "./tvm";

/** A TVM that runs while another hart changes its pages. */
@unmanaged
export class Stress {
  tvm: Tvm;
  /** 1 when the guest has ended (atomic). */
  over: u64;

  overAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Stress>("over"));
  }
}

/** Runs in a second: fences wait for the end of one. */
const SLICES_PER_SECOND: u64 = 5000;

/** Runs the guest to its end on this hart. Returns 256 for each failed check, and the Outcome. */
export function runStressGuest(stress: Stress): u64 {
  const hart = thisHart();
  const failuresBefore = hart.testFailures;
  const deadline = deadlineIn(2 * PATIENCE);
  prepareStressHart();
  let outcome: Outcome = Outcome.Continue;
  while (outcome == Outcome.Continue) {
    outcome = hasPassed(deadline) ? Outcome.TimedOut : runStressSlice(stress.tvm);
  }
  if (outcome != Outcome.Shutdown) describeOutcome(outcome);
  storeRelease64(stress.overAddress(), 1);
  return <u64>outcome + ((<u64>(hart.testFailures - failuresBefore)) << 8);
}

/** This hart can run slices from now on. */
export function prepareStressHart(): void {
  ensureNacl();
  csrClear(SIE, SIE_SOFTWARE | SIE_EXTERNAL);
  clearSoftwareInterrupt();
  csrSet(SIE, SIE_TIMER);
}

/** One run. A fault in the stress ranges is a page that is blocked at the moment: the guest tries again. */
export function runStressSlice(tvm: Tvm): Outcome {
  armTimer(csrRead(TIME) + thisVm().timebase / SLICES_PER_SECOND);
  const exit = runOnce(tvm, 0);
  armTimer(NEVER);
  const fault = exit.cause == EXC_LOAD_GUEST_PAGE || exit.cause == EXC_STORE_GUEST_PAGE;
  if (exit.error == 0 && fault && exit.htinst == 0 && exit.gpa - STRESS_START < STRESS_BYTES) return Outcome.Continue;
  return serveExit(tvm, 0, exit);
}

/** True once the guest has ended. */
export function stressIsOver(stress: Stress): bool {
  return loadAcquire64(stress.overAddress()) != 0;
}
