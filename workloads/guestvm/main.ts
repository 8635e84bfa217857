import { bootGuest } from "./boot";
import { serveSecondaryVcpu } from "./secondary";

export { handleTrap as trap } from "../lib/interrupts";
export { reportAssert as panicAssert, reportWasmTrap as panicWasm } from "../lib/panic";

/** The confidential guest: what the machine layer calls. */

export function main(hartId: u64, opaque: u64): void {
  bootGuest(hartId, opaque);
}

export function secondaryMain(hartId: u64, stackTop: u64): void {
  serveSecondaryVcpu(hartId, stackTop);
}
