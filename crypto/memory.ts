import { wipeBytes } from "./hw";

/** Bytes and little-endian words at any alignment, secrets that go, and comparisons that do not tell where two values differ. */

/** Zeroes `length` bytes at `at` so that no compiler drops it. */
export function wipe(at: usize, length: u64): void {
  wipeBytes(at, length);
}

/** True if the `length` bytes at `x` and `y` are equal; takes the same time wherever they differ. */
export function constantTimeEqual(x: usize, y: usize, length: u64): bool {
  let difference: u64 = 0;
  for (let i: usize = 0; i < <usize>length; i++) difference |= <u64>(load<u8>(x + i) ^ load<u8>(y + i));
  return difference == 0;
}

/** Copies `length` bytes, byte by byte: for keys and digests. */
export function copyFew(to: usize, from: usize, length: u64): void {
  for (let i: usize = 0; i < <usize>length; i++) store<u8>(to + i, load<u8>(from + i));
}

/** The little-endian word at any alignment. */
export function loadWord(at: usize): u64 {
  let word: u64 = 0;
  for (let i: u64 = 0; i < 8; i++) word |= (<u64>load<u8>(at + <usize>i)) << (i << 3);
  return word;
}

/** Stores a little-endian word at any alignment. */
export function storeWord(at: usize, word: u64): void {
  for (let i: u64 = 0; i < 8; i++) store<u8>(at + <usize>i, <u8>(word >> (i << 3)));
}
