import { Hart } from "../hart";
import { HSTATUS_VGEIN, HSTATUS_VGEIN_SHIFT, SCAUSE_INTERRUPT, HVIP, TIME, VSCAUSE, VSIE } from "../riscv/csr";
import { cas32, cas64, csrRead, csrWrite, loadAcquire32, read64, storeRelease32, write32, write64 } from "../riscv/hw";
import { SBI_INVALID_PARAM, SBI_INVALID_STATE, SBI_NO_SHMEM, SBI_PENDING } from "../sbi/errors";
import { BindState, bindState, bindingOf, boundFile, boundHart } from "./binding";
import { firstInterrupt, pendingInterrupts, showTimer } from "./exit";
import { takeExternalLine } from "./external-line";
import { isOffered, withdrawOffer } from "./guest-external";
import { completeMmio } from "./mmio";
import { NACL_A0, NACL_A1 } from "./nacl-memory";
import { completeShare } from "./share";
import { PendingExit, Vcpu, VcpuState } from "./vcpu";
import { Vm, VmLifecycle } from "./vm";
import { releaseVm } from "./vm-table";
import { enterTvm } from "./world-switch";

/**
 * COVH CpuRun(guest id, vCPU id): runs a vCPU of the TVM `vm`, whose reference the run keeps until the exit (CoVE 0.7 §9.4.16). On success
 * (SBI_PENDING) the TVM's vCPU is current, and the exit answers the call (vm/exit.ts); or, if an interrupt waits for the host, the call is
 * answered at once with that (0). Errors end the reference and change nothing:
 *
 *   INVALID_PARAM    the TVM is not finalized, or has no such vCPU
 *   NO_SHMEM         the caller has no NACL shared memory
 *   INVALID_STATE    the vCPU is off, or runs on another hart, or its interrupt file is not bound to one of this hart
 *   INVALID_ADDRESS  the host accepted a share or unshare whose pages are still mapped; it stays pending
 *
 * RANGE_UNDER_WAY (share.ts) is no answer: the caller has it made again.
 */
// @ts-ignore: decorator
@inline
export function runTvmVcpu(hart: Hart, host: Vcpu, vm: Vm, vcpuId: u64): i64 {
  // Finalization is seen before anything that it made complete: the vCPUs, which do not change after it.
  const finalized = loadAcquire32(changetype<usize>(vm) + offsetof<Vm>("lifecycle")) == VmLifecycle.Runnable;
  const vcpu = finalized ? vm.vcpu(vcpuId) : null;
  let failed = SBI_INVALID_PARAM;
  if (vcpu != null) failed = claimVcpu(hart, host, vcpu);
  if (vcpu == null || failed != 0) {
    releaseVm(vm);
    return failed;
  }
  if (vcpu.htimedelta == 0) startTime(vcpu);

  // Timer and external interrupts preempt by themselves; a software interrupt of the host has no such way.
  host.vsie = csrRead(VSIE);
  const interrupts = pendingInterrupts(host.vsie, csrRead(HVIP));
  if (interrupts != 0) return refuseForInterrupt(host, vcpu, firstInterrupt(interrupts));

  if (isOffered(hart)) withdrawOffer(hart);
  write32(changetype<usize>(vcpu) + offsetof<Vcpu>("hartIndex"), hart.index);
  enterTvm(hart, host, vcpu);
  return SBI_PENDING;
}

/** Makes the vCPU ours to run (state Running) with its last exit completed, or says why not with nothing changed. */
// @ts-ignore: decorator
@inline
function claimVcpu(hart: Hart, host: Vcpu, vcpu: Vcpu): i64 {
  // Without it the host would see nothing of the exit and could complete none.
  const memory = host.naclHpa;
  if (memory == 0) return SBI_NO_SHMEM;
  if (cas32(vcpu.stateAddress(), VcpuState.Runnable, VcpuState.Running) != VcpuState.Runnable) {
    return SBI_INVALID_STATE;
  }
  if (vcpu.vm.hasInterruptFiles == 0) {
    takeExternalLine(host, vcpu);
  } else if (!useBoundFile(hart, vcpu)) {
    storeRelease32(vcpu.stateAddress(), VcpuState.Runnable);
    return SBI_INVALID_STATE;
  }
  if (vcpu.pending == PendingExit.None) return 0;
  if (vcpu.pending <= <u32>PendingExit.LegacyCall) {
    vcpu.a0 = read64(memory + NACL_A0);
    if (vcpu.pending == PendingExit.ForwardedCall) vcpu.a1 = read64(memory + NACL_A1);
    vcpu.pending = PendingExit.None;
    return 0;
  }
  const failed = completeExit(hart, vcpu, memory);
  if (failed != 0) storeRelease32(vcpu.stateAddress(), VcpuState.Runnable);
  return failed;
}

/** The vCPU's interrupt file is the guest file that it is bound to, if that is one of this hart. */
function useBoundFile(hart: Hart, vcpu: Vcpu): bool {
  const binding = bindingOf(vcpu);
  if (bindState(binding) != BindState.Bound || boundHart(binding) != <u64>hart.index) return false;
  vcpu.hstatus = (vcpu.hstatus & ~HSTATUS_VGEIN) | (boundFile(binding) << HSTATUS_VGEIN_SHIFT);
  return true;
}

/** Takes the host's answer to an access, or to a share or unshare, to the guest. `memory` is the host's NACL memory. */
function completeExit(hart: Hart, vcpu: Vcpu, memory: u64): i64 {
  switch (vcpu.pending) {
    case PendingExit.MmioLoad:
    case PendingExit.MmioStore:
      completeMmio(vcpu, read64(memory + NACL_A0));
      write64(memory + NACL_A0, 0);
      break;
    default: {
      // A share or unshare.
      const answer = read64(memory + NACL_A0);
      const failed = completeShare(hart, vcpu, answer == 0);
      if (failed != 0) return failed;
      vcpu.a0 = answer;
      vcpu.a1 = read64(memory + NACL_A1);
      break;
    }
  }
  vcpu.pending = PendingExit.None;
  return 0;
}

/** The host has an interrupt to take first: the run ends before it began, as an exit by that interrupt would. */
function refuseForInterrupt(host: Vcpu, vcpu: Vcpu, interrupt: u64): i64 {
  const vm = vcpu.vm;
  showTimer(host, vcpu);
  csrWrite(VSCAUSE, SCAUSE_INTERRUPT | interrupt);
  storeRelease32(vcpu.stateAddress(), VcpuState.Runnable);
  releaseVm(vm);
  return 0;
}

/** The TVM's time begins at its first run, at 0, for all its vCPUs. */
function startTime(vcpu: Vcpu): void {
  const delta = 0 - csrRead(TIME);
  const shared = changetype<usize>(vcpu.vm) + offsetof<Vm>("htimedelta");
  // Two vCPUs may begin at once: one of them decides. 0 means "not begun".
  cas64(shared, 0, delta != 0 ? delta : ~(<u64>0));
  vcpu.htimedelta = read64(shared);
}
