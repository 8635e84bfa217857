import { hartRecord } from "./riscv/hw";
import { HelperContext } from "./helper/context";
import { Vcpu } from "./vm/vcpu";
import { Root } from "./root";

/**
 * One record per hart, in memory of our own; tp points at it while the hypervisor runs.
 *
 * The first fields are known to `machine/riscv/trap.S` by offset (checked at build time):
 *
 *      0  current     context to enter when trap() returns Enter
 *      8  stackTop    the hart's stack, empty at every trap
 *     16  recovery    where to continue if a door primitive faults; 0 = a fault here is a bug
 *     24  entered     context that was entered last, whose callee-saved registers (s0-s11, gp) are in the machine; of a TVM
 *                     that address + 1: they are saved at entry
 *     32  scratch     for the trap entry
 *     40  faultCause  scause of the fault that took `recovery`
 *     68  state       HartState
 *     72  stackBottom
 *     80  helper      context of the user-mode helper on this hart
 */
@unmanaged
export class Hart {
  current: usize;
  stackTop: usize;
  recovery: usize;
  entered: usize;
  scratch: u64;
  faultCause: u64;

  // ---- identity (constant after boot)
  root: Root;
  /** Hart id of the device tree and of the firmware. */
  id: u64;
  /** Index of this hart in root.harts, and the id of the host vCPU that lives on it. */
  index: u32;
  /** HartState. */
  state: u32;
  stackBottom: usize;
  helper: HelperContext;
  /** phandle of this hart's local interrupt controller in the firmware's device tree. */
  interruptPhandle: u32;
  numaNode: u32;

  // ---- messages from other harts (atomics only)
  /** HartRequest bits, set by others, taken by this hart in trap(). */
  requests: u64;

  // ---- what runs here
  /** vCPU whose VS-level CSRs are in the machine. */
  vcpu: Vcpu;
  /** The host vCPU of this hart. */
  hostVcpu: Vcpu;

  // ---- translations (memory/fence.ts, memory/vmid.ts)
  /** VM slot whose address space this hart may hold live translations for (NO_VM if none entered). */
  enteredVm: u64;
  /** That VM's translation version when this hart last entered or flushed. */
  enteredVersion: u64;
  nextVmid: u64;
  vmidGeneration: u64;

  // ---- vm/extension-state.ts
  /** The vCPU whose floating-point and vector registers are in the machine, 0 before any. */
  extensionOwner: usize;

  // ---- interrupts
  /** Supervisor-level IMSIC page of this hart, 0 if none. */
  imsicPage: u64;
  /** Values last written to stimecmp / hgeie for the world that runs, so that unchanged ones are not rewritten. */
  timerDeadline: u64;

  // ---- waiting for other harts (a state, not a loop; vm/wait.ts)
  waitReason: u32;
  reserved0: u32;
  waitValue: u64;
  waitMask: u64;

  /** Set while this hart panics, so that a panic within a panic stops at once. */
  panicking: u32;
  reserved1: u32;

  /** Three pages of scratch, valid within one trap: page list, record list, bytes (memory/page-list.ts). */
  workPages: usize;

  /** What the firmware says of this hart (SBI Base), passed on to VMs; asked once by vm/csr-policy.ts. */
  vendorId: u64;
  architectureId: u64;
  implementationId: u64;
  /** Interrupts that nobody asked for: counted, otherwise ignored (vm/trap.ts). */
  strayInterrupts: u64;

  /** Test finisher (hpa), for a panic before there is a root; 0 if unknown. */
  earlyFinisher: u64;

  /** Records of this hart's guest interrupt files (memory/interrupt-files.ts), by file number. */
  fileRecords: usize;
  /** hgeie as it was last written. */
  guestFileEnables: u64;
  /** Guest files that this hart has to clear before they can be used again (vm/binding.ts): atomics. */
  filesToClear: u64;
  /** Where the firmware's answer to a call of this hart goes. */
  firmwareValue: u64;

  /** Address of `requests`, for atomics. */
  // @ts-ignore: decorator
  @inline
  requestsAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Hart>("requests"));
  }

  /** Address of `waitReason`, which other harts read. */
  // @ts-ignore: decorator
  @inline
  waitReasonAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Hart>("waitReason"));
  }
}

/** Life of a physical hart under us. */
export const enum HartState {
  Absent = 0,
  Starting = 1,
  Online = 2,
  /** The hart has ended: nothing of a guest is left in its registers and on its stack. */
  Halted = 3,
}

/** Bits of Hart.requests. */
export const enum HartRequest {
  /** Look again at the state of your vCPU (start, stop, wait over). */
  Reschedule = 1,
  /** The current vCPU has fences pending. */
  Fence = 2,
  /** Stop for good: panic, reset. */
  Halt = 4,
  /** Clear the guest interrupt files of Hart.filesToClear. */
  ClearFiles = 8,
  /** Of this hart to itself: a guest external interrupt is offered to the host (vm/guest-external.ts). */
  GuestExternal = 16,
}

/** What trap() and boot() return to the machine layer. */
export const enum Action {
  /** Enter hart.current (registers of the context; CSRs are already set). */
  Enter = 0,
  /** Wait for an interrupt, then call trap() with no cause. */
  Wait = 1,
  /** Turn this hart off: it never comes back. */
  Off = 2,
  /** Enter hart.helper, the user-mode helper (CSRs are set). */
  Helper = 3,
}

/** Value of Hart.entered while the machine's callee-saved registers belong to nobody: odd, so they are not stored, and no context has it. */
export const NOBODY_ENTERED: usize = 1;

/** No VM: value of Hart.enteredVm while translations of no VM are entered. */
export const NO_VM: u64 = ~0;

/** The record of the hart that runs this. */
// @ts-ignore: decorator
@inline
export function thisHart(): Hart {
  return changetype<Hart>(hartRecord());
}
