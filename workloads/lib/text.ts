import { read8 } from "./hw";

/**
 * String literals as bytes. A literal is UTF-16 text in the image's read-only data, its length in bytes lies in the u32
 * before it; only ASCII is used.
 */

/** Number of characters of `text`. */
export function textLength(text: string): u32 {
  return load<u32>(changetype<usize>(text) - 4) >>> 1;
}

/** Character `index` of `text`; '?' for anything that is not ASCII. */
export function textAt(text: string, index: u32): u32 {
  const unit = <u32>load<u16>(changetype<usize>(text) + ((<usize>index) << 1));
  return unit < 0x80 ? unit : 0x3f;
}

/** True if the bytes at `address` begin with `text`. */
export function bytesStartWith(address: u64, text: string): bool {
  const length = textLength(text);
  for (let i: u32 = 0; i < length; i++) if (read8(address + <u64>i) != textAt(text, i)) return false;
  return true;
}

/** True if the `length` bytes at `address` are `text`. */
export function bytesEqual(address: u64, length: u64, text: string): bool {
  return length == <u64>textLength(text) && bytesStartWith(address, text);
}
