import assert from "node:assert/strict";
import { before, beforeEach, describe, test } from "node:test";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { CoveHost, HOST_CODE, HUGE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Covg, Covh, Eid, Hsm, Sbi } from "../support/simulated/sbi.ts";
import type { CovhName } from "../support/simulated/sbi.ts";

/**
 * Calls on ranges longer than a batch while the host has an interrupt to take: they make way after every batch, and are gone on with when the
 * call is made again. The checker looks at every page in between.
 */

const BATCH = 512;
const LONG = 2 * BATCH + 100;
const TARGET = TVM_MEMORY + HUGE;
const SOFTWARE = 1n << 1n;

let host: CoveHost;
let second: GuestDriver;
let tvm: Tvm;
/** Entries into the hypervisor. */
let entries = 0;

before(async () => {
  host = await CoveHost.boot({ options: { harts: [0, 1] } });
  host.machine.afterEntry.push(() => void entries++);
  second = new GuestDriver(host.machine, 1);
  tvm = host.buildTvm({ vcpus: 2, tables: 40 });
  host.registerNacl();
  assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, Sbi.success);
  while (host.machine.canStep(second.hart)) second.step();
  assert.equal(second.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, Sbi.success);
  host.take(0, HUGE);
  host.save("start");
});

beforeEach(() => host.restore("start"));

/** An interrupt that the host enables and does not take: every batch makes way for it. */
function interruptWaits(): void {
  host.writeCsr("sie", SOFTWARE);
  host.writeCsr("sip", SOFTWARE);
}

function interruptIsGone(): void {
  host.hart.csr.setRaw("hvip", 0n);
}

/** Entries that the call takes, which succeeds. */
function entriesOf(name: CovhName, ...args: (number | bigint)[]): number {
  const from = entries;
  host.must(name, ...args);
  return entries - from;
}

/** Begins a call of the host and lets it do `steps` batches. */
function begin(steps: number, name: CovhName, ...args: (number | bigint)[]): void {
  host.machine.begin(host.hart, operations.ecall(Eid.covh, Covh[name], ...args));
  for (let i = 0; i < steps; i++) host.machine.step(host.hart);
  assert.equal(host.context.ending, undefined, "the call is over already");
}

/** The host gives up what it had begun, as an interrupt handler does that never returns. */
function abandon(): void {
  host.context.pending = undefined;
}

/** The call is made again until it is over: its answer. */
function ended(): { error: bigint; value: bigint } {
  const outcome = host.resume();
  assert("done" in outcome);
  return outcome.done as { error: bigint; value: bigint };
}

/** The same of a call that succeeds: its value. */
function goOn(): bigint {
  const { error, value } = ended();
  assert.equal(error, Sbi.success);
  return value;
}

describe("without an interrupt", () => {
  test("a long call is one entry", () => {
    const gpa = host.take(LONG);
    assert.equal(entriesOf("convertPages", gpa, LONG), 1);
    host.fence();
    assert.equal(entriesOf("reclaimPages", gpa, LONG), 1);
  });
});

describe("while an interrupt waits", () => {
  test("a call on one batch is one entry", () => {
    interruptWaits();
    const gpa = host.take(BATCH);
    assert.equal(entriesOf("convertPages", gpa, BATCH), 1);
    host.fence();
    assert.equal(entriesOf("reclaimPages", gpa, BATCH), 1);
  });

  test("a number of pages whose bytes do not fit 64 bits is refused before the first batch", () => {
    interruptWaits();
    const gpa = host.take(LONG);
    for (const pages of [(1n << 52n) + 1n, (1n << 52n) + BigInt(LONG), (1n << 60n) + BigInt(LONG)]) {
      const from = entries;
      host.refuses("invalidAddress", "convertPages", gpa, pages);
      assert.equal(entries - from, 1);
    }
  });

  test("converting and reclaiming: three batches are claimed, then three are done", () => {
    interruptWaits();
    const gpa = host.take(LONG);
    host.fill(gpa, LONG, 0x5a);
    assert.equal(entriesOf("convertPages", gpa, LONG), 6);
    host.fence();
    assert.equal(entriesOf("reclaimPages", gpa, LONG), 6);
    assert(host.peek(gpa + (LONG - 1) * PAGE, PAGE).every((byte) => byte === 0));
  });

  test("the end of the wait lets the rest be done at once", () => {
    interruptWaits();
    const gpa = host.take(LONG);
    begin(2, "convertPages", gpa, LONG);
    interruptIsGone();
    const from = entries;
    assert.equal(goOn(), BigInt(LONG));
    assert.equal(entries - from, 1);
  });

  test("pages of all kinds get to a TVM", () => {
    interruptWaits();
    const zero = host.donated(LONG);
    assert.equal(entriesOf("addZeroPages", tvm.id, zero, 0, LONG, TARGET), 7);
    const tables = host.donated(LONG);
    assert.equal(entriesOf("addPageTablePages", tvm.id, tables, LONG), 6);
    const early = host.buildTvm({ finalize: false, codePages: 0 });
    const source = host.take(5);
    host.fill(source, 5, 0x77);
    // The places are looked at, a batch is claimed, a batch is pinned, and each page is measured for itself.
    assert.equal(entriesOf("addMeasuredPages", early.id, source, host.donated(5), 0, 5, TARGET), 8);
    host.must("tvmFinalize", early.id, TARGET, 0);
    interruptIsGone();
    host.enter(early);
    assert.equal(host.load(TARGET + 4 * PAGE), 0x7777_7777_7777_7777n);
    host.leaveTvm();
    host.must("tvmDestroy", early.id);
  });

  test("large pages get to a TVM", () => {
    interruptWaits();
    const source = host.take(BATCH, HUGE);
    host.fill(source, BATCH, 0x33);
    const early = host.buildTvm({ finalize: false, codePages: 0 });
    const pages = host.donated(BATCH, HUGE);
    begin(40, "addMeasuredPages", early.id, source, pages, 1, 1, TARGET);
    interruptIsGone();
    assert.equal(goOn(), 1n);
    host.must("tvmFinalize", early.id, TARGET, 0);
    interruptWaits();
    const zero = host.donated(2 * BATCH, HUGE);
    assert.equal(entriesOf("addZeroPages", early.id, zero, 1, 2, TARGET + 2 * HUGE), 5);
  });

  test("shared pages get to a TVM", () => {
    host.shareRange(tvm, TARGET, LONG);
    interruptWaits();
    const pages = host.take(LONG);
    assert.equal(entriesOf("addSharedPages", tvm.id, pages, 0, LONG, TARGET), 7);
  });
});

describe("taking memory of a TVM back while an interrupt waits", () => {
  /** `LONG` zero pages at TARGET, of a range that the guest is giving up. */
  function givenUp(): void {
    host.must("addZeroPages", tvm.id, host.donated(LONG), 0, LONG, TARGET);
    host.enter(tvm);
    assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.shareMemory, TARGET, LONG * PAGE)));
  }

  /** The same, taken out of the TVM again. */
  function removed(): void {
    givenUp();
    host.must("blockPages", tvm.id, TARGET, LONG * PAGE);
    host.must("tvmInitiateFence", tvm.id);
    host.must("removePages", tvm.id, TARGET, LONG * PAGE);
  }

  test("blocking checks, blocks and verifies, unblocking and removing check and do, a batch at a time", () => {
    givenUp();
    interruptWaits();
    assert.equal(entriesOf("blockPages", tvm.id, TARGET, LONG * PAGE), 9);
    assert.equal(entriesOf("unblockPages", tvm.id, TARGET, LONG * PAGE), 6);
    assert.equal(entriesOf("blockPages", tvm.id, TARGET, LONG * PAGE), 9);
    host.must("tvmInitiateFence", tvm.id);
    // What is not there is work too.
    assert.equal(entriesOf("removePages", tvm.id, TARGET, LONG * PAGE), 6);
    assert.equal(entriesOf("removePages", tvm.id, TARGET, LONG * PAGE), 6);
    interruptIsGone();
    assert.equal(entriesOf("removePages", tvm.id, TARGET, LONG * PAGE), 1);
  });

  test("a call on no more than a batch is done in one go", () => {
    givenUp();
    interruptWaits();
    assert.equal(entriesOf("blockPages", tvm.id, TARGET, BATCH * PAGE), 1);
    assert.equal(entriesOf("unblockPages", tvm.id, TARGET, BATCH * PAGE), 1);
    assert.equal(entriesOf("blockPages", tvm.id, TARGET, PAGE), 1);
    host.must("tvmInitiateFence", tvm.id);
    assert.equal(entriesOf("removePages", tvm.id, TARGET, PAGE), 1);
  });

  test("the places are looked at a batch at a time, where tables are left of what was there", () => {
    removed();
    interruptWaits();
    const pages = host.donated(LONG);
    assert.equal(entriesOf("addZeroPages", tvm.id, pages, 0, LONG, TARGET), 9);
  });

  test("a place that is taken, or tables that do not suffice, are found in the last batch", () => {
    const pages = host.donated(LONG);
    host.must("addZeroPages", tvm.id, host.donated(1), 0, 1, TARGET + (LONG - 1) * PAGE);
    interruptWaits();
    host.refuses("invalidAddress", "addZeroPages", tvm.id, pages, 0, LONG, TARGET);
    const poor = host.buildTvm({ tables: 4 });
    host.refuses("failed", "addZeroPages", poor.id, pages, 0, LONG, TARGET);
  });

  test("the end of a share looks at a batch at a time whether all is removed", () => {
    removed();
    host.answer(Sbi.success);
    interruptWaits();
    // After the last of three batches the run ends for the interrupt.
    assert.equal(entriesOf("cpuRun", tvm.id, 0), 3);
    interruptIsGone();
    host.enter(tvm);
    assert.equal(host.hart.registers[10], 0n);
  });

  test("the end of a share is one entry while nothing waits", () => {
    removed();
    host.answer(Sbi.success);
    const from = entries;
    host.enter(tvm);
    assert.equal(entries - from, 1);
    assert.equal(host.hart.registers[10], 0n);
  });

  test("a page that is added behind the look keeps the share from being completed", () => {
    removed();
    const page = host.donated(1);
    host.answer(Sbi.success);
    interruptWaits();
    begin(2, "cpuRun", tvm.id, 0);
    assert.equal(second.ecall(Eid.covh, Covh.addZeroPages, tvm.id, page, 0, 1, TARGET).error, Sbi.success);
    assert.equal(ended().error, Sbi.invalidAddress);
  });

  test("a large page is a batch", () => {
    host.must("addZeroPages", tvm.id, host.donated(2 * BATCH, HUGE), 1, 2, TARGET);
    interruptWaits();
    assert.equal(entriesOf("blockPages", tvm.id, TARGET, 2 * HUGE), 5);
    assert.equal(entriesOf("unblockPages", tvm.id, TARGET, 2 * HUGE), 2);
  });

  test("the last page is not there, or blocked already", () => {
    givenUp();
    host.must("blockPages", tvm.id, TARGET + (LONG - 1) * PAGE, PAGE);
    interruptWaits();
    host.refuses("invalidAddress", "blockPages", tvm.id, TARGET, LONG * PAGE);
    host.refuses("invalidAddress", "blockPages", tvm.id, TARGET + PAGE, LONG * PAGE);
    host.refuses("invalidAddress", "unblockPages", tvm.id, TARGET, LONG * PAGE);
    host.refuses("invalidAddress", "removePages", tvm.id, TARGET, LONG * PAGE);
  });

  test("a page that the guest has the hypervisor hold meanwhile stays: all of the range is unblocked again", () => {
    host.must("addZeroPages", tvm.id, host.donated(LONG), 0, LONG, TARGET);
    interruptWaits();
    // Everything was looked at, and a batch is blocked.
    begin(4, "blockPages", tvm.id, TARGET, LONG * PAGE);
    assert("switched" in second.perform(operations.ecall(Eid.covh, Covh.cpuRun, tvm.id, 0)));
    const last = TARGET + (LONG - 3) * PAGE;
    assert.equal(second.ecall(Eid.nacl, 1, last, 0, 0).error, Sbi.success);
    assert.equal(ended().error, Sbi.invalidAddress);
    second.store(TARGET, 8, 7);
    second.store(last - PAGE, 8, 7);
    assert.equal(second.ecall(Eid.nacl, 1, -1n, -1n, 0).error, Sbi.success);
    interruptIsGone();
    host.must("blockPages", tvm.id, TARGET, LONG * PAGE);
  });

  test("a TVM is destroyed in parts, and nobody sees it meanwhile", () => {
    const early = host.buildTvm({ vcpus: 3, tables: 40 });
    const pages = host.donated(LONG);
    host.must("addZeroPages", early.id, pages, 0, LONG, TARGET);
    host.must("addZeroPages", early.id, host.donated(BATCH, HUGE), 1, 1, TARGET + 4 * HUGE);
    const spare = host.donated(LONG);
    host.must("addPageTablePages", early.id, spare, LONG);
    interruptWaits();
    for (const steps of [1, 3, 5]) {
      if (steps === 1) begin(steps, "tvmDestroy", early.id);
      else for (let i = 0; i < 2; i++) host.machine.step(host.hart);
      // Not the call that is under way: a1 is another.
      assert.equal(second.ecall(Eid.covh, Covh.tvmDestroy, early.id, steps).error, Sbi.invalidParam);
      assert.equal(second.ecall(Eid.covh, Covh.cpuRun, early.id, 0).error, Sbi.invalidParam);
    }
    assert.equal(host.context.ending, undefined, "the call is not over yet");
    assert.equal(goOn(), 0n);
    host.refuses("invalidParam", "tvmDestroy", early.id);
    interruptIsGone();
    assert.equal(host.must("reclaimPages", pages, LONG), BigInt(LONG));
    assert.equal(host.must("reclaimPages", spare, LONG), BigInt(LONG));
  });

  test("a destruction that its host gave up is carried out by the vCPU's next call", () => {
    const early = host.buildTvm({ tables: 40 });
    const pages = host.donated(LONG);
    host.must("addZeroPages", early.id, pages, 0, LONG, TARGET);
    interruptWaits();
    begin(1, "tvmDestroy", early.id);
    abandon();
    assert.equal(host.must("reclaimPages", pages, LONG), BigInt(LONG));
  });
});

describe("a long call that fails changes nothing", () => {
  test("the last page is not the host's", () => {
    const gpa = host.take(LONG);
    host.must("convertPages", gpa + (LONG - 1) * PAGE, 1);
    interruptWaits();
    host.refuses("invalidAddress", "convertPages", gpa, LONG);
  });

  test("the last page is not fenced", () => {
    const gpa = host.donated(LONG - 1);
    host.must("convertPages", gpa + (LONG - 1) * PAGE, 1);
    interruptWaits();
    host.refuses("invalidAddress", "reclaimPages", gpa, LONG);
    host.refuses("invalidAddress", "addZeroPages", tvm.id, gpa, 0, LONG, TARGET);
    host.refuses("invalidAddress", "addPageTablePages", tvm.id, gpa, LONG);
  });

  test("the last source of measured pages is converted", () => {
    const early = host.buildTvm({ finalize: false, codePages: 0 });
    const pages = host.donated(LONG);
    const source = host.take(LONG);
    host.must("convertPages", source + (LONG - 1) * PAGE, 1);
    interruptWaits();
    host.refuses("invalidAddress", "addMeasuredPages", early.id, source, pages, 0, LONG, TARGET);
  });

  test("the last shared page is converted", () => {
    host.shareRange(tvm, TARGET, LONG);
    const pages = host.take(LONG);
    host.must("convertPages", pages + (LONG - 1) * PAGE, 1);
    interruptWaits();
    host.refuses("invalidAddress", "addSharedPages", tvm.id, pages, 0, LONG, TARGET);
  });
});

describe("a call that is under way", () => {
  test("is carried out before another one of that vCPU", () => {
    interruptWaits();
    const gpa = host.take(LONG);
    begin(1, "convertPages", gpa, LONG);
    abandon();
    const buffer = host.take(1);
    // What is left of the three batches twice, and then an entry of its own.
    assert.equal(entriesOf("tsmGetInfo", buffer, 32), 6);
    host.fence();
    assert.equal(host.must("reclaimPages", gpa, LONG), BigInt(LONG));
  });

  test("is carried out before another one in the same entry while nothing waits", () => {
    interruptWaits();
    const gpa = host.take(LONG);
    begin(1, "convertPages", gpa, LONG);
    abandon();
    interruptIsGone();
    assert.equal(entriesOf("tsmGetInfo", host.take(1), 32), 1);
    host.fence();
    assert.equal(host.must("reclaimPages", gpa, LONG), BigInt(LONG));
  });

  for (const register of [2, 3, 4, 5]) {
    test(`is another call if a${register} is another, though that means nothing`, () => {
      interruptWaits();
      const gpa = host.take(LONG);
      begin(1, "convertPages", gpa, LONG, 0, 0, 0, 0);
      abandon();
      const others = [0, 0, 0, 0].map((_, index) => (index + 2 === register ? 1 : 0));
      assert.equal(host.covh("convertPages", gpa, LONG, ...others).error, Sbi.invalidAddress);
    });
  }

  test("is known again by all its registers", () => {
    interruptWaits();
    const gpa = host.take(LONG);
    begin(1, "convertPages", gpa, LONG);
    abandon();
    // The same pages: by the time that this is looked at they are converted.
    assert.equal(host.covh("convertPages", gpa, LONG - 1).error, Sbi.invalidAddress);
  });

  test("is carried out before its hart stops: nobody else would", () => {
    interruptWaits();
    const gpa = host.take(LONG);
    begin(4, "convertPages", gpa, LONG, 0, 0, 0, 0);
    abandon();
    assert.deepEqual(host.perform(operations.ecall(Eid.hsm, Hsm.stop)), { halted: "waiting" });
    assert.equal(second.ecall(Eid.covh, Covh.initiateFence).error, Sbi.success);
    assert.equal(second.ecall(Eid.covh, Covh.reclaimPages, gpa, LONG).value, BigInt(LONG));
    assert.equal(second.ecall(Eid.hsm, Hsm.start, 0, HOST_CODE, 0).error, Sbi.success);
    while (host.machine.canStep(host.hart)) host.step();
    assert.equal(host.must("convertPages", gpa, LONG, 0, 0, 0, 0), BigInt(LONG), "its next life has no call under way");
  });

  test("keeps other calls from the TVM's address space, and the TVM from being destroyed", () => {
    const pages = host.donated(LONG);
    const more = host.donated(1);
    interruptWaits();
    begin(4, "addZeroPages", tvm.id, pages, 0, LONG, TARGET);
    assert.equal(second.ecall(Eid.covh, Covh.tvmDestroy, tvm.id).error, Sbi.invalidState);
    const other = operations.ecall(Eid.covh, Covh.addZeroPages, tvm.id, more, 0, 1, TARGET + LONG * PAGE);
    host.machine.begin(second.hart, other);
    for (let i = 0; i < 3; i++) second.step();
    assert.equal(second.context.ending, undefined, "it waits");
    assert.equal(goOn(), BigInt(LONG));
    const outcome = second.resume();
    assert("done" in outcome);
    assert.equal((outcome.done as { value: bigint }).value, 1n);
  });

  test("keeps the TVM from giving up what is being added", () => {
    const pages = host.donated(LONG);
    interruptWaits();
    begin(4, "addZeroPages", tvm.id, pages, 0, LONG, TARGET);
    assert("switched" in second.perform(operations.ecall(Eid.covh, Covh.cpuRun, tvm.id, 0)));
    const tvmContext = second.context;
    const share = operations.ecall(Eid.covg, Covg.shareMemory, TARGET, LONG * PAGE);
    host.machine.begin(second.hart, share);
    for (let i = 0; i < 3; i++) second.step();
    assert.equal(second.context, tvmContext, "no exit yet");
    assert.equal(goOn(), BigInt(LONG));
    assert("switched" in second.resume());
  });

  test("is carried out when the vCPU that called it off wants to complete a share", () => {
    host.enter(tvm);
    assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.shareMemory, TARGET, LONG * PAGE)));
    assert.equal(host.runResult().error, Sbi.success);
    const pages = host.donated(LONG);
    interruptWaits();
    host.answer(Sbi.success);
    begin(1, "addZeroPages", tvm.id, pages, 0, LONG, TARGET);
    abandon();
    assert.equal(host.covh("cpuRun", tvm.id, 0).error, Sbi.invalidAddress);
  });

  test("keeps a share from being completed", () => {
    host.enter(tvm);
    const outcome = host.perform(operations.ecall(Eid.covg, Covg.shareMemory, TARGET, LONG * PAGE));
    assert("switched" in outcome);
    assert.equal(host.runResult().error, Sbi.success);
    // The pages that are added now are in the way of the share.
    const pages = host.donated(LONG);
    interruptWaits();
    begin(1, "addZeroPages", tvm.id, pages, 0, LONG, TARGET);
    const run = operations.ecall(Eid.covh, Covh.cpuRun, tvm.id, 0);
    host.machine.begin(second.hart, run);
    for (let i = 0; i < 3; i++) second.step();
    assert.equal(second.context.ending, undefined, "it waits");
    assert.equal(goOn(), BigInt(LONG));
    const answer = second.resume();
    assert("done" in answer);
    assert.equal((answer.done as { error: bigint }).error, Sbi.invalidAddress);
  });
});

describe("a call whose thread the host has moved to another hart", () => {
  /** A call of the second hart: what it answers, and the entries that it takes. */
  function onSecond(name: CovhName, ...args: (number | bigint)[]): { error: bigint; value: bigint; entries: number } {
    const from = entries;
    const result = second.ecall(Eid.covh, Covh[name], ...args);
    return { error: result.error, value: result.value, entries: entries - from };
  }

  test("goes on there, and the first hart has none any more", () => {
    interruptWaits();
    const gpa = host.take(LONG);
    begin(4, "convertPages", gpa, LONG, 0, 0, 0, 0);
    abandon();
    interruptIsGone();
    assert.deepEqual(onSecond("convertPages", gpa, LONG, 0, 0, 0, 0), { error: 0n, value: BigInt(LONG), entries: 1 });
    host.refuses("invalidAddress", "convertPages", gpa, LONG, 0, 0, 0, 0);
    host.fence();
    assert.equal(second.ecall(Eid.covh, Covh.localFence).error, Sbi.success);
    assert.equal(host.must("reclaimPages", gpa, LONG), BigInt(LONG));
  });

  test("makes way there too, and can come back", () => {
    interruptWaits();
    const zero = host.donated(LONG);
    const call = [tvm.id, zero, 0, LONG, TARGET, 0] as const;
    begin(2, "addZeroPages", ...call);
    abandon();
    second.writeCsr("sie", SOFTWARE);
    second.writeCsr("sip", SOFTWARE);
    host.machine.begin(second.hart, operations.ecall(Eid.covh, Covh.addZeroPages, ...call));
    for (let i = 0; i < 2; i++) second.step();
    assert.equal(second.context.ending, undefined, "the call is not over yet");
    second.context.pending = undefined;
    // Seven batches, of which four are done.
    assert.equal(entriesOf("addZeroPages", ...call), 3);
    interruptIsGone();
    host.enter(tvm);
    assert.equal(host.load(TARGET + (LONG - 1) * PAGE), 0n);
  });

  test("changes places with the one whose thread came the other way", () => {
    interruptWaits();
    const [mine, theirs] = [host.take(LONG), host.take(LONG)];
    begin(1, "convertPages", mine, LONG, 0, 0, 0, 0);
    abandon();
    second.writeCsr("sie", SOFTWARE);
    second.writeCsr("sip", SOFTWARE);
    host.machine.begin(second.hart, operations.ecall(Eid.covh, Covh.convertPages, theirs, LONG, 0, 0, 0, 0));
    for (let i = 0; i < 2; i++) second.step();
    second.context.pending = undefined;
    // Six batches each: one was done of this one's and two of the other's.
    assert.deepEqual(onSecond("convertPages", mine, LONG, 0, 0, 0, 0), { error: 0n, value: BigInt(LONG), entries: 5 });
    assert.equal(entriesOf("convertPages", theirs, LONG, 0, 0, 0, 0), 4);
  });

  test("is destruction", () => {
    const early = host.buildTvm({ tables: 40 });
    const pages = host.donated(LONG);
    host.must("addZeroPages", early.id, pages, 0, LONG, TARGET);
    interruptWaits();
    begin(2, "tvmDestroy", early.id, 0, 0, 0, 0, 0);
    abandon();
    assert.equal(onSecond("tvmDestroy", early.id, 0, 0, 0, 0, 0).error, Sbi.success);
    host.refuses("invalidParam", "tvmDestroy", early.id, 0, 0, 0, 0, 0);
    interruptIsGone();
    assert.equal(host.must("reclaimPages", pages, LONG), BigInt(LONG));
  });

  for (const register of [1, 2, 3, 4, 5]) {
    test(`is known by a${register} too: another call there has no part in it`, () => {
      interruptWaits();
      const gpa = host.take(LONG);
      const call = [gpa, LONG, 0, 0, 0, 0];
      begin(4, "convertPages", ...call);
      abandon();
      const other = call.map((word, index) => (index === register ? word + 1 : word));
      assert.equal(onSecond("convertPages", ...other).error, Sbi.invalidAddress);
      assert.equal(onSecond("reclaimPages", ...call).error, Sbi.invalidAddress);
      assert.equal(entriesOf("convertPages", ...call), 2);
    });
  }
});

describe("another call than the one that was under way", () => {
  for (const [what, pages, target] of [
    ["with another number of pages", LONG - 1, TARGET],
    ["with another target", LONG, TARGET + 4 * HUGE],
  ] as const) {
    test(`${what}: the first is finished, and then this one is made, in one entry if nothing waits`, () => {
      const gpa = host.donated(LONG);
      interruptWaits();
      begin(1, "addZeroPages", tvm.id, gpa, 0, LONG, TARGET);
      abandon();
      interruptIsGone();
      const from = entries;
      assert.equal(
        host.covh("addZeroPages", tvm.id, gpa, 0, pages, target).error,
        Sbi.invalidAddress,
        "they are given away",
      );
      assert.equal(entries - from, 1);
      host.must("blockPages", tvm.id, TARGET, LONG * PAGE);
    });
  }
});

test("without an interrupt a long range is found empty in the entry that runs the vCPU which shares it", () => {
  host.must("addZeroPages", tvm.id, host.donated(LONG), 0, LONG, TARGET);
  host.enter(tvm);
  assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.shareMemory, TARGET, LONG * PAGE)));
  host.runResult();
  host.must("blockPages", tvm.id, TARGET, LONG * PAGE);
  host.must("tvmInitiateFence", tvm.id);
  host.must("removePages", tvm.id, TARGET, LONG * PAGE);
  host.answer(Sbi.success);
  const from = entries;
  host.enter(tvm);
  assert.equal(entries - from, 1);
  assert.deepEqual(host.resume(), { done: { error: 0n, value: 0n } });
});
