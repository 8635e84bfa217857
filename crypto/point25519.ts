import { BASE_TABLE, CURVE_CONSTANTS, upperBaseTable } from "./base-table25519";
import {
  ENCODED_SIZE,
  FIELD_SIZE,
  fieldAdd,
  fieldCopy,
  fieldDecode,
  fieldDoubleSubtract,
  fieldEncode,
  fieldInvert,
  fieldIsOdd,
  fieldIsZero,
  fieldMultiply,
  fieldPower,
  fieldSet,
  fieldSquare,
  fieldSubtract,
  fieldSubtractLoose,
  maskOfEqual,
  POWER_SCRATCH,
  TWICE_P,
  TWICE_P_LOW,
} from "./field25519";
import { constantTimeEqual } from "./memory";
import { opaque } from "./hw";

/**
 * Points of the curve -x^2 + y^2 = 1 + d x^2 y^2 over the field of 2^255 - 19 elements, as field elements in a row (FIELD_SIZE bytes each):
 *
 *     extended     X, Y, Z, T        x = X / Z, y = Y / Z, T = X Y / Z        (projective: T is not there)
 *     completed    X, Y, Z, T        x = X / Z, y = Y / T: what a doubling or an addition gives
 *     Niels        y + x, y - x, 2 d x y
 *     cached       Y + X, Y - X, 2 Z, 2 d T
 *
 * The formulas are complete: they hold for all points, so there is nothing to branch on (Hisil, Wong, Carter, Dawson 2008).
 */

const X: usize = 0;
const Y: usize = FIELD_SIZE;
const Z: usize = 2 * FIELD_SIZE;
const T: usize = 3 * FIELD_SIZE;
export const POINT_SIZE: usize = 4 * FIELD_SIZE;
export const NIELS_SIZE: usize = 3 * FIELD_SIZE;

/** Multiples in one part of the table: 1 to 8 times 16^(16 j) B in part j, Niels; part 0 is BASE_TABLE, the others are in upperBaseTable. */
const TABLE_MULTIPLES: usize = 8;
const TABLE_PARTS: usize = 4;
const DIGITS_OF_PART: usize = 16;

const D: usize = 0;
const TWICE_D: usize = FIELD_SIZE;
const ROOT_OF_MINUS_ONE: usize = 2 * FIELD_SIZE;

function constant(offset: usize): usize {
  return changetype<usize>(CURVE_CONSTANTS) + offset;
}

export function pointSetNeutral(out: usize): void {
  fieldSet(out + X, 0);
  fieldSet(out + Y, 1);
  fieldSet(out + Z, 1);
  fieldSet(out + T, 0);
}

/** out (completed) = 2 p, for a projective p. They do not overlap. */
export function pointDouble(out: usize, p: usize): void {
  fieldAdd(out + Y, p + X, p + Y);
  fieldSquare(out + X, out + Y);
  fieldSquare(out + Z, p + Y);
  fieldSquare(out + T, p + X);
  fieldAdd(out + Y, out + Z, out + T);
  fieldSubtract(out + Z, out + Z, out + T);
  fieldSubtractLoose(out + X, out + X, out + Y);
  fieldSquare(out + T, p + Z);
  fieldDoubleSubtract(out + T, out + T, out + Z);
}

/** out (completed) = p + q, for an extended p and a Niels q. They do not overlap. */
function pointAddNiels(out: usize, p: usize, q: usize): void {
  fieldAdd(out + Y, p + Y, p + X);
  fieldMultiply(out + Y, out + Y, q + X);
  fieldSubtract(out + X, p + Y, p + X);
  fieldMultiply(out + X, out + X, q + Y);
  fieldMultiply(out + T, p + T, q + Z);
  fieldAdd(out + Z, p + Z, p + Z);
  finishAddition(out);
}

/** out (completed) = p + q, for an extended p and a cached q. They do not overlap. */
function pointAddCached(out: usize, p: usize, q: usize): void {
  fieldAdd(out + Y, p + Y, p + X);
  fieldMultiply(out + Y, out + Y, q + X);
  fieldSubtract(out + X, p + Y, p + X);
  fieldMultiply(out + X, out + X, q + Y);
  fieldMultiply(out + T, p + T, q + T);
  fieldMultiply(out + Z, p + Z, q + Z);
  finishAddition(out);
}

/** From products A (in Y), B (in X), C (in T) and D (in Z): X = A - B, Y = A + B, Z = D + C, T = D - C. */
// @ts-ignore: decorator
@inline
function finishAddition(out: usize): void {
  let twiceP = TWICE_P_LOW;
  for (let at = out; at < out + FIELD_SIZE; at += 8) {
    const a = load<u64>(at, Y);
    const b = load<u64>(at, X);
    const c = load<u64>(at, T);
    const d = load<u64>(at, Z);
    store<u64>(at, a + twiceP - b, X);
    store<u64>(at, a + b, Y);
    store<u64>(at, d + c, Z);
    store<u64>(at, d + twiceP - c, T);
    twiceP = TWICE_P;
  }
}

/** out (projective) = p (completed). They do not overlap. T of a completed point may be too large for the second factor. */
function toProjective(out: usize, p: usize): void {
  fieldMultiply(out + X, p + T, p + X);
  fieldMultiply(out + Y, p + Z, p + Y);
  fieldMultiply(out + Z, p + T, p + Z);
}

/** out (extended) = p (completed). They do not overlap. */
function toExtended(out: usize, p: usize): void {
  toProjective(out, p);
  fieldMultiply(out + T, p + X, p + Y);
}

/** out (cached) = p (extended). They do not overlap. */
function toCached(out: usize, p: usize): void {
  fieldAdd(out + X, p + Y, p + X);
  fieldSubtract(out + Y, p + Y, p + X);
  fieldAdd(out + Z, p + Z, p + Z);
  fieldMultiply(out + T, p + T, constant(TWICE_D));
}

// ---- multiples of the base point

/** Scratch of `pointMultiplyBase`: a completed point and a Niels point. */
export const BASE_SCRATCH: usize = POINT_SIZE + NIELS_SIZE;

/** out (extended) = s B, for the signed digits of s (scalarDigits). No branch and no address depends on the digits. */
export function pointMultiplyBase(out: usize, digits: usize, scratch: usize): void {
  const completed = scratch;
  const entry = scratch + POINT_SIZE;
  pointSetNeutral(out);
  for (let i: usize = DIGITS_OF_PART; i > 0; i--) {
    if (i < DIGITS_OF_PART) {
      for (let k = 0; k < 3; k++) {
        pointDouble(completed, out);
        toProjective(out, completed);
      }
      pointDouble(completed, out);
      toExtended(out, completed);
    }
    for (let part: usize = 0; part < TABLE_PARTS; part++) {
      const digit = load<i8>(digits + part * DIGITS_OF_PART + i - 1);
      selectBase(entry, part, digit);
      pointAddNiels(completed, out, entry);
      toExtended(out, completed);
    }
  }
}

/** out (Niels) = digit * 16^(16 part) B, for -8 <= digit <= 8: every entry of the part is read, and a mask chooses. */
function selectBase(out: usize, part: usize, digit: i8): void {
  const negative = opaque(<u64>((<i64>digit) >> 63));
  const size = ((<u64>(<i64>digit)) ^ negative) - negative;
  const mask1 = maskOfEqual(size, 1);
  const mask2 = maskOfEqual(size, 2);
  const mask3 = maskOfEqual(size, 3);
  const mask4 = maskOfEqual(size, 4);
  const mask5 = maskOfEqual(size, 5);
  const mask6 = maskOfEqual(size, 6);
  const mask7 = maskOfEqual(size, 7);
  const mask8 = maskOfEqual(size, 8);
  const table =
    part == 0 ? changetype<usize>(BASE_TABLE) : upperBaseTable() + (part - 1) * (TABLE_MULTIPLES * NIELS_SIZE);
  for (let offset: usize = 0; offset < NIELS_SIZE; offset += 8) {
    const at = table + offset;
    let word = load<u64>(at) & mask1;
    word |= load<u64>(at, NIELS_SIZE) & mask2;
    word |= load<u64>(at, 2 * NIELS_SIZE) & mask3;
    word |= load<u64>(at, 3 * NIELS_SIZE) & mask4;
    word |= load<u64>(at, 4 * NIELS_SIZE) & mask5;
    word |= load<u64>(at, 5 * NIELS_SIZE) & mask6;
    word |= load<u64>(at, 6 * NIELS_SIZE) & mask7;
    word |= load<u64>(at, 7 * NIELS_SIZE) & mask8;
    store<u64>(out + offset, word);
  }
  // No multiple: the neutral element, (1, 1, 0).
  const one = maskOfEqual(size, 0) & 1;
  store<u64>(out, load<u64>(out, X) | one, X);
  store<u64>(out, load<u64>(out, Y) | one, Y);
  // -(x, y) = (-x, y): the first two change places, the third changes its sign.
  let twiceP = TWICE_P_LOW;
  for (let at = out; at < out + FIELD_SIZE; at += 8) {
    const sum = load<u64>(at, X);
    const difference = load<u64>(at, Y);
    const third = load<u64>(at, Z);
    const both = (sum ^ difference) & negative;
    store<u64>(at, sum ^ both, X);
    store<u64>(at, difference ^ both, Y);
    store<u64>(at, third ^ ((third ^ (twiceP - third)) & negative), Z);
    twiceP = TWICE_P;
  }
}

// ---- public points: time may depend on them

/** Odd multiples of a point in the table of `pointMultiplyTwo`: 1, 3, ..., 15. */
const ODD_MULTIPLES: usize = 8;
/** Scratch of `pointMultiplyTwo`: a completed, an extended, and a negated point, and the table of cached points. */
export const TWO_SCRATCH: usize = (3 + ODD_MULTIPLES) * POINT_SIZE;

/** Widths of the sparse digits that `pointMultiplyTwo` takes: of the base point's factor and of the other. */
export const BASE_WIDTH: u32 = 4;
export const POINT_WIDTH: u32 = 5;

/** out (projective) = s B + k p, for an extended p and the sparse digits of s and k (scalarSparseDigits). For public values. */
export function pointMultiplyTwo(out: usize, baseDigits: usize, p: usize, digits: usize, scratch: usize): void {
  const completed = scratch;
  const extended = scratch + POINT_SIZE;
  const negated = extended + POINT_SIZE;
  const table = negated + POINT_SIZE;
  pointDouble(completed, p);
  toExtended(extended, completed);
  toCached(table, p);
  for (let i: usize = 1; i < ODD_MULTIPLES; i++) {
    pointAddCached(completed, extended, table + (i - 1) * POINT_SIZE);
    toExtended(out, completed);
    toCached(table + i * POINT_SIZE, out);
  }

  pointSetNeutral(out);
  for (let i: usize = 256; i > 0; i--) {
    pointDouble(completed, out);
    const digit = <i32>load<i8>(digits + i - 1);
    if (digit != 0) {
      toExtended(extended, completed);
      let entry = table + <usize>((abs<i32>(digit) - 1) / 2) * POINT_SIZE;
      if (digit < 0) entry = negate(negated, entry, T);
      pointAddCached(completed, extended, entry);
    }
    const baseDigit = <i32>load<i8>(baseDigits + i - 1);
    if (baseDigit != 0) {
      toExtended(extended, completed);
      let entry = changetype<usize>(BASE_TABLE) + <usize>(abs<i32>(baseDigit) - 1) * NIELS_SIZE;
      if (baseDigit < 0) entry = negate(negated, entry, Z);
      pointAddNiels(completed, extended, entry);
    }
    toProjective(out, completed);
  }
}

/** Stores the negative of a Niels point (`last` Z) or of a cached one (`last` T) at `out`; returns `out`. */
function negate(out: usize, p: usize, last: usize): usize {
  fieldCopy(out + X, p + Y);
  fieldCopy(out + Y, p + X);
  if (last != Z) fieldCopy(out + Z, p + Z);
  fieldSet(out + last, 0);
  fieldSubtract(out + last, out + last, p + last);
  return out;
}

/** True if 8 p is the neutral element, for a projective p. Scratch: two points. */
export function pointHasSmallOrder(p: usize, scratch: usize): bool {
  const completed = scratch;
  const multiple = scratch + POINT_SIZE;
  pointDouble(completed, p);
  toProjective(multiple, completed);
  pointDouble(completed, multiple);
  toProjective(multiple, completed);
  pointDouble(completed, multiple);
  toProjective(multiple, completed);
  // Neutral: X = 0 and Y = Z.
  fieldSubtract(completed, multiple + Y, multiple + Z);
  const difference = fieldIsZero(completed, completed + FIELD_SIZE);
  return fieldIsZero(multiple + X, completed + FIELD_SIZE) && difference;
}

// ---- encodings (RFC 8032, 5.1.2 and 5.1.3)

/** Scratch of `pointEncode`: what inversion needs and three elements. */
export const ENCODE_SCRATCH: usize = POWER_SCRATCH + 3 * FIELD_SIZE;

/** Stores the encoding of a projective point, 32 bytes at any alignment. */
export function pointEncode(at: usize, p: usize, scratch: usize): void {
  const inverse = scratch + POWER_SCRATCH;
  const x = inverse + FIELD_SIZE;
  const y = x + FIELD_SIZE;
  fieldInvert(inverse, p + Z, scratch);
  fieldMultiply(x, p + X, inverse);
  fieldMultiply(y, p + Y, inverse);
  fieldEncode(at, y, fieldIsOdd(x, scratch));
}

/** Scratch of `pointDecode`: what a power needs and four elements. */
export const DECODE_SCRATCH: usize = POWER_SCRATCH + 4 * FIELD_SIZE;

/**
 * The extended point with the encoding at `at` (32 bytes, any alignment). Returns false if there is none, and for encodings that
 * RFC 8032 does not allow: y of at least p, and x = 0 with the sign bit set. For public points.
 */
export function pointDecode(out: usize, at: usize, scratch: usize): bool {
  const u = scratch + POWER_SCRATCH;
  const v = u + FIELD_SIZE;
  const v3 = v + FIELD_SIZE;
  const check = v3 + FIELD_SIZE;
  const sign = <u64>(load<u8>(at + 31) >> 7);
  fieldDecode(out + Y, at);
  fieldEncode(scratch, out + Y, sign);
  if (!constantTimeEqual(scratch, at, ENCODED_SIZE)) return false;
  fieldSet(out + Z, 1);

  // x^2 = u / v = (y^2 - 1) / (d y^2 + 1); a root is u v^3 (u v^7)^((p - 5) / 8), or that times the root of -1.
  fieldSquare(u, out + Y);
  fieldMultiply(v, u, constant(D));
  fieldSubtract(u, u, out + Z);
  fieldAdd(v, v, out + Z);
  fieldSquare(v3, v);
  fieldMultiply(v3, v3, v);
  fieldSquare(check, v3);
  fieldMultiply(check, check, v);
  fieldMultiply(check, u, check);
  fieldPower(out + X, check, scratch);
  fieldMultiply(out + X, out + X, v3);
  fieldMultiply(out + X, u, out + X);

  fieldSquare(v3, out + X);
  fieldMultiply(v3, v3, v);
  fieldSubtractLoose(check, v3, u);
  if (!fieldIsZero(check, scratch)) {
    fieldAdd(check, v3, u);
    if (!fieldIsZero(check, scratch)) return false;
    fieldMultiply(out + X, out + X, constant(ROOT_OF_MINUS_ONE));
  }
  if (fieldIsOdd(out + X, scratch) != sign) {
    if (fieldIsZero(out + X, scratch)) return false;
    fieldSet(check, 0);
    fieldSubtractLoose(out + X, check, out + X);
  }
  fieldMultiply(out + T, out + X, out + Y);
  return true;
}

/** p := -p, for an extended p. Scratch: one element. */
export function pointNegate(p: usize, scratch: usize): void {
  fieldSet(scratch, 0);
  fieldSubtractLoose(p + X, scratch, p + X);
  fieldSubtractLoose(p + T, scratch, p + T);
}
