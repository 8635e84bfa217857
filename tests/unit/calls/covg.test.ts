import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { operations } from "../../../machine/simulated/guest-script.ts";
import type { Operation } from "../../../machine/simulated/guest-script.ts";
import { CoveHost, HUGE, PAGE, TVM_MEMORY, TVM_MEMORY_SIZE } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Covg, CovgAttestation, Eid, Sbi, errorName } from "../support/simulated/sbi.ts";
import type { SbiError } from "../support/simulated/sbi.ts";

/** COVG: what a TVM asks for itself. Errors go to the guest without an exit; what succeeds is an exit that tells the host. */

let host: CoveHost;
let tvm: Tvm;

const MMIO = 0x1000_0000;
/** Confidential memory with two pages at its start. */
const RANGE = TVM_MEMORY + 0x40_0000;
const REGION_END = TVM_MEMORY + TVM_MEMORY_SIZE;

before(async () => {
  host = await CoveHost.boot({ options: { ram: [{ base: 0x8000_0000, size: 48 << 20 }] } });
  tvm = host.buildTvm();
  host.must("addZeroPages", tvm.id, host.donated(2), 0, 2, RANGE);
  host.registerNacl();
  host.enter(tvm);
  host.save("in the TVM");
});

const start = (): CoveHost => {
  host.restore("in the TVM");
  return host;
};

type Name = keyof typeof Covg;

function call(name: Name, gpa: number | bigint, length: number | bigint): Operation {
  return operations.ecall(Eid.covg, Covg[name], gpa, length);
}

/** The call succeeds and is an exit to the host that shows it; the host runs the TVM again, which gets its answer. */
function notifies(name: Name, gpa: number, length: number): void {
  const outcome = host.perform(call(name, gpa, length));
  assert("switched" in outcome, `${name} did not tell the host`);
  assert.deepEqual(host.runResult(), { error: Sbi.success, value: 0n });
  assert.equal(host.readCsr("scause"), 10n);
  assert.deepEqual(host.naclRegisters([10, 11, 16, 17]), [gpa, length, Covg[name], Eid.covg].map(BigInt));
  host.enter(tvm);
  assert.deepEqual(host.resume(), { done: { error: Sbi.success, value: 0n } });
}

/** The call is forwarded; the host answers with `answer`. The TVM is on the hart again, and its answer is returned. */
function forwarded(name: Name, gpa: number, length: number, answer: bigint, whileHostRuns = (): void => {}): unknown {
  const outcome = host.perform(call(name, gpa, length));
  assert("switched" in outcome, `${name} was not forwarded`);
  assert.deepEqual(host.runResult(), { error: Sbi.success, value: 0n });
  whileHostRuns();
  host.answer(answer, 0x99n);
  host.enter(tvm);
  return host.resume();
}

function refused(name: Name, rows: [string, SbiError, number | bigint, number | bigint][]): void {
  for (const [situation, error, gpa, length] of rows) {
    test(`${name}: ${situation}: ${error}`, () => {
      start();
      host.refusesCall(error, () => host.call(Eid.covg, Covg[name], gpa, length), name);
    });
  }
}

/** Bad ranges, for any of the four. */
const badRanges: [string, SbiError, number | bigint, number | bigint][] = [
  ["length 0", "invalidParam", RANGE, 0],
  ["a part of a page", "invalidParam", RANGE, 0x800],
  ["misaligned", "invalidAddress", RANGE + 8, PAGE],
  ["wrapping", "invalidAddress", -0x1000n, 0x2000],
  ["beyond the address space", "invalidAddress", 1n << 50n, PAGE],
  ["ending beyond the address space", "invalidAddress", (1n << 50n) - 0x1000n, 0x2000],
];

test("the host has no such calls", () => {
  start();
  host.leaveTvm();
  for (const fid of [...Object.values(Covg), ...Object.values(CovgAttestation)])
    assert.equal(errorName(host.call(Eid.covg, fid, RANGE, PAGE).error), "notSupported");
});

test("a guest without an interrupt file has one interrupt to allow", () => {
  start();
  for (const fid of [4, 5])
    for (const identity of [0, 1, 8, 10, 2047, 2048, 1n << 32n])
      assert.equal(errorName(host.call(Eid.covg, fid, identity).error), "invalidParam");
});

test("unknown functions are not supported", () => {
  start();
  for (const fid of [9, 11, 100]) assert.equal(errorName(host.call(Eid.covg, fid, 1, 0).error), "notSupported");
});

describe("AddMmioRegion, RemoveMmioRegion", () => {
  test("accesses become exits that the host answers", () => {
    start();
    notifies("addMmioRegion", MMIO, 2 * PAGE);
    assert("switched" in host.perform(operations.load(MMIO + 0x10, 4, { signed: true })));
    host.runResult();
    assert.equal(host.readCsr("scause"), 21n);
    assert.equal(host.readCsr("stval"), 0n);
    assert.equal(host.naclCsr(0x643), BigInt(MMIO + 0x10) >> 2n);
    // lw a0, 0(x0)
    assert.equal(host.naclCsr(0x64a), 0x2503n);
    host.answer(0x8000_0001n);
    host.enter(tvm);
    assert.deepEqual(host.resume(), { done: 0xffff_ffff_8000_0001n });

    assert("switched" in host.perform(operations.store(MMIO + 0x1ffe, 2, 0x1234_5678n)));
    host.runResult();
    assert.equal(host.readCsr("scause"), 23n);
    assert.equal(host.readCsr("stval"), 2n);
    assert.deepEqual(host.naclRegisters([10]), [0x5678n]);
    host.enter(tvm);
    assert.deepEqual(host.resume(), { done: undefined });
    notifies("removeMmioRegion", MMIO, PAGE);
    notifies("removeMmioRegion", MMIO + PAGE, PAGE);
  });

  test("a part is removed, the rest stays", () => {
    start();
    notifies("addMmioRegion", MMIO, 8 * PAGE);
    notifies("removeMmioRegion", MMIO + 3 * PAGE, 2 * PAGE);
    assert("switched" in host.perform(operations.load(MMIO + 2 * PAGE, 8)));
    host.runResult();
    host.enter(tvm);
    host.resume();
    const outcome = host.perform(operations.load(MMIO + 3 * PAGE, 8));
    assert("switched" in outcome);
    assert.equal(host.runResult().value, 1n, "an access to nothing ends the vCPU");
  });

  refused("addMmioRegion", [
    ...badRanges,
    ["overlapping confidential memory", "invalidAddress", TVM_MEMORY - PAGE, 2 * PAGE],
    ["inside confidential memory", "invalidAddress", RANGE, PAGE],
    ["overlapping the end of confidential memory", "invalidAddress", REGION_END - PAGE, 2 * PAGE],
  ]);
  refused("removeMmioRegion", [
    ...badRanges,
    ["nothing there", "invalidAddress", MMIO, PAGE],
    ["confidential memory", "invalidAddress", RANGE, PAGE],
  ]);

  test("a second region on top: invalidAddress; more than the list holds: failed", () => {
    start();
    notifies("addMmioRegion", MMIO, PAGE);
    host.refusesCall("invalidAddress", () => host.call(Eid.covg, Covg.addMmioRegion, MMIO, PAGE), "twice");
    host.refusesCall("invalidAddress", () => host.call(Eid.covg, Covg.removeMmioRegion, MMIO, 2 * PAGE), "too long");
    for (let i = 1; i < 127; i++) notifies("addMmioRegion", MMIO + 2 * i * PAGE, PAGE);
    host.refusesCall("failed", () => host.call(Eid.covg, Covg.addMmioRegion, MMIO - 2 * PAGE, PAGE), "full");
    notifies("addMmioRegion", MMIO + PAGE, PAGE);
    notifies("addMmioRegion", MMIO - 2 * PAGE, PAGE);
    host.refusesCall("failed", () => host.call(Eid.covg, Covg.shareMemory, RANGE, PAGE), "no place for the pieces");
  });
});

describe("ShareMemory, UnshareMemory", () => {
  /** The host takes the pages of the range away. */
  function removePages(): void {
    host.must("blockPages", tvm.id, RANGE, 2 * PAGE);
    host.must("tvmInitiateFence", tvm.id);
    host.must("removePages", tvm.id, RANGE, 4 * PAGE);
  }

  test("the host removes the pages, agrees, and puts its own there; and back again", () => {
    start();
    host.store(RANGE, 8, 0x5ec7e7);
    assert.deepEqual(forwarded("shareMemory", RANGE, 4 * PAGE, 0n, removePages), { done: { error: 0n, value: 0x99n } });
    host.leaveTvm();
    const page = host.take(1);
    host.must("addSharedPages", tvm.id, page, 0, 1, RANGE);
    host.refuses("invalidAddress", "addZeroPages", tvm.id, host.donated(1), 0, 1, RANGE + PAGE);
    host.store(page, 8, 0xfeed);
    host.enter(tvm);
    assert.equal(host.load(RANGE), 0xfeedn);

    const back = forwarded("unshareMemory", RANGE, 4 * PAGE, 0n, () => {
      host.must("blockPages", tvm.id, RANGE, PAGE);
      host.must("tvmInitiateFence", tvm.id);
      host.must("removePages", tvm.id, RANGE, PAGE);
    });
    assert.deepEqual(back, { done: { error: 0n, value: 0x99n } });
    host.leaveTvm();
    host.must("convertPages", page, 1);
    host.refuses("invalidAddress", "addSharedPages", tvm.id, host.take(1), 0, 1, RANGE);
    host.must("addZeroPages", tvm.id, host.donated(1), 0, 1, RANGE);
  });

  test("the host refuses: everything is as it was, and the guest gets the host's error", () => {
    start();
    host.store(RANGE, 8, 0x5ec7e7);
    assert.deepEqual(forwarded("shareMemory", RANGE, PAGE, Sbi.denied), { done: { error: Sbi.denied, value: 0x99n } });
    assert.equal(host.load(RANGE), 0x5ec7e7n);
    host.refusesCall("invalidParam", () => host.call(Eid.covg, Covg.unshareMemory, RANGE, PAGE), "it is confidential");
    host.leaveTvm();
    host.must("blockPages", tvm.id, RANGE, PAGE);
    host.must("tvmInitiateFence", tvm.id);
    host.refuses("invalidAddress", "removePages", tvm.id, RANGE, PAGE);
    host.must("unblockPages", tvm.id, RANGE, PAGE);
    host.enter(tvm);
    assert.equal(host.load(RANGE), 0x5ec7e7n, "the host may not have it any more");
  });

  test("the host agrees but has not removed the pages: its run fails, and the guest waits", () => {
    start();
    assert("switched" in host.perform(call("shareMemory", RANGE, 4 * PAGE)));
    host.runResult();
    host.answer(0n);
    host.refuses("invalidAddress", "cpuRun", tvm.id, 0);
    host.must("blockPages", tvm.id, RANGE, 2 * PAGE);
    host.refuses("invalidAddress", "cpuRun", tvm.id, 0);
    host.must("tvmInitiateFence", tvm.id);
    host.must("removePages", tvm.id, RANGE, 2 * PAGE);
    host.enter(tvm);
    assert("done" in host.resume());
  });

  test("neighbouring ranges are given up one after the other", () => {
    start();
    for (const page of [4, 5, 3]) {
      assert("done" in (forwarded("shareMemory", RANGE + page * PAGE, PAGE, 0n) as object));
    }
    host.refusesCall(
      "invalidParam",
      () => host.call(Eid.covg, Covg.shareMemory, RANGE + 5 * PAGE, 2 * PAGE),
      "half shared",
    );
    assert("done" in (forwarded("unshareMemory", RANGE + 3 * PAGE, 3 * PAGE, 0n) as object));
  });

  describe("of a part of a large page", () => {
    const LARGE = TVM_MEMORY + 0x80_0000;

    function beginShare(): void {
      start();
      host.leaveTvm();
      host.must("addZeroPages", tvm.id, host.donated(512, HUGE), 1, 1, LARGE);
      host.enter(tvm);
      host.store(LARGE + 9 * PAGE, 8, 99);
      assert("switched" in host.perform(call("shareMemory", LARGE + 5 * PAGE, 2 * PAGE)));
      host.runResult();
    }

    test("the host makes it small, and removes the part", () => {
      beginShare();
      host.refuses("invalidAddress", "removePages", tvm.id, LARGE, HUGE);
      host.must("blockPages", tvm.id, LARGE, HUGE);
      host.must("tvmInitiateFence", tvm.id);
      host.refuses("invalidAddress", "removePages", tvm.id, LARGE + 5 * PAGE, 2 * PAGE);
      host.must("demotePage", tvm.id, LARGE, 0);
      host.must("blockPages", tvm.id, LARGE + 5 * PAGE, 2 * PAGE);
      host.must("tvmInitiateFence", tvm.id);
      host.must("removePages", tvm.id, LARGE + 5 * PAGE, 2 * PAGE);
      host.answer(0n);
      host.enter(tvm);
      assert("done" in host.resume());
      assert.equal(host.load(LARGE + 9 * PAGE), 99n);
      host.leaveTvm();
      host.must("addSharedPages", tvm.id, host.take(1), 0, 1, LARGE + 6 * PAGE);
      host.must("tvmDestroy", tvm.id);
    });

    test("the TVM is destroyed before that", () => {
      beginShare();
      host.must("tvmDestroy", tvm.id);
      host.must("reclaimPages", host.lastDonated, 512);
    });

    test("the TVM is destroyed while it is blocked", () => {
      beginShare();
      host.must("blockPages", tvm.id, LARGE, HUGE);
      host.must("tvmDestroy", tvm.id);
      host.must("reclaimPages", host.lastDonated, 512);
    });

    test("a shared large page, of which a part is unshared, and the TVM destroyed", () => {
      start();
      host.leaveTvm();
      host.shareRange(tvm, LARGE, 512);
      const pages = host.take(512, HUGE);
      host.must("addSharedPages", tvm.id, pages, 1, 1, LARGE);
      host.enter(tvm);
      assert("switched" in host.perform(call("unshareMemory", LARGE + 5 * PAGE, 2 * PAGE)));
      host.runResult();
      host.must("tvmDestroy", tvm.id);
      host.must("convertPages", pages, 512);
    });
  });

  refused("shareMemory", [
    ...badRanges,
    ["no region", "invalidParam", MMIO, PAGE],
    ["running out of the region", "invalidParam", REGION_END - PAGE, 2 * PAGE],
    ["beginning before the region", "invalidParam", TVM_MEMORY - PAGE, 2 * PAGE],
  ]);
  refused("unshareMemory", [
    ...badRanges,
    ["confidential memory", "invalidParam", RANGE, PAGE],
    ["no region", "invalidParam", MMIO, PAGE],
  ]);
});

describe("what an exit shows of a TVM", () => {
  test("only the arguments that the call has", () => {
    start();
    for (let register = 1; register < 32; register++) host.hart.registers[register] = 0xdead_0000n + BigInt(register);
    assert("switched" in host.perform(call("addMmioRegion", MMIO, PAGE)));
    host.runResult();
    const shown = host.naclRegisters(Array.from({ length: 32 }, (_, register) => register));
    assert.deepEqual(
      shown.filter((value) => value >> 16n === 0xdeadn),
      [],
    );
    const leaked = [...host.hart.registers].filter((value) => value >> 16n === 0xdeadn);
    assert.deepEqual(leaked, []);
  });

  test("of a page fault the page, and no register", () => {
    start();
    host.hart.registers[10] = 0xdead_beefn;
    assert("switched" in host.perform(operations.store(RANGE + 5 * PAGE + 0x123 * 8, 8, 0x5ec7e7)));
    host.runResult();
    assert.equal(host.readCsr("scause"), 23n);
    assert.equal(host.readCsr("stval"), 0n);
    assert.equal(host.naclCsr(0x643) << 2n, BigInt(RANGE + 5 * PAGE));
    assert.equal(host.naclCsr(0x64a), 0n);
    const all = [...host.naclRegisters(Array.from({ length: 32 }, (_, register) => register)), ...host.hart.registers];
    assert(!all.includes(0xdead_beefn) && !all.includes(0x5ec7e7n));
  });
});
