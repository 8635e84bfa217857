import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Crypto, CRYPTO_FILES, OUTPUT, SCRATCH } from "../support/crypto.ts";
import { seededRandom } from "../support/fuzz.ts";
import { compileModule } from "../support/module.ts";
import { TRACE_SOURCE, traceImports, traceModule } from "../support/wasm-trace.ts";
import { oracle } from "./oracle.ts";

/**
 * Nothing that an observer of time could see depends on a secret: over random secrets, the optimised module takes the same branches and
 * touches the same addresses, one by one. Functions that do leak show that the comparison bites.
 */

const LEAKS = `
  import { scalarDigits, scalarSparseDigits } from "../../../crypto/scalar25519";
  export function leakByBranch(at: usize, out: usize): void { if (load<u8>(at) & 1) store<u8>(out, load<u8>(out) + 1); }
  export function leakByAddress(at: usize, out: usize): void { store<u8>(out, load<u8>(out + load<u8>(at))); }
  export function leakByStore(at: usize, out: usize): void { store<u8>(out + load<u8>(at), 1); }
  export function leakByDivision(at: usize, out: usize): void { store<u64>(out, 1000000007 / (<u64>load<u8>(at) + 3)); }
  export function leakByLoop(at: usize, out: usize): void {
    for (let n = load<u8>(at) & 7; n > 0; n--) store<u8>(out, n);
  }
  export function leakByEarlyEnd(at: usize, out: usize): void {
    for (let i: usize = 0; i < 32; i++) if (load<u8>(at + i) != load<u8>(out + i)) return;
  }
  export function sparse(at: usize, out: usize): void { scalarSparseDigits(out, at, 5); }
  export function digits(at: usize, out: usize): void { scalarDigits(out, at); }`;

let places: string[] = [];
const module = await compileModule({
  files: CRYPTO_FILES,
  source: TRACE_SOURCE + LEAKS,
  rewrite: (binary) => {
    const traced = traceModule(binary);
    places = traced.places;
    return traced.binary;
  },
});

const reference: { place: number; value: number | bigint }[] = [];
let recording = false;
/** Next event of the reference; -1: nobody compares. */
let cursor = -1;
let difference: string | undefined;

const crypto = new Crypto(
  module,
  traceImports((place, value) => {
    if (recording) {
      reference.push({ place, value });
    } else if (cursor >= 0 && difference === undefined) {
      const expected = reference[cursor++];
      if (expected?.place !== place || expected.value !== value) {
        difference = `event ${cursor}: ${places[place]}: ${value}, before ${expected && places[expected.place]}: ${expected?.value}`;
      }
    }
  }),
);

const random = seededRandom(2555);
const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => random());

/** Runs `work` with many secrets. Returns how many events a run has, or the first difference between two runs. */
function compare(runs: number, work: () => void): number | string {
  reference.length = 0;
  difference = undefined;
  recording = true;
  work();
  recording = false;
  for (let run = 1; run < runs; run++) {
    cursor = 0;
    work();
    if (difference === undefined && cursor !== reference.length) difference = "a trace is shorter";
    cursor = -1;
    if (difference !== undefined) return difference;
  }
  return reference.length;
}

const RUNS = 200;
const message = bytes(133);

function same(name: string, least: number, work: () => void): void {
  test(name, () => {
    const events = compare(RUNS, work);
    assert.equal(typeof events, "number", String(events));
    assert.ok((events as number) > least, `a trace has only ${events} events`);
  });
}

describe("traces are equal over random secrets", () => {
  same("ed25519PublicKey", 30_000, () => crypto.publicKey(bytes(32)));

  // Special seeds have nothing special either.
  let filler = 0;
  same("ed25519PublicKey of seeds of one byte", 30_000, () => crypto.publicKey(new Uint8Array(32).fill(filler++)));

  const seeds = Array.from({ length: RUNS }, () => bytes(32));
  const keys = seeds.map(oracle.publicKey);
  let next = 0;
  same("ed25519Sign", 30_000, () => {
    const i = next++ % RUNS;
    crypto.sign(seeds[i], keys[i], message);
  });

  same("hmacSha512", 300, () => crypto.hmac(bytes(64), message));
  same("hmacSha512, a long key", 300, () => crypto.hmac(bytes(200), message));
  same("hkdf", 600, () => crypto.hkdf(message.subarray(0, 32), bytes(32), message.subarray(0, 20), 96));

  same("scalarDigits", 100, () => leaky("digits")());
  same("constantTimeEqual", 60, () => {
    const [[x, length], [y]] = crypto.put(bytes(32), bytes(32));
    crypto.calls["constantTimeEqual"](x, y, length);
  });
});

/** Calls a function of LEAKS with a secret. */
function leaky(name: string): () => void {
  return () => {
    const secret = bytes(32);
    // The top bits of a scalar are clear.
    secret[31] &= 0x0f;
    const [[at]] = crypto.put(secret);
    crypto.bytes.set(secret, OUTPUT);
    crypto.bytes[OUTPUT + (random() % 32)] ^= 1;
    crypto.calls[name](at, BigInt(OUTPUT));
  };
}

describe("the comparison finds", () => {
  const names = ["leakByBranch", "leakByAddress", "leakByStore", "leakByDivision", "leakByLoop", "leakByEarlyEnd"];
  for (const name of [...names, "sparse"]) {
    test(name, () => {
      const found = compare(RUNS, leaky(name));
      assert.equal(typeof found, "string", `${name} was not noticed in ${found} events`);
    });
  }

  test("a verification, whose time depends on what it verifies", () => {
    const seed = bytes(32);
    const key = oracle.publicKey(seed);
    const found = compare(RUNS, () => {
      const text = bytes(20);
      crypto.verify(key, text, oracle.sign(seed, text));
    });
    assert.equal(typeof found, "string");
  });
});

test("a traced module computes what it computes otherwise", () => {
  const seed = bytes(32);
  const key = crypto.publicKey(seed);
  assert.deepEqual(key, oracle.publicKey(seed));
  assert.deepEqual(crypto.sign(seed, key, message), oracle.sign(seed, message));
  assert.ok(crypto.verify(key, message, oracle.sign(seed, message)));
  assert.equal(crypto.bytes[SCRATCH], 0);
});
