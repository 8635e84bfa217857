import { Hart } from "../hart";
import { EXC_ECALL_VS, EXC_VIRTUAL_INST, IRQ_SEI, IRQ_SSI, IRQ_STI, SCAUSE_INTERRUPT, VSCAUSE } from "../riscv/csr";
import { csrWrite, fence, storeRelease32, write32, write64 } from "../riscv/hw";
import { releaseCounters } from "./counters";
import { hasMessages } from "./messages";
import { NACL_A0, NACL_HTIMEDELTA, NACL_HTINST, NACL_HTVAL, NACL_VSIE, NACL_VSTIMECMP } from "./nacl-memory";
import { PendingExit, Vcpu, VcpuState } from "./vcpu";
import { releaseVm } from "./vm-table";
import { WaitReason } from "./wait";
import { leaveTvm } from "./world-switch";

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

const VSIE_INTERRUPTS: u64 = (1 << IRQ_SSI) | (1 << IRQ_STI) | (1 << IRQ_SEI);

const RESUMABLE: u64 = 0;
const TERMINATED: u64 = 1;

/** A call with `shown` arguments that the host answers: `pending` says how CpuRun takes the answer to the guest. */
export function exitForwardedCall(hart: Hart, vcpu: Vcpu, pending: PendingExit, shown: u32 = 2): void {
  vcpu.pending = pending;
  showCall(hart.hostVcpu, vcpu, shown);
  leave(hart, vcpu, VcpuState.Runnable, RESUMABLE, EXC_ECALL_VS);
}

/** A call that has succeeded (its vCPU goes on with a0 = a1 = 0) and that the host is told of, with `shown` arguments. */
export function exitNotification(hart: Hart, vcpu: Vcpu, shown: u32 = 2): void {
  showCall(hart.hostVcpu, vcpu, shown);
  vcpu.pending = PendingExit.None;
  vcpu.a0 = 0;
  vcpu.a1 = 0;
  leave(hart, vcpu, VcpuState.Runnable, RESUMABLE, EXC_ECALL_VS);
}

/** A call with `shown` arguments that turns the vCPU off: HSM hart_stop, SRST. */
export function exitByFinalCall(hart: Hart, vcpu: Vcpu, shown: u32): void {
  showCall(hart.hostVcpu, vcpu, shown);
  releaseCounters(hart, vcpu);
  leave(hart, vcpu, VcpuState.Stopped, TERMINATED, EXC_ECALL_VS);
}

/** Exception `cause` that nobody can handle: the vCPU is off. */
export function exitFatal(hart: Hart, vcpu: Vcpu, cause: u64): void {
  showFault(hart.hostVcpu, 0, 0, 0);
  releaseCounters(hart, vcpu);
  leave(hart, vcpu, VcpuState.Stopped, TERMINATED, cause);
}

/** Guest page fault `cause` at `gpa` in memory that the host may populate; only the page is shown. */
export function exitPageFault(hart: Hart, vcpu: Vcpu, cause: u64, gpa: u64): void {
  showFault(hart.hostVcpu, 0, (gpa & ~(<u64>0xfff)) >> 2, 0);
  leave(hart, vcpu, VcpuState.Runnable, RESUMABLE, cause);
}

/** Access to emulated memory: `instruction` is the access as it would be with a0, `value` what a store stores. */
export function exitMmio(hart: Hart, vcpu: Vcpu, cause: u64, gpa: u64, instruction: u64, value: u64): void {
  write64(hart.hostVcpu.naclHpa + NACL_A0, value);
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

/** The interrupts (bits of vsie) that a host vCPU with these vsie and hvip has to take. */
// @ts-ignore: decorator
@inline
export function pendingInterrupts(vsie: u64, hvip: u64): u64 {
  return vsie & (hvip >> 1) & VSIE_INTERRUPTS;
}

/** The one of a host's that is taken first: its external interrupts come from its file, never from hvip. */
export function firstInterrupt(pending: u64): u64 {
  return (pending & (1 << IRQ_SSI)) != 0 ? IRQ_SSI : IRQ_STI;
}

/** What a host reads after every exit: when the TVM wants to be woken. */
// @ts-ignore: decorator
@inline
export function showTimer(host: Vcpu, vcpu: Vcpu): void {
  const csrs = host.naclCsrs;
  write64(csrs + NACL_VSTIMECMP, vcpu.vstimecmp);
  write64(csrs + NACL_VSIE, vcpu.vsie);
  write64(csrs + NACL_HTIMEDELTA, vcpu.htimedelta - host.htimedelta);
}

/**
 * Shows the call that the registers hold: `shown` (0-3) arguments. Registers that are no argument of the call can hold anything of the guest's,
 * and are shown as 0.
 */
// @ts-ignore: decorator
@inline
function showCall(host: Vcpu, vcpu: Vcpu, shown: u32): void {
  const registers = host.naclHpa;
  write64(registers + NACL_A0, shown > 0 ? vcpu.a0 : 0);
  write64(registers + NACL_A0 + 8, shown > 1 ? vcpu.a1 : 0);
  write64(registers + NACL_A0 + 16, shown > 2 ? vcpu.a2 : 0);
  write64(registers + NACL_A0 + 24, 0);
  write64(registers + NACL_A0 + 32, 0);
  write64(registers + NACL_A0 + 40, 0);
  write64(registers + NACL_A0 + 48, vcpu.a6);
  write64(registers + NACL_A0 + 56, vcpu.a7);
  showFault(host, 0, 0, 0);
}

/** Shows where and what a fault was; all 0 for what is none. */
// @ts-ignore: decorator
@inline
function showFault(host: Vcpu, stval: u64, htval: u64, htinst: u64): void {
  const csrs = host.naclCsrs;
  write64(csrs + NACL_HTVAL, htval);
  write64(csrs + NACL_HTINST, htinst);
  host.vstval = stval;
}

/** Switches to the host's vCPU with CpuRun answered, and lets go of `vcpu`, which is in `state` from then on. */
function leave(hart: Hart, vcpu: Vcpu, state: VcpuState, outcome: u64, cause: u64): void {
  const host = hart.hostVcpu;
  const vm = vcpu.vm;
  // A call that waits for other harts is made again when the vCPU goes on: its sepc is still at it.
  write32(hart.waitReasonAddress(), WaitReason.None);
  host.vscause = cause;
  host.a0 = 0;
  host.a1 = outcome;
  leaveTvm(hart, host, vcpu);
  showTimer(host, vcpu);
  storeRelease32(vcpu.stateAddress(), state);
  if (cause == EXC_VIRTUAL_INST) wakeIfInterrupted(vcpu);
  releaseVm(vm);
}

/**
 * A vCPU that waits for an interrupt has just been let go. Whoever sent it one before that thinks that it runs, and has told nobody: then the
 * host is shown an interrupt instead, so that it does not put the vCPU to sleep. (The sender posts first and looks at the state then.)
 */
function wakeIfInterrupted(vcpu: Vcpu): void {
  fence();
  if (!hasMessages(vcpu)) return;
  csrWrite(VSCAUSE, SCAUSE_INTERRUPT | IRQ_SSI);
}
