import { read8 } from "../riscv/hw";

/**
 * Reads CBOR (RFC 8949) that somebody else wrote: integers, byte strings, arrays and maps of definite length. A reader never leaves [at, end).
 */
@unmanaged
export class CborReader {
  at: u64;
  end: u64;

  left(): u64 {
    return this.end - this.at;
  }
}

export const CBOR_UNSIGNED: u32 = 0;
export const CBOR_BYTES: u32 = 2;
export const CBOR_ARRAY: u32 = 4;
export const CBOR_MAP: u32 = 5;

/** `cborHead`: the next item is not of that type, or not in the fewest bytes, or not all there. */
export const CBOR_WRONG: u64 = ~0;

/** Steps over the head of the next item, which must have major type `major`; its number. */
export function cborHead(reader: CborReader, major: u32): u64 {
  if (reader.left() == 0) return CBOR_WRONG;
  const first = read8(reader.at);
  if (first >> 5 != major) return CBOR_WRONG;
  const short = <u64>(first & 31);
  if (short < 24) {
    reader.at++;
    return short;
  }
  const bytes = (<u64>1) << (short - 24);
  // Nothing that we read is longer than 2^32.
  if (short > 26 || reader.left() <= bytes) return CBOR_WRONG;
  let value: u64 = 0;
  for (let i: u64 = 1; i <= bytes; i++) value = (value << 8) | (<u64>read8(reader.at + i));
  reader.at += 1 + bytes;
  return value;
}

/** Steps over a byte string and returns its length; it ends where the reader is now. CBOR_WRONG if there is none. */
export function cborBytes(reader: CborReader): u64 {
  const length = cborHead(reader, CBOR_BYTES);
  if (length == CBOR_WRONG || length > reader.left()) return CBOR_WRONG;
  reader.at += length;
  return length;
}
