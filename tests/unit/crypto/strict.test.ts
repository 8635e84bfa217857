import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { Crypto, cryptoModule } from "../support/crypto.ts";
import { seededRandom } from "../support/fuzz.ts";
import {
  add,
  BASE,
  bytesOf,
  encode,
  encodeRaw,
  equationHolds,
  L,
  multiply,
  NEUTRAL,
  numberOf,
  P,
  SMALL_ORDER,
} from "./curve.ts";
import { oracle } from "./oracle.ts";

/** What a strict verifier refuses, by value. That the equation holds shows each time that nothing else is wrong. */

const crypto = new Crypto(await cryptoModule());
const random = seededRandom(8032);
const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => random());
const sha512 = (...parts: Uint8Array[]): bigint => numberOf(createHash("sha512").update(Buffer.concat(parts)).digest());
const challenge = (r: Uint8Array, key: Uint8Array, message: Uint8Array): bigint => sha512(r, key, message) % L;
const join = (r: Uint8Array, s: bigint): Uint8Array => Uint8Array.from([...r, ...bytesOf(s)]);

const seed = bytes(32);
const key = new Uint8Array(oracle.publicKey(seed));
const secret = (() => {
  const expanded = createHash("sha512").update(seed).digest().subarray(0, 32);
  expanded[0] &= 0xf8;
  expanded[31] = (expanded[31] & 0x7f) | 0x40;
  return numberOf(expanded);
})();
const message = bytes(40);

describe("S", () => {
  const signature = new Uint8Array(oracle.sign(seed, message));
  const r = signature.slice(0, 32);
  const s = numberOf(signature.slice(32));

  test("as it is", () => assert.ok(crypto.verify(key, message, signature)));

  for (let times = 1n; s + times * L < 2n ** 256n; times++) {
    test(`S + ${times} L, the same modulo L`, () => {
      assert.ok(!crypto.verify(key, message, join(r, s + times * L)));
    });
  }

  test("L itself, one less, and all ones", () => {
    for (const value of [L, L - 1n, L + 1n, 2n ** 253n, 2n ** 255n, 2n ** 256n - 1n, 0n]) {
      assert.ok(!crypto.verify(key, message, join(r, value)), `${value}`);
    }
    // Nothing but the range is wrong with S = L: R is the neutral element plus -k A.
    const k = (some: Uint8Array): bigint => challenge(some, key, message);
    const zero = encode(multiply(BASE, 5n));
    assert.equal(crypto.verify(key, message, join(zero, (5n + k(zero) * secret) % L)), true);
    assert.equal(crypto.verify(key, message, join(zero, ((5n + k(zero) * secret) % L) + L)), false);
  });
});

describe("small order", () => {
  test("there are eight such points", () => {
    assert.equal(new Set(SMALL_ORDER.map(({ y, x }) => `${x} ${y}`)).size, 8);
  });

  SMALL_ORDER.forEach((point, index) => {
    test(`key number ${index}`, () => {
      const small = encode(point);
      const r = encode(NEUTRAL);
      // A message for which k A is neutral: then R = S B holds for S = 0.
      let text = bytes(8);
      while (challenge(r, small, text) % 8n !== 0n) text = bytes(8);
      const signature = join(r, 0n);
      assert.ok(equationHolds(0n, NEUTRAL, challenge(r, small, text), point));
      assert.equal(crypto.verify(small, text, signature), false);
      // The same with an R that is not small.
      const seven = multiply(BASE, 7n);
      const large = encode(seven);
      while (challenge(large, small, text) % 8n !== 0n) text = bytes(8);
      assert.ok(equationHolds(7n, seven, challenge(large, small, text), point));
      assert.equal(crypto.verify(small, text, join(large, 7n)), false);
    });
  });

  test("R is neutral, by a signer who knows the key", () => {
    const r = encode(NEUTRAL);
    const k = challenge(r, key, message);
    const signature = join(r, (k * secret) % L);
    assert.ok(equationHolds((k * secret) % L, NEUTRAL, k, multiply(BASE, secret)));
    assert.equal(crypto.verify(key, message, signature), false);
  });

  test("R of another small order, with a key that has it too", () => {
    // A = a B + T: R = k times -T for S = k a.
    for (const torsion of SMALL_ORDER.slice(1)) {
      const mixed = encode(add(multiply(BASE, secret), torsion));
      for (let tries = 0; tries < 40; tries++) {
        const text = bytes(8);
        const r = encode(SMALL_ORDER[random() % 8]);
        const signature = join(r, (challenge(r, mixed, text) * secret) % L);
        assert.equal(crypto.verify(mixed, text, signature), false);
      }
    }
  });
});

test("the equation holds as it stands, not only times 8", () => {
  let accepted = 0;
  for (let tries = 0; tries < 64; tries++) {
    const torsion = SMALL_ORDER[1 + (tries % 7)];
    const mixed = encode(add(multiply(BASE, secret), torsion));
    const text = bytes(8);
    const r = encode(multiply(BASE, 11n));
    const k = challenge(r, mixed, text);
    const verdict = crypto.verify(mixed, text, join(r, (11n + k * secret) % L));
    const holds = multiply(torsion, k % 8n).y === 1n;
    assert.equal(verdict, holds);
    accepted += Number(verdict);
  }
  assert.ok(accepted > 0 && accepted < 64);
});

describe("encodings that are not the one of their point", () => {
  test("keys with y of at least p", () => {
    const r = encode(multiply(BASE, 7n));
    for (let excess = 0n; excess < 19n; excess++) {
      for (const sign of [0n, 1n]) {
        assert.equal(crypto.verify(encodeRaw(P + excess, sign), message, join(r, 7n)), false);
      }
    }
  });

  test("x = 0 with the sign bit", () => {
    const r = encode(multiply(BASE, 7n));
    for (const y of [1n, P - 1n]) {
      assert.equal(crypto.verify(encodeRaw(y, 1n), message, join(r, 7n)), false);
    }
  });

  test("R with y of at least p", () => {
    // R must be small then; with the encoding hashed as it is, only its comparison refuses it.
    const r = encodeRaw(P + 1n, 0n);
    const signature = join(r, (challenge(r, key, message) * secret) % L);
    assert.equal(crypto.verify(key, message, signature), false);
  });

  test("keys that are no point", () => {
    let refused = 0;
    for (let y = 2n; y < 60n; y++) {
      const r = encode(multiply(BASE, 7n));
      assert.equal(crypto.verify(encodeRaw(y, 0n), message, join(r, 7n)), false);
      refused++;
    }
    assert.ok(refused > 50);
  });
});
