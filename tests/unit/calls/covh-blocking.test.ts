import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { refusals } from "../support/simulated/call-table.ts";
import { CoveHost, HUGE, PAGE, TVM_MEMORY, TVM_MEMORY_SIZE } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Covg, Eid, Sbi } from "../support/simulated/sbi.ts";

/** COVH 15 to 20: taking memory out of a running TVM's reach, changing the size of its pages, and removing them. */

let host: CoveHost;
let tvm: Tvm;
let raw: bigint;

/** Four small pages, then nothing. */
const SMALL = TVM_MEMORY + 0x40_0000;
/** A large page. */
const LARGE = TVM_MEMORY + 0x80_0000;
/** 512 small pages that are contiguous and aligned: a large page in waiting. */
const SPLIT = TVM_MEMORY + 0xc0_0000;
/** A range that the guest is giving up: five pages of which the first four are there. */
const REMOVABLE = TVM_MEMORY + 0x100_0000;
const REMOVABLE_PAGES = 8;
const REGION_END = TVM_MEMORY + TVM_MEMORY_SIZE;

before(async () => {
  host = await CoveHost.boot({ options: { ram: [{ base: 0x8000_0000, size: 48 << 20 }] } });
  tvm = host.buildTvm();
  raw = host.createTvm();
  host.must("addZeroPages", tvm.id, host.donated(4), 0, 4, SMALL);
  host.must("addZeroPages", tvm.id, host.donated(512, HUGE), 1, 1, LARGE);
  host.must("addZeroPages", tvm.id, host.donated(512, HUGE), 0, 512, SPLIT);
  host.must("addZeroPages", tvm.id, host.donated(4), 0, 4, REMOVABLE);
  host.registerNacl();
  host.enter(tvm);
  assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.shareMemory, REMOVABLE, REMOVABLE_PAGES * PAGE)));
  host.save("start");
});

const start = (): CoveHost => {
  host.restore("start");
  return host;
};

/** Blocks and fences a range. */
function blocked(gpa: number, length: number): void {
  host.must("blockPages", tvm.id, gpa, length);
  host.must("tvmInitiateFence", tvm.id);
}

describe("TvmInitiateFence", () => {
  test("is complete at once while no vCPU runs", () => {
    start();
    assert.equal(host.must("tvmInitiateFence", tvm.id), 0n);
    assert.equal(host.must("tvmInitiateFence", tvm.id), 0n);
  });

  refusals(() => host, "start", "tvmInitiateFence", [["not finalized", "invalidState", () => [raw]]]);
});

describe("TvmBlockPages", () => {
  test("the TVM faults until the page is unblocked, and finds what it had stored", () => {
    start();
    host.answer(Sbi.failed);
    host.enter(tvm);
    host.store(SMALL + PAGE, 8, 0xabc);
    host.leaveTvm();
    blocked(SMALL + PAGE, PAGE);
    host.enter(tvm);
    assert("switched" in host.perform(operations.load(SMALL + PAGE)));
    host.runResult();
    assert.equal(host.load(host.nacl! + 0x1000 + 8 * 0x143) << 2n, BigInt(SMALL + PAGE));
    host.must("unblockPages", tvm.id, SMALL + PAGE, PAGE);
    host.enter(tvm);
    assert.deepEqual(host.resume(), { done: 0xabcn });
  });

  test("lengths are rounded up to pages; 0 does nothing", () => {
    start();
    host.must("blockPages", tvm.id, SMALL, 1);
    host.refuses("invalidAddress", "blockPages", tvm.id, SMALL, PAGE);
    host.must("blockPages", tvm.id, SMALL + PAGE, 0);
    host.must("blockPages", tvm.id, SMALL + PAGE, PAGE + 1);
    host.must("unblockPages", tvm.id, SMALL, 3 * PAGE);
  });

  test("large and small pages in one call", () => {
    start();
    host.must("blockPages", tvm.id, LARGE, HUGE);
    host.must("unblockPages", tvm.id, LARGE, HUGE);
    host.must("addZeroPages", tvm.id, host.donated(512, HUGE), 0, 512, LARGE + HUGE);
    host.must("blockPages", tvm.id, LARGE, HUGE + 7 * PAGE);
    host.must("unblockPages", tvm.id, LARGE, HUGE + 7 * PAGE);
  });

  refusals(() => host, "start", "blockPages", [
    ["not finalized", "invalidState", () => [raw, SMALL, PAGE]],
    ["misaligned", "invalidAddress", () => [tvm.id, SMALL + 8, PAGE]],
    ["not mapped", "invalidAddress", () => [tvm.id, SMALL + 4 * PAGE, PAGE]],
    ["the last page not mapped", "invalidAddress", () => [tvm.id, SMALL, 5 * PAGE]],
    ["blocked already", "invalidAddress", (h) => (h.must("blockPages", tvm.id, SMALL, PAGE), [tvm.id, SMALL, PAGE])],
    [
      "the last page blocked",
      "invalidAddress",
      (h) => (h.must("blockPages", tvm.id, SMALL + 3 * PAGE, PAGE), [tvm.id, SMALL, 4 * PAGE]),
    ],
    ["a part of a large page", "invalidAddress", () => [tvm.id, LARGE, PAGE]],
    ["the end of a large page", "invalidAddress", () => [tvm.id, LARGE + PAGE, HUGE - PAGE]],
    ["outside of all regions", "invalidAddress", () => [tvm.id, 0x1000, PAGE]],
    ["wrapping", "invalidAddress", () => [tvm.id, -0x1000n, 0x2000]],
    ["a length that wraps when rounded", "invalidAddress", () => [tvm.id, SMALL, -1]],
    ["beyond the address space", "invalidAddress", () => [tvm.id, 1n << 50n, PAGE]],
    ["beyond the region", "invalidAddress", () => [tvm.id, REGION_END, PAGE]],
  ]);
});

describe("TvmUnblockPages", () => {
  test("needs no fence", () => {
    start();
    host.must("blockPages", tvm.id, SMALL, 4 * PAGE);
    host.must("unblockPages", tvm.id, SMALL + PAGE, PAGE);
    host.must("unblockPages", tvm.id, SMALL, PAGE);
    host.must("unblockPages", tvm.id, SMALL + 2 * PAGE, 2 * PAGE);
    host.must("unblockPages", tvm.id, SMALL, 0);
  });

  refusals(() => host, "start", "unblockPages", [
    ["not finalized", "invalidState", () => [raw, SMALL, PAGE]],
    ["misaligned", "invalidAddress", () => [tvm.id, SMALL + 8, PAGE]],
    ["not blocked", "invalidAddress", () => [tvm.id, SMALL, PAGE]],
    ["not mapped", "invalidAddress", () => [tvm.id, SMALL + 4 * PAGE, PAGE]],
    [
      "the last page not blocked",
      "invalidAddress",
      (h) => (h.must("blockPages", tvm.id, SMALL, 2 * PAGE), [tvm.id, SMALL, 3 * PAGE]),
    ],
    [
      "a part of a large page",
      "invalidAddress",
      (h) => (h.must("blockPages", tvm.id, LARGE, HUGE), [tvm.id, LARGE, PAGE]),
    ],
    ["wrapping", "invalidAddress", () => [tvm.id, -0x1000n, 0x2000]],
    ["a length that wraps when rounded", "invalidAddress", () => [tvm.id, SMALL, -1]],
  ]);
});

describe("TvmPromotePage", () => {
  test("512 small pages become one, and keep what they held", () => {
    start();
    host.answer(Sbi.failed);
    host.enter(tvm);
    for (const page of [0, 1, 300, 511]) host.store(SPLIT + page * PAGE + 24, 8, page + 1);
    host.leaveTvm();
    blocked(SPLIT, HUGE);
    assert.equal(host.must("promotePage", tvm.id, SPLIT, 1), 0n);
    host.enter(tvm);
    for (const page of [0, 1, 300, 511]) assert.equal(host.load(SPLIT + page * PAGE + 24), BigInt(page + 1));
  });

  test("the table that is not needed any more serves again after a fence, not before", () => {
    start();
    exhaustTables();
    blocked(SPLIT, HUGE);
    host.must("promotePage", tvm.id, SPLIT, 1);
    const page = host.donated(1);
    host.refuses("failed", "addZeroPages", tvm.id, page, 0, 1, TVM_MEMORY + 0x3000_0000);
    host.must("tvmInitiateFence", tvm.id);
    host.must("addZeroPages", tvm.id, page, 0, 1, TVM_MEMORY + 0x3000_0000);
  });

  test("in a range that the guest gives up, and in none that is its host's", () => {
    start();
    const ask = (call: keyof typeof Covg): void => {
      assert("switched" in host.perform(operations.ecall(Eid.covg, Covg[call], SPLIT, HUGE)));
      host.runResult();
    };
    host.answer(Sbi.failed);
    host.enter(tvm);
    ask("shareMemory");
    // The pages are still its own: they may change their size, and back.
    blocked(SPLIT, HUGE);
    host.must("promotePage", tvm.id, SPLIT, 1);
    blocked(SPLIT, HUGE);
    host.must("removePages", tvm.id, SPLIT, HUGE);
    host.answer(Sbi.success);
    host.enter(tvm);
    assert.deepEqual(host.resume(), { done: { error: 0n, value: 0n } });
    host.leaveTvm();
    host.refuses("invalidAddress", "promotePage", tvm.id, SPLIT, 1);
    host.enter(tvm);
    ask("unshareMemory");
    host.refuses("invalidAddress", "promotePage", tvm.id, SPLIT, 1);
  });

  test("small pages before a large one: both are blocked, and nothing beside them", () => {
    start();
    host.must("addZeroPages", tvm.id, host.donated(2), 0, 2, LARGE - 2 * PAGE);
    blocked(LARGE - 2 * PAGE, HUGE + 2 * PAGE);
    host.must("unblockPages", tvm.id, LARGE - 2 * PAGE, HUGE + 2 * PAGE);
    host.refuses("invalidAddress", "unblockPages", tvm.id, LARGE - PAGE, PAGE);
    blocked(LARGE - 2 * PAGE, HUGE + 2 * PAGE);
    host.refuses("invalidAddress", "blockPages", tvm.id, LARGE, HUGE);
    host.refuses("invalidAddress", "blockPages", tvm.id, LARGE - PAGE, PAGE);
  });

  test("there and back again", () => {
    start();
    for (let i = 0; i < 3; i++) {
      blocked(SPLIT, HUGE);
      host.must("promotePage", tvm.id, SPLIT, 1);
      blocked(SPLIT, HUGE);
      host.must("demotePage", tvm.id, SPLIT, 0);
    }
  });

  test("a table that has rested does not wait for the fence of the next one", () => {
    start();
    const record = host.checker.state.vms().find(({ id }) => id === tvm.id)!.record;
    const counts = (): number[] => [record.number("freeTableCount"), record.number("retiredTableCount")];
    const promote = (): void => {
      blocked(SPLIT, HUGE);
      host.must("promotePage", tvm.id, SPLIT, 1);
    };
    const [free] = counts();
    promote();
    assert.deepEqual(counts(), [free, 1]);
    blocked(SPLIT, HUGE);
    host.must("demotePage", tvm.id, SPLIT, 0);
    assert.deepEqual(counts(), [free - 1, 1]);
    promote();
    assert.deepEqual(counts(), [free, 1]);
  });

  test("two that have rested serve again before a third rests", () => {
    start();
    const [second, third] = [SPLIT + 8 * HUGE, SPLIT + 10 * HUGE];
    for (const gpa of [second, third]) host.must("addZeroPages", tvm.id, host.donated(512, HUGE), 0, 512, gpa);
    for (const gpa of [SPLIT, second, third]) host.must("blockPages", tvm.id, gpa, HUGE);
    host.must("tvmInitiateFence", tvm.id);
    const record = host.checker.state.vms().find(({ id }) => id === tvm.id)!.record;
    const counts = (): number[] => [record.number("freeTableCount"), record.number("retiredTableCount")];
    const [free] = counts();
    host.must("promotePage", tvm.id, SPLIT, 1);
    host.must("promotePage", tvm.id, second, 1);
    assert.deepEqual(counts(), [free, 2]);
    host.must("tvmInitiateFence", tvm.id);
    host.must("promotePage", tvm.id, third, 1);
    assert.deepEqual(counts(), [free + 2, 1]);
  });

  refusals(() => host, "start", "promotePage", [
    ["not finalized", "invalidState", () => [raw, SPLIT, 1]],
    ["an unknown page type", "invalidParam", () => [tvm.id, SPLIT, 4]],
    ["a page type of 64 bits", "invalidParam", () => [tvm.id, SPLIT, (1n << 32n) + 1n]],
    ["4 KiB", "invalidAddress", () => [tvm.id, SPLIT, 0]],
    ["misaligned", "invalidAddress", () => (blocked(SPLIT, HUGE), [tvm.id, SPLIT + PAGE, 1])],
    ["not blocked", "invalidAddress", () => [tvm.id, SPLIT, 1]],
    ["not fenced", "invalidAddress", (h) => (h.must("blockPages", tvm.id, SPLIT, HUGE), [tvm.id, SPLIT, 1])],
    [
      "one page not blocked",
      "invalidAddress",
      (h) => (blocked(SPLIT, HUGE), h.must("unblockPages", tvm.id, SPLIT + 99 * PAGE, PAGE), [tvm.id, SPLIT, 1]),
    ],
    [
      "one page not fenced",
      "invalidAddress",
      (h) => (blocked(SPLIT, HUGE - PAGE), h.must("blockPages", tvm.id, SPLIT + HUGE - PAGE, PAGE), [tvm.id, SPLIT, 1]),
    ],
    ["a few small pages", "invalidAddress", () => (blocked(SMALL, 4 * PAGE), [tvm.id, SMALL, 1])],
    ["not contiguous", "invalidAddress", (h) => (addSwapped(h), blocked(SWAPPED, HUGE), [tvm.id, SWAPPED, 1])],
    ["not aligned", "invalidAddress", (h) => (addShifted(h), blocked(SWAPPED, HUGE), [tvm.id, SWAPPED, 1])],
    ["large already", "invalidAddress", () => (blocked(LARGE, HUGE), [tvm.id, LARGE, 1])],
    ["to 1 GiB without its parts", "invalidAddress", () => (blocked(LARGE, HUGE), [tvm.id, TVM_MEMORY, 2])],
    ["to 512 GiB", "invalidAddress", () => [tvm.id, 0, 3]],
    ["outside of all regions", "invalidAddress", () => [tvm.id, 0x20_0000, 1]],
    ["outside of the address space", "invalidAddress", () => [tvm.id, 1n << 50n, 1]],
  ]);
});

const SWAPPED = TVM_MEMORY + 0x180_0000;

/** 512 contiguous pages of which the last two have changed places. */
function addSwapped(h: CoveHost): void {
  const pages = h.donated(512, HUGE);
  h.must("addZeroPages", tvm.id, pages, 0, 510, SWAPPED);
  h.must("addZeroPages", tvm.id, pages + 510 * PAGE, 0, 1, SWAPPED + 511 * PAGE);
  h.must("addZeroPages", tvm.id, pages + 511 * PAGE, 0, 1, SWAPPED + 510 * PAGE);
}

/** 512 contiguous pages that begin in the middle of a large one. */
function addShifted(h: CoveHost): void {
  h.must("addZeroPages", tvm.id, h.donated(513, HUGE) + PAGE, 0, 512, SWAPPED);
}

/** Uses up the table pages of the TVM. */
function exhaustTables(): void {
  for (let i = 0; ; i++) {
    const page = host.donated(1);
    const { error } = host.covh("addZeroPages", tvm.id, page, 0, 1, TVM_MEMORY + 0x1000_0000 + i * HUGE);
    if (error !== Sbi.success) return assert.equal(error, Sbi.failed);
  }
}

describe("TvmDemotePage", () => {
  test("a large page becomes 512 small ones, mapped again", () => {
    start();
    host.answer(Sbi.failed);
    host.enter(tvm);
    host.store(LARGE + 77 * PAGE, 8, 77);
    host.leaveTvm();
    blocked(LARGE, HUGE);
    assert.equal(host.must("demotePage", tvm.id, LARGE, 0), 0n);
    host.must("blockPages", tvm.id, LARGE + 5 * PAGE, PAGE);
    host.enter(tvm);
    assert.equal(host.load(LARGE + 77 * PAGE), 77n);
  });

  refusals(() => host, "start", "demotePage", [
    ["not finalized", "invalidState", () => [raw, LARGE, 0]],
    ["an unknown page type", "invalidParam", () => [tvm.id, LARGE, 4]],
    ["to 512 GiB", "invalidAddress", () => [tvm.id, LARGE, 3]],
    ["misaligned", "invalidAddress", () => (blocked(LARGE, HUGE), [tvm.id, LARGE + PAGE, 0])],
    ["not blocked", "invalidAddress", () => [tvm.id, LARGE, 0]],
    ["not fenced", "invalidAddress", (h) => (h.must("blockPages", tvm.id, LARGE, HUGE), [tvm.id, LARGE, 0])],
    ["small already", "invalidAddress", () => (blocked(SPLIT, HUGE), [tvm.id, SPLIT, 0])],
    ["not mapped", "invalidAddress", () => [tvm.id, LARGE + HUGE, 0]],
    ["from 1 GiB", "invalidAddress", () => (blocked(LARGE, HUGE), [tvm.id, LARGE, 1])],
    ["outside of all regions", "invalidAddress", () => [tvm.id, 0, 0]],
    ["no table page", "failed", () => (exhaustTables(), blocked(LARGE, HUGE), [tvm.id, LARGE, 0])],
  ]);
});

describe("TvmRemovePages", () => {
  test("pages of a range that the guest gives up come back; gaps do not matter", () => {
    start();
    blocked(REMOVABLE, 4 * PAGE);
    assert.equal(host.must("removePages", tvm.id, REMOVABLE, REMOVABLE_PAGES * PAGE), 0n);
    host.refuses("invalidAddress", "blockPages", tvm.id, REMOVABLE, PAGE);
    host.must("removePages", tvm.id, REMOVABLE, REMOVABLE_PAGES * PAGE);
    host.must("reclaimPages", host.lastDonated, 4);
  });

  test("length 0 does nothing in a removable region", () => {
    start();
    host.must("removePages", tvm.id, REMOVABLE, 0);
  });

  refusals(() => host, "start", "removePages", [
    ["not finalized", "invalidState", () => [raw, REMOVABLE, PAGE]],
    ["misaligned", "invalidAddress", () => (blocked(REMOVABLE, PAGE), [tvm.id, REMOVABLE + 8, PAGE])],
    ["a region that stays the guest's", "invalidAddress", () => (blocked(SMALL, PAGE), [tvm.id, SMALL, PAGE])],
    ["a region that stays the guest's, length 0", "invalidAddress", () => [tvm.id, SMALL, 0]],
    [
      "beyond the range that is given up",
      "invalidAddress",
      () => (blocked(REMOVABLE, PAGE), [tvm.id, REMOVABLE, (REMOVABLE_PAGES + 1) * PAGE]),
    ],
    [
      "before the range that is given up",
      "invalidAddress",
      () => (blocked(REMOVABLE, PAGE), [tvm.id, REMOVABLE - PAGE, 2 * PAGE]),
    ],
    ["not blocked", "invalidAddress", () => [tvm.id, REMOVABLE, PAGE]],
    ["not fenced", "invalidAddress", (h) => (h.must("blockPages", tvm.id, REMOVABLE, PAGE), [tvm.id, REMOVABLE, PAGE])],
    [
      "the last page not blocked",
      "invalidAddress",
      () => (blocked(REMOVABLE, 3 * PAGE), [tvm.id, REMOVABLE, 4 * PAGE]),
    ],
    [
      "the last page not fenced",
      "invalidAddress",
      (h) => (
        blocked(REMOVABLE, 3 * PAGE),
        h.must("blockPages", tvm.id, REMOVABLE + 3 * PAGE, PAGE),
        [tvm.id, REMOVABLE, 4 * PAGE]
      ),
    ],
    ["wrapping", "invalidAddress", () => [tvm.id, -0x1000n, 0x2000]],
    ["a length that wraps when rounded", "invalidAddress", () => [tvm.id, REMOVABLE, -1]],
    ["outside of all regions", "invalidAddress", () => [tvm.id, 0x1000, PAGE]],
  ]);
});
