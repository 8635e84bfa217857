import { csrClear, csrRead, csrSet, loadAcquire64, storeRelease64 } from "../lib/hw";
import { armTimer, clearSoftwareInterrupt, NEVER, SIE_EXTERNAL, SIE_SOFTWARE, SIE_TIMER } from "../lib/interrupts";
import { lock, unlock } from "../lib/lock";
import { thisHart, thisVm } from "../lib/records";
import { SIE, TIME } from "../../hypervisor/riscv/csr";
import { describeOutcome, runOnce, serveExit } from "./run-loop";
import { ensureNacl } from "./state";
import { Outcome, Tvm } from "./tvm";

/** A vCPU that one hart runs in slices, while others run other vCPUs of the same TVM or do something else to it. */
@unmanaged
export class VcpuRun {
  tvm: Tvm;
  vcpu: u64;
  /** 1: no further slice (atomic). Set from the start: exactly one slice. */
  stop: u64;
  /** Outcome of the last slice. */
  outcome: u64;
  slices: u64;

  stopAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<VcpuRun>("stop"));
  }
}

const SLICES_PER_SECOND: u64 = 5000;

/** Runs slices on this hart until told to stop or the vCPU's outcome is not Continue. Returns the number of failed checks. */
export function runVcpu(run: VcpuRun): u64 {
  const hart = thisHart();
  const failuresBefore = hart.testFailures;
  ensureNacl();
  csrClear(SIE, SIE_SOFTWARE | SIE_EXTERNAL);
  clearSoftwareInterrupt();
  csrSet(SIE, SIE_TIMER);
  do {
    armTimer(csrRead(TIME) + thisVm().timebase / SLICES_PER_SECOND);
    const exit = runOnce(run.tvm, run.vcpu);
    const lockAt = <u64>(changetype<usize>(run.tvm) + offsetof<Tvm>("lock"));
    lock(lockAt);
    run.outcome = <u64>serveExit(run.tvm, run.vcpu, exit);
    unlock(lockAt);
    run.slices++;
  } while (run.outcome == Outcome.Continue && loadAcquire64(run.stopAddress()) == 0);
  armTimer(NEVER);
  if (run.outcome != Outcome.Continue && run.outcome != Outcome.Shutdown) describeOutcome(<Outcome>run.outcome);
  return <u64>(hart.testFailures - failuresBefore);
}

/** One slice of `vcpu` on this hart; its outcome. `run` is memory for it. */
export function runSlice(run: VcpuRun, tvm: Tvm, vcpu: u64): Outcome {
  run.tvm = tvm;
  run.vcpu = vcpu;
  storeRelease64(run.stopAddress(), 1);
  runVcpu(run);
  return <Outcome>run.outcome;
}
