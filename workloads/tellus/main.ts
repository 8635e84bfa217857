import { bootTellus } from "./boot";
import { serveSecondaryHart } from "./commands";

export { handleTrap as trap } from "../lib/interrupts";
export { reportAssert as panicAssert, reportWasmTrap as panicWasm } from "../lib/panic";

/** The host test VM: what the machine layer calls. */

export function main(hartId: u64, opaque: u64): void {
  bootTellus(hartId, opaque);
}

export function secondaryMain(hartId: u64, stackTop: u64): void {
  serveSecondaryHart(hartId, stackTop);
}
