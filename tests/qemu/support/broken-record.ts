import { addressOf } from "./elf-symbols.ts";
import type { Gdb } from "./gdb.ts";

const A0 = 10;
const STATE_BITS = 0xfn;
/** PageState.Owned: nobody holds a reference. */
const OWNED = 2n;

/**
 * Breaks an invariant of the hypervisor's: when it is about to give back a page of the host that it holds for a console call, the page's record
 * says that nobody holds it. The machine is stopped before and after; a host that reads the console soon makes such a call.
 */
export async function breakPageRecord(gdb: Gdb, symbols: Map<string, bigint>): Promise<void> {
  const address = addressOf(symbols, "memory/page-record.ts:dropReference");
  await gdb.setBreakpoint(address);
  await gdb.resumeToStop();
  await gdb.clearBreakpoint(address);
  const record = await gdb.register(A0);
  await gdb.write64(record, ((await gdb.read64(record)) & ~STATE_BITS) | OWNED);
}
