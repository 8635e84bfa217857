import assert from "node:assert/strict";
import { test } from "node:test";
import { Crypto, cryptoModule } from "../support/crypto.ts";
import { seededRandom } from "../support/fuzz.ts";
import { oracle } from "./oracle.ts";

/**
 * Random inputs of all functions against Node's own cryptography. SALUS_CRYPTO_INPUTS says how many (`npm run test:crypto`: a hundred
 * thousand), SALUS_CRYPTO_SEED from where.
 */

const COUNT = Number(process.env["SALUS_CRYPTO_INPUTS"] ?? 500);
const SEED = Number(process.env["SALUS_CRYPTO_SEED"] ?? 8032);

const crypto = new Crypto(await cryptoModule());
const random = seededRandom(SEED);
const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => random());
/** Mostly short, sometimes several blocks. */
const some = (): Uint8Array => bytes(random() % (random() % 8 === 0 ? 700 : 150));

/** Quicker than a deep comparison. */
function same(actual: Buffer | undefined, expected: Buffer, where: string): void {
  if (actual?.equals(expected)) return;
  assert.equal(actual?.toString("hex"), expected.toString("hex"), where);
}

test(`${COUNT} random inputs, seed ${SEED}`, () => {
  for (let i = 0; i < COUNT; i++) {
    const [key, message, info, seed] = [some(), some(), some(), bytes(32)];
    const where = `input ${i}`;
    same(crypto.hash(384, message), oracle.hash(384, message), where);
    same(crypto.hash(512, message), oracle.hash(512, message), where);
    same(crypto.hmac(key, message), oracle.hmac(key, message), where);
    const length = 1 + (random() % 200);
    same(crypto.hkdf(key, message, info, length), oracle.hkdf(key, message, info, length), where);
    const publicKey = crypto.publicKey(seed);
    same(publicKey, oracle.publicKey(seed), where);
    const signature = crypto.sign(seed, publicKey, message);
    same(signature, oracle.sign(seed, message), where);
    assert.equal(crypto.verify(publicKey, message, signature), true, where);

    // One bit of anything makes it another signature.
    const part = [publicKey, signature, ...(message.length > 0 ? [message] : [])][
      random() % (message.length > 0 ? 3 : 2)
    ];
    part[random() % part.length] ^= 1 << (random() % 8);
    assert.equal(crypto.verify(publicKey, message, signature), false, where);
  }
});
