import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { compileModule, TEST_MEMORY } from "./support/module.ts";
import { Machine } from "./support/machine.ts";
import { seededRandom } from "./support/fuzz.ts";

const module = await compileModule({
  files: ["crypto/sha512"],
  fields: { "crypto/sha512": { Sha512State: ["digestSize"] } },
  source: `
    import * as sha from "../../../crypto/sha512";
    function state(at: usize): sha.Sha512State { return changetype<sha.Sha512State>(at); }
    export function init384(at: usize): void { sha.sha384Init(state(at)); }
    export function init512(at: usize): void { sha.sha512Init(state(at)); }`,
});
const machine = new Machine(module, 32 * TEST_MEMORY);
const calls = machine.exports;
const STATE = BigInt(TEST_MEMORY);
const DIGEST = TEST_MEMORY + 0x1000;
const DATA = TEST_MEMORY + 0x2000;
const random = seededRandom(384);

/** Digest of a message that lies at DATA + offset and is given in the parts. */
function digest(
  bits: 384 | 512,
  message: Uint8Array,
  parts: number[] = [message.length],
  offset = 0,
  target = DIGEST,
): string {
  const size = bits / 8;
  machine.put(DATA + offset, message);
  machine.bytes.fill(0xa5, DIGEST, DIGEST + 128);
  calls[`init${bits}`](STATE);
  assert.equal(Number(calls.get_Sha512State_digestSize(STATE)), size);
  let at = DATA + offset;
  for (const part of parts) {
    calls.sha512Update(STATE, BigInt(at), BigInt(part));
    at += part;
  }
  calls.sha512Final(STATE, BigInt(target));
  const stateSize = Number(calls.size_Sha512State());
  assert.ok(
    machine.get(STATE, stateSize).every((byte) => byte === 0),
    "the state is wiped",
  );
  assert.equal(machine.bytes[target + size], 0xa5, "no byte after the digest");
  return Buffer.from(machine.get(target, size)).toString("hex");
}

const expected = (bits: number, message: Uint8Array) => createHash(`sha${bits}`).update(message).digest("hex");
const bytes = (length: number) => Uint8Array.from({ length }, () => random());

test("published vectors", () => {
  const abc = new TextEncoder().encode("abc");
  assert.equal(
    digest(384, abc),
    "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
  );
  assert.equal(
    digest(512, abc),
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
  );
});

test("every length from 0 to 300, and around a page", () => {
  for (const length of [...Array(301).keys(), 4095, 4096, 4097, 4104, 100_000]) {
    const message = bytes(length);
    assert.equal(digest(384, message), expected(384, message), `${length} bytes`);
    if (length < 140) assert.equal(digest(512, message), expected(512, message), `${length} bytes`);
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
    const actual = digest(384, message, parts, random() % 8, DIGEST + (random() % 8));
    assert.equal(actual, expected(384, message), JSON.stringify(parts));
  }
});

test("a measured page: digest, address, page", () => {
  const message = bytes(48 + 8 + 4096);
  assert.equal(digest(384, message, [48, 8, 4096]), expected(384, message));
});
