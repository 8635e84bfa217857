import { Hart } from "../hart";
import { Root } from "../root";
import { HVIP, IRQ_STI, IRQ_VSTI, SIE, STIMECMP, TIME, VSTIMECMP } from "../riscv/csr";
import { csrClear, csrRead, csrSet, csrWrite, sbiCall } from "../riscv/hw";
import { OptionalState } from "./csr-policy";
import { Vcpu } from "./vcpu";

/**
 * Timers of the vCPUs of one hart.
 *
 * With Sstc the current vCPU has its own comparator (vstimecmp). Our own (stimecmp) does one thing: while a TVM runs it holds the
 * deadline of its host's vCPU, so that the host's timer ends the run.
 *
 * Without Sstc, Vcpu.vstimecmp is the deadline that the vCPU asked for (SBI TIME), and the firmware's timer is set to the earlier
 * one of the current vCPU and, while a TVM runs, its host's. A deadline that passed becomes hvip.VSTIP and TIMER_NEVER.
 */

/** A deadline that is never reached. */
export const TIMER_NEVER: u64 = ~0;

const EID_TIME: u64 = 0x54494d45;
const TIME_SET_TIMER: u64 = 0;
const SIE_STIE: u64 = 1 << IRQ_STI;
const HVIP_VSTIP: u64 = 1 << IRQ_VSTI;

/** Whether vCPUs have comparators of their own. */
// @ts-ignore: decorator
@inline
export function hasGuestComparator(root: Root): bool {
  return (root.optionalState & OptionalState.Timer) != 0;
}

/**
 * Machine time at which guest time (machine time + `delta`, modulo 2^64) reaches `deadline`; TIMER_NEVER if that lies beyond the end
 * of machine time, 0 if guest time was past it from the start.
 */
export function machineDeadline(deadline: u64, delta: u64): u64 {
  const at = deadline - delta;
  // Guest time behind machine time (the usual case): the sum may not fit. Ahead: the difference may be negative.
  if (<i64>delta < 0) return at < deadline ? TIMER_NEVER : at;
  return at > deadline ? 0 : at;
}

/** A TVM is about to run on this hart: `host`, which is saved, gets its timer interrupt all the same. */
// @ts-ignore: decorator
@inline
export function armHostTimer(host: Vcpu): void {
  if ((host.vsie & SIE_STIE) == 0) return;
  csrWrite(STIMECMP, machineDeadline(host.vstimecmp, host.htimedelta));
  csrSet(SIE, SIE_STIE);
}

/** The host runs itself again and has its own comparator. */
// @ts-ignore: decorator
@inline
export function disarmHostTimer(): void {
  csrClear(SIE, SIE_STIE);
}

/** SBI TIME set_timer of the current vCPU: a timer interrupt at guest time `deadline`; a pending one is withdrawn. */
export function setGuestTimer(hart: Hart, vcpu: Vcpu, deadline: u64): void {
  csrClear(HVIP, HVIP_VSTIP);
  if (hasGuestComparator(hart.root)) {
    csrWrite(VSTIMECMP, deadline);
    return;
  }
  vcpu.vstimecmp = deadline;
  refreshFirmwareTimer(hart);
}

/** Without Sstc: sets the firmware's timer for the current vCPU (and its host). After every switch and change. */
export function refreshFirmwareTimer(hart: Hart): void {
  const vcpu = hart.vcpu;
  let deadline = machineDeadline(vcpu.vstimecmp, vcpu.htimedelta);
  const host = hart.hostVcpu;
  if (vcpu != host && (host.vsie & SIE_STIE) != 0) {
    deadline = min(deadline, machineDeadline(host.vstimecmp, host.htimedelta));
  }
  // Off while there is nothing to wait for: the firmware's interrupt stays pending until its timer is set again.
  if (deadline == TIMER_NEVER) csrClear(SIE, SIE_STIE);
  if (deadline != hart.timerDeadline) setFirmwareDeadline(hart, deadline);
  if (deadline != TIMER_NEVER) csrSet(SIE, SIE_STIE);
}

/** Without Sstc: the firmware's timer goes off at machine time `deadline`, whatever vCPUs wait for. `refreshFirmwareTimer` ends that. */
export function setFirmwareDeadline(hart: Hart, deadline: u64): void {
  hart.timerDeadline = deadline;
  sbiCall(EID_TIME, TIME_SET_TIMER, deadline, 0, 0, 0, 0, 0);
}

/**
 * Without Sstc: the firmware's timer went off. Makes VSTIP pending in every vCPU of this hart whose deadline passed; returns true if that
 * preempts the current one (it is a TVM's and its host's timer fired).
 */
export function firmwareTimerFired(hart: Hart): bool {
  const now = csrRead(TIME);
  const vcpu = hart.vcpu;
  if (machineDeadline(vcpu.vstimecmp, vcpu.htimedelta) <= now) {
    vcpu.vstimecmp = TIMER_NEVER;
    csrSet(HVIP, HVIP_VSTIP);
  }
  const host = hart.hostVcpu;
  let preempts = false;
  if (vcpu != host && machineDeadline(host.vstimecmp, host.htimedelta) <= now) {
    host.vstimecmp = TIMER_NEVER;
    host.hvip |= HVIP_VSTIP;
    preempts = (host.vsie & SIE_STIE) != 0;
  }
  refreshFirmwareTimer(hart);
  return preempts;
}
