import { Hart } from "../hart";
import { EXC_ECALL_VS, EXC_VIRTUAL_INST, IRQ_SEI, IRQ_SSI, IRQ_STI, SCAUSE_INTERRUPT } from "../riscv/csr";
import { storeRelease32, write32, write64 } from "../riscv/hw";
import { shownArguments } from "./exit-arguments";
import {
  NACL_A0,
  NACL_A7,
  NACL_HTIMEDELTA,
  NACL_HTINST,
  NACL_HTVAL,
  NACL_VSIE,
  NACL_VSTIMECMP,
  naclWrite,
} from "./nacl-memory";
import { disarmHostTimer, hasGuestComparator } from "./timer";
import { PendingExit, Vcpu, VcpuState } from "./vcpu";
import { releaseVm } from "./vm-table";
import { WaitReason } from "./wait";
import { loadWorld, saveWorld } from "./world-switch";

/**
 * The ways in which a TVM vCPU stops running and the host vCPU that ran it goes on, with CpuRun answered (CoVE 0.7 §9.4.16). What the host
 * sees is listed here and nowhere else:
 *
 * | exit           | vscause             | vstval           | htval    | htinst      | registers |
 * | -------------- | ------------------- | ---------------- | -------- | ----------- | --------- |
 * | call           | 10                  | 0                | 0        | 0           | a6, a7 and the arguments that the call has; the others of a0-a5 are 0 |
 * | page fault     | 20, 21, 23          | 0                | gpa >> 2 of the page | 0 | -      |
 * | MMIO           | 21 load, 23 store   | gpa & 3          | gpa >> 2 | access with a0 | a0 = value of a store, 0 for a load |
 * | WFI            | 22                  | instruction      | 0        | 0           | -         |
 * | interrupt of the host | 2^63 + 1, 5, 9, 12 | as it was   | as it was | as it was  | as they were |
 * | fatal          | the exception       | 0                | 0        | 0           | -         |
 *
 * Always: a0 = 0, a1 = 0 if the vCPU can be run again, 1 if it is off; vstimecmp, vsie and htimedelta (relative to the host's) in shared memory.
 * Each function ends with the host's vCPU current. The run's reference on the VM ends; the TVM's vCPU is another hart's to run from the
 * moment its state is stored, so that comes last.
 */

const RESUMABLE: u64 = 0;
const TERMINATED: u64 = 1;

/** A call that the host answers: `pending` says how CpuRun takes the answer to the guest. */
export function exitForwardedCall(hart: Hart, vcpu: Vcpu, pending: PendingExit): void {
  vcpu.pending = pending;
  showCall(hart.hostVcpu, vcpu);
  leave(hart, vcpu, VcpuState.Runnable, RESUMABLE, EXC_ECALL_VS);
}

/** A call that has succeeded (its vCPU goes on with a0 = a1 = 0) and that the host is told of. */
export function exitNotification(hart: Hart, vcpu: Vcpu): void {
  showCall(hart.hostVcpu, vcpu);
  vcpu.pending = PendingExit.None;
  vcpu.a0 = 0;
  vcpu.a1 = 0;
  leave(hart, vcpu, VcpuState.Runnable, RESUMABLE, EXC_ECALL_VS);
}

/** A call that turns the vCPU off: HSM hart_stop, SRST. */
export function exitByFinalCall(hart: Hart, vcpu: Vcpu): void {
  showCall(hart.hostVcpu, vcpu);
  leave(hart, vcpu, VcpuState.Stopped, TERMINATED, EXC_ECALL_VS);
}

/** Exception `cause` that nobody can handle: the vCPU is off. */
export function exitFatal(hart: Hart, vcpu: Vcpu, cause: u64): void {
  showFault(hart.hostVcpu, 0, 0, 0);
  leave(hart, vcpu, VcpuState.Stopped, TERMINATED, cause);
}

/** Guest page fault `cause` at `gpa` in memory that the host may populate; only the page is shown. */
export function exitPageFault(hart: Hart, vcpu: Vcpu, cause: u64, gpa: u64): void {
  showFault(hart.hostVcpu, 0, (gpa & ~(<u64>0xfff)) >> 2, 0);
  leave(hart, vcpu, VcpuState.Runnable, RESUMABLE, cause);
}

/** Access to emulated memory: `instruction` is the access as it would be with a0, `value` what a store stores. */
export function exitMmio(hart: Hart, vcpu: Vcpu, cause: u64, gpa: u64, instruction: u64, value: u64): void {
  naclWrite(hart.hostVcpu.naclHpa, NACL_A0, value);
  showFault(hart.hostVcpu, gpa & 3, gpa >> 2, instruction);
  leave(hart, vcpu, VcpuState.Runnable, RESUMABLE, cause);
}

/** The vCPU waits for an interrupt; `instruction` is its WFI, which it has behind it. */
export function exitWfi(hart: Hart, vcpu: Vcpu, instruction: u64): void {
  showFault(hart.hostVcpu, instruction, 0, 0);
  leave(hart, vcpu, VcpuState.Runnable, RESUMABLE, EXC_VIRTUAL_INST);
}

/** An interrupt of the host (IRQ_SSI, IRQ_STI, IRQ_SEI, IRQ_SGEI) preempts the vCPU. */
export function exitInterrupt(hart: Hart, vcpu: Vcpu, interrupt: u64): void {
  leave(hart, vcpu, VcpuState.Runnable, RESUMABLE, SCAUSE_INTERRUPT | interrupt);
}

/** The interrupt that a host vCPU with these vsie and hvip takes first (IRQ_SEI, IRQ_SSI, IRQ_STI), or 0. */
export function firstInterrupt(vsie: u64, hvip: u64): u64 {
  const pending = vsie & (hvip >> 1);
  if ((pending & (1 << IRQ_SEI)) != 0) return IRQ_SEI;
  if ((pending & (1 << IRQ_SSI)) != 0) return IRQ_SSI;
  return (pending & (1 << IRQ_STI)) != 0 ? IRQ_STI : 0;
}

/** What a host reads after every exit: when the TVM wants to be woken. */
// @ts-ignore: decorator
@inline
export function showTimer(host: Vcpu, vcpu: Vcpu): void {
  const memory = host.naclHpa;
  if (memory == 0) return;
  write64(memory + NACL_VSTIMECMP, vcpu.vstimecmp);
  write64(memory + NACL_VSIE, vcpu.vsie);
  write64(memory + NACL_HTIMEDELTA, vcpu.htimedelta - host.htimedelta);
}

/** Shows the call that the registers hold: exactly the arguments it has, so that nothing else of the guest gets out. */
function showCall(host: Vcpu, vcpu: Vcpu): void {
  const memory = host.naclHpa;
  if (memory == 0) return;
  const shown = shownArguments(vcpu.a7, vcpu.a6);
  write64(memory + NACL_A0, shown > 0 ? vcpu.a0 : 0);
  write64(memory + NACL_A0 + 8, shown > 1 ? vcpu.a1 : 0);
  write64(memory + NACL_A0 + 16, shown > 2 ? vcpu.a2 : 0);
  write64(memory + NACL_A0 + 24, 0);
  write64(memory + NACL_A0 + 32, 0);
  write64(memory + NACL_A0 + 40, 0);
  write64(memory + NACL_A7 - 8, vcpu.a6);
  write64(memory + NACL_A7, vcpu.a7);
  write64(memory + NACL_HTVAL, 0);
  write64(memory + NACL_HTINST, 0);
  host.vstval = 0;
}

function showFault(host: Vcpu, stval: u64, htval: u64, htinst: u64): void {
  host.vstval = stval;
  const memory = host.naclHpa;
  if (memory == 0) return;
  write64(memory + NACL_HTVAL, htval);
  write64(memory + NACL_HTINST, htinst);
}

/** Switches to the host's vCPU with CpuRun answered, and lets go of `vcpu`, which is in `state` from then on. */
function leave(hart: Hart, vcpu: Vcpu, state: VcpuState, outcome: u64, cause: u64): void {
  const host = hart.hostVcpu;
  const vm = vcpu.vm;
  // A call that waits for other harts is made again when the vCPU goes on: its sepc is still at it.
  write32(hart.waitReasonAddress(), WaitReason.None);
  saveWorld(hart, vcpu);
  showTimer(host, vcpu);
  host.vscause = cause;
  host.a0 = 0;
  host.a1 = outcome;
  write32(host.stateAddress(), VcpuState.Running);
  if (hasGuestComparator(hart.root)) disarmHostTimer();
  loadWorld(hart, host);
  storeRelease32(vcpu.stateAddress(), state);
  releaseVm(vm);
}
