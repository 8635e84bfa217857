import { serveSecondaryHart } from "../tellus/commands";
import { bootControlledHost } from "./boot";

export { handleTrap as trap } from "../lib/interrupts";
export { reportAssert as panicAssert, reportWasmTrap as panicWasm } from "../lib/panic";

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
