import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Csr } from "../../../machine/simulated/csr-numbers.ts";
import type { DoorReplacement } from "../../../machine/simulated/door.ts";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import type { Operation } from "../../../machine/simulated/guest-script.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import type { MachineOptions } from "../../../machine/simulated/machine-options.ts";
import { fieldOffset } from "../../../machine/simulated/record-layout.ts";
import { giveInterruptFiles } from "../../explore/bind-states.ts";
import { CoveHost, HOST_CODE, HUGE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { Covg, Covh, Covi, Eid, Hsm, Sbi, errorName } from "../support/simulated/sbi.ts";

/** Ways through calls that hosts and TVMs seldom take: what is done at a moment, or with a layout, that nothing else brings about. */

const LONG = 1100;
const TARGET = TVM_MEMORY + HUGE;

/** A host on two harts, each with memory for exits. */
async function twoHarts(
  options: Partial<MachineOptions> = {},
  door?: DoorReplacement,
): Promise<{ host: CoveHost; second: GuestDriver }> {
  const host = await CoveHost.boot({ options: { harts: [0, 1], ...options }, ...(door ? { door } : {}) });
  const second = new GuestDriver(host.machine, 1);
  host.registerNacl();
  assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, Sbi.success);
  while (host.machine.canStep(second.hart)) second.step();
  assert.equal(second.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, Sbi.success);
  return { host, second };
}

/** Begins a call and lets it do one batch of its work; it is not answered. */
function begin(driver: GuestDriver, operation: Operation): void {
  driver.machine.begin(driver.hart, operation);
  driver.machine.step(driver.hart);
  assert.equal(driver.context.ending, undefined, "the call is over already");
}

/** An interrupt that the host enables and does not take: long calls make way for it after every batch. */
function interruptWaits(driver: GuestDriver): void {
  driver.writeCsr("sie", 2);
  driver.writeCsr("sip", 2);
}

describe("the debug console reads", () => {
  let host: CoveHost;
  before(async () => {
    host = await CoveHost.boot();
  });

  test("no more than there is room for; the rest waits", () => {
    const buffer = host.take(1);
    host.fill(buffer, 1, 0);
    host.machine.type(...Buffer.from("abcde"));
    assert.deepEqual(host.call(Eid.dbcn, 1, 3, buffer, 0), { error: 0n, value: 3n });
    assert.deepEqual(Buffer.from(host.peek(buffer, 4)), Buffer.from("abc\0"));
    assert.deepEqual(host.call(Eid.dbcn, 1, 16, buffer, 0), { error: 0n, value: 2n });
    assert.deepEqual(Buffer.from(host.peek(buffer, 3)), Buffer.from("dec"));
  });

  test("up to the end of the caller's memory, and loses nothing", () => {
    const buffer = host.take(1);
    const gone = host.donated(1);
    assert.equal(gone, buffer + PAGE);
    host.machine.type(...Buffer.from("123456"));
    assert.deepEqual(host.call(Eid.dbcn, 1, 64, gone - 4, 0), { error: 0n, value: 4n });
    assert.deepEqual(Buffer.from(host.peek(gone - 4, 4)), Buffer.from("1234"));
    assert.deepEqual(host.call(Eid.dbcn, 1, 64, buffer, 0), { error: 0n, value: 2n });
    assert.deepEqual(Buffer.from(host.peek(buffer, 2)), Buffer.from("56"));
  });
});

test("a TVM that suspends itself with an interrupt pending goes on at once", async () => {
  const host = await CoveHost.boot();
  const tvm = host.buildTvm();
  host.enter(tvm);
  host.writeCsr("sie", 2);
  assert.equal(host.call(Eid.ipi, 0, 1, 0).error, Sbi.success);
  assert.equal(host.readCsr("sip"), 2n);
  assert.deepEqual(host.call(Eid.hsm, Hsm.suspend, 0, 0, 0), { error: 0n, value: 0n });
  assert(!host.context.isHost);
  // Without the enable it waits, which its host sees.
  host.writeCsr("sie", 0);
  assert("switched" in host.perform(operations.ecall(Eid.hsm, Hsm.suspend, 0, 0, 0)));
  assert.deepEqual(host.runResult(), { error: 0n, value: 0n });
  assert.equal(host.readCsr("scause"), 22n);
});

test("vCPUs of a TVM need not have consecutive ids: each of them needs an interrupt file of its own", async () => {
  const host = await CoveHost.boot();
  const { vcpuPages } = host.info();
  const make = (addresses: Record<number, number>): string => {
    const id = host.createTvm();
    host.must("addMemoryRegion", id, TVM_MEMORY, HUGE);
    host.must("addPageTablePages", id, host.donated(24), 24);
    for (const vcpu of Object.keys(addresses)) host.must("cpuCreate", id, Number(vcpu), host.donated(vcpuPages));
    const params = host.take(1);
    host.store(params, 8, 0x2800_0000);
    [0, 24, 2, 0, 0, 0].forEach((value, index) => host.store(params + 8 + 4 * index, 4, value));
    assert.equal(host.call(Eid.covi, Covi.tvmAiaInit, id, params, 32).error, 0n);
    for (const [vcpu, page] of Object.entries(addresses)) {
      assert.equal(host.call(Eid.covi, Covi.setImsicAddress, id, Number(vcpu), 0x2800_0000 + page * PAGE).error, 0n);
    }
    return errorName(host.covh("tvmFinalize", id, TVM_MEMORY, 0).error);
  };
  assert.equal(make({ 0: 1, 2: 2 }), "success");
  assert.equal(make({ 0: 2, 2: 2 }), "invalidState");
});

describe("while another hart's call on a range is under way", () => {
  let host: CoveHost;
  let second: GuestDriver;
  before(async () => {
    ({ host, second } = await twoHarts());
    host.save("start");
  });

  test("its pages are memory for nobody's calls", () => {
    host.restore("start");
    const gpa = host.take(LONG);
    interruptWaits(host);
    begin(host, operations.ecall(Eid.covh, Covh.convertPages, gpa, LONG));
    const write = (at: number): string => errorName(second.ecall(Eid.dbcn, 0, 1, at, 0).error);
    assert.equal(write(gpa), "invalidParam");
    assert.equal(
      write(gpa + (LONG - 1) * PAGE),
      "success",
      "the last page is the host's as long as its turn has not come",
    );
    assert("done" in host.resume());
    assert.equal(write(gpa), "invalidParam");
  });

  test("a TVM's own change of its regions comes after it", () => {
    host.restore("start");
    const tvm = host.buildTvm({ tables: 40 });
    const pages = host.donated(LONG);
    assert("switched" in second.perform(operations.ecall(Eid.covh, Covh.cpuRun, tvm.id, 0)));
    interruptWaits(host);
    begin(host, operations.ecall(Eid.covh, Covh.addZeroPages, tvm.id, pages, 0, LONG, TARGET));
    const at = second.hart.pc;
    second.machine.begin(second.hart, operations.ecall(Eid.covg, Covg.addMmioRegion, 0x1000_0000, PAGE));
    second.machine.step(second.hart);
    assert.equal(second.hart.pc, at, "the TVM makes its call again");
    assert(!second.context.isHost);
    assert.deepEqual(host.resume(), { done: { error: 0n, value: BigInt(LONG) } });
    assert("switched" in second.resume(), "now it is made, and the host told");
    assert.deepEqual(second.resume(), { done: { error: 0n, value: 0n } });
  });
});

describe("a long call makes way", () => {
  for (const what of ["a request of another hart", "an interrupt of the hypervisor's own"] as const) {
    test(`for ${what}`, async () => {
      let now: (() => void) | undefined;
      const { host } = await twoHarts({}, (usual) => ({
        write64: (at: bigint, value: bigint): unknown => {
          now?.();
          return usual["write64"](at as never, value as never);
        },
      }));
      let entries = 0;
      host.machine.afterEntry.push(() => void entries++);
      const gpa = host.take(LONG);
      const request = fieldOffset("hart", "requests");
      now = (): void => {
        now = undefined;
        if (what === "a request of another hart") {
          const at = Number(host.hart.threadPointer) + request;
          // HartRequest.Reschedule, as another hart sets it just before it sends its interrupt.
          host.machine.memory.write64(at, host.machine.memory.read64(at) | 1n);
        }
        host.machine.imsic!.harts[0].supervisor.setPending(1);
      };
      host.must("convertPages", gpa, LONG);
      assert(entries > 1, "the call was one entry");
      assert.equal(now, undefined);
    });
  }
});

test("a TVM with many table pages is taken apart a batch at a time, whichever of its parts a batch ends in", async () => {
  const host = await CoveHost.boot({ options: { ram: [{ base: 0x8000_0000, size: 48 << 20 }] } });
  host.registerNacl();
  host.save("start");
  for (const tables of [500, 505, 507, 508, 509, 510, 511, 512, 513]) {
    host.restore("start");
    const tvm = host.buildTvm({ vcpus: 3, tables });
    interruptWaits(host);
    begin(host, operations.ecall(Eid.covh, Covh.tvmDestroy, tvm.id));
    const outcome = host.resume();
    assert.deepEqual(outcome, { done: { error: 0n, value: 0n } });
    host.checker.check();
    for (const { gpa, pages } of host.allDonated()) host.must("reclaimPages", gpa, pages);
  }
});

test("state that is not physically contiguous makes no TVM", async () => {
  const host = await CoveHost.boot();
  // The kernel's place in the host's memory is not where the firmware put it: somewhere around it neighbours are none.
  const { statePages } = host.info();
  let border = 0;
  for (let gpa = HOST_CODE + HUGE; gpa < HOST_CODE + 16 * HUGE && border === 0; gpa += HUGE) {
    if (host.hpaOf(gpa) !== -1 && host.hpaOf(gpa - PAGE) !== -1 && host.hpaOf(gpa) !== host.hpaOf(gpa - PAGE) + PAGE)
      border = gpa;
  }
  assert(border !== 0, "all of the host's memory is contiguous");
  const state = border - PAGE;
  host.must("convertPages", state, statePages);
  const directory = host.converted(4, 4 * PAGE);
  host.fence();
  const params = host.createParams(directory, state);
  assert.equal(errorName(host.covh("tvmCreate", params, 16).error), "invalidAddress");
  host.must("reclaimPages", state, statePages);
});

describe("files of a TVM that is gone, which another hart has to clear", () => {
  test("the last of 63 files comes back, and is nobody's until then", async () => {
    const { host, second } = await twoHarts({ guestFiles: 63, interruptIdentities: 255 });
    const guest = host.buildTvm({ finalize: false });
    giveInterruptFiles(host, guest);
    host.must("tvmFinalize", guest.id, TVM_MEMORY, 0);
    const { imsic } = host.machine;
    const call = (driver: GuestDriver, fid: number, ...args: (number | bigint)[]): string =>
      errorName(driver.ecall(Eid.covi, fid, ...args).error);
    const page = imsic!.pageOf(1, 62);
    assert.equal(call(host, Covi.convertImsic, page), "success");
    host.fence();
    assert.equal(call(second, Covi.bindImsic, guest.id, 0, 1n << 62n), "success");
    const file = imsic!.harts[1].guest(63)!;
    file.enabled = 0xf0n;
    file.setPending(7);
    host.must("tvmDestroy", guest.id);
    // The second hart has not heard of it: the file is not the host's to reclaim, and the call is made again until it is.
    const at = host.hart.pc;
    begin(host, operations.ecall(Eid.covi, Covi.reclaimImsic, page));
    assert.equal(host.hart.pc, at);
    assert.equal(file.enabled, 0xf0n);
    while (host.machine.canStep(second.hart)) second.step();
    assert.deepEqual(file.save(), [0n, 0n, 0n, 0n]);
    assert.deepEqual(host.resume(), { done: { error: 0n, value: 0n } });
  });
});

describe("a firmware or a machine with less", () => {
  /** Boots with the boot hart's CSR reading as `change` says. */
  async function booted(
    change: (hart: Machine["harts"][0]) => void,
    options: Partial<MachineOptions> = {},
  ): Promise<CoveHost> {
    const machine = await Machine.create({ options });
    machine.harts.forEach(change);
    machine.boot();
    return CoveHost.on(machine);
  }

  test("overflows that cannot be passed on are not offered", async () => {
    const host = await booted(
      ({ csr }) => {
        const read = csr.read.bind(csr);
        csr.read = (number: number): bigint => (number === Csr.hvien ? read(number) & ~(1n << 13n) : read(number));
      },
      { counters: 2 },
    );
    // OptionalState.Overflow.
    const with13 = await CoveHost.boot({ options: { counters: 2 } });
    const state = (each: CoveHost): bigint => each.checker.state.root.word("optionalState");
    assert.notEqual(state(host), state(with13));
    assert.equal(state(host) & state(with13), state(host));
    const counter = host.ecall(Eid.pmu, 2, 0, 0b11101, 4, 2, 0);
    assert.equal(counter.error, 0n, "counters count without it");
  });
});
