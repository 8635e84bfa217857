import assert from "node:assert/strict";
import { test } from "node:test";
import { helperModule } from "../../../machine/simulated/hypervisor-module.ts";
import { seededRandom } from "../support/random.ts";
import { makeCsr } from "../support/csr.ts";

/**
 * The helper's parser against requests that are nearly right: it always ends by itself, never reads beyond its input, and what it accepts does not depend on what is
 * there. CSR_FUZZ_COUNT in the environment sets how many inputs (a million take about a minute), CSR_FUZZ_SEED which.
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
  const { main } = new WebAssembly.Instance(wasm, { env: { memory, abort }, hw: { hypercall } }).exports as {
    main: () => void;
  };

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
  const seeds = [makeCsr(), makeCsr({ attributes: Uint8Array.of(0xa0, 2, 0x30, 0) })];
  assert.equal(serve(seeds[0], 0).status, 0n);
  let accepted = 0;
  for (let i = 0; i < COUNT; i++) {
    let csr = Uint8Array.from(seeds[pick(seeds.length)]);
    for (let changes = 1 + pick(4); changes > 0; changes--) {
      const at = pick(csr.length);
      const kind = pick(5);
      if (kind === 0) csr[at] = pick(256);
      else if (kind === 1) csr[at] ^= 1 << pick(8);
      else if (kind === 2) csr = csr.slice(0, at);
      else if (kind === 3) csr = Uint8Array.from([...csr.slice(0, at), ...csr.slice(pick(csr.length))]).slice(0, PAGE);
      else csr = Uint8Array.from([...csr, ...new Uint8Array(pick(8)).fill(pick(256))]);
      if (csr.length === 0) csr = Uint8Array.of(0x30);
    }
    const first = serve(csr, 0);
    // Over-reads would show what lies behind the input; each input is one of the two for most, and both for some.
    if (first.status === 0n || i % 8 === 0) {
      const second = serve(csr, 0x30);
      assert.deepEqual(second, first, `what is behind the request ${Buffer.from(csr).toString("hex")} matters`);
    }
    if (first.status === 0n) accepted++;
  }
  assert(accepted > 0 && accepted < COUNT, `${accepted} of ${COUNT} accepted`);
});
