import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { MachineEnded } from "../../../machine/simulated/errors.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import type { SbiResult } from "../../../machine/simulated/guest-script.ts";
import { sleepToNextTimer } from "../../../machine/simulated/run.ts";
import { CoveHost, HUGE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { EVERY, Eid, Sbi, errorName } from "../support/simulated/sbi.ts";
import type { SbiError } from "../support/simulated/sbi.ts";

/** The standard SBI extensions whose calls concern one hart only: Base, TIME, SRST, DBCN, the legacy console, NACL. */

let host: CoveHost;
let tvm: Tvm;

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

function refused(error: SbiError, eid: number, fid: number, ...args: (number | bigint)[]): void {
  const what = `extension 0x${eid.toString(16)} function ${fid} (${args.map(String).join(", ")})`;
  host.refusesCall(error, () => host.call(eid, fid, ...args), what);
}

describe("Base", () => {
  test("versions and identities", () => {
    start();
    const values = [0, 1, 2, 3, 4, 5, 6].map((fid) => host.call(Eid.base, fid, Eid.base).value);
    // A commercial architecture id has its highest bit set and is no error.
    assert.deepEqual(values, [2n << 24n, 0x53414c55n, 0x100n, 1n, 0x1234n, (1n << 63n) | 7n, 0x5678n]);
  });

  test("probe: 1 for what there is, 0 for everything else", () => {
    start();
    const { covg, pmu, ...present } = Eid;
    for (const eid of Object.values(present)) assert.deepEqual(host.call(Eid.base, 3, eid), { error: 0n, value: 1n });
    for (const eid of [covg, 3, pmu, (1n << 32n) | BigInt(Eid.base), EVERY]) {
      assert.deepEqual(host.call(Eid.base, 3, eid), { error: 0n, value: 0n });
    }
    host.enter(tvm);
    assert.deepEqual(host.call(Eid.base, 3, covg), { error: 0n, value: 1n });
    assert.deepEqual(host.call(Eid.base, 3, Eid.covi), { error: 0n, value: 0n });
  });

  test("unknown functions and extensions", () => {
    start();
    for (const fid of [7, 100]) refused("notSupported", Eid.base, fid);
    for (const eid of [0, 3, 4, 8, Eid.pmu, 0x0a00_0000, 0xffff_ffff]) refused("notSupported", eid, 0);
    const wide: SbiResult = host.ecall((1n << 32n) | BigInt(Eid.base), 0);
    assert.equal(errorName(wide.error), "notSupported");
    assert.equal(errorName(host.ecall(Eid.base, 1n << 32n).error), "notSupported");
  });
});

describe("TIME", () => {
  for (const sstc of [true, false]) {
    test(`the timer interrupt comes when its time has come ${sstc ? "with" : "without"} Sstc`, async () => {
      const timed = await CoveHost.boot({ options: { sstc } });
      timed.writeCsr("sie", 1 << 5);
      const now = timed.readCsr("time");
      timed.call(Eid.time, 0, now + 5000n);
      assert.equal(timed.readCsr("sip") & 0x20n, 0n);
      assert("sleeping" in timed.perform(operations.wfi()));
      assert(sleepToNextTimer(timed.machine));
      assert("done" in timed.resume());
      assert.equal(timed.readCsr("sip") & 0x20n, 0x20n);
      assert(timed.readCsr("time") >= now + 5000n);
      timed.call(Eid.time, 0, EVERY);
      assert.equal(timed.readCsr("sip") & 0x20n, 0n, "a new deadline takes a pending interrupt back");
    });

    test(`the host's timer ends the run of a TVM ${sstc ? "with" : "without"} Sstc`, async () => {
      const timed = await CoveHost.boot({ options: { sstc } });
      const guest = timed.buildTvm();
      timed.registerNacl();
      timed.writeCsr("sie", 1 << 5);
      timed.call(Eid.time, 0, timed.readCsr("time") + 3000n);
      timed.enter(guest);
      timed.machine.clock.advance(5000n);
      timed.step();
      assert(timed.context.isHost);
      assert.deepEqual(timed.runResult(), { error: 0n, value: 0n });
      assert.equal(timed.readCsr("scause"), (1n << 63n) | 5n);
      assert.equal(timed.readCsr("sip") & 0x20n, 0x20n);
    });
  }

  test("a TVM has a time and a timer of its own", () => {
    start();
    host.machine.clock.advance(1_000_000n);
    host.enter(tvm);
    const first = host.readCsr("time");
    assert(first < 1000n, "a TVM's time begins at 0");
    host.writeCsr("stimecmp", first + 100n);
    host.leaveTvm();
    assert.equal(host.naclCsr(0x24d), first + 100n, "the host sees when the TVM wants to be woken");
  });

  test("unknown functions", () => {
    start();
    refused("notSupported", Eid.time, 1);
  });
});

describe("SRST", () => {
  const end = (type: number, reason: number): MachineEnded => {
    try {
      host.call(Eid.srst, 0, type, reason);
    } catch (error) {
      if (error instanceof MachineEnded) return error;
      throw error;
    }
    return assert.fail("the machine goes on");
  };

  for (const [what, type] of [
    ["shutdown", 0],
    ["cold reboot", 1],
    ["warm reboot", 2],
  ] as const) {
    test(`${what} ends the machine, with the reason, and nothing of a TVM is left`, () => {
      start();
      host.enter(tvm);
      host.store(TVM_MEMORY + 0x800, 8, SECRET);
      host.leaveTvm();
      const { type: ended, reason } = end(type, 1);
      assert.deepEqual([ended, reason], [type, 1]);
      assert.equal(occurrences(SECRET), 0);
    });
  }

  test("reserved types and reasons: invalidParam; a vendor's: notSupported", () => {
    start();
    for (const type of [3, 0xefff_ffff, 1n << 32n, EVERY]) refused("invalidParam", Eid.srst, 0, type, 0);
    for (const reason of [2, 0xdfff_ffff, 1n << 32n, EVERY]) refused("invalidParam", Eid.srst, 0, 0, reason);
    for (const type of [0xf000_0000, 0xffff_ffff]) refused("notSupported", Eid.srst, 0, type, 0);
    for (const reason of [0xe000_0000, 0xf000_0000, 0xffff_ffff]) refused("notSupported", Eid.srst, 0, 0, reason);
    refused("notSupported", Eid.srst, 1, 0, 0);
  });

  test("a TVM's ends the TVM's vCPU only", () => {
    start();
    host.enter(tvm);
    assert("switched" in host.perform(operations.ecall(Eid.srst, 0, 0, 0)));
    assert.deepEqual(host.runResult(), { error: 0n, value: 1n });
    assert.deepEqual(host.naclRegisters([16, 17]), [0n, BigInt(Eid.srst)]);
    host.refuses("invalidState", "cpuRun", tvm.id, 0);
  });

  const SECRET = 0x5ec7_e75e_c7e7_5ec7n;

  /** How often a 64-bit word is in RAM. */
  function occurrences(word: bigint): number {
    const { base, size } = host.machine.memory.ranges[0];
    const needle = Buffer.alloc(8);
    needle.writeBigUInt64LE(word);
    const ram = Buffer.from(host.machine.memory.bytes.buffer, base, size);
    let found = 0;
    for (let at = ram.indexOf(needle); at >= 0; at = ram.indexOf(needle, at + 1)) found++;
    return found;
  }
});

describe("DBCN", () => {
  const printed = (): string => host.machine.console.slice(before_.length);
  let before_ = "";

  test("writes bytes of any value, from any place", () => {
    start();
    before_ = host.machine.console;
    const buffer = host.take(2) + PAGE - 3;
    const bytes = [0, 1, 0x41, 0x0a, 0x0d, 0x7f, 0x80, 0xff];
    bytes.forEach((byte, index) => host.store(buffer + index, 1, byte));
    assert.deepEqual(host.call(Eid.dbcn, 0, bytes.length, buffer, 0), { error: 0n, value: 8n });
    assert.equal(printed(), String.fromCharCode(...bytes));
  });

  test("takes a part of a long text, and nothing of an empty one", () => {
    start();
    before_ = host.machine.console;
    const buffer = host.take(4);
    host.fill(buffer, 4, 0x2e);
    const { error, value } = host.call(Eid.dbcn, 0, 3 * PAGE, buffer, 0);
    assert.equal(error, 0n);
    assert(value > 0n && value <= 3n * 4096n);
    assert.equal(printed(), ".".repeat(Number(value)));
    assert.deepEqual(host.call(Eid.dbcn, 0, 0, buffer, 0), { error: 0n, value: 0n });
  });

  test("stops before memory that is not the host's", () => {
    start();
    before_ = host.machine.console;
    const converted = host.converted(1, HUGE);
    host.store(converted - 4, 4, 0x44434241);
    assert.deepEqual(host.call(Eid.dbcn, 0, 64, converted - 4, 0), { error: 0n, value: 4n });
    assert.equal(printed(), "ABCD");
    refused("invalidParam", Eid.dbcn, 0, 64, converted, 0);
  });

  test("reads what was typed, and no more", () => {
    start();
    const buffer = host.take(1);
    host.fill(buffer, 1, 0xee);
    host.machine.type(0, 0xff, 0x41);
    assert.deepEqual(host.call(Eid.dbcn, 1, 16, buffer + 1, 0), { error: 0n, value: 3n });
    assert.deepEqual([...host.peek(buffer, 6)], [0xee, 0, 0xff, 0x41, 0xee, 0xee]);
    assert.deepEqual(host.call(Eid.dbcn, 1, 16, buffer, 0), { error: 0n, value: 0n });
  });

  test("write_byte", () => {
    start();
    before_ = host.machine.console;
    assert.deepEqual(host.call(Eid.dbcn, 2, 0x1234_5641), { error: 0n, value: 0n });
    assert.equal(printed(), "A");
  });

  test("errors", () => {
    start();
    refused("invalidParam", Eid.dbcn, 0, 8, 0x1000, 0);
    refused("invalidParam", Eid.dbcn, 0, 8, host.take(1), 1);
    refused("invalidParam", Eid.dbcn, 1, 8, 0x1000, 0);
    refused("invalidParam", Eid.dbcn, 0, 16, -8, 0);
    refused("invalidParam", Eid.dbcn, 0, EVERY, EVERY, 0);
    refused("notSupported", Eid.dbcn, 3, 0, 0, 0);
  });

  test("a TVM's is forwarded to its host", () => {
    start();
    before_ = host.machine.console;
    host.enter(tvm);
    assert("switched" in host.perform(operations.ecall(Eid.dbcn, 2, 0x41)));
    host.runResult();
    assert.deepEqual(host.naclRegisters([10, 16, 17]), [0x41n, 2n, BigInt(Eid.dbcn)]);
    host.answer(0n, 0n);
    host.enter(tvm);
    assert.deepEqual(host.resume(), { done: { error: 0n, value: 0n } });
    assert.equal(printed(), "");
  });
});

describe("legacy console", () => {
  test("putchar and getchar answer in a0 alone", () => {
    start();
    const before = host.machine.console;
    assert.deepEqual(host.ecall(Eid.putchar, 0, 0x42, 77), { error: 0n, value: 77n });
    assert.equal(host.machine.console.slice(before.length), "B");
    assert.deepEqual(host.ecall(Eid.getchar, 0, 1, 77), { error: -1n, value: 77n });
    host.machine.type(0x43);
    assert.deepEqual(host.ecall(Eid.getchar, 0, 1, 77), { error: 0x43n, value: 77n });
  });
});

describe("NACL", () => {
  test("no feature is offered", () => {
    start();
    for (const feature of [0, 1, 2, 3, 100])
      assert.deepEqual(host.call(Eid.nacl, 0, feature), { error: 0n, value: 0n });
  });

  test("registered memory is pinned until another is registered, or none", () => {
    start();
    const first = host.registerNacl();
    const second = host.registerNacl();
    host.must("convertPages", first, 3);
    host.refuses("invalidAddress", "convertPages", second + 2 * PAGE, 1);
    host.unregisterNacl();
    host.must("convertPages", second, 3);
    assert.equal(host.call(Eid.nacl, 1, EVERY, 0, 0).error, Sbi.success, "as hosts of the original do it");
  });

  test("the same memory again", () => {
    start();
    const gpa = host.registerNacl();
    assert.equal(host.call(Eid.nacl, 1, gpa, 0, 0).error, Sbi.success);
    host.unregisterNacl();
    host.must("convertPages", gpa, 3);
  });

  test("errors leave what was registered", () => {
    start();
    refused("invalidParam", Eid.nacl, 1, host.take(4), 0, 1);
    refused("invalidParam", Eid.nacl, 1, host.take(4) + 8, 0, 0);
    refused("invalidAddress", Eid.nacl, 1, host.take(4), 1, 0);
    refused("invalidAddress", Eid.nacl, 1, 0x1000, 0, 0);
    refused("invalidAddress", Eid.nacl, 1, -0x1000n, 0, 0);
    refused("invalidAddress", Eid.nacl, 1, host.converted(1, HUGE) - 2 * PAGE, 0, 0);
    refused("invalidAddress", Eid.nacl, 1, 0x2800_0000, 0, 0);
    for (const fid of [2, 3, 4, 5]) refused("notSupported", Eid.nacl, fid);
  });

  test("memory that host and TVM share can serve", () => {
    start();
    host.shareRange(tvm, TVM_MEMORY + 0x10_0000, 3);
    const gpa = host.take(3);
    host.must("addSharedPages", tvm.id, gpa, 0, 3, TVM_MEMORY + 0x10_0000);
    assert.equal(host.call(Eid.nacl, 1, gpa, 0, 0).error, Sbi.success);
    host.must("tvmDestroy", tvm.id);
    host.refuses("invalidAddress", "convertPages", gpa, 1);
  });
});
