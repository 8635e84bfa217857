import { read8 } from "../riscv/hw";
import { literalChar, literalLength } from "./literal";

/**
 * Byte strings that others wrote (device trees), compared with literals. All lengths are in bytes; none is trusted to be
 * terminated except where the text says so.
 */

/** Bytes before the NUL of the string at `address`, or -1 if there is none within `limit` bytes. */
export function textLength(address: usize, limit: u64): i64 {
  for (let length: u64 = 0; length < limit; length++) {
    if (read8(<u64>address + length) == 0) return <i64>length;
  }
  return -1;
}

/** Whether the `length` bytes at `address` are the literal. */
export function bytesAre(address: usize, length: u64, text: string): bool {
  if (length != <u64>literalLength(text)) return false;
  for (let i: u64 = 0; i < length; i++) {
    if (read8(<u64>address + i) != literalChar(text, <usize>i)) return false;
  }
  return true;
}

/** Whether the NUL-terminated string at `address` is the literal. Reads no byte past the first difference. */
export function textIs(address: usize, text: string): bool {
  const length = literalLength(text);
  for (let i: usize = 0; i < length; i++) {
    if (read8(<u64>(address + i)) != literalChar(text, i)) return false;
  }
  return read8(<u64>(address + length)) == 0;
}

/** Whether two byte strings of `length` bytes are equal. */
export function bytesEqual(a: usize, b: usize, length: u64): bool {
  for (let i: u64 = 0; i < length; i++) {
    if (read8(<u64>a + i) != read8(<u64>b + i)) return false;
  }
  return true;
}

// @ts-ignore: decorator
@inline
export function isDigit(character: u32): bool {
  return character - 0x30 < 10;
}
