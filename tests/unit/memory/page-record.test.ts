import assert from "node:assert/strict";
import { test } from "node:test";
import { PageState } from "../../../machine/simulated/hypervisor-state.ts";
import { AssertionFailed, Machine } from "../support/machine.ts";
import { compileModule, TEST_MEMORY } from "../support/module.ts";

/**
 * What may happen to one page's record, for every state and owner: the calls look such things up by address spaces first, so most of what is
 * refused here has been refused before it gets here.
 */

const RECORD = BigInt(TEST_MEMORY);
const OWNER = 0x123;
const STATES = Object.values(PageState) as number[];
const MOST_REFERENCES = 0xffff_ffffn;
/** Stamps and references: none, one, some, the most. */
const PAYLOADS = [0n, 1n, 7n, MOST_REFERENCES - 1n, MOST_REFERENCES, (1n << 48n) - 1n];

const module = await compileModule({ files: ["hypervisor/memory/page-record"] });
const machine = new Machine(module, 2 * TEST_MEMORY, {
  cas64: (at: bigint, expected: bigint, next: bigint): bigint => {
    const found = machine.view.getBigUint64(Number(at), true);
    if (found === BigInt.asUintN(64, expected)) machine.view.setBigUint64(Number(at), next, true);
    return found;
  },
  storeRelease64: (at: bigint, value: bigint) => machine.view.setBigUint64(Number(at), value, true),
});
const calls = machine.exports;

const pack = (state: number, owner: number, payload: bigint): bigint =>
  BigInt(state) | (BigInt(owner) << 4n) | (payload << 16n);
const set = (record: bigint): void => machine.view.setBigUint64(Number(RECORD), record, true);
const get = (): bigint => machine.view.getBigUint64(Number(RECORD), true);

/** Every record of a few owners, with `OWNER` among them and one that differs in one bit. */
function* records(): Generator<{ state: number; owner: number; payload: bigint; record: bigint }> {
  for (const state of STATES) {
    for (const owner of [OWNER, OWNER ^ 0x100, 0, 0xfff]) {
      for (const payload of PAYLOADS) {
        // More references are never there.
        if (state === PageState.Shared && payload > MOST_REFERENCES) continue;
        yield { state, owner, payload, record: pack(state, owner, payload) };
      }
    }
  }
}

/** Does `call` on every record; it must answer and change what `expected` says: the next record, or undefined for no. */
function check(call: () => unknown, expected: (of: ReturnType<typeof unpack>) => bigint | undefined): void {
  for (const each of records()) {
    set(each.record);
    const next = expected(each);
    assert.equal(Number(call()) !== 0, next !== undefined, `record 0x${each.record.toString(16)}`);
    assert.equal(get(), next ?? each.record, `record 0x${each.record.toString(16)}`);
  }
}
const unpack = (record: bigint) => ({
  state: Number(record & 0xfn),
  owner: Number((record >> 4n) & 0xfffn),
  payload: record >> 16n,
});

test("parts of a record", () => {
  for (const { state, owner, payload, record } of records()) {
    assert.equal(BigInt.asUintN(64, calls.packRecord(state, owner, payload)), record);
    assert.equal(calls.recordState(record), state);
    assert.equal(calls.recordOwner(record), owner);
    assert.equal(calls.recordPayload(record), payload);
  }
});

test("only a page that its owner alone holds is claimed for conversion", () => {
  check(
    () => calls.claimOwned(RECORD, OWNER),
    ({ state, owner, payload }) =>
      state === PageState.Owned && owner === OWNER && payload === 0n ? pack(PageState.Claimed, OWNER, 0n) : undefined,
  );
});

test("only a page that this owner converted, and whose fence is over, is claimed for use", () => {
  for (const minVersion of [0n, 1n, 2n, 7n, 8n]) {
    check(
      () => calls.claimConverted(RECORD, OWNER, minVersion),
      ({ state, owner, payload }) =>
        state === PageState.Converted && owner === OWNER && payload < minVersion
          ? pack(PageState.Claimed, OWNER, payload)
          : undefined,
    );
  }
});

test("what was claimed is put back as it was", () => {
  set(pack(PageState.Converted, OWNER, 5n));
  assert.equal(calls.claimConverted(RECORD, OWNER, 6n), 1);
  calls.unclaimConverted(RECORD);
  assert.equal(get(), pack(PageState.Converted, OWNER, 5n));
  set(pack(PageState.Owned, OWNER, 0n));
  assert.equal(calls.claimOwned(RECORD, OWNER), 1);
  calls.unclaimOwned(RECORD, OWNER);
  assert.equal(get(), pack(PageState.Owned, OWNER, 0n));
  calls.setRecord(RECORD, PageState.TablePool, 3, 9n);
  assert.equal(get(), pack(PageState.TablePool, 3, 9n));
});

test("only a page in its owner's hands, mapped or shared, gets references", () => {
  check(
    () => calls.addReference(RECORD, OWNER),
    ({ state, owner, payload }) => {
      if (owner !== OWNER) return undefined;
      if (state === PageState.Owned) return pack(PageState.Shared, OWNER, 1n);
      return state === PageState.Shared && payload < MOST_REFERENCES
        ? pack(PageState.Shared, OWNER, payload + 1n)
        : undefined;
    },
  );
});

test("the last reference that is dropped leaves the page to its owner; one that nobody holds is a fault of ours", () => {
  for (const { state, owner, payload, record } of records()) {
    set(record);
    if (state === PageState.Shared && payload !== 0n) {
      calls.dropReference(RECORD);
      const left = payload - 1n;
      assert.equal(get(), pack(left === 0n ? PageState.Owned : PageState.Shared, owner, left));
    } else {
      assert.throws(() => calls.dropReference(RECORD), AssertionFailed);
      assert.equal(get(), record);
    }
  }
});
