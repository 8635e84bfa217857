import { read64, write64 } from "../lib/hw";
import { PAGE_SIZE } from "../lib/records";

/** Contents of memory, word by word. */

/** The number of 64-bit words in `pages` pages at `address` that are not zero. */
export function countNonZero(address: u64, pages: u64): u64 {
  const end = address + pages * PAGE_SIZE;
  let count: u64 = 0;
  for (let at = address; at < end; at += 8) if (read64(at) != 0) count++;
  return count;
}

/** Writes a pattern that depends on the address into `pages` pages. */
export function fillPattern(address: u64, pages: u64, seed: u64): void {
  const end = address + pages * PAGE_SIZE;
  for (let at = address; at < end; at += 8) write64(at, seed ^ at);
}

/** The number of words that do not hold the pattern. */
export function countChanged(address: u64, pages: u64, seed: u64): u64 {
  const end = address + pages * PAGE_SIZE;
  let count: u64 = 0;
  for (let at = address; at < end; at += 8) if (read64(at) != (seed ^ at)) count++;
  return count;
}

/** True if any word of [address, address + length) is in [value, value + 32): a register of a filled register file. */
export function holdsSecret(address: u64, length: u64, value: u64): bool {
  for (let at: u64 = 0; at < length; at += 8) if (read64(address + at) - value < 32) return true;
  return false;
}
