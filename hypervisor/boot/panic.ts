import { beginLine, bustConsole, endLine, putChar, putDecimal, putHex, putText } from "../devices/console";
import { thisHart } from "../hart";
import { stackPointer } from "../riscv/hw";
import { printBacktrace } from "./backtrace";
import { RESET_SHUTDOWN, RESET_SYSTEM_FAILURE } from "./firmware";
import { endMachine, reportRunningHart } from "./reset";
import { scrubSecrets } from "./scrub";
import { claimEnd, haltHere, stopOtherHarts } from "./stop";

/**
 * The end of the machine after a broken invariant or a fault of our own: say what happened, stop the other harts, leave no
 * secret in RAM, and power off with the reason "system failure", which QEMU turns into an exit status.
 *
 * Only the first hart that panics speaks. A panic while panicking (or while ending the machine) stops at once: whatever is
 * left in RAM is scrubbed by the next boot, because the mark stays.
 */

/** Ends a boot that cannot go on, with one sentence of what is wrong with the machine. Never returns. */
export function panic(message: string): void {
  beginPanic();
  putText(message);
  endLine();
  endPanic();
}

/** `panic` with a sentence in two parts. */
export function panicBecause(subject: string, fault: string): void {
  beginPanic();
  putText(subject);
  putText(fault);
  endLine();
  endPanic();
}

/** A failed `assert`: `message` and `file` are literals (0 if absent). Never returns. */
export function assertFailed(message: usize, file: usize, line: u32, column: u32): void {
  beginPanic();
  if (message != 0) putText(changetype<string>(message));
  else putText("assertion failed");
  if (file != 0) {
    putText(" (");
    putText(changetype<string>(file));
    putChar(0x3a);
    putDecimal(<u64>line);
    putChar(0x3a);
    putDecimal(<u64>column);
    putChar(0x29);
  }
  endLine();
  printBacktrace(stackPointer(), 0, 0);
  endPanic();
}

/** A trap of the compiled code itself: `kind` is wasm_trap_kind of machine/riscv/wasm-rt.h. Never returns. */
export function codeTrapped(kind: u32): void {
  beginPanic();
  if (kind == 0) putText("code that cannot be reached was reached");
  else if (kind == 1) putText("division by zero");
  else if (kind == 2) putText("a quotient does not fit");
  else if (kind == 3) putText("call of a function that does not exist");
  else putText("the compiled code trapped");
  endLine();
  printBacktrace(stackPointer(), 0, 0);
  endPanic();
}

/**
 * A trap in HS-mode that nothing had expected. `frame` holds the 31 general registers (register n at 8 * n). Never returns.
 *
 * Of the registers only those are shown that must be ours: after an ecall the others can still hold values of the guest.
 */
export function trappedInHypervisor(scause: u64, sepc: u64, stval: u64, sp: u64, frame: usize): void {
  const registers = changetype<EmergencyFrame>(frame);
  beginPanic();
  putText(causeText(scause));
  putText(" in the hypervisor");
  endLine();
  beginLine();
  putText("salus:   pc ");
  putHex(sepc);
  putText("  scause ");
  putHex(scause);
  putText("  stval ");
  putHex(stval);
  endLine();
  beginLine();
  putText("salus:   ra ");
  putHex(registers.ra);
  putText("  sp ");
  putHex(sp);
  putText("  tp ");
  putHex(registers.tp);
  if (inStackGuard(stval)) putText("  (the stack has overflown)");
  endLine();
  printBacktrace(<usize>sp, <usize>sepc, <usize>registers.ra);
  endPanic();
}

/** The registers that the emergency entry saved. */
@unmanaged
class EmergencyFrame {
  zero: u64;
  ra: u64;
  sp: u64;
  gp: u64;
  tp: u64;
}

/** Bytes below a stack that are not mapped. */
const GUARD_SIZE: u64 = 4096;

function inStackGuard(address: u64): bool {
  const hart = thisHart();
  if (changetype<usize>(hart) == 0 || hart.stackBottom == 0) return false;
  return <u64>hart.stackBottom - address <= GUARD_SIZE;
}

/** Takes the console and starts the first line; comes back only on the hart that may go on. */
function beginPanic(): void {
  const hart = thisHart();
  if (hart.panicking != 0) endMachine(hart, RESET_SHUTDOWN, RESET_SYSTEM_FAILURE);
  hart.panicking = 1;
  const early = changetype<usize>(hart.root) == 0;
  if (!early && !claimEnd(hart)) haltHere(hart);
  bustConsole();
  beginLine();
  putText("salus: panic on hart ");
  putDecimal(hart.id);
  putText(": ");
}

function endPanic(): void {
  const hart = thisHart();
  if (changetype<usize>(hart.root) != 0 && hart.root.rangeCount != 0) {
    // The page records exist, so guests may.
    const alone = stopOtherHarts(hart);
    if (!alone) reportRunningHart();
    scrubSecrets(hart, alone);
  }
  beginLine();
  putText("salus: the machine is powered off");
  endLine();
  endMachine(hart, RESET_SHUTDOWN, RESET_SYSTEM_FAILURE);
}

function causeText(scause: u64): string {
  if (scause >> 63 != 0) return "interrupt";
  if (scause == 0 || scause == 4 || scause == 6) return "misaligned access";
  if (scause == 1) return "instruction access fault";
  if (scause == 2) return "illegal instruction";
  if (scause == 3) return "breakpoint";
  if (scause == 5) return "load access fault";
  if (scause == 7) return "store access fault";
  if (scause == 12) return "instruction page fault";
  if (scause == 13) return "load page fault";
  if (scause == 15) return "store page fault";
  if (scause == 20 || scause == 21 || scause == 23) return "guest page fault";
  return "trap";
}
