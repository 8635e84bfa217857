import { csrClear, csrRead, csrSet, csrWrite } from "./hw";
import { endLine, print, printDecimal, printHex, printLine } from "./console";
import { thisHart, thisVm } from "./records";
import { EID_COVH, probeExtension, RESET_SHUTDOWN, RESET_SYSTEM_FAILURE, setTimer, systemReset } from "./sbi";
import { TrapFrame } from "./trap-frame";
import {
  HIE,
  IRQ_SGEI,
  IRQ_SSI,
  IRQ_STI,
  SCAUSE,
  SCAUSE_INTERRUPT,
  SIE,
  SIP,
  SSTATUS,
  SSTATUS_SIE,
  STIMECMP,
  STVAL,
} from "../../hypervisor/riscv/csr";

/**
 * Interrupts and unexpected exceptions of a test VM. Interrupts are off (sstatus.SIE = 0) except where a test turns them on;
 * an interrupt that is taken is counted and its source switched off in sie.
 */

/** A timer deadline that never comes. */
export const NEVER: u64 = ~0;

export const SIE_SOFTWARE: u64 = 1 << IRQ_SSI;
export const SIE_TIMER: u64 = 1 << IRQ_STI;
export const SIE_EXTERNAL: u64 = 1 << 9;

/** The body of the exported trap(). */
export function handleTrap(frame: TrapFrame): void {
  const cause = csrRead(SCAUSE);
  if ((cause & SCAUSE_INTERRUPT) == 0) {
    reportException(cause, csrRead(STVAL), frame);
    failMachine();
    return;
  }
  const hart = thisHart();
  hart.interruptsTaken++;
  hart.lastInterrupt = cause;
  // A host's own guest external interrupt has its enable in hie.
  if (cause == (SCAUSE_INTERRUPT | IRQ_SGEI)) csrClear(HIE, 1 << IRQ_SGEI);
  else csrClear(SIE, 1 << (cause & 63));
  if (hart.callInInterrupt != 0) {
    // The interrupted code may be between its call and its look at the result.
    const value = hart.sbiValue;
    probeExtension(EID_COVH);
    hart.sbiValue = value;
  }
}

function reportException(cause: u64, value: u64, frame: TrapFrame): void {
  print("unexpected exception: scause ");
  printDecimal(cause);
  print(", sepc ");
  printHex(frame.pc);
  print(", stval ");
  printHex(value);
  print(", ra ");
  printHex(frame.ra);
  print(", sp ");
  printHex(frame.sp);
  endLine();
}

/** Ends the VM with a system failure. */
export function failMachine(): void {
  printLine("FAIL: the test VM cannot go on");
  systemReset(RESET_SHUTDOWN, RESET_SYSTEM_FAILURE);
}

/** Sets this hart's timer, through stimecmp where there is one. */
export function armTimer(deadline: u64): void {
  if (thisVm().hasStimecmp != 0) csrWrite(STIMECMP, deadline);
  else setTimer(deadline);
}

/** Lets this hart take interrupts until `maskInterrupts`. */
export function allowInterrupts(): void {
  csrSet(SSTATUS, SSTATUS_SIE);
}

export function maskInterrupts(): void {
  csrClear(SSTATUS, SSTATUS_SIE);
}

/** Takes back a pending software interrupt of this hart. */
export function clearSoftwareInterrupt(): void {
  csrClear(SIP, SIE_SOFTWARE);
}

export function softwareInterruptPending(): bool {
  return (csrRead(SIP) & SIE_SOFTWARE) != 0;
}
