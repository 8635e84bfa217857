import { handleTrap } from "../lib/interrupts";
import { reportAssert, reportWasmTrap } from "../lib/panic";
import { TrapFrame } from "../lib/trap-frame";
import { serveSecondaryHart } from "../tellus/commands";
import { bootControlledHost } from "./boot";

/**
 * A host that does what its console says, one line a command: for tests that look at the machine from outside while something is going
 * on in it (tests/qemu). It says what it was given, then `host: ready`. commands.ts has the commands.
 */

export function main(hartId: u64, opaque: u64): void {
  bootControlledHost(hartId, opaque);
}

/** The other harts are tellus', and obey its commands. */
export function secondaryMain(hartId: u64, stackTop: u64): void {
  serveSecondaryHart(hartId, stackTop);
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
