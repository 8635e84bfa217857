/**
 * Checked arithmetic on 64-bit addresses and sizes. Values that come from a tree, a host or a guest are added only after
 * `addOverflows` said no.
 */

/** Whether a + b leaves 64 bits. */
// @ts-ignore: decorator
@inline
export function addOverflows(a: u64, b: u64): bool {
  return a + b < a;
}

/** Rounds up to a multiple of `alignment` (a power of two). The caller knows that the result fits (alignUpOverflows). */
// @ts-ignore: decorator
@inline
export function alignUp(value: u64, alignment: u64): u64 {
  return (value + (alignment - 1)) & ~(alignment - 1);
}

// @ts-ignore: decorator
@inline
export function alignUpOverflows(value: u64, alignment: u64): bool {
  return value + (alignment - 1) < value;
}

/** Rounds down to a multiple of `alignment` (a power of two). */
// @ts-ignore: decorator
@inline
export function alignDown(value: u64, alignment: u64): u64 {
  return value & ~(alignment - 1);
}

// @ts-ignore: decorator
@inline
export function isAligned(value: u64, alignment: u64): bool {
  return (value & (alignment - 1)) == 0;
}

// @ts-ignore: decorator
@inline
export function isPowerOfTwo(value: u64): bool {
  return value != 0 && (value & (value - 1)) == 0;
}

/** Bits needed to number `count` things: 0 for 0 and 1, else ceil(log2(count)). */
export function indexBits(count: u64): u64 {
  return count <= 1 ? 0 : 64 - clz<u64>(count - 1);
}

// @ts-ignore: decorator
@inline
export function minimum(a: u64, b: u64): u64 {
  return a < b ? a : b;
}

// @ts-ignore: decorator
@inline
export function maximum(a: u64, b: u64): u64 {
  return a > b ? a : b;
}

/** Whether [a, a + aSize) and [b, b + bSize) share a byte. Neither range wraps. */
export function rangesOverlap(a: u64, aSize: u64, b: u64, bSize: u64): bool {
  return aSize != 0 && bSize != 0 && a < b + bSize && b < a + aSize;
}

/** Whether [outer, outer + outerSize) holds all of [inner, inner + innerSize). Neither range wraps. */
export function rangeContains(outer: u64, outerSize: u64, inner: u64, innerSize: u64): bool {
  return inner >= outer && inner - outer <= outerSize && innerSize <= outerSize - (inner - outer);
}
