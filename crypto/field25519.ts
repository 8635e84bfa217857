import { multiplyHigh, opaque } from "./hw";
import { loadWord, storeWord } from "./memory";

/**
 * The field of 2^255 - 19 elements.
 *
 *     value = limb 0 + limb 1 * 2^51 + limb 2 * 2^102 + limb 3 * 2^153 + limb 4 * 2^204        5 words of 8 bytes
 *
 * An element is *reduced* if its limbs are below 2^51 + 2^15; its value need not be the least one. Products, squares and what is
 * carried are reduced. Sums and differences of reduced elements are not: they are *loose* (limbs below 2^52.7), and may be multiplied or
 * squared, but not added again unless a function says so.
 *
 * No branch and no address depends on an element. `out` may be the same element as an input.
 */

/** Bytes of an element. */
export const FIELD_SIZE: usize = 40;
/** Bytes of its encoding. */
export const ENCODED_SIZE: usize = 32;

const LIMB_BITS: u64 = 51;
const LIMB_MASK: u64 = 0x7_ffff_ffff_ffff;
/** Limbs of 2p: the lowest one, and the others. */
export const TWICE_P_LOW: u64 = 0xf_ffff_ffff_ffda;
export const TWICE_P: u64 = 0xf_ffff_ffff_fffe;

/** out = a number below 2^51. */
export function fieldSet(out: usize, value: u64): void {
  store<u64>(out, value, 0);
  store<u64>(out, 0, 8);
  store<u64>(out, 0, 16);
  store<u64>(out, 0, 24);
  store<u64>(out, 0, 32);
}

export function fieldCopy(out: usize, x: usize): void {
  store<u64>(out, load<u64>(x, 0), 0);
  store<u64>(out, load<u64>(x, 8), 8);
  store<u64>(out, load<u64>(x, 16), 16);
  store<u64>(out, load<u64>(x, 24), 24);
  store<u64>(out, load<u64>(x, 32), 32);
}

/** out = x + y, loose. */
// @ts-ignore: decorator
@inline
export function fieldAdd(out: usize, x: usize, y: usize): void {
  store<u64>(out, load<u64>(x, 0) + load<u64>(y, 0), 0);
  store<u64>(out, load<u64>(x, 8) + load<u64>(y, 8), 8);
  store<u64>(out, load<u64>(x, 16) + load<u64>(y, 16), 16);
  store<u64>(out, load<u64>(x, 24) + load<u64>(y, 24), 24);
  store<u64>(out, load<u64>(x, 32) + load<u64>(y, 32), 32);
}

/** out = x - y, loose, for a reduced y: 2p is added so that no limb falls below zero. */
// @ts-ignore: decorator
@inline
export function fieldSubtract(out: usize, x: usize, y: usize): void {
  store<u64>(out, load<u64>(x, 0) + TWICE_P_LOW - load<u64>(y, 0), 0);
  store<u64>(out, load<u64>(x, 8) + TWICE_P - load<u64>(y, 8), 8);
  store<u64>(out, load<u64>(x, 16) + TWICE_P - load<u64>(y, 16), 16);
  store<u64>(out, load<u64>(x, 24) + TWICE_P - load<u64>(y, 24), 24);
  store<u64>(out, load<u64>(x, 32) + TWICE_P - load<u64>(y, 32), 32);
}

/** out = x - y, reduced, for x and y whose limbs are below 2^53. */
export function fieldSubtractLoose(out: usize, x: usize, y: usize): void {
  storeCarried(
    out,
    load<u64>(x, 0) + 2 * TWICE_P_LOW - load<u64>(y, 0),
    load<u64>(x, 8) + 2 * TWICE_P - load<u64>(y, 8),
    load<u64>(x, 16) + 2 * TWICE_P - load<u64>(y, 16),
    load<u64>(x, 24) + 2 * TWICE_P - load<u64>(y, 24),
    load<u64>(x, 32) + 2 * TWICE_P - load<u64>(y, 32),
  );
}

/** out = 2 x - y with limbs below 2^54, for a reduced x and a loose y: only a first factor may be as large. */
// @ts-ignore: decorator
@inline
export function fieldDoubleSubtract(out: usize, x: usize, y: usize): void {
  store<u64>(out, 2 * load<u64>(x, 0) + 2 * TWICE_P_LOW - load<u64>(y, 0), 0);
  store<u64>(out, 2 * load<u64>(x, 8) + 2 * TWICE_P - load<u64>(y, 8), 8);
  store<u64>(out, 2 * load<u64>(x, 16) + 2 * TWICE_P - load<u64>(y, 16), 16);
  store<u64>(out, 2 * load<u64>(x, 24) + 2 * TWICE_P - load<u64>(y, 24), 24);
  store<u64>(out, 2 * load<u64>(x, 32) + 2 * TWICE_P - load<u64>(y, 32), 32);
}

/** Carries limbs below 2^63 once around and stores the reduced element. */
// @ts-ignore: decorator
@inline
function storeCarried(out: usize, r0: u64, r1: u64, r2: u64, r3: u64, r4: u64): void {
  r1 += r0 >> LIMB_BITS;
  r2 += r1 >> LIMB_BITS;
  r3 += r2 >> LIMB_BITS;
  r4 += r3 >> LIMB_BITS;
  store<u64>(out, (r0 & LIMB_MASK) + (r4 >> LIMB_BITS) * 19, 0);
  store<u64>(out, r1 & LIMB_MASK, 8);
  store<u64>(out, r2 & LIMB_MASK, 16);
  store<u64>(out, r3 & LIMB_MASK, 24);
  store<u64>(out, r4 & LIMB_MASK, 32);
}

/** The part of a product of shifted limbs below 2^51; `multiplyHigh` of them is the part above. */
// @ts-ignore: decorator
@inline
function low(x: u64, y: u64): u64 {
  return (x * y) >> 13;
}

/**
 * out = x * y, for x with limbs below 2^54 and a loose y.
 *
 * One factor is shifted by 6 bits, the other by 7: then the upper word of a product begins at bit 51, and columns of lower and upper parts
 * are added up in 64 bits each, without carries. Limbs that go beyond 2^255 come back times 19.
 */
export function fieldMultiply(out: usize, x: usize, y: usize): void {
  const x0 = load<u64>(x, 0) << 6;
  const x1 = load<u64>(x, 8) << 6;
  const x2 = load<u64>(x, 16) << 6;
  const x3 = load<u64>(x, 24) << 6;
  const x4 = load<u64>(x, 32) << 6;
  const y0 = load<u64>(y, 0) << 7;
  const y1 = load<u64>(y, 8) << 7;
  const y2 = load<u64>(y, 16) << 7;
  const y3 = load<u64>(y, 24) << 7;
  const y4 = load<u64>(y, 32) << 7;
  const z1 = y1 * 19;
  const z2 = y2 * 19;
  const z3 = y3 * 19;
  const z4 = y4 * 19;
  let r0 = low(x0, y0) + low(x1, z4) + low(x2, z3) + low(x3, z2) + low(x4, z1);
  let r1 = low(x0, y1) + low(x1, y0) + low(x2, z4) + low(x3, z3) + low(x4, z2);
  let r2 = low(x0, y2) + low(x1, y1) + low(x2, y0) + low(x3, z4) + low(x4, z3);
  let r3 = low(x0, y3) + low(x1, y2) + low(x2, y1) + low(x3, y0) + low(x4, z4);
  let r4 = low(x0, y4) + low(x1, y3) + low(x2, y2) + low(x3, y1) + low(x4, y0);
  r1 += multiplyHigh(x0, y0) + multiplyHigh(x1, z4) + multiplyHigh(x2, z3) + multiplyHigh(x3, z2);
  r1 += multiplyHigh(x4, z1);
  r2 += multiplyHigh(x0, y1) + multiplyHigh(x1, y0) + multiplyHigh(x2, z4) + multiplyHigh(x3, z3);
  r2 += multiplyHigh(x4, z2);
  r3 += multiplyHigh(x0, y2) + multiplyHigh(x1, y1) + multiplyHigh(x2, y0) + multiplyHigh(x3, z4);
  r3 += multiplyHigh(x4, z3);
  r4 += multiplyHigh(x0, y3) + multiplyHigh(x1, y2) + multiplyHigh(x2, y1) + multiplyHigh(x3, y0);
  r4 += multiplyHigh(x4, z4);
  const top = multiplyHigh(x0, y4) + multiplyHigh(x1, y3) + multiplyHigh(x2, y2) + multiplyHigh(x3, y1);
  r0 += (top + multiplyHigh(x4, y0)) * 19;
  storeCarried(out, r0, r1, r2, r3, r4);
}

/** out = x * x, for a loose x. A limb that is shifted by 7 instead of 6 bits is that limb twice. */
export function fieldSquare(out: usize, x: usize): void {
  const x0 = load<u64>(x, 0) << 6;
  const x1 = load<u64>(x, 8) << 6;
  const x2 = load<u64>(x, 16) << 6;
  const x3 = load<u64>(x, 24) << 6;
  const x4 = load<u64>(x, 32) << 6;
  const y0 = x0 << 1;
  const y1 = x1 << 1;
  const y2 = x2 << 1;
  const y3 = x3 << 1;
  const y4 = x4 << 1;
  const z3 = y3 * 19;
  const z4 = y4 * 19;
  let r0 = low(x0, y0) + low(y1, z4) + low(y2, z3);
  let r1 = low(y0, y1) + low(y2, z4) + low(x3, z3);
  let r2 = low(y0, y2) + low(x1, y1) + low(y3, z4);
  let r3 = low(y0, y3) + low(y1, y2) + low(x4, z4);
  let r4 = low(y0, y4) + low(y1, y3) + low(x2, y2);
  r1 += multiplyHigh(x0, y0) + multiplyHigh(y1, z4) + multiplyHigh(y2, z3);
  r2 += multiplyHigh(y0, y1) + multiplyHigh(y2, z4) + multiplyHigh(x3, z3);
  r3 += multiplyHigh(y0, y2) + multiplyHigh(x1, y1) + multiplyHigh(y3, z4);
  r4 += multiplyHigh(y0, y3) + multiplyHigh(y1, y2) + multiplyHigh(x4, z4);
  r0 += (multiplyHigh(y0, y4) + multiplyHigh(y1, y3) + multiplyHigh(x2, y2)) * 19;
  storeCarried(out, r0, r1, r2, r3, r4);
}

/** out = x^(2^times), times > 0. */
export function fieldSquareTimes(out: usize, x: usize, times: u32): void {
  fieldSquare(out, x);
  while (--times != 0) fieldSquare(out, out);
}

/** Scratch of `fieldInvert` and `fieldPower`, in bytes. */
export const POWER_SCRATCH: usize = 4 * FIELD_SIZE;

/** out = x^(2^250 - 1), and x^11 at `eleventh`: the part that both powers below begin with. */
function powerCommon(out: usize, eleventh: usize, x: usize, scratch: usize): void {
  const a = scratch;
  const b = scratch + FIELD_SIZE;
  fieldSquare(a, x);
  fieldSquareTimes(b, a, 2);
  fieldMultiply(b, b, x);
  fieldMultiply(eleventh, a, b);
  fieldSquare(a, eleventh);
  fieldMultiply(b, a, b); // 2^5 - 1
  fieldSquareTimes(a, b, 5);
  fieldMultiply(b, a, b); // 2^10 - 1
  fieldSquareTimes(a, b, 10);
  fieldMultiply(out, a, b); // 2^20 - 1
  fieldSquareTimes(a, out, 20);
  fieldMultiply(a, a, out); // 2^40 - 1
  fieldSquareTimes(a, a, 10);
  fieldMultiply(b, a, b); // 2^50 - 1
  fieldSquareTimes(a, b, 50);
  fieldMultiply(out, a, b); // 2^100 - 1
  fieldSquareTimes(a, out, 100);
  fieldMultiply(a, a, out); // 2^200 - 1
  fieldSquareTimes(a, a, 50);
  fieldMultiply(out, a, b);
}

/** out = 1 / x, and 0 for 0. `out` is not `x`; `scratch`: POWER_SCRATCH bytes. */
export function fieldInvert(out: usize, x: usize, scratch: usize): void {
  const eleventh = scratch + 2 * FIELD_SIZE;
  powerCommon(out, eleventh, x, scratch);
  fieldSquareTimes(out, out, 5);
  fieldMultiply(out, out, eleventh); // 2^255 - 21
}

/** out = x^((p - 5) / 8) = x^(2^252 - 3), for square roots. `out` is not `x`; `scratch`: POWER_SCRATCH bytes. */
export function fieldPower(out: usize, x: usize, scratch: usize): void {
  powerCommon(out, scratch + 2 * FIELD_SIZE, x, scratch);
  fieldSquareTimes(out, out, 2);
  fieldMultiply(out, out, x);
}

/** The element with the encoding at `at` (32 bytes, any alignment; the highest bit is ignored), reduced. */
export function fieldDecode(out: usize, at: usize): void {
  const w0 = loadWord(at);
  const w1 = loadWord(at + 8);
  const w2 = loadWord(at + 16);
  const w3 = loadWord(at + 24);
  store<u64>(out, w0 & LIMB_MASK, 0);
  store<u64>(out, ((w0 >> 51) | (w1 << 13)) & LIMB_MASK, 8);
  store<u64>(out, ((w1 >> 38) | (w2 << 26)) & LIMB_MASK, 16);
  store<u64>(out, ((w2 >> 25) | (w3 << 39)) & LIMB_MASK, 24);
  store<u64>(out, (w3 >> 12) & LIMB_MASK, 32);
}

/** Stores the least value of a loose element, 32 bytes at any alignment. `topBit` becomes bit 255. */
export function fieldEncode(at: usize, x: usize, topBit: u64): void {
  let r0 = load<u64>(x, 0);
  let r1 = load<u64>(x, 8);
  let r2 = load<u64>(x, 16);
  let r3 = load<u64>(x, 24);
  let r4 = load<u64>(x, 32);
  // Twice, because the carry out of the top comes in again at the bottom: then the value is below 2^255.
  for (let i = 0; i < 2; i++) {
    r1 += r0 >> LIMB_BITS;
    r0 &= LIMB_MASK;
    r2 += r1 >> LIMB_BITS;
    r1 &= LIMB_MASK;
    r3 += r2 >> LIMB_BITS;
    r2 &= LIMB_MASK;
    r4 += r3 >> LIMB_BITS;
    r3 &= LIMB_MASK;
    r0 += (r4 >> LIMB_BITS) * 19;
    r4 &= LIMB_MASK;
  }
  // q = 1 if the value is at least p: then value + 19 reaches 2^255. Its bit 255 is dropped.
  let q = (r0 + 19) >> LIMB_BITS;
  q = (r1 + q) >> LIMB_BITS;
  q = (r2 + q) >> LIMB_BITS;
  q = (r3 + q) >> LIMB_BITS;
  q = (r4 + q) >> LIMB_BITS;
  r0 += q * 19;
  r1 += r0 >> LIMB_BITS;
  r2 += r1 >> LIMB_BITS;
  r3 += r2 >> LIMB_BITS;
  r4 += r3 >> LIMB_BITS;
  r0 &= LIMB_MASK;
  r1 &= LIMB_MASK;
  r2 &= LIMB_MASK;
  r3 &= LIMB_MASK;
  r4 &= LIMB_MASK;
  storeWord(at, r0 | (r1 << 51));
  storeWord(at + 8, (r1 >> 13) | (r2 << 38));
  storeWord(at + 16, (r2 >> 26) | (r3 << 25));
  storeWord(at + 24, (r3 >> 39) | (r4 << 12) | (topBit << 63));
}

/** The lowest bit of the least value: the sign of an x coordinate. `scratch`: 32 bytes. */
export function fieldIsOdd(x: usize, scratch: usize): u64 {
  fieldEncode(scratch, x, 0);
  return <u64>(load<u8>(scratch) & 1);
}

/** True if the value is 0. `scratch`: 32 bytes, 8-byte aligned. */
export function fieldIsZero(x: usize, scratch: usize): bool {
  fieldEncode(scratch, x, 0);
  return (load<u64>(scratch, 0) | load<u64>(scratch, 8) | load<u64>(scratch, 16) | load<u64>(scratch, 24)) == 0;
}

/** All ones if x == y, else 0, without a branch. x and y are below 2^63. */
// @ts-ignore: decorator
@inline
export function maskOfEqual(x: u64, y: u64): u64 {
  return opaque(0 - (((x ^ y) - 1) >> 63));
}
