import { csrSet, csrSwap, csrWrite, mmioWrite32, read64 } from "../lib/hw";
import { deadlineIn, hasPassed, PATIENCE } from "../lib/deadline";
import { hartAt, state } from "./state";
import { SIREG, SISELECT, STOPEI } from "../../hypervisor/riscv/csr";

/** This VM's view of the IMSIC (AIA 1.0, chapter 3): one interrupt file for each hart. */

const EIDELIVERY: u64 = 0x70;
const EITHRESHOLD: u64 = 0x72;
const EIP0: u64 = 0x80;
const EIE0: u64 = 0xc0;

/** Identity that tellus uses. */
export const TEST_INTERRUPT: u64 = 1;

/** Turns the interrupt file of this hart on, with TEST_INTERRUPT enabled and nothing pending. */
export function openInterruptFile(): void {
  indirectWrite(EIDELIVERY, 1);
  indirectWrite(EITHRESHOLD, 0);
  indirectWrite(EIP0, 0);
  indirectWrite(EIE0, 1 << TEST_INTERRUPT);
}

/** Makes TEST_INTERRUPT pending in this hart's own file. */
export function raiseOwnInterrupt(): void {
  csrWrite(SISELECT, EIP0);
  csrSet(SIREG, 1 << TEST_INTERRUPT);
}

/** True if the harts have interrupt files. */
export function hasImsic(): bool {
  return state().interruptFiles != 0;
}

/** Page of the interrupt file of hart `index` (of tellus' records). */
export function interruptFile(index: u64): u64 {
  const machine = state();
  const id = hartAt(index).id;
  for (let i: u64 = 0; i < machine.hartCount; i++) {
    if (read64(<u64>machine.hartIds + i * 8) == id) return read64(<u64>machine.interruptFiles + i * 8);
  }
  return 0;
}

/** Sends TEST_INTERRUPT to hart `index` through its file's page. */
export function sendImsicInterrupt(index: u64): void {
  mmioWrite32(interruptFile(index), <u32>TEST_INTERRUPT);
}

/** Claims the most urgent pending interrupt of this hart: its identity, 0 if none. */
export function claimInterrupt(): u64 {
  return csrSwap(STOPEI, 0) >> 16;
}

/** Waits for an interrupt in this hart's open file; its identity, 0 if none comes in time. */
export function awaitInterrupt(): u64 {
  const deadline = deadlineIn(PATIENCE);
  while (!hasPassed(deadline)) {
    const identity = claimInterrupt();
    if (identity != 0) return identity;
  }
  return 0;
}

function indirectWrite(register: u64, value: u64): void {
  csrWrite(SISELECT, register);
  csrWrite(SIREG, value);
}
