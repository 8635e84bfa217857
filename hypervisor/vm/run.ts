import { Hart } from "../hart";
import { SCAUSE_INTERRUPT, HVIP, TIME, VSCAUSE, VSIE } from "../riscv/csr";
import { cas32, cas64, csrRead, csrWrite, loadAcquire32, storeRelease32, write32 } from "../riscv/hw";
import { SBI_INVALID_PARAM, SBI_INVALID_STATE, SBI_NO_SHMEM } from "../sbi/errors";
import { firstInterrupt, showTimer } from "./exit";
import { completeMmio } from "./mmio";
import { NACL_A0, NACL_A1, naclRead, naclWrite } from "./nacl-memory";
import { completeShare } from "./share";
import { armHostTimer, hasGuestComparator } from "./timer";
import { PendingExit, Vcpu, VcpuState } from "./vcpu";
import { Vm, VmLifecycle } from "./vm";
import { releaseVm } from "./vm-table";
import { loadWorld, saveWorld } from "./world-switch";

/**
 * COVH CpuRun(guest id, vCPU id): runs a vCPU of the TVM `vm`, whose reference the run keeps until the exit (CoVE 0.7 §9.4.16). On success
 * (0) the TVM's vCPU is current, and the exit answers the call (vm/exit.ts); or, if an interrupt waits for the host, the call is answered
 * at once with that. Errors end the reference and change nothing:
 *
 *   INVALID_PARAM    the TVM is not finalized, or has no such vCPU
 *   NO_SHMEM         the caller has no NACL shared memory
 *   INVALID_STATE    the vCPU is off, or runs on another hart
 *   INVALID_ADDRESS  the host accepted a share or unshare whose pages are still mapped; it stays pending
 */
export function runTvmVcpu(hart: Hart, host: Vcpu, vm: Vm, vcpuId: u64): i64 {
  const failed = claimVcpu(hart, host, vm, vcpuId);
  if (failed != 0) {
    releaseVm(vm);
    return failed;
  }
  const vcpu = changetype<Vcpu>(vm.vcpu(vcpuId));
  if (vm.htimedelta == 0) startTime(vm);
  vcpu.htimedelta = vm.htimedelta;

  // Timer and external interrupts preempt by themselves; a software interrupt of the host has no such way.
  const interrupt = firstInterrupt(csrRead(VSIE), csrRead(HVIP));
  if (interrupt != 0) return refuseForInterrupt(host, vcpu, interrupt);

  saveWorld(hart, host);
  write32(host.stateAddress(), VcpuState.Runnable);
  if (hasGuestComparator(hart.root)) armHostTimer(host);
  write32(changetype<usize>(vcpu) + offsetof<Vcpu>("hartIndex"), hart.index);
  loadWorld(hart, vcpu);
  return 0;
}

/** Makes the vCPU ours to run (state Running) with its last exit completed, or says why not with nothing changed. */
function claimVcpu(hart: Hart, host: Vcpu, vm: Vm, vcpuId: u64): i64 {
  const lifecycle = changetype<usize>(vm) + offsetof<Vm>("lifecycle");
  if (loadAcquire32(lifecycle) != VmLifecycle.Runnable) return SBI_INVALID_PARAM;
  const vcpu = vm.vcpu(vcpuId);
  if (vcpu == null) return SBI_INVALID_PARAM;
  // Without it the host would see nothing of the exit and could complete none.
  if (host.naclHpa == 0) return SBI_NO_SHMEM;
  if (cas32(vcpu.stateAddress(), VcpuState.Runnable, VcpuState.Running) != VcpuState.Runnable) {
    return SBI_INVALID_STATE;
  }
  if (vcpu.pending == PendingExit.None) return 0;
  const failed = completeExit(vcpu, host.naclHpa);
  if (failed != 0) storeRelease32(vcpu.stateAddress(), VcpuState.Runnable);
  return failed;
}

/** Takes the host's answer to the last exit to the guest (CoVE 0.7 §9.4.16). `memory` is the host's NACL memory. */
function completeExit(vcpu: Vcpu, memory: u64): i64 {
  switch (vcpu.pending) {
    case PendingExit.MmioLoad:
    case PendingExit.MmioStore:
      completeMmio(vcpu, naclRead(memory, NACL_A0));
      naclWrite(memory, NACL_A0, 0);
      break;
    case PendingExit.LegacyCall:
      vcpu.a0 = naclRead(memory, NACL_A0);
      break;
    case PendingExit.ShareMemory:
    case PendingExit.UnshareMemory: {
      const answer = naclRead(memory, NACL_A0);
      const failed = completeShare(vcpu, answer == 0);
      if (failed != 0) return failed;
      vcpu.a0 = answer;
      vcpu.a1 = naclRead(memory, NACL_A1);
      break;
    }
    default:
      vcpu.a0 = naclRead(memory, NACL_A0);
      vcpu.a1 = naclRead(memory, NACL_A1);
      break;
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
function startTime(vm: Vm): void {
  const delta = 0 - csrRead(TIME);
  // Two vCPUs may begin at once: one of them decides. 0 means "not begun".
  cas64(changetype<usize>(vm) + offsetof<Vm>("htimedelta"), 0, delta != 0 ? delta : ~(<u64>0));
}
