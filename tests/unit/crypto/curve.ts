/** edwards25519 written down a second time, with big numbers, as RFC 8032 has it: slow, and for tests. */

export const P = 2n ** 255n - 19n;
export const L = 2n ** 252n + 27742317777372353535851937790883648493n;

export const mod = (x: bigint, m: bigint = P): bigint => ((x % m) + m) % m;

export function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let b = mod(base), e = exponent; e > 0n; e >>= 1n, b = mod(b * b)) if (e & 1n) result = mod(result * b);
  return result;
}

/** By Euclid; 0 for 0. */
export function inverse(x: bigint): bigint {
  let [a, b, u, v] = [mod(x), P, 1n, 0n];
  while (a !== 0n) {
    const quotient = b / a;
    [a, b, u, v] = [b - quotient * a, a, v - quotient * u, u];
  }
  return mod(x) === 0n ? 0n : mod(v);
}

export const D = mod(-121665n * inverse(121666n));
export const ROOT_OF_MINUS_ONE = power(2n, (P - 1n) / 4n);

export type Point = { x: bigint; y: bigint };
export const NEUTRAL: Point = { x: 0n, y: 1n };

export function add(a: Point, b: Point): Point {
  const product = mod(D * a.x * b.x * a.y * b.y);
  return {
    x: mod((a.x * b.y + b.x * a.y) * inverse(1n + product)),
    y: mod((a.y * b.y + a.x * b.x) * inverse(1n - product)),
  };
}

export function multiply(point: Point, factor: bigint): Point {
  let result = NEUTRAL;
  for (let p = point, k = factor; k > 0n; k >>= 1n, p = add(p, p)) if (k & 1n) result = add(result, p);
  return result;
}

/** The x coordinate with the given lowest bit, or undefined. */
export function recover(y: bigint, odd: boolean): bigint | undefined {
  const square = mod((y * y - 1n) * inverse(D * y * y + 1n));
  let x = power(square, (P + 3n) / 8n);
  if (mod(x * x - square) !== 0n) x = mod(x * ROOT_OF_MINUS_ONE);
  if (mod(x * x - square) !== 0n) return undefined;
  if (x === 0n) return odd ? undefined : 0n;
  return (x & 1n) === (odd ? 1n : 0n) ? x : P - x;
}

export const BASE: Point = (() => {
  const y = mod(4n * inverse(5n));
  return { x: recover(y, false)!, y };
})();

export function bytesOf(value: bigint, length = 32): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Number((value >> BigInt(8 * i)) & 255n));
}

export function numberOf(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

/** Encoding of y and of the sign bit, whether they make sense or not. */
export const encodeRaw = (y: bigint, sign: bigint): Uint8Array => bytesOf(y | (sign << 255n));
export const encode = ({ x, y }: Point): Uint8Array => encodeRaw(y, x & 1n);

/** Whether S B = R + k A, as it stands, for points and numbers as they are. */
export function equationHolds(s: bigint, r: Point, k: bigint, key: Point): boolean {
  const left = multiply(BASE, s);
  const right = add(r, multiply(key, k));
  return left.x === right.x && left.y === right.y;
}

/** The eight points whose order divides 8. */
export const SMALL_ORDER: Point[] = (() => {
  // Any point times L is one of them; the first whose order is 8 makes all.
  for (let y = 2n; ; y++) {
    const x = recover(y, false);
    if (x === undefined) continue;
    const point = multiply({ x, y }, L);
    if (multiply(point, 4n).y !== 1n) return Array.from({ length: 8 }, (_, i) => multiply(point, BigInt(i)));
  }
})();
