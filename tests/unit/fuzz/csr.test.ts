import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { helperDoor } from "../../../machine/simulated/helper.ts";
import { helperModule } from "../../../machine/simulated/hypervisor-module.ts";
import { seededRandom } from "../support/random.ts";
import { makeCsr, signedCsr } from "../support/csr.ts";
import { elements } from "../support/evidence.ts";

/**
 * The helper's parser against requests that are nearly right: it always ends by itself, never reads beyond its input, and what it accepts does not depend on what is
 * there. CSR_FUZZ_COUNT in the environment sets how many inputs (a million take two to three minutes), CSR_FUZZ_SEED which.
 */

const COUNT = Number(process.env["CSR_FUZZ_COUNT"] ?? 20_000);
const SEED = Number(process.env["CSR_FUZZ_SEED"] ?? 1);

// umode/layout.ts and umode/request.ts
const REQUEST = 0x10_0000;
const INPUT = 0x10_1000;
const OUTPUT = 0x10_2000;
const SCRATCH = 0x10_3000;
const PAGE = 4096;
const CALL_DONE = 1n;
const CALL_SIGN = 2n;

class Done extends Error {}

test(`${COUNT} requests, seed ${SEED}`, async () => {
  const { wasm } = await helperModule();
  const memory = new WebAssembly.Memory({ address: "i64", initial: 18n });
  const bytes = new Uint8Array(memory.buffer);
  const view = new DataView(memory.buffer);
  let ended: { status: bigint; length: bigint } | undefined;
  const hypercall = (number: bigint, a0: bigint, a1: bigint, a2: bigint): bigint => {
    if (number === CALL_SIGN) {
      assert(a0 >= BigInt(OUTPUT) && a0 + a1 <= BigInt(OUTPUT + PAGE), "the message lies in the output");
      assert(a2 >= BigInt(OUTPUT) && a2 + 64n <= BigInt(OUTPUT + PAGE), "the signature lies in the output");
      return 0n;
    }
    assert.equal(number, CALL_DONE);
    ended = { status: a0, length: a1 };
    throw new Done();
  };
  const abort = (): never => assert.fail("an assertion of the helper failed");
  const imports = { env: { memory, abort }, hw: helperDoor(memory, hypercall) };
  const { main } = new WebAssembly.Instance(wasm, imports).exports as { main: () => void };

  /** What the helper makes of the request, with `filler` behind it. */
  function serve(csr: Uint8Array, filler: number): { status: bigint; output: Buffer } {
    bytes.fill(0, OUTPUT, SCRATCH + PAGE);
    bytes.fill(filler, INPUT, INPUT + PAGE);
    bytes.set(csr, INPUT);
    view.setUint32(REQUEST, 1, true);
    view.setBigUint64(REQUEST + 8, BigInt(csr.length), true);
    const around = [bytes.slice(REQUEST, INPUT), bytes.slice(SCRATCH + PAGE)];
    ended = undefined;
    try {
      main();
    } catch (error) {
      if (!(error instanceof Done)) throw error;
    }
    assert(ended, "it said how the request ended");
    const { status, length } = ended as { status: bigint; length: bigint };
    assert(status <= 2n && length <= BigInt(PAGE));
    assert(
      around.every(
        (part, index) =>
          Buffer.compare(
            part,
            bytes.subarray(index === 0 ? REQUEST : SCRATCH + PAGE, index === 0 ? INPUT : undefined),
          ) === 0,
      ),
      "it wrote only where it may",
    );
    return { status, output: Buffer.from(bytes.slice(OUTPUT, OUTPUT + Number(length))) };
  }

  const random = seededRandom(SEED);
  const pick = (limit: number): number => Math.floor(random() * limit);
  const keys = generateKeyPairSync("ed25519");
  const seeds = [makeCsr({}, keys), makeCsr({ attributes: Uint8Array.of(0xa0, 2, 0x30, 0) }, keys)];
  assert.equal(serve(seeds[0], 0).status, 0n);
  /** A few bytes are others, are missing, or come twice. */
  const changed = (original: Uint8Array): Uint8Array => {
    let result = Uint8Array.from(original);
    for (let changes = 1 + pick(4); changes > 0; changes--) {
      const at = pick(result.length);
      const kind = pick(5);
      if (kind === 0) result[at] = pick(256);
      else if (kind === 1) result[at] ^= 1 << pick(8);
      else if (kind === 2) result = result.slice(0, at);
      else if (kind === 3) {
        result = Uint8Array.from([...result.slice(0, at), ...result.slice(pick(result.length))]).slice(0, PAGE - 128);
      } else result = Uint8Array.from([...result, ...new Uint8Array(pick(8)).fill(pick(256))]);
      if (result.length === 0) result = Uint8Array.of(0x30);
    }
    return result;
  };
  const tally = { unsigned: 0, signed: 0 };
  for (let i = 0; i < COUNT; i++) {
    const seed = seeds[pick(seeds.length)];
    // A change that is signed shows what the parser makes of it; one that is not, that the signature is looked at.
    const signed = i % 2 === 0;
    const csr = signed ? signedCsr(changed(infoOf(seed)), keys.privateKey) : changed(seed);
    const first = serve(csr, 0);
    // Over-reads would show what lies behind the input; each input is one of the two for most, and both for some.
    if (first.status === 0n || i % 8 === 0) {
      const second = serve(csr, 0x30);
      assert.deepEqual(second, first, `what is behind the request ${Buffer.from(csr).toString("hex")} matters`);
    }
    if (first.status !== 0n) continue;
    tally[signed ? "signed" : "unsigned"]++;
    // Changes may cancel each other out.
    if (!signed)
      assert(
        seeds.some((one) => Buffer.compare(one, csr) === 0),
        "a change without a new signature",
      );
  }
  assert(tally.signed > COUNT / 200 && tally.signed < COUNT / 2, `${tally.signed} of ${COUNT} accepted`);
});

/** The part of a request that is signed. */
function infoOf(csr: Uint8Array): Uint8Array {
  return elements(elements(csr)[0].content)[0].all;
}
