import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Crypto, cryptoModule, INPUT, OUTPUT, SCRATCH, type HashVariant } from "../support/crypto.ts";
import { seededRandom } from "../support/fuzz.ts";
import { oracle } from "./oracle.ts";

/** SHA-384 and SHA-512, in every version. */

const crypto = new Crypto(await cryptoModule());
const random = seededRandom(384);
const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => random());
const LARGEST = 100_000;

/** Digest of a message that lies at INPUT + offset and is given in the parts. */
function digest(
  variant: HashVariant,
  bits: 384 | 512,
  message: Uint8Array,
  parts: number[] = [message.length],
  offset = 0,
  target = OUTPUT,
): string {
  const { bytes: memory, calls } = crypto;
  const size = bits / 8;
  memory.set(message, INPUT + offset);
  memory.fill(0xa5, OUTPUT, OUTPUT + 128);
  calls["hashBegin"](BigInt(SCRATCH), bits, BigInt(variant));
  let at = INPUT + offset;
  for (const part of parts) {
    calls["hashUpdate"](BigInt(SCRATCH), BigInt(at), BigInt(part));
    at += part;
  }
  calls["hashFinal"](BigInt(SCRATCH), BigInt(target));
  const state = memory.slice(SCRATCH, SCRATCH + Number(calls["hashStateSize"]()));
  assert.ok(
    state.every((byte) => byte === 0),
    "the state is wiped",
  );
  assert.equal(memory[target + size], 0xa5, "no byte after the digest");
  return Buffer.from(memory.slice(target, target + size)).toString("hex");
}

const expected = (bits: 384 | 512, message: Uint8Array): string => oracle.hash(bits, message).toString("hex");

for (const [name, variant] of [
  ["plain", 0],
  ["Zbb", 1],
  ["Zknh", 2],
] as const) {
  describe(name, () => {
    test("FIPS 180-4 examples", () => {
      const abc = new TextEncoder().encode("abc");
      assert.equal(
        digest(variant, 384, abc),
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
      );
      assert.equal(
        digest(variant, 512, abc),
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
      );
    });

    test("every length from 0 to 1,000, and around a page", () => {
      for (const length of [...Array(1001).keys(), 4095, 4096, 4097, 4104, LARGEST]) {
        const message = bytes(length);
        assert.equal(digest(variant, 384, message), expected(384, message), `${length} bytes`);
        assert.equal(digest(variant, 512, message), expected(512, message), `${length} bytes`);
      }
    });

    test("any parts at any alignment", () => {
      for (let round = 0; round < 300; round++) {
        const message = bytes(random() % 2000);
        const parts: number[] = [];
        for (let left = message.length; left > 0;) {
          const part = Math.min(left, random() % (random() % 4 === 0 ? 600 : 40));
          parts.push(part);
          left -= part;
        }
        const actual = digest(variant, 384, message, parts, random() % 8, OUTPUT + (random() % 8));
        assert.equal(actual, expected(384, message), JSON.stringify(parts));
      }
    });

    test("a measured page: digest, address, page", () => {
      const message = bytes(48 + 8 + 4096);
      assert.equal(digest(variant, 384, message, [48, 8, 4096]), expected(384, message));
    });
  });
}
