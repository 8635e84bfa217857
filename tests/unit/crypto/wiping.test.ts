import assert from "node:assert/strict";
import { test } from "node:test";
import { Crypto, cryptoModule, INPUT, OUTPUT, SCRATCH } from "../support/crypto.ts";
import { seededRandom } from "../support/fuzz.ts";
import { oracle } from "./oracle.ts";

/**
 * Nothing of a call is left in memory but its result: afterwards every byte of scratch is zero, or what it was before if no call may use it,
 * and nothing else has changed. (tests/qemu/crypto.test.ts looks at the stack, which wasm does not have.)
 */

const crypto = new Crypto(await cryptoModule());
const random = seededRandom(88);
const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => random());
const FILLER = 0xa5;
const message = bytes(333);
const seed = bytes(32);
const key = oracle.publicKey(seed);

const SCRATCH_SIZES = { hash: 216, hmac: 408, hkdf: 544, ed25519: 3104 };

const calls: [string, number, number, () => unknown][] = [
  ["SHA-512", SCRATCH_SIZES.hash, 64, () => crypto.hash(512, message)],
  ["HMAC", SCRATCH_SIZES.hmac, 64, () => crypto.hmac(seed, message)],
  ["HMAC with a long key", SCRATCH_SIZES.hmac, 64, () => crypto.hmac(message, seed)],
  ["HKDF", SCRATCH_SIZES.hkdf, 150, () => crypto.hkdf(key, seed, message, 150)],
  ["public key", SCRATCH_SIZES.ed25519, 32, () => crypto.publicKey(seed)],
  ["signature", SCRATCH_SIZES.ed25519, 64, () => crypto.sign(seed, key, message)],
];

for (const [name, scratch, result, call] of calls) {
  test(name, () => {
    crypto.bytes.fill(FILLER, SCRATCH, INPUT);
    const before = crypto.bytes.slice();
    call();
    const changed: number[] = [];
    for (let at = 0; at < crypto.bytes.length; at++) {
      const byte = crypto.bytes[at];
      if (at >= INPUT || (at >= OUTPUT && at < OUTPUT + result)) continue;
      if (at >= SCRATCH && at < SCRATCH + scratch && byte === 0) continue;
      if (byte !== before[at] || (at >= SCRATCH && at < SCRATCH + scratch && byte !== FILLER)) changed.push(at);
    }
    assert.deepEqual(changed, []);
    const zeros = crypto.bytes.subarray(SCRATCH, SCRATCH + scratch).filter((byte) => byte === 0).length;
    assert.ok(zeros > scratch / 2, `only ${zeros} bytes of scratch were wiped`);
  });
}

test("sizes of scratch are what the constants say", () => {
  const size = (name: string): number => Number((crypto.calls[name] as unknown as WebAssembly.Global).value);
  assert.deepEqual(
    {
      hash: Number(crypto.calls["hashStateSize"]()),
      hmac: size("HMAC_SCRATCH"),
      hkdf: size("HKDF_SCRATCH"),
      ed25519: size("ED25519_SCRATCH"),
    },
    SCRATCH_SIZES,
  );
});
