import { handleTrap } from "../lib/interrupts";
import { reportAssert, reportWasmTrap } from "../lib/panic";
import { TrapFrame } from "../lib/trap-frame";
import { bootGuest } from "./boot";
import { serveSecondaryVcpu } from "./secondary";

/** The confidential guest: what the machine layer calls. */

export function main(hartId: u64, opaque: u64): void {
  bootGuest(hartId, opaque);
}

export function secondaryMain(hartId: u64, stackTop: u64): void {
  serveSecondaryVcpu(hartId, stackTop);
}

export function trap(frame: usize): void {
  handleTrap(changetype<TrapFrame>(frame));
}

export function panicAssert(message: usize, file: usize, line: u32, column: u32): void {
  reportAssert(message, file, line, column);
}

export function panicWasm(kind: u32): void {
  reportWasmTrap(kind);
}
