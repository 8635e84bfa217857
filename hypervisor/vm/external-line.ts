import { guestIdentities } from "../devices/imsic";
import { InterruptState } from "../devices/interrupt-state";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { lockOfVm } from "../memory/claims";
import { HVIP, IRQ_SEI, IRQ_VSEI } from "../riscv/csr";
import { csrClear, read64 } from "../riscv/hw";
import { Root } from "../root";
import { SBI_INVALID_PARAM } from "../sbi/errors";
import { NACL_HVIP } from "./nacl-memory";
import { Vcpu } from "./vcpu";

/**
 * Which external interrupts a guest lets its host inject; and, for TVMs without interrupt files, the injection itself: the
 * host sets bit 10 (VSEIP) of hvip in its NACL memory, CpuRun takes it to the vCPU as long as the guest allows it (CoVE 0.7 §9.6.5). Such a
 * vCPU has the one external interrupt of a hart without a controller, whose identity is that of its cause, 9.
 */

/** Passed instead of an identity: every one. */
const ALL: u64 = ~0;
const VSEIP: u64 = 1 << IRQ_VSEI;

/**
 * COVG 4 and 5, AllowExternalInterrupt(identity) and DenyExternalInterrupt(identity), of the current vCPU for itself; all ones mean every identity.
 * INVALID_PARAM: there is no such interrupt. An interrupt that is pending already stays so, but the level in hvip. Takes vm.lock.
 */
export function allowInterrupt(root: Root, vcpu: Vcpu, identity: u64, allowed: bool): i64 {
  const files = vcpu.vm.hasInterruptFiles != 0;
  const exists = files ? identity - 1 < guestIdentities(root) : identity == IRQ_SEI;
  if (!exists && identity != ALL) return SBI_INVALID_PARAM;
  const state = changetype<InterruptState>(vcpu.interrupts);
  // The lock is what an injection holds: once the guest hears that it denies an interrupt, none is on its way any more.
  const lock = lockOfVm(vcpu.vm);
  lockAcquire(lock);
  if (identity == ALL) state.setAllAllowed(allowed);
  else if (allowed) state.allow(identity);
  else state.deny(identity);
  lockRelease(lock);
  // Of a vCPU with a file it is never set.
  if (!allowed) csrClear(HVIP, VSEIP);
  return 0;
}

/** CpuRun of a vCPU without an interrupt file, which is not current: its external interrupt is what `host` says, if the guest allows it. */
// @ts-ignore: decorator
@inline
export function takeExternalLine(host: Vcpu, vcpu: Vcpu): void {
  if (!changetype<InterruptState>(vcpu.interrupts).allows(IRQ_SEI)) return;
  vcpu.hvip = (vcpu.hvip & ~VSEIP) | (read64(host.naclCsrs + NACL_HVIP) & VSEIP);
}
