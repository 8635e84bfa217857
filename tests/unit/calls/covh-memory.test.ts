import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { refusals } from "../support/simulated/call-table.ts";
import { CoveHost, HOST_CODE, HUGE, PAGE, TVM_MEMORY, TVM_MEMORY_SIZE } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { errorName } from "../support/simulated/sbi.ts";

/** COVH 8 to 12: giving memory to a TVM. */

let host: CoveHost;
/** Finalized, with a range that its guest shares. */
let tvm: Tvm;
/** Finalized, and without a single table page to spare. */
let poor: Tvm;
/** Being built, with a region and tables. */
let raw: bigint;

const SHARED = TVM_MEMORY + 0x1000_0000;
const SHARED_SIZE = 0x40_0000;
/** Unused confidential memory of the TVM, aligned to 1 GiB. */
const TARGET = TVM_MEMORY + 0x40_0000;
const REGION_END = TVM_MEMORY + TVM_MEMORY_SIZE;

before(async () => {
  host = await CoveHost.boot({ options: { ram: [{ base: 0x8000_0000, size: 48 << 20 }] } });
  tvm = host.buildTvm();
  host.shareRange(tvm, SHARED, SHARED_SIZE / PAGE);
  poor = host.buildTvm({ tables: 3 });
  raw = host.createTvm();
  host.must("addMemoryRegion", raw, TVM_MEMORY, TVM_MEMORY_SIZE);
  host.must("addPageTablePages", raw, host.donated(16), 16);
  host.take(0, HUGE);
  host.save("start");
});

const start = (): CoveHost => {
  host.restore("start");
  return host;
};

describe("TvmAddMemoryRegion", () => {
  test("regions in any order, next to each other or apart", () => {
    start();
    for (const gpa of [0, 0x4000, 0x1000, 0x3000, 0x2000, 0x10_0000]) host.must("addMemoryRegion", raw, gpa, PAGE);
    host.refuses("invalidAddress", "addMemoryRegion", raw, 0, 0x5000);
    host.must("addMemoryRegion", raw, 0x5000, 0x10_0000 - 0x5000);
  });

  test("up to the end of the address space", () => {
    start();
    host.must("addMemoryRegion", raw, (1n << 50n) - 0x1000n, 0x1000);
  });

  refusals(() => host, "start", "addMemoryRegion", [
    ["the TVM is finalized", "invalidParam", () => [tvm.id, 0x1000, PAGE]],
    ["length 0", "invalidParam", () => [raw, 0x1000, 0]],
    ["a part of a page", "invalidParam", () => [raw, 0x1000, 0x1001]],
    ["misaligned", "invalidAddress", () => [raw, 0x1008, PAGE]],
    ["wrapping", "invalidAddress", () => [raw, -0x1000n, 0x2000]],
    ["up to the last byte of 64 bits", "invalidAddress", () => [raw, 0x1000, -0x1000n]],
    ["beyond the address space", "invalidAddress", () => [raw, (1n << 50n) - 0x1000n, 0x2000]],
    ["overlapping the start", "invalidAddress", () => [raw, TVM_MEMORY - PAGE, 2 * PAGE]],
    ["overlapping the end", "invalidAddress", () => [raw, REGION_END - PAGE, 2 * PAGE]],
    ["inside another", "invalidAddress", () => [raw, TVM_MEMORY + PAGE, PAGE]],
    ["around another", "invalidAddress", () => [raw, TVM_MEMORY - PAGE, TVM_MEMORY_SIZE + 2 * PAGE]],
    ["the same again", "invalidAddress", () => [raw, TVM_MEMORY, TVM_MEMORY_SIZE]],
  ]);

  test("more than the list holds: failed", () => {
    start();
    for (let i = 1; i < 128; i++) host.must("addMemoryRegion", raw, i * 2 * PAGE, PAGE);
    host.refuses("failed", "addMemoryRegion", raw, 0x100_0000, PAGE);
    // A range that joins its neighbour needs no place.
    host.must("addMemoryRegion", raw, 3 * PAGE, PAGE);
    host.must("addMemoryRegion", raw, 0x100_0000, PAGE);
  });
});

describe("TvmAddPageTablePages", () => {
  test("before and after finalize, many at once", () => {
    start();
    assert.equal(host.must("addPageTablePages", raw, host.donated(700), 700), 700n);
    assert.equal(host.must("addPageTablePages", tvm.id, host.donated(2), 2), 2n);
  });

  refusals(() => host, "start", "addPageTablePages", [
    ["no pages", "invalidParam", (h) => [raw, h.donated(1), 0]],
    ["misaligned", "invalidAddress", (h) => [raw, h.donated(1) + 8, 1]],
    ["wrapping", "invalidAddress", () => [raw, -0x1000n, 2]],
    ["a count that wraps", "invalidAddress", (h) => [raw, h.donated(1), 1n << 52n]],
    ["not converted", "invalidAddress", (h) => [raw, h.take(1), 1]],
    ["not fenced", "invalidAddress", (h) => [raw, h.converted(1), 1]],
    ["one of many not converted", "invalidAddress", (h) => [raw, h.donated(600), 601]],
    ["no memory", "invalidAddress", () => [raw, 0x1000, 1]],
    ["given already", "invalidAddress", (h) => [raw, given(h), 1]],
  ]);

  function given(h: CoveHost): number {
    const page = h.donated(1);
    h.must("addPageTablePages", raw, page, 1);
    return page;
  }
});

describe("TvmAddMeasuredPages", () => {
  test("the TVM gets copies, and each page is measured with its address", () => {
    start();
    const source = host.take(3);
    host.fill(source, 3, 0x5a);
    const before = measurement();
    assert.equal(host.must("addMeasuredPages", raw, source, host.donated(3), 0, 3, TARGET), 3n);
    const once = measurement();
    assert.notEqual(before, once);
    host.restore("start");
    host.fill(source, 3, 0x5a);
    host.take(3);
    host.must("addMeasuredPages", raw, source, host.donated(3), 0, 3, TARGET + PAGE);
    assert.notEqual(measurement(), once, "another address, another measurement");
  });

  /** Measurement registers of the TVM that is being built. */
  function measurement(): string {
    const vm = host.checker.state.vms().find(({ id }) => id === raw)!;
    return Buffer.from(host.machine.memory.slice(vm.record.number("measurements"), 8 * 48)).toString("hex");
  }

  test("the host may go on with the source", () => {
    start();
    const source = host.take(1);
    host.must("addMeasuredPages", raw, source, host.donated(1), 0, 1, TARGET);
    host.store(source, 8, 1);
    host.must("convertPages", source, 1);
  });

  test("the same source for several pages", () => {
    start();
    const source = host.take(1);
    host.must("addMeasuredPages", raw, source, host.donated(1), 0, 1, TARGET);
    host.must("addMeasuredPages", raw, source, host.donated(1), 0, 1, TARGET + PAGE);
  });

  test("two large pages in one call", () => {
    start();
    const source = host.take(1024, HUGE);
    host.fill(source, 1024, 0x33);
    assert.equal(host.must("addMeasuredPages", raw, source, host.donated(1024, HUGE), 1, 2, TARGET), 2n);
    assert.deepEqual(leafSizes(raw, TARGET, 2 * HUGE), [HUGE, HUGE]);
  });

  refusals(() => host, "start", "addMeasuredPages", [
    ["the TVM is finalized", "invalidParam", (h) => [tvm.id, HOST_CODE, h.donated(1), 0, 1, TARGET]],
    ["an unknown page type", "invalidParam", (h) => [raw, HOST_CODE, h.donated(1), 3, 1, 0]],
    ["a page type of 64 bits", "invalidParam", (h) => [raw, HOST_CODE, h.donated(1), 1n << 32n, 1, 0]],
    ["no pages", "invalidParam", (h) => [raw, HOST_CODE, h.donated(1), 0, 0, TARGET]],
    ["target misaligned", "invalidAddress", (h) => [raw, HOST_CODE, h.donated(1), 0, 1, TARGET + 8]],
    ["target outside of the region", "invalidAddress", (h) => [raw, HOST_CODE, h.donated(1), 0, 1, 0x1000]],
    ["target runs out of the region", "invalidAddress", (h) => [raw, HOST_CODE, h.donated(2), 0, 2, REGION_END - PAGE]],
    ["target wraps", "invalidAddress", (h) => [raw, HOST_CODE, h.donated(2), 0, 2, -0x1000n]],
    ["target in use", "invalidAddress", (h) => [withPage(h), HOST_CODE, h.donated(1), 0, 1, TARGET]],
    ["the second target in use", "invalidAddress", (h) => [withPage(h), HOST_CODE, h.donated(2), 0, 2, TARGET - PAGE]],
    ["a count that wraps", "invalidAddress", (h) => [raw, HOST_CODE, h.donated(1), 0, (1n << 52n) + 1n, TARGET]],
    [
      "a count of large pages that wraps",
      "invalidAddress",
      (h) => [raw, HOST_CODE, h.donated(1), 1, 1n << 43n, TARGET],
    ],
    ["destination misaligned", "invalidAddress", (h) => [raw, HOST_CODE, h.donated(1) + 8, 0, 1, TARGET]],
    ["destination not converted", "invalidAddress", (h) => [raw, HOST_CODE, h.take(1), 0, 1, TARGET]],
    ["destination not fenced", "invalidAddress", (h) => [raw, HOST_CODE, h.converted(1), 0, 1, TARGET]],
    ["one of many destinations not converted", "invalidAddress", (h) => [raw, HOST_CODE, h.donated(3), 0, 4, TARGET]],
    ["source misaligned", "invalidAddress", (h) => [raw, HOST_CODE + 8, h.donated(1), 0, 1, TARGET]],
    ["source in no memory", "invalidAddress", (h) => [raw, 0x1000, h.donated(1), 0, 1, TARGET]],
    ["source wraps", "invalidAddress", (h) => [raw, -0x1000n, h.donated(2), 0, 2, TARGET]],
    ["source is the destination", "invalidAddress", (h) => [raw, ...twice(h.donated(1)), 0, 1, TARGET]],
    ["the last source page is converted", "invalidAddress", (h) => [raw, ...beforeConverted(h), 0, 2, TARGET]],
    [
      "a large destination, misaligned",
      "invalidAddress",
      (h) => [raw, HOST_CODE, h.donated(1024, HUGE) + PAGE, 1, 1, TARGET],
    ],
    ["no table pages", "failed", (h) => [withoutTables(h), HOST_CODE, h.donated(1), 0, 1, TARGET]],
  ]);

  const twice = (gpa: number): [number, number] => [gpa, gpa];

  function beforeConverted(h: CoveHost): [number, number] {
    const destination = h.donated(2);
    const source = h.take(1);
    h.converted(1);
    return [source, destination];
  }

  function withPage(h: CoveHost): bigint {
    h.must("addMeasuredPages", raw, HOST_CODE, h.donated(1), 0, 1, TARGET);
    return raw;
  }

  function withoutTables(h: CoveHost): bigint {
    const id = h.createTvm();
    h.must("addMemoryRegion", id, TVM_MEMORY, TVM_MEMORY_SIZE);
    h.must("addPageTablePages", id, h.donated(1), 1);
    return id;
  }
});

describe("TvmAddZeroPages", () => {
  test("the TVM finds zeroes, whatever the page held", () => {
    start();
    const pages = host.take(700, HUGE);
    host.fill(pages, 700, 0xcc);
    host.must("convertPages", pages, 700);
    host.fence();
    assert.equal(host.must("addZeroPages", tvm.id, pages, 0, 700, TARGET), 700n);
    host.enter(tvm);
    for (const page of [0, 511, 512, 699]) assert.equal(host.load(TARGET + page * PAGE), 0n);
    host.store(TARGET, 8, 0x1234);
    assert.equal(host.load(TARGET), 0x1234n);
  });

  test("a fault of the TVM is resolved by a page, and the access goes on", () => {
    start();
    host.enter(tvm);
    assert("switched" in host.perform(operations.load(TARGET + 0x238)));
    assert.equal(host.runResult().value, 0n);
    assert.equal(host.readCsr("scause"), 21n);
    host.must("addZeroPages", tvm.id, host.donated(1), 0, 1, TARGET);
    host.enter(tvm);
    assert.deepEqual(host.resume(), { done: 0n });
  });

  test("large pages, several in one call", () => {
    start();
    const pages = host.donated(3 * 512, HUGE);
    assert.equal(host.must("addZeroPages", tvm.id, pages, 1, 3, TARGET), 3n);
    assert.deepEqual(leafSizes(tvm.id, TARGET, 3 * HUGE), [HUGE, HUGE, HUGE]);
    host.enter(tvm);
    assert.equal(host.load(TARGET + 2 * HUGE + 0x1f_fff8), 0n);
  });

  refusals(() => host, "start", "addZeroPages", [
    ["the TVM is not finalized", "invalidState", (h) => [raw, h.donated(1), 0, 1, TARGET]],
    ["an unknown page type", "invalidParam", (h) => [tvm.id, h.donated(1), 3, 1, TARGET]],
    ["no pages", "invalidParam", (h) => [tvm.id, h.donated(1), 0, 0, TARGET]],
    ["target misaligned", "invalidAddress", (h) => [tvm.id, h.donated(1), 0, 1, TARGET + 1]],
    ["a large target misaligned", "invalidAddress", (h) => [tvm.id, h.donated(512, HUGE), 1, 1, TARGET + PAGE]],
    ["target in no region", "invalidAddress", (h) => [tvm.id, h.donated(1), 0, 1, 0x1000]],
    ["target in the shared region", "invalidAddress", (h) => [tvm.id, h.donated(1), 0, 1, SHARED]],
    ["target runs into the shared region", "invalidAddress", (h) => [tvm.id, h.donated(2), 0, 2, SHARED - PAGE]],
    ["target beyond the address space", "invalidAddress", (h) => [tvm.id, h.donated(1), 0, 1, 1n << 50n]],
    ["target wraps", "invalidAddress", (h) => [tvm.id, h.donated(2), 0, 2, -0x1000n]],
    ["target in use", "invalidAddress", (h) => [tvm.id, h.donated(1), 0, 1, TVM_MEMORY]],
    ["the last of many targets in use", "invalidAddress", (h) => [used(h, 600), h.donated(601), 0, 601, TARGET]],
    ["a large target over a small page", "invalidAddress", (h) => [used(h, 100), h.donated(512, HUGE), 1, 1, TARGET]],
    [
      "a small target inside a large page",
      "invalidAddress",
      (h) => [usedLarge(h), h.donated(1), 0, 1, TARGET + 5 * PAGE],
    ],
    ["a blocked target", "invalidAddress", (h) => [blocked(h), h.donated(1), 0, 1, TARGET]],
    ["not converted", "invalidAddress", (h) => [tvm.id, h.take(1), 0, 1, TARGET]],
    ["not fenced", "invalidAddress", (h) => [tvm.id, h.converted(1), 0, 1, TARGET]],
    ["misaligned", "invalidAddress", (h) => [tvm.id, h.donated(2) + 8, 0, 1, TARGET]],
    ["one of many not converted", "invalidAddress", (h) => [tvm.id, h.donated(600), 0, 601, TARGET]],
    ["a large page, misaligned", "invalidAddress", (h) => [tvm.id, h.donated(1024, HUGE) + PAGE, 1, 1, TARGET]],
    ["the second large page not converted", "invalidAddress", (h) => [tvm.id, h.donated(512, HUGE), 1, 2, TARGET]],
    ["wrapping", "invalidAddress", () => [tvm.id, -0x1000n, 0, 2, TARGET]],
    ["no table pages", "failed", (h) => [poor.id, h.donated(1), 0, 1, TVM_MEMORY + 0x2000_0000]],
  ]);

  /** One page of the target is in use. */
  function used(h: CoveHost, page: number): bigint {
    h.must("addZeroPages", tvm.id, h.donated(1), 0, 1, TARGET + page * PAGE);
    return tvm.id;
  }

  function usedLarge(h: CoveHost): bigint {
    h.must("addZeroPages", tvm.id, h.donated(512, HUGE), 1, 1, TARGET);
    return tvm.id;
  }

  function blocked(h: CoveHost): bigint {
    used(h, 0);
    h.must("blockPages", tvm.id, TARGET, PAGE);
    return tvm.id;
  }

  test("a page is given once", () => {
    start();
    const page = host.donated(1);
    host.must("addZeroPages", tvm.id, page, 0, 1, TARGET);
    host.refuses("invalidAddress", "addZeroPages", tvm.id, page, 0, 1, TARGET + PAGE);
    host.refuses("invalidAddress", "addZeroPages", poor.id, page, 0, 1, TVM_MEMORY + PAGE);
    host.refuses("invalidAddress", "reclaimPages", page, 1);
  });

  test("1 GiB pages", async () => {
    const GIGA = 0x4000_0000;
    const large = await CoveHost.boot({
      options: {
        ram: [
          { base: 0x8000_0000, size: 32 << 20 },
          { base: 0x1_0000_0000, size: GIGA },
        ],
      },
    });
    const guest = large.buildTvm();
    large.checker.paused = true;
    large.must("convertPages", 0x1_0000_0000, GIGA / PAGE);
    large.fence();
    const inUse = large.covh("addZeroPages", guest.id, 0x1_0000_0000, 2, 1, TVM_MEMORY);
    assert.equal(errorName(inUse.error), "invalidAddress");
    large.checker.reset();
    large.checker.check();
    // A TVM that has nothing in its gigabyte yet.
    const id = large.createTvm();
    large.must("addMemoryRegion", id, TVM_MEMORY, 2 * GIGA);
    large.must("addPageTablePages", id, large.donated(8), 8);
    large.must("cpuCreate", id, 0, large.donated(1));
    large.must("addMeasuredPages", id, HOST_CODE, large.donated(1), 0, 1, TVM_MEMORY);
    large.must("tvmFinalize", id, TVM_MEMORY, 0);
    assert.equal(large.must("addZeroPages", id, 0x1_0000_0000, 2, 1, TVM_MEMORY + GIGA), 1n);
    large.enter(id);
    assert.equal(large.load(TVM_MEMORY + 2 * GIGA - 8), 0n);
    large.leaveTvm();
    large.checker.reset();
    large.checker.check();
    large.must("tvmDestroy", id);
    assert.equal(large.must("reclaimPages", 0x1_0000_0000, GIGA / PAGE), BigInt(GIGA / PAGE));
    large.checker.reset();
    large.checker.check();
  });
});

describe("TvmAddSharedPages", () => {
  test("host and TVM see the same memory", () => {
    start();
    const page = host.take(1);
    host.store(page + 8, 8, 0x11);
    assert.equal(host.must("addSharedPages", tvm.id, page, 0, 1, SHARED), 1n);
    host.enter(tvm);
    assert.equal(host.load(SHARED + 8), 0x11n);
    host.store(SHARED + 16, 4, 0x22);
    host.leaveTvm();
    assert.equal(host.load(page + 16, 4), 0x22n);
  });

  test("one page in two TVMs, and twice in one", () => {
    start();
    host.shareRange(poor, TVM_MEMORY + 0x10_0000, 1);
    const page = host.take(1);
    host.must("addSharedPages", tvm.id, page, 0, 1, SHARED);
    host.must("addSharedPages", tvm.id, page, 0, 1, SHARED + PAGE);
    host.must("addSharedPages", poor.id, page, 0, 1, TVM_MEMORY + 0x10_0000);
    host.must("tvmDestroy", tvm.id);
    host.refuses("invalidAddress", "convertPages", page, 1);
    host.store(page, 8, 7);
    host.enter(poor);
    assert.equal(host.load(TVM_MEMORY + 0x10_0000), 7n);
    host.leaveTvm();
    host.must("tvmDestroy", poor.id);
    host.must("convertPages", page, 1);
  });

  test("large pages, and a TVM that is destroyed with a blocked one", () => {
    start();
    const pages = host.take(1024, HUGE);
    assert.equal(host.must("addSharedPages", tvm.id, pages, 1, 2, SHARED), 2n);
    host.must("blockPages", tvm.id, SHARED, HUGE);
    host.must("tvmDestroy", tvm.id);
    host.must("convertPages", pages, 1024);
  });

  refusals(() => host, "start", "addSharedPages", [
    ["2 MiB that begin right behind a page of the last call", "invalidAddress", (h) => behindTheLast(h)],
    ["the TVM is not finalized", "invalidState", (h) => [raw, h.take(1), 0, 1, SHARED]],
    ["an unknown page type", "invalidParam", (h) => [tvm.id, h.take(1), 3, 1, SHARED]],
    ["no pages", "invalidParam", (h) => [tvm.id, h.take(1), 0, 0, SHARED]],
    ["target is confidential", "invalidAddress", (h) => [tvm.id, h.take(1), 0, 1, TARGET]],
    [
      "target runs out of the shared region",
      "invalidAddress",
      (h) => [tvm.id, h.take(2), 0, 2, SHARED + SHARED_SIZE - PAGE],
    ],
    ["target misaligned", "invalidAddress", (h) => [tvm.id, h.take(1), 0, 1, SHARED + 8]],
    ["target in use", "invalidAddress", (h) => [sharedPage(h), h.take(1), 0, 1, SHARED]],
    ["converted", "invalidAddress", (h) => [tvm.id, h.converted(1), 0, 1, SHARED]],
    ["converted and fenced", "invalidAddress", (h) => [tvm.id, h.donated(1), 0, 1, SHARED]],
    ["one of many converted", "invalidAddress", (h) => [tvm.id, h.converted(1, HUGE) - 600 * PAGE, 0, 601, SHARED]],
    ["misaligned", "invalidAddress", (h) => [tvm.id, h.take(1) + 8, 0, 1, SHARED]],
    ["wrapping", "invalidAddress", () => [tvm.id, -0x1000n, 0, 2, SHARED]],
    ["no memory", "invalidAddress", () => [tvm.id, 0x1000, 0, 1, SHARED]],
    ["a device", "invalidAddress", () => [tvm.id, 0x2800_0000, 0, 1, SHARED]],
    ["another TVM's page", "invalidAddress", (h) => [tvm.id, h.lastDonated, 0, 1, SHARED]],
    ["a large page, misaligned", "invalidAddress", (h) => [tvm.id, h.take(1024, HUGE) + PAGE, 1, 1, SHARED]],
    [
      "the second large page is not the host's",
      "invalidAddress",
      (h) => [tvm.id, h.converted(512, HUGE) - HUGE, 1, 2, SHARED],
    ],
    ["no table pages", "failed", (h) => [poorShared(h), h.take(1), 0, 1, TVM_MEMORY + 0x3000_0000]],
  ]);

  /** What is looked at page by page fits on to the last page of the call before: the source's alignment alone is wrong. */
  function behindTheLast(h: CoveHost): (number | bigint)[] {
    const pages = h.take(513, HUGE);
    h.must("addSharedPages", tvm.id, pages, 0, 1, SHARED + HUGE);
    return [tvm.id, pages + PAGE, 1, 1, SHARED];
  }

  function sharedPage(h: CoveHost): bigint {
    h.must("addSharedPages", tvm.id, h.take(1), 0, 1, SHARED);
    return tvm.id;
  }

  function poorShared(h: CoveHost): bigint {
    h.shareRange(poor, TVM_MEMORY + 0x3000_0000, 1);
    return poor.id;
  }
});

/** Sizes of the leaves that map a range of a TVM. */
function leafSizes(id: bigint, gpa: number, size: number): number[] {
  const sizes: number[] = [];
  const vm = host.checker.state.vms().find((candidate) => candidate.id === id)!;
  vm.walk(
    (entry) => {
      if (entry.gpa >= gpa && entry.gpa < gpa + size) sizes.push(entry.size);
    },
    () => {},
  );
  return sizes;
}
