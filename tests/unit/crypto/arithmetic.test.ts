import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Crypto, CRYPTO_FILES, OUTPUT, SCRATCH } from "../support/crypto.ts";
import { seededRandom } from "../support/fuzz.ts";
import { compileModule } from "../support/module.ts";
import {
  add,
  BASE,
  bytesOf,
  D,
  encode,
  encodeRaw,
  inverse,
  L,
  mod,
  multiply,
  numberOf,
  P,
  power,
  recover,
  ROOT_OF_MINUS_ONE,
} from "./curve.ts";

/** Field, scalars and points against big numbers, with limbs at their limits; and the constant tables. */

const module = await compileModule({
  files: [...CRYPTO_FILES, "crypto/field25519", "crypto/scalar25519", "crypto/point25519"],
  source: `
    import { BASE_TABLE, CURVE_CONSTANTS, upperBaseTable } from "../../../crypto/base-table25519";
    export function baseTable(): usize { return changetype<usize>(BASE_TABLE); }
    export function upperTable(): usize { return upperBaseTable(); }
    export function curveConstants(): usize { return changetype<usize>(CURVE_CONSTANTS); }`,
});
const crypto = new Crypto(module);
const { calls, bytes: memory } = crypto;
const view = new DataView(memory.buffer);
const random = seededRandom(25519);
const word = (): bigint => (BigInt(random()) << 32n) | BigInt(random());
const at = (index: number): number => OUTPUT + 64 * index;
const pointer = (index: number): bigint => BigInt(at(index));

/** Limbs of an element: bits of a random size, or the limit. */
function limbs(limit: bigint): bigint[] {
  return Array.from({ length: 5 }, () => (random() % 4 === 0 ? limit - 1n : (word() % limit) >> BigInt(random() % 8)));
}
function putLimbs(index: number, values: bigint[]): bigint {
  values.forEach((value, i) => view.setBigUint64(at(index) + 8 * i, value, true));
  return valueOf(values);
}
const valueOf = (values: bigint[]): bigint => values.reduce((sum, limb, i) => sum + (limb << BigInt(51 * i)), 0n);
const limbsAt = (address: number): bigint[] =>
  Array.from({ length: 5 }, (_, i) => view.getBigUint64(address + 8 * i, true));

const REDUCED = 2n ** 51n + 2n ** 15n;
/** 2^52.7 */
const LOOSE = (2n ** 52n * 1624n) / 1000n;
const WIDE = 2n ** 54n;

function assertReduced(index: number, expected: bigint, what: string): void {
  const values = limbsAt(at(index));
  assert.ok(
    values.every((limb) => limb < REDUCED),
    `${what}: ${values.map((limb) => limb.toString(16)).join(" ")}`,
  );
  assert.equal(mod(valueOf(values)), mod(expected), what);
}

describe("field", () => {
  test("products and squares, up to the largest limbs that they take", () => {
    for (let i = 0; i < 5000; i++) {
      const x = putLimbs(0, limbs(i % 2 === 0 ? WIDE : LOOSE));
      const y = putLimbs(1, limbs(LOOSE));
      calls["fieldMultiply"](pointer(2), pointer(0), pointer(1));
      assertReduced(2, x * y, "product");
      calls["fieldSquare"](pointer(2), pointer(1));
      assertReduced(2, y * y, "square");
    }
    const x = putLimbs(0, Array<bigint>(5).fill(WIDE - 1n));
    const y = putLimbs(1, Array<bigint>(5).fill(LOOSE - 1n));
    calls["fieldMultiply"](pointer(2), pointer(0), pointer(1));
    assertReduced(2, x * y, "largest product");
    calls["fieldSquare"](pointer(2), pointer(1));
    assertReduced(2, y * y, "largest square");
  });

  test("sums and differences stay within what products take", () => {
    for (let i = 0; i < 2000; i++) {
      const x = putLimbs(0, limbs(REDUCED));
      const y = putLimbs(1, limbs(REDUCED));
      const loose = putLimbs(3, limbs(2n ** 53n));
      const other = putLimbs(4, limbs(2n ** 53n));
      calls["fieldAdd"](pointer(2), pointer(0), pointer(1));
      assert.equal(valueOf(limbsAt(at(2))), x + y);
      assert.ok(limbsAt(at(2)).every((limb) => limb < LOOSE));
      calls["fieldSubtract"](pointer(2), pointer(0), pointer(1));
      assert.equal(mod(valueOf(limbsAt(at(2)))), mod(x - y));
      assert.ok(limbsAt(at(2)).every((limb) => limb < LOOSE));
      calls["fieldSubtractLoose"](pointer(2), pointer(3), pointer(4));
      assertReduced(2, loose - other, "difference of loose elements");
      putLimbs(3, limbs(LOOSE));
      const subtrahend = valueOf(limbsAt(at(3)));
      calls["fieldDoubleSubtract"](pointer(2), pointer(0), pointer(3));
      assert.equal(mod(valueOf(limbsAt(at(2)))), mod(2n * x - subtrahend));
      assert.ok(limbsAt(at(2)).every((limb) => limb < WIDE));
    }
  });

  test("encoding gives the least value", () => {
    const specials = [0n, 1n, 18n, 19n, P - 1n, P, P + 1n, 2n ** 255n - 1n, 2n ** 255n, 2n * P - 1n];
    for (let i = 0; i < 2000; i++) {
      let value: bigint;
      if (i < specials.length) {
        const rest = specials[i] >> 204n;
        const values = [0, 1, 2, 3].map((k) => (specials[i] >> BigInt(51 * k)) & (2n ** 51n - 1n));
        value = putLimbs(0, [...values, rest]);
        assert.equal(value, specials[i]);
      } else {
        value = putLimbs(0, limbs(LOOSE));
      }
      calls["fieldEncode"](pointer(2), pointer(0), 1n);
      assert.equal(numberOf(memory.slice(at(2), at(2) + 32)), mod(value) | (1n << 255n));
      calls["fieldDecode"](pointer(3), pointer(2));
      assertReduced(3, value, "decoded");
    }
  });

  test("inverse and power", () => {
    for (let i = 0; i < 40; i++) {
      const x = putLimbs(0, i === 0 ? [0n, 0n, 0n, 0n, 0n] : limbs(LOOSE));
      calls["fieldInvert"](pointer(2), pointer(0), BigInt(SCRATCH));
      assertReduced(2, inverse(x), "inverse");
      calls["fieldPower"](pointer(2), pointer(0), BigInt(SCRATCH));
      assertReduced(2, power(x, (P - 5n) / 8n), "power");
    }
  });
});

describe("scalars", () => {
  const put = (index: number, value: bigint, length: number): void => memory.set(bytesOf(value, length), at(index));
  const get = (index: number, length = 32): bigint => numberOf(memory.slice(at(index), at(index) + length));
  const largest = 2n ** 512n - 1n;
  const wide = [
    0n,
    1n,
    L - 1n,
    L,
    L + 1n,
    2n * L,
    3n * L - 1n,
    L * L,
    largest,
    (largest / L) * L,
    (largest / L) * L - 1n,
  ];
  const random512 = (): bigint => Array.from({ length: 8 }, word).reduce((sum, each) => (sum << 64n) | each, 0n);

  test("modulo L", () => {
    for (let i = 0; i < 3000; i++) {
      const value = wide[i] ?? random512() >> BigInt(random() % 300);
      put(0, value, 64);
      calls["scalarReduce"](pointer(0), BigInt(SCRATCH));
      assert.equal(get(0), value % L, `${value}`);
    }
  });

  test("x y + z modulo L", () => {
    const edges = [0n, 1n, L - 1n, 2n ** 255n - 1n, 2n ** 253n - 1n];
    for (let i = 0; i < 2000; i++) {
      const pick = (): bigint => (random() % 3 === 0 ? edges[random() % edges.length] : random512() >> 257n);
      const [x, y, z] = [pick(), pick(), pick()];
      put(1, x, 32);
      put(2, y, 32);
      put(3, z, 32);
      calls["scalarMultiplyAdd"](pointer(0), pointer(1), pointer(2), pointer(3), BigInt(SCRATCH));
      assert.equal(get(0), (x * y + z) % L);
    }
  });

  test("below L or not", () => {
    for (const value of [0n, L - 1n, L, L + 1n, L - 2n ** 64n, L + 2n ** 64n, 2n ** 255n, 2n ** 256n - 1n]) {
      put(0, value, 32);
      assert.equal(Number(calls["scalarIsReduced"](pointer(0))), value < L ? 1 : 0, `${value}`);
    }
  });

  test("digits add up, and are as small as they are said to be", () => {
    for (let i = 0; i < 1000; i++) {
      const value = i === 0 ? 2n ** 255n - 1n : i === 1 ? 0n : random512() >> 257n;
      put(1, value, 32);
      calls["scalarDigits"](pointer(4), pointer(1));
      const digits = new Int8Array(memory.buffer, at(4), 64);
      assert.equal(
        digits.reduce((sum, digit, k) => sum + (BigInt(digit) << BigInt(4 * k)), 0n),
        value,
      );
      assert.ok(digits.every((digit) => digit >= -8 && digit <= 8));
      for (const width of [4, 5]) {
        const reduced = value >> 2n;
        put(1, reduced, 32);
        calls["scalarSparseDigits"](pointer(4), pointer(1), width);
        const sparse = new Int8Array(memory.buffer, at(4), 256);
        assert.equal(
          sparse.reduce((sum, digit, k) => sum + (BigInt(digit) << BigInt(k)), 0n),
          reduced,
        );
        assert.ok(sparse.every((digit) => digit === 0 || (digit % 2 !== 0 && Math.abs(digit) < 2 ** (width - 1))));
      }
    }
  });
});

describe("points", () => {
  test("constants of the curve", () => {
    const start = Number(calls["curveConstants"]());
    [D, mod(2n * D), ROOT_OF_MINUS_ONE].forEach((expected, i) => {
      assert.equal(valueOf(limbsAt(start + 40 * i)), expected);
    });
  });

  test("table of the base point", () => {
    const tables = [Number(calls["baseTable"]()), Number(calls["upperTable"]())];
    for (let part = 0; part < 4; part++) {
      const unit = multiply(BASE, 16n ** BigInt(16 * part));
      let point = unit;
      for (let multiple = 1; multiple <= 8; multiple++, point = add(point, unit)) {
        const start = part === 0 ? tables[0] : tables[1] + (part - 1) * 8 * 120;
        const entry = start + (multiple - 1) * 120;
        const { x, y } = point;
        assert.deepEqual(
          [0, 1, 2].map((i) => valueOf(limbsAt(entry + 40 * i))),
          [mod(y + x), mod(y - x), mod(2n * D * x * y)],
        );
      }
    }
  });

  test("encodings are decoded if they are the one of a point", () => {
    const cases: [bigint, bigint][] = [];
    for (const sign of [0n, 1n]) {
      for (let y = 0n; y < 40n; y++) cases.push([y, sign], [P - 1n - y, sign]);
      for (let y = P; y < 2n ** 255n; y++) cases.push([y, sign]);
    }
    let points = 0;
    for (const [y, sign] of cases) {
      memory.set(encodeRaw(y, sign), at(20));
      const done = Number(calls["pointDecode"](pointer(0), pointer(20), BigInt(SCRATCH))) === 1;
      const x = y < P ? recover(y, sign === 1n) : undefined;
      assert.equal(done, x !== undefined, `y = ${y}, sign ${sign}`);
      if (x === undefined) continue;
      points++;
      assert.equal(mod(valueOf(limbsAt(at(0)))), x);
      calls["pointEncode"](pointer(22), pointer(0), BigInt(SCRATCH));
      assert.deepEqual(memory.slice(at(22), at(22) + 32), encode({ x, y }));
    }
    assert.ok(points > 50);
  });
});
