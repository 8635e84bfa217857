import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Csr } from "../../../machine/simulated/csr-numbers.ts";
import type { CsrName } from "../../../machine/simulated/csr-numbers.ts";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import type { MachineOptions } from "../../../machine/simulated/machine-options.ts";
import { CoveHost, HOST_CODE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Eid, EVERY, Hsm, Pmu, Sbi, errorName } from "../support/simulated/sbi.ts";
import type { SbiError } from "../support/simulated/sbi.ts";

/** Performance counters of hosts and TVMs: what counts, who sees it, and where it is while somebody else is on the hart. */

const CYCLES = 1;
const INSTRUCTIONS = 2;
const ALL = 0b1111101;
const Config = { skipMatch: 1, clearValue: 2, autoStart: 4, uinh: 1 << 5, sinh: 1 << 6 } as const;
const RESET = 1;
const INIT_VALUE = 1;
const SNAPSHOT = 2;
/** OptionalState.Counters. */
const COUNTERS = 64n;
const LCOFI = 1n << 13n;

interface Scene {
  host: CoveHost;
  second: GuestDriver;
  tvm: Tvm;
}

async function scene(options: Partial<MachineOptions> = {}): Promise<Scene> {
  const host = await CoveHost.boot({ options: { harts: [0, 1], counters: 4, ...options } });
  const second = new GuestDriver(host.machine, 1);
  const tvm = host.buildTvm();
  host.must("addZeroPages", tvm.id, host.donated(1), 0, 1, TVM_MEMORY + 16 * PAGE);
  host.registerNacl();
  assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, Sbi.success);
  while (host.machine.canStep(second.hart)) second.step();
  assert.equal(second.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, Sbi.success);
  host.save("start");
  return { host, second, tvm };
}

/** A call of whoever is on the driver's hart. */
function pmu(driver: GuestDriver, fid: number, ...args: (number | bigint)[]): { error: string; value: bigint } {
  const { error, value } = driver.ecall(Eid.pmu, fid, ...args);
  return { error: errorName(error), value };
}

function must(driver: GuestDriver, fid: number, ...args: (number | bigint)[]): bigint {
  const { error, value } = pmu(driver, fid, ...args);
  assert.equal(error, "success", `PMU ${fid}(${args.join(", ")})`);
  return value;
}

const name = (counter: bigint): CsrName =>
  (counter === 0n ? "cycle" : counter === 2n ? "instret" : `hpmcounter${counter}`) as CsrName;
const read = (driver: GuestDriver, counter: bigint): bigint => driver.readCsr(name(counter));

/** A counter that runs, from 0. */
function running(driver: GuestDriver, event = INSTRUCTIONS, flags = 0): bigint {
  return must(driver, Pmu.configMatching, 0, ALL, flags | Config.autoStart, event, 0);
}

/** The hypervisor looks for counters at world switches. */
function looked(host: CoveHost): boolean {
  return (host.checker.state.root.word("optionalState") & COUNTERS) !== 0n;
}

function busy(driver: GuestDriver, instructions: number): void {
  for (let i = 0; i < instructions; i++) driver.readCsr("sscratch");
}

for (const sscofpmf of [true, false]) {
  describe(sscofpmf ? "with Sscofpmf" : "without Sscofpmf", () => {
    let host: CoveHost;
    let second: GuestDriver;
    let tvm: Tvm;

    before(async () => {
      ({ host, second, tvm } = await scene({ sscofpmf }));
    });

    test("the hardware's counters, by their own numbers", () => {
      host.restore("start");
      assert.deepEqual(host.call(Eid.base, 3, Eid.pmu), { error: 0n, value: 1n });
      assert.equal(must(host, Pmu.numCounters), 7n);
      assert.equal(must(host, Pmu.getInfo, 3), 0xc03n | (63n << 12n));
      for (const index of [1, 7, 64, EVERY]) assert.equal(pmu(host, Pmu.getInfo, index).error, "invalidParam");
    });

    test("a counter counts, stops, keeps its value, and is given up", () => {
      host.restore("start");
      assert.equal(looked(host), false);
      const counter = running(host);
      assert.equal(looked(host), true);
      busy(host, 10);
      const now = read(host, counter);
      assert(now >= 10n && now < 0xdead_0000n, String(now));
      if (sscofpmf) assert.equal(now, 10n, "nothing but the host's own instructions");
      must(host, Pmu.stop, counter, 1, 0);
      const stopped = read(host, counter);
      busy(host, 10);
      assert.equal(read(host, counter), stopped);
      must(host, Pmu.start, counter, 1, 0, 0);
      busy(host, 5);
      assert(read(host, counter) >= stopped + 5n);
      must(host, Pmu.stop, counter, 1, RESET);
      assert.equal(host.trapOf(operations.csrRead(name(counter))).cause, 2);
      assert.equal(looked(host), false);
    });

    test("the first counter of all stops like any other", () => {
      host.restore("start");
      // With Sscofpmf the firmware gives it to nobody.
      if (sscofpmf) return;
      const cycles = must(host, Pmu.configMatching, 0, 1, Config.autoStart, CYCLES, 0);
      assert.equal(cycles, 0n);
      busy(host, 10);
      must(host, Pmu.stop, cycles, 1, 0);
      const stopped = read(host, cycles);
      assert(stopped >= 10n, String(stopped));
      busy(host, 10);
      assert.equal(read(host, cycles), stopped);
    });

    test("nothing of it counts while a TVM runs, and nothing of it shows there", () => {
      host.restore("start");
      const counter = running(host);
      busy(host, 10);
      const count = read(host, counter);
      host.enter(tvm);
      for (let n = 0; n < 7; n++) {
        if (n !== 1) assert.equal(host.trapOf(operations.csrRead(name(BigInt(n)))).cause, 2, name(BigInt(n)));
      }
      if (sscofpmf) assert.equal(host.readCsr("scountovf"), 0n);
      busy(host, 100_0);
      host.leaveTvm();
      const later = read(host, counter);
      assert.equal(host.hart.csr.raw("hvip"), 0n, "no overflow is no interrupt");
      // Without Sscofpmf the entries that the host itself makes count.
      assert(later >= count && later < count + (sscofpmf ? 100n : 20_000n), `${count} ${later}`);
    });

    test("a TVM's counters are its own, at 0, and go with it from hart to hart", () => {
      host.restore("start");
      const hosts = running(host);
      must(host, Pmu.stop, hosts, 1, 0);
      const hostValue = read(host, hosts);
      host.enter(tvm);
      const counter = running(host);
      busy(host, 50);
      must(host, Pmu.stop, counter, 1, 0);
      const value = read(host, counter);
      assert(value >= 50n && value < 0xdead_0000n);
      if (sscofpmf) assert.equal(value, 50n);
      must(host, Pmu.start, counter, 1, INIT_VALUE, 7_000);
      host.leaveTvm();
      assert.equal(read(host, hosts), hostValue, "a stopped counter has its value, wherever that is");
      assert("switched" in second.perform(operations.ecall(Eid.covh, 14, tvm.id, 0)));
      assert("done" in second.resume());
      busy(second, 20);
      must(second, Pmu.stop, counter, 1, 0);
      const there = read(second, counter);
      assert(there >= 7_020n && there < (sscofpmf ? 7_040n : 100_000n), String(there));
      assert("switched" in second.perform(operations.wfi()));
      assert("done" in second.resume());
      host.enter(tvm);
      assert.equal(read(host, counter), there);
    });

    test("user mode reads a stopped counter only if its kernel lets it", () => {
      host.restore("start");
      const other = running(host);
      must(host, Pmu.stop, other, 1, 0);
      host.enter(tvm);
      host.leaveTvm();
      host.complete(operations.mode(true));
      assert.equal(host.trapOf(operations.csrRead(name(other))).cause, 2);
      host.complete(operations.mode(false));
      host.writeCsr("scounteren", 1n << other);
      host.complete(operations.mode(true));
      assert.equal(typeof host.complete(operations.csrRead(name(other))), "bigint");
    });

    test("a second counter of the same event, or none", () => {
      host.restore("start");
      const first = running(host);
      const { error, value } = pmu(host, Pmu.configMatching, 0, ALL, 0, INSTRUCTIONS, 0);
      if (sscofpmf) {
        assert.equal(error, "success");
        assert.notEqual(value, first);
      } else {
        // The fixed counter is taken, and goes on.
        assert.equal(error, "notSupported");
        assert.equal(pmu(host, Pmu.configMatching, 0, 8, 0, CYCLES, 0).error, "notSupported");
        busy(host, 10);
      }
      assert(read(host, first) < 0xdead_0000n);
      assert.equal(pmu(host, Pmu.start, first, 1, 0, 0).error, "alreadyStarted");
    });

    test("whoever ends has no counters any more", () => {
      host.restore("start");
      running(second);
      assert("sleeping" in second.perform(operations.ecall(Eid.hsm, Hsm.stop)) || second.hart.state === "waiting");
      assert.equal(looked(host), false);
      host.enter(tvm);
      running(host);
      assert.equal(looked(host), true);
      host.leaveTvm();
      host.must("tvmDestroy", tvm.id);
      assert.equal(looked(host), false);
    });

    test("a TVM that shuts down has none either", () => {
      host.restore("start");
      host.enter(tvm);
      running(host);
      must(host, Pmu.setShmem, TVM_MEMORY + 16 * PAGE, 0, 0);
      assert("switched" in host.perform(operations.ecall(Eid.srst, 0, 0, 0)));
      host.runResult();
      assert.equal(looked(host), false);
      host.must("tvmDestroy", tvm.id);
    });

    test("errors", () => {
      host.restore("start");
      const refuses = (error: SbiError, fid: number, ...args: (number | bigint)[]): void =>
        host.refusesCall(error, () => host.ecall(Eid.pmu, fid, ...args), `PMU ${fid}(${args.join(", ")})`);
      refuses("notSupported", Pmu.eventGetInfo, 0, 0, 1, 0);
      refuses("notSupported", 9);
      refuses("notSupported", EVERY as never);
      for (const fid of [Pmu.fwRead, Pmu.fwReadHi]) for (const index of [0, 3, 7]) refuses("invalidParam", fid, index);

      refuses("invalidParam", Pmu.configMatching, 0, 0, 0, CYCLES, 0);
      refuses("invalidParam", Pmu.configMatching, 0, 1 << 7, 0, CYCLES, 0);
      refuses("invalidParam", Pmu.configMatching, 5, 0b110, 0, CYCLES, 0);
      refuses("invalidParam", Pmu.configMatching, 64, 1, 0, CYCLES, 0);
      refuses("invalidParam", Pmu.configMatching, EVERY, 1, 0, CYCLES, 0);
      refuses("invalidParam", Pmu.configMatching, 0, ALL, 0x100, CYCLES, 0);
      refuses("invalidParam", Pmu.configMatching, 0, ALL, 0, 1 << 20, 0);
      refuses("invalidParam", Pmu.configMatching, 0, ALL, 0, 0, 0);
      refuses("invalidParam", Pmu.configMatching, 0, ALL, 0, 2 << 16, 1n << 48n);
      refuses("invalidParam", Pmu.configMatching, 0, ALL, 0, 3 << 16, 1n << 56n);
      // A counter of the firmware's, and what no counter counts.
      refuses("notSupported", Pmu.configMatching, 0, ALL, 0, 0xf_0002, 0);
      refuses("notSupported", Pmu.configMatching, 0, ALL, 0, 5, 0);
      refuses("notSupported", Pmu.configMatching, 1, 1, 0, CYCLES, 0);

      refuses("invalidParam", Pmu.start, 3, 1, 0, 0);
      refuses("invalidParam", Pmu.start, 1, 1, 0, 0);
      refuses("invalidParam", Pmu.start, 7, 1, 0, 0);
      refuses("alreadyStopped", Pmu.stop, 0, ALL, 0);
      refuses("invalidParam", Pmu.stop, 0, 1 << 7, 0);
      refuses("invalidParam", Pmu.stop, 0, 1, 4);
      const counter = running(host);
      refuses("invalidParam", Pmu.start, counter, 1, 3, 0);
      refuses("invalidParam", Pmu.start, counter, 1, 4, 0);
      refuses("noShmem", Pmu.start, counter, 1, SNAPSHOT, 0);
      refuses("noShmem", Pmu.stop, counter, 1, SNAPSHOT);

      refuses("invalidParam", Pmu.setShmem, HOST_CODE, 0, 1);
      refuses("invalidParam", Pmu.setShmem, HOST_CODE + 8, 0, 0);
      refuses("invalidAddress", Pmu.setShmem, HOST_CODE, 1, 0);
      refuses("invalidAddress", Pmu.setShmem, 0x1000, 0, 0);
      refuses("invalidAddress", Pmu.setShmem, host.converted(1), 0, 0);
    });

    test("snapshots: values and overflows by number from the base", () => {
      host.restore("start");
      const memory = host.take(1);
      must(host, Pmu.setShmem, memory, 0, 0);
      host.refuses("invalidAddress", "convertPages", memory, 1);
      const counter = Number(running(host, INSTRUCTIONS));
      must(host, Pmu.stop, 0, 1 << counter, SNAPSHOT);
      host.store(memory + 8 + 8 * counter, 8, 12_345);
      must(host, Pmu.start, 0, 1 << counter, SNAPSHOT, 0);
      busy(host, 10);
      must(host, Pmu.stop, counter, 1, SNAPSHOT | RESET);
      const value = host.load(memory + 8);
      assert(value >= 12_355n && value < 20_000n, String(value));
      assert.equal(host.load(memory), 0n, "no overflow");
      must(host, Pmu.setShmem, EVERY, EVERY, 0);
      host.must("convertPages", memory, 1);
    });

    test("a counter that has an event gets another one", () => {
      host.restore("start");
      const counter = running(host);
      busy(host, 5);
      must(host, Pmu.stop, counter, 1, 0);
      const kept = read(host, counter);
      assert.equal(must(host, Pmu.configMatching, counter, 1, Config.skipMatch, INSTRUCTIONS, 0), counter);
      assert.equal(read(host, counter), kept);
      const flags = Config.skipMatch | Config.clearValue;
      assert.equal(must(host, Pmu.configMatching, counter, 1, flags, INSTRUCTIONS, 0), counter);
      assert.equal(read(host, counter), 0n);
    });
  });
}

describe("overflow", () => {
  let host: CoveHost;
  let tvm: Tvm;

  before(async () => {
    ({ host, tvm } = await scene());
  });

  /** The guest on the hart takes interrupt 13; the number of times is returned. */
  function listen(): () => number {
    let taken = 0;
    host.context.onInterrupt = (irq, hart) => {
      assert.equal(irq, 13);
      taken++;
      hart.csr.write(Csr.vsip, 0n);
    };
    host.writeCsr("sie", LCOFI);
    host.writeCsr("sstatus", 2n);
    return () => taken;
  }

  test("interrupts whoever has the counter, and shows in its snapshot and its scountovf", () => {
    host.restore("start");
    const memory = host.take(1);
    must(host, Pmu.setShmem, memory, 0, 0);
    const taken = listen();
    const counter = Number(must(host, Pmu.configMatching, 0, ALL, 0, INSTRUCTIONS, 0));
    must(host, Pmu.start, counter, 1, INIT_VALUE, EVERY - 5n);
    busy(host, 20);
    assert.equal(taken(), 1);
    assert.equal(host.readCsr("scountovf"), 1n << BigInt(counter));
    must(host, Pmu.stop, 0, 1 << counter, SNAPSHOT);
    assert.equal(host.load(memory), 1n << BigInt(counter));
    must(host, Pmu.start, counter, 1, INIT_VALUE, 0);
    must(host, Pmu.stop, counter, 1, SNAPSHOT);
    assert.equal(host.load(memory), 0n);
  });

  test("of a TVM's counter is the TVM's, also if it has left meanwhile", () => {
    host.restore("start");
    host.writeCsr("sie", LCOFI);
    host.enter(tvm);
    must(host, Pmu.setShmem, TVM_MEMORY + 16 * PAGE, 0, 0);
    const counter = must(host, Pmu.configMatching, 0, ALL, Config.autoStart, INSTRUCTIONS, 0);
    must(host, Pmu.stop, counter, 1, 0);
    must(host, Pmu.start, counter, 1, INIT_VALUE, EVERY - 2n);
    // The last instruction before the exit overflows it: nobody has taken the interrupt.
    busy(host, 2);
    assert("done" in host.perform(operations.csrRead("sscratch")));
    host.leaveTvm();
    assert.equal(host.hart.csr.read(Csr.vsip) & LCOFI, 0n, "the host hears nothing of it");
    assert.equal(host.hart.csr.counters!.pending, false);
    host.enter(tvm);
    assert.equal(host.readCsr("sip"), LCOFI);
    assert.equal(host.readCsr("sie"), 0n, "nor has the TVM the host's enables");
    must(host, Pmu.stop, counter, 1, SNAPSHOT);
    assert.equal(host.load(TVM_MEMORY + 16 * PAGE), 1n);
  });

  test("ends a wait", () => {
    host.restore("start");
    host.writeCsr("sie", LCOFI);
    host.hart.csr.write(Csr.hvip, LCOFI);
    assert.deepEqual(host.ecall(Eid.hsm, Hsm.suspend, 0, 0, 0), { error: 0n, value: 0n });
    host.enter(tvm);
    host.writeCsr("sie", LCOFI);
    host.hart.csr.write(Csr.hvip, LCOFI);
    assert("done" in host.perform(operations.wfi()));
  });

  test("of a counter that is nobody's is dropped", () => {
    host.restore("start");
    host.hart.csr.counters!.pending = true;
    host.step();
    assert.equal(host.hart.csr.counters!.pending, false);
    assert.equal(host.readCsr("sip"), 0n);
  });
});

describe("modes", () => {
  test("a guest leaves out its own user or supervisor mode", async () => {
    const { host } = await scene();
    const noUser = running(host, INSTRUCTIONS, Config.uinh);
    const noKernel = running(host, INSTRUCTIONS, Config.sinh);
    busy(host, 10);
    host.complete(operations.mode(true));
    for (let i = 0; i < 30; i++) host.complete(operations.load(HOST_CODE));
    host.hart.user = false;
    must(host, Pmu.stop, noUser, 1, 0);
    must(host, Pmu.stop, noKernel, 1, 0);
    assert(read(host, noUser) < 20n);
    assert.equal(read(host, noKernel), 30n);
  });
});

test("a machine whose firmware has no PMU", async () => {
  const host = await CoveHost.boot();
  assert.deepEqual(host.call(Eid.base, 3, Eid.pmu), { error: 0n, value: 0n });
  for (let fid = 0; fid <= 8; fid++) assert.equal(pmu(host, fid, 0, 1, 0, 1, 0).error, "notSupported");
});

test("without AIA overflows cannot be passed on: counters count, and nobody is told of Sscofpmf", async () => {
  const { host } = await scene({ guestFiles: undefined });
  const counter = must(host, Pmu.configMatching, 0, ALL, 0, INSTRUCTIONS, 0);
  must(host, Pmu.start, counter, 1, INIT_VALUE, EVERY - 5n);
  busy(host, 20);
  assert(read(host, counter) < 20n);
  assert.equal(host.machine.canStep(host.hart), false);
});

for (const counters of [0, 1, 28, 29]) {
  test(`each of ${counters} programmable counters is itself, for the host and for a TVM in between`, async () => {
    const { host, tvm } = await scene({ counters });
    assert.equal(must(host, Pmu.numCounters), BigInt(3 + counters));
    const numbers = Array.from({ length: counters }, (_, index) => BigInt(3 + index));
    const beginAt = (first: bigint): void => {
      for (const number of numbers) {
        assert.equal(must(host, Pmu.configMatching, number, 1, 0, INSTRUCTIONS, 0), number);
        must(host, Pmu.start, number, 1, INIT_VALUE, first * number);
      }
    };
    const isAt = (first: bigint): void => {
      for (const number of numbers) {
        const value = read(host, number) - first * number;
        assert(value >= 0n && value < 1000n, `counter ${number}: ${value}`);
      }
    };
    beginAt(1_000_000n);
    host.enter(tvm);
    beginAt(3_000_000n);
    host.leaveTvm();
    isAt(1_000_000n);
    host.enter(tvm);
    isAt(3_000_000n);
  });
}

describe("a firmware that does not keep its word", () => {
  const NOT_SUPPORTED = { error: -2n, value: 0n };
  type Answer = { error: bigint; value: bigint };

  /** What the PMU of the firmware answers from now on; undefined: what it usually would. */
  function firmware(host: CoveHost, answer: (fid: bigint, args: readonly bigint[]) => Answer | undefined): void {
    const usual = Object.getPrototypeOf(host.machine.firmware) as typeof host.machine.firmware;
    host.machine.firmware.call = (hart, eid, fid, args) =>
      (eid === BigInt(Eid.pmu) ? answer(fid, args) : undefined) ??
      usual.call.call(host.machine.firmware, hart, eid, fid, args);
  }

  /** A machine that boots on such a firmware. */
  async function booted(prepare: (machine: Machine) => void): Promise<CoveHost> {
    const machine = await Machine.create({ options: { counters: 4 } });
    prepare(machine);
    machine.boot();
    return CoveHost.on(machine);
  }

  test("and does not say how many counters there are: none", async () => {
    const host = await booted(({ firmware: below }) => {
      const usual = below.call.bind(below);
      below.call = (hart, eid, fid, args) =>
        eid === BigInt(Eid.pmu) && fid === 0n ? { error: -1n, value: 7n } : usual(hart, eid, fid, args);
    });
    assert.deepEqual(host.call(Eid.base, 3, Eid.pmu), { error: 0n, value: 0n });
    assert.equal(pmu(host, Pmu.numCounters).error, "notSupported");
  });

  test("and names a counter that the hart does not have: that one is none", async () => {
    const host = await booted(({ harts: [hart] }) => {
      const read = hart.csr.exists.bind(hart.csr);
      hart.csr.exists = (csr: number): boolean => csr !== 0xc04 && read(csr);
    });
    assert.equal(pmu(host, Pmu.getInfo, 4).error, "invalidParam");
    assert.equal(must(host, Pmu.getInfo, 3) & 0xfffn, 0xc03n);
    assert.equal(must(host, Pmu.getInfo, 5) & 0xfffn, 0xc05n);
    assert.equal(pmu(host, Pmu.configMatching, 4, 1, 0, INSTRUCTIONS, 0).error, "notSupported");
  });

  test("and describes the time as a counter: it is none", async () => {
    const host = await booted(({ firmware: below }) => {
      const usual = below.call.bind(below);
      below.call = (hart, eid, fid, args) =>
        eid === BigInt(Eid.pmu) && fid === 1n && args[0] === 1n
          ? { error: 0n, value: 0xc01n | (63n << 12n) }
          : usual(hart, eid, fid, args);
    });
    assert.equal(pmu(host, Pmu.getInfo, 1).error, "invalidParam");
    assert.equal(must(host, Pmu.getInfo, 2) & 0xfffn, 0xc02n);
  });

  test("and gives a counter of its own: nothing is configured, nothing of the firmware's is stopped", async () => {
    const { host } = await scene();
    let stopped = 0;
    firmware(host, (fid) => {
      if (fid === 4n) stopped++;
      return fid === 2n ? { error: 0n, value: 40n } : undefined;
    });
    assert.equal(pmu(host, Pmu.configMatching, 0, ALL, 0, INSTRUCTIONS, 0).error, "notSupported");
    assert.equal(stopped, 0);
    assert.equal(looked(host), false);
  });

  test("and does not start a counter that it gave: it stays stopped", async () => {
    const { host } = await scene();
    const counter = must(host, Pmu.configMatching, 0, ALL, 0, INSTRUCTIONS, 0);
    firmware(host, (fid) => (fid === 3n ? { error: -3n, value: 0n } : undefined));
    assert.equal(pmu(host, Pmu.start, counter, 1, INIT_VALUE, 77).error, "notSupported");
    firmware(host, () => undefined);
    assert.equal(pmu(host, Pmu.stop, counter, 1, 0).error, "alreadyStopped");
    must(host, Pmu.start, counter, 1, INIT_VALUE, 5);
    assert(read(host, counter) >= 5n);
  });

  test("and does not give a counter back after a TVM ran: it is stopped, with the value that it had", async () => {
    const { host, tvm } = await scene();
    const counter = running(host);
    busy(host, 10);
    host.enter(tvm);
    firmware(host, (fid) => (fid === 2n ? NOT_SUPPORTED : undefined));
    host.leaveTvm();
    firmware(host, () => undefined);
    const value = read(host, counter);
    assert(value >= 10n && value < 100n, String(value));
    busy(host, 50);
    assert.equal(read(host, counter), value, "nothing counts");
    assert.equal(pmu(host, Pmu.stop, counter, 1, 0).error, "alreadyStopped");
    must(host, Pmu.start, counter, 1, 0, 0);
    busy(host, 50);
    assert(read(host, counter) >= value + 50n);
  });

  test("another counter than before is none either", async () => {
    const { host, tvm } = await scene();
    const counter = running(host);
    host.enter(tvm);
    firmware(host, (fid) => (fid === 2n ? { error: 0n, value: counter + 1n } : undefined));
    host.leaveTvm();
    firmware(host, () => undefined);
    assert.equal(pmu(host, Pmu.stop, counter, 1, 0).error, "alreadyStopped");
  });

  test("an overflow of the last moment goes with the host, and not to the TVM", async () => {
    const { host, tvm } = await scene();
    const counter = running(host);
    const { counters } = host.hart.csr;
    firmware(host, (fid) => {
      // The firmware's stop is where the hardware stops counting.
      if (fid === 4n && !counters!.pending) counters!.pending = true;
      return undefined;
    });
    host.enter(tvm);
    firmware(host, () => undefined);
    assert.equal(counters!.pending, false);
    assert.equal(host.readCsr("sip") & LCOFI, 0n);
    host.leaveTvm();
    assert.equal(host.readCsr("sip") & LCOFI, LCOFI);
    must(host, Pmu.stop, counter, 1, RESET);
  });
});

test("an overflow wakes a host that waits for it", async () => {
  const { host } = await scene();
  running(host);
  host.writeCsr("sie", LCOFI);
  assert.deepEqual(host.perform(operations.ecall(Eid.hsm, Hsm.suspend, 0, 0, 0)), { halted: "waiting" });
  assert.equal(host.machine.canStep(host.hart), false);
  host.hart.csr.counters!.pending = true;
  host.step();
  assert.deepEqual(host.resume(), { done: { error: 0n, value: 0n } });
  assert.equal(host.hart.csr.counters!.pending, false);
  assert.equal(host.readCsr("sip") & LCOFI, LCOFI);
});

test("what traps and reads no counter is no read of one", async () => {
  const { host, tvm } = await scene();
  host.enter(tvm);
  const counter = Number(must(host, Pmu.configMatching, 0, ALL, 0, INSTRUCTIONS, 0));
  host.hart.csr.setRaw("vstvec", BigInt(TVM_MEMORY));
  const csr = (0xc00 + counter) * 2 ** 20;
  const read = csr + (2 << 12) + (5 << 7) + 0x73;
  const trap = (bits: number): bigint => {
    const at = host.hart.pc;
    host.machine.trap(host.hart, 22, { stval: BigInt(bits) });
    return host.hart.pc - at;
  };
  assert.equal(trap(read), 4n);
  for (const [what, bits] of [
    ["a load's opcode", read - 0x73 + 0x03],
    ["a write", read - (2 << 12) + (1 << 12)],
    ["a set of bits", read + (1 << 15)],
    ["no counter", read - csr + 0x100 * 2 ** 20],
  ] as const) {
    host.hart.csr.setRaw("vscause", 0n);
    trap(bits);
    assert.equal(host.hart.csr.raw("vscause"), 2n, what);
    assert.equal(host.hart.csr.raw("vstval"), BigInt(bits), what);
    assert.equal(host.hart.pc, BigInt(TVM_MEMORY), what);
  }
});
