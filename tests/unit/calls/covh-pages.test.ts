import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { GuestTrap } from "../../../machine/simulated/guest-script.ts";
import { refusals } from "../support/simulated/call-table.ts";
import { CoveHost, FREE_MEMORY, HUGE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Covh, Eid, EVERY, errorName } from "../support/simulated/sbi.ts";

/** COVH 0 to 4: what the TSM is, and how pages leave and rejoin the host's memory. */

let host: CoveHost;
let tvm: Tvm;
/** Beyond the host's last page: 2 MiB of 32 are the hypervisor's. */
const RAM_END = 0x8200_0000;
const HOST_END = RAM_END - HUGE;

before(async () => {
  host = await CoveHost.boot();
  tvm = host.buildTvm();
  host.registerNacl();
  host.take(0, HUGE);
  host.save("start");
});

const start = (): CoveHost => {
  host.restore("start");
  return host;
};

function traps(access: () => unknown): number {
  try {
    access();
  } catch (error) {
    if (error instanceof GuestTrap) return error.cause;
    throw error;
  }
  return 0;
}

describe("TsmGetInfo", () => {
  test("writes 32 bytes and answers with their number", () => {
    start();
    const buffer = host.take(1);
    host.fill(buffer, 1, 0xee);
    assert.equal(host.must("tsmGetInfo", buffer + 8, 4096), 32n);
    assert.equal(host.load(buffer + 8, 4), 2n, "state: ready");
    assert.equal(host.load(buffer + 12, 4), 0n, "version");
    assert.equal(host.load(buffer + 16), 2n, "state pages of a TVM");
    assert.equal(host.load(buffer + 24), 128n, "vCPUs of a TVM");
    assert.equal(host.load(buffer + 32), 1n, "state pages of a vCPU");
    assert.equal(host.load(buffer, 8), 0xeeee_eeee_eeee_eeeen);
    assert.equal(host.load(buffer + 40, 8), 0xeeee_eeee_eeee_eeeen);
  });

  test("the buffer may lie anywhere, also across two pages", () => {
    start();
    const buffer = host.take(2) + PAGE - 13;
    assert.equal(host.must("tsmGetInfo", buffer, 32), 32n);
    assert.equal(host.load(buffer, 1), 2n);
    assert.equal(host.load(buffer + 16, 1), 128n);
  });

  refusals(() => host, "start", "tsmGetInfo", [
    ["31 bytes", "invalidParam", (h) => [h.take(1), 31]],
    ["no bytes", "invalidParam", (h) => [h.take(1), 0]],
    ["no memory", "invalidAddress", () => [0x1000, 32]],
    ["the address space ends", "invalidAddress", () => [-16n, 32]],
    ["beyond the address space", "invalidAddress", () => [1n << 41n, 32]],
    ["beyond RAM", "invalidAddress", () => [HOST_END, 32]],
    ["the second page is converted", "invalidAddress", (h) => [h.converted(1) - 16, 32]],
    ["a TVM's page", "invalidAddress", () => [FREE_MEMORY + 4 * PAGE, 32]],
    ["a device", "invalidAddress", () => [0x2800_0000, 32]],
  ]);
});

describe("TsmConvertPages", () => {
  test("one page leaves the host's reach, its neighbours do not", () => {
    start();
    const page = host.take(3) + PAGE;
    assert.equal(host.must("convertPages", page, 1), 1n);
    assert.equal(
      traps(() => host.load(page)),
      5,
    );
    assert.equal(
      traps(() => host.store(page, 8, 1)),
      7,
    );
    assert.equal(host.load(page - 8), 0n);
    assert.equal(host.load(page + PAGE), 0n);
  });

  test("thousands of pages over several large ones, from the middle of one to the middle of another", () => {
    start();
    const first = host.take(5 * 512, HUGE) + 100 * PAGE;
    assert.equal(host.must("convertPages", first, 4 * 512), BigInt(4 * 512));
    assert.equal(
      traps(() => host.load(first)),
      5,
    );
    assert.equal(
      traps(() => host.load(first + 4 * HUGE - 8)),
      5,
    );
    assert.equal(
      traps(() => host.load(first - 8)),
      0,
    );
    assert.equal(
      traps(() => host.load(first + 4 * HUGE)),
      0,
    );
  });

  test("what the page held stays hidden, and is gone when the page comes back", () => {
    start();
    const page = host.take(1);
    host.store(page, 8, 0x5ec7e7);
    host.must("convertPages", page, 1);
    host.fence();
    host.must("reclaimPages", page, 1);
    assert.equal(host.load(page), 0n);
  });

  refusals(() => host, "start", "convertPages", [
    ["no pages", "invalidParam", (h) => [h.take(1), 0]],
    ["misaligned", "invalidAddress", (h) => [h.take(2) + 8, 1]],
    ["wrapping", "invalidAddress", () => [-4096n, 2]],
    ["a length that does not fit in 64 bits", "invalidAddress", (h) => [h.take(1), 1n << 52n]],
    ["a length that wraps to nothing", "invalidAddress", (h) => [h.take(1), (1n << 52n) + 1n]],
    ["all ones", "invalidAddress", () => [EVERY, EVERY]],
    ["beyond the address space", "invalidAddress", () => [(1n << 41n) - 4096n, 2]],
    ["no memory, up to the end of the address space", "invalidAddress", () => [(1n << 41n) - 4096n, 1]],
    ["no memory", "invalidAddress", () => [0x1000, 1]],
    ["the hypervisor's own memory, by its hpa", "invalidAddress", () => [HOST_END, 1]],
    ["a range that ends beyond RAM", "invalidAddress", () => [HOST_END - 2 * PAGE, 3]],
    ["a device", "invalidAddress", () => [0x2800_1000, 1]],
    ["converted already", "invalidAddress", (h) => [h.converted(1), 1]],
    ["converted and fenced already", "invalidAddress", (h) => [h.donated(1), 1]],
    ["a TVM has it", "invalidAddress", () => [FREE_MEMORY + 4 * PAGE, 1]],
    ["one of many is converted", "invalidAddress", (h) => [h.converted(1, HUGE) - 700 * PAGE, 800]],
    ["pinned: NACL memory", "invalidAddress", (h) => [h.registerNacl(), 1]],
    ["the last of many is pinned", "invalidAddress", (h) => [h.registerNacl() - 2 * PAGE, 3]],
    ["shared with a TVM", "invalidAddress", (h) => [shareWithTvm(h), 1]],
  ]);

  test("a TVM has nobody to convert for", () => {
    start();
    host.enter(tvm);
    host.refuses("invalidAddress", "convertPages", TVM_MEMORY, 1);
    host.refuses("invalidParam", "convertPages", TVM_MEMORY, 0);
  });
});

/** A page that the host and a TVM share. */
function shareWithTvm(h: CoveHost): number {
  const page = h.take(1);
  h.shareRange(tvm, TVM_MEMORY + 0x10_0000, 1);
  h.must("addSharedPages", tvm.id, page, 0, 1, TVM_MEMORY + 0x10_0000);
  return page;
}

describe("TsmReclaimPages", () => {
  test("pages come back zeroed, one by one or many at once", () => {
    start();
    const pages = host.take(1500, HUGE);
    host.fill(pages, 1500, 0x77);
    host.must("convertPages", pages, 1500);
    host.fence();
    assert.equal(host.must("reclaimPages", pages + 700 * PAGE, 1), 1n);
    assert.equal(host.load(pages + 700 * PAGE), 0n);
    assert.equal(host.must("reclaimPages", pages, 700), 700n);
    assert.equal(host.must("reclaimPages", pages + 701 * PAGE, 799), 799n);
    for (const page of [0, 699, 701, 1499]) assert.equal(host.load(pages + page * PAGE + 8), 0n);
    host.must("convertPages", pages, 1500);
  });

  refusals(() => host, "start", "reclaimPages", [
    ["no pages", "invalidParam", (h) => [h.donated(1), 0]],
    ["misaligned", "invalidAddress", (h) => [h.donated(2) + 2048, 1]],
    ["wrapping", "invalidAddress", () => [-4096n, 2]],
    ["a length that wraps to nothing", "invalidAddress", (h) => [h.donated(1), 1n << 52n]],
    ["no memory", "invalidAddress", () => [0x1000, 1]],
    ["never converted", "invalidAddress", (h) => [h.take(1), 1]],
    ["not fenced", "invalidAddress", (h) => [h.converted(1), 1]],
    ["one of many is not fenced", "invalidAddress", (h) => [h.donated(3), h.converted(1) === 0 ? 0 : 4]],
    ["one of many was never converted", "invalidAddress", (h) => [h.donated(600), 601]],
    ["a TVM has it", "invalidAddress", () => [FREE_MEMORY + 4 * PAGE, 1]],
    ["reclaimed already", "invalidAddress", (h) => [reclaimed(h), 1]],
  ]);

  test("a TVM has nothing to reclaim", () => {
    start();
    host.enter(tvm);
    host.refuses("invalidAddress", "reclaimPages", TVM_MEMORY, 1);
  });
});

function reclaimed(h: CoveHost): number {
  const page = h.donated(1);
  h.must("reclaimPages", page, 1);
  return page;
}

describe("TsmInitiateFence, TsmLocalFence", () => {
  test("on the only hart a fence is complete at once", () => {
    start();
    assert.equal(host.must("initiateFence"), 0n);
    assert.equal(host.must("initiateFence"), 0n);
    assert.equal(host.must("localFence"), 0n);
  });

  test("a fence makes what was converted before it usable, and nothing later", () => {
    start();
    const early = host.converted(1);
    host.fence();
    const late = host.converted(1);
    host.refuses("invalidAddress", "reclaimPages", late, 1);
    host.must("reclaimPages", early, 1);
    host.fence();
    host.must("reclaimPages", late, 1);
  });

  test("LocalFence is no fence of its own", () => {
    start();
    const page = host.converted(1);
    host.must("localFence");
    host.refuses("invalidAddress", "reclaimPages", page, 1);
  });
});

test("functions beyond the last do not exist", () => {
  start();
  for (const fid of [21, 22, 63, 1n << 32n, EVERY]) {
    const { error } = host.ecall(Eid.covh, fid, 0, 0);
    assert.equal(errorName(error), "notSupported", `function ${fid}`);
  }
  assert.equal(errorName(host.ecall(Eid.covi, 11).error), "notSupported");
  assert.equal(Covh.removePages, 20);
});
