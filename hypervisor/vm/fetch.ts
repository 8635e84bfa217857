import { fetchGuestHalf } from "../riscv/hw";
import { instructionLength } from "./mmio-decode";

/** `fetchInstruction`: the instruction cannot be fetched any more. */
export const FETCH_FAULTED: i64 = -1;

/**
 * The instruction of the current guest at `pc`, 16 or 32 bits, through the guest's own page tables, or FETCH_FAULTED. The second half is only
 * fetched if the first says that there is one: it may lie on a page that does not exist.
 */
export function fetchInstruction(pc: u64): i64 {
  const low = fetchGuestHalf(pc);
  if (low < 0) return FETCH_FAULTED;
  if (instructionLength(<u32>low) == 2) return low;
  const high = fetchGuestHalf(pc + 2);
  return high < 0 ? FETCH_FAULTED : low | (high << 16);
}
