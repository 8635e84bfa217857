import { multiplyHigh, opaque } from "./hw";

/**
 * Numbers modulo L = 2^252 + 27742317777372353535851937790883648493, the order of the base point: little-endian words in memory, at any
 * time as many as a function says. No branch and no address depends on a value.
 */

/** Bytes of a scalar. */
export const SCALAR_SIZE: usize = 32;

/** L in four words, then floor(2^512 / L) in five (each word as four UTF-16 units, the low one first: the dialect's constant data). */
const CONSTANTS: string =
  "\
\ud3ed\u5cf5\u631a\u5812\u9cd6\ua2f7\uf9de\u14de\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u1000\
\u131b\u0a2c\ue5a3\ued9c\u29a7\u0863\u215d\u2106\uffeb\uffff\uffff\uffff\uffff\uffff\uffff\uffff\u000f\u0000\u0000\u0000";
const MU_OFFSET: usize = 32;

function order(): usize {
  return changetype<usize>(CONSTANTS);
}

/** 1 if x < y, else 0, without a branch. */
// @ts-ignore: decorator
@inline
function isBelow(x: u64, y: u64): u64 {
  return select<u64>(1, 0, x < y);
}

/** out (n + m words) = x (n words) * y (m words); out overlaps neither. */
function multiplyWords(out: usize, x: usize, n: usize, y: usize, m: usize): void {
  for (let i: usize = 0; i < n + m; i++) store<u64>(out + (i << 3), 0);
  for (let i: usize = 0; i < n; i++) {
    const factor = load<u64>(x + (i << 3));
    let carry: u64 = 0;
    for (let j: usize = 0; j < m; j++) {
      const other = load<u64>(y + (j << 3));
      const at = out + ((i + j) << 3);
      let high = multiplyHigh(factor, other);
      let sum = factor * other + carry;
      high += isBelow(sum, carry);
      const before = load<u64>(at);
      sum += before;
      high += isBelow(sum, before);
      store<u64>(at, sum);
      carry = high;
    }
    store<u64>(out + ((i + m) << 3), carry);
  }
}

/** x -= y over n words; returns the borrow. */
function subtractWords(x: usize, y: usize, n: usize): u64 {
  let borrow: u64 = 0;
  for (let i: usize = 0; i < n; i++) {
    const a = load<u64>(x + (i << 3));
    const b = load<u64>(y + (i << 3));
    const d = a - b;
    store<u64>(x + (i << 3), d - borrow);
    borrow = isBelow(a, b) | isBelow(d, borrow);
  }
  return borrow;
}

/** x += y & mask over n words. */
function addMasked(x: usize, y: usize, n: usize, mask: u64): void {
  let carry: u64 = 0;
  for (let i: usize = 0; i < n; i++) {
    const a = load<u64>(x + (i << 3));
    const b = load<u64>(y + (i << 3)) & mask;
    const sum = a + b;
    const total = sum + carry;
    carry = isBelow(sum, a) | isBelow(total, sum);
    store<u64>(x + (i << 3), total);
  }
}

/** Scratch of the two functions below: a product of 10 words, one of 9, L in 5 words. */
export const SCALAR_SCRATCH: usize = (10 + 9 + 5) * 8;

/** The 8 words at `wide` modulo L: 4 words at `wide`. Barrett's method (HAC 14.42) with 64-bit digits. */
export function scalarReduce(wide: usize, scratch: usize): void {
  const product = scratch;
  const multiple = scratch + 10 * 8;
  const padded = multiple + 9 * 8;
  for (let i: usize = 0; i < 4; i++) store<u64>(padded + (i << 3), load<u64>(order() + (i << 3)));
  store<u64>(padded, 0, 32);
  // The quotient, too small by 2 at most.
  multiplyWords(product, wide + 3 * 8, 5, order() + MU_OFFSET, 5);
  multiplyWords(multiple, product + 5 * 8, 5, order(), 4);
  // The remainder is below 3 L, so five words of the difference say all.
  subtractWords(wide, multiple, 5);
  for (let i = 0; i < 2; i++) {
    const borrow = subtractWords(wide, padded, 5);
    addMasked(wide, padded, 5, opaque(0 - borrow));
  }
}

/** wide (8 words, of which the first 4 are the result) = x * y + z modulo L, for 4 words each. */
export function scalarMultiplyAdd(wide: usize, x: usize, y: usize, z: usize, scratch: usize): void {
  multiplyWords(wide, x, 4, y, 4);
  let carry: u64 = 0;
  for (let i: usize = 0; i < 8; i++) {
    const a = load<u64>(wide + (i << 3));
    let sum = a + carry;
    carry = isBelow(sum, a);
    if (i < 4) {
      const b = load<u64>(z + (i << 3));
      sum += b;
      carry += isBelow(sum, b);
    }
    store<u64>(wide + (i << 3), sum);
  }
  scalarReduce(wide, scratch);
}

/** True if the 4 words at `x` are below L. For public numbers. */
export function scalarIsReduced(x: usize): bool {
  for (let i: usize = 4; i > 0; i--) {
    const a = load<u64>(x + ((i - 1) << 3));
    const b = load<u64>(order() + ((i - 1) << 3));
    if (a != b) return a < b;
  }
  return false;
}

/**
 * Writes the 4 words at `x` (below 2^255) as 64 signed digits of base 16, from -8 to 8, one byte each: the sum of digit i * 16^i.
 */
export function scalarDigits(digits: usize, x: usize): void {
  for (let i: usize = 0; i < 32; i++) {
    const byte = load<u8>(x + i);
    store<u8>(digits + 2 * i, byte & 15);
    store<u8>(digits + 2 * i + 1, byte >> 4);
  }
  let carry: u32 = 0;
  for (let i: usize = 0; i < 63; i++) {
    const digit = <u32>load<u8>(digits + i) + carry;
    carry = (digit + 8) >> 4;
    store<u8>(digits + i, <u8>(digit - (carry << 4)));
  }
  store<u8>(digits + 63, <u8>(<u32>load<u8>(digits + 63) + carry));
}

/**
 * Writes the 4 words at `x` (below 2^253) as 256 digits, one byte each, that are 0 or odd and below 2^(width-1) in size, the sum of
 * digit i * 2^i, with at least width - 1 zeros after each other one. For public numbers: time depends on the value.
 */
export function scalarSparseDigits(digits: usize, x: usize, width: u32): void {
  const window: i32 = 1 << width;
  let carry: i32 = 0;
  let position: u32 = 0;
  while (position < 256) {
    if (bitAt(x, position) == carry) {
      store<i8>(digits + <usize>position, 0);
      position++;
      continue;
    }
    let digit = carry;
    for (let i: u32 = 0; i < width && position + i < 256; i++) digit += bitAt(x, position + i) << i;
    carry = digit >= window / 2 ? 1 : 0;
    store<i8>(digits + <usize>position, <i8>(digit - carry * window));
    for (let i: u32 = 1; i < width && position + i < 256; i++) store<i8>(digits + <usize>(position + i), 0);
    position += width;
  }
}

// @ts-ignore: decorator
@inline
function bitAt(x: usize, index: u32): i32 {
  return ((<i32>load<u8>(x + <usize>(index >> 3))) >> (index & 7)) & 1;
}
