import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { operations } from "../../../machine/simulated/guest-script.ts";
import type { SbiResult } from "../../../machine/simulated/guest-script.ts";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { CoveHost, HOST_CODE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Covg, EVERY, Eid, Hsm, Rfence, Sbi, errorName } from "../support/simulated/sbi.ts";
import type { SbiError } from "../support/simulated/sbi.ts";

/** The standard SBI extensions as a TVM calls them, on one hart and on two. */

let host: CoveHost;
let second: GuestDriver;
/** vCPUs 0 to 2; 1 is started, 2 is not. */
let tvm: Tvm;
const MEMORY = TVM_MEMORY + 0x10_0000;

before(async () => {
  host = await CoveHost.boot({ options: { harts: [0, 1] } });
  second = new GuestDriver(host.machine, 1);
  tvm = host.buildTvm({ vcpus: 3 });
  host.must("addZeroPages", tvm.id, host.donated(4), 0, 4, MEMORY);
  host.registerNacl();
  host.enter(tvm);
  startVcpu(1);
  host.save("in the TVM");
});

const start = (): void => host.restore("in the TVM");

function startVcpu(id: number): void {
  assert("switched" in host.perform(operations.ecall(Eid.hsm, Hsm.start, id, TVM_MEMORY, 0)));
  host.runResult();
  host.enter(tvm);
}

function refused(error: SbiError, eid: number, fid: number, ...args: (number | bigint)[]): void {
  host.refusesCall(
    error,
    () => host.call(eid, fid, ...args),
    `${eid.toString(16)}/${fid}(${args.map(String).join(", ")})`,
  );
}

/** The TVM's operation is an exit; the host is on the hart afterwards. */
function exits(operation: ReturnType<typeof operations.wfi>): SbiResult {
  assert("switched" in host.perform(operation));
  return host.runResult();
}

/** Lets hart 1 run vCPU 1 of the TVM. */
function runOnSecondHart(): void {
  host.leaveTvm();
  assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, Sbi.success);
  while (host.machine.canStep(second.hart)) second.step();
  assert.equal(second.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, Sbi.success);
  assert("switched" in second.perform(operations.ecall(Eid.covh, 14, tvm.id, 1)));
  host.enter(tvm);
}

describe("HSM", () => {
  test("states of its vCPUs", () => {
    start();
    const states = [0, 1, 2].map((id) => host.call(Eid.hsm, Hsm.status, id).value);
    assert.deepEqual(states, [0n, 0n, 1n]);
  });

  test("errors", () => {
    start();
    for (const id of [3, 127, 128, EVERY]) {
      refused("invalidParam", Eid.hsm, Hsm.start, id, TVM_MEMORY, 0);
      refused("invalidParam", Eid.hsm, Hsm.status, id);
    }
    refused("alreadyAvailable", Eid.hsm, Hsm.start, 0, TVM_MEMORY, 0);
    refused("alreadyAvailable", Eid.hsm, Hsm.start, 1, TVM_MEMORY, 0);
    refused("invalidAddress", Eid.hsm, Hsm.start, 2, TVM_MEMORY + 1, 0);
    refused("notSupported", Eid.hsm, Hsm.suspend, 0x1000_0000, TVM_MEMORY, 0);
    refused("invalidAddress", Eid.hsm, Hsm.suspend, 0x8000_0000, TVM_MEMORY + 1, 0);
    refused("invalidParam", Eid.hsm, Hsm.suspend, 1, TVM_MEMORY, 0);
  });

  test("a non-retentive suspend goes on elsewhere, without translation and interrupts", () => {
    start();
    host.writeCsr("sstatus", 2n);
    exits(operations.ecall(Eid.hsm, Hsm.suspend, 0x8000_0000, TVM_MEMORY + 0x40, 0x77));
    assert.equal(host.readCsr("scause"), 22n);
    host.enter(tvm, 0);
    assert.equal(host.hart.pc, BigInt(TVM_MEMORY + 0x40));
    assert.deepEqual([host.hart.registers[10], host.hart.registers[11]], [0n, 0x77n]);
    assert.equal(host.hart.csr.raw("vsatp"), 0n);
    assert.equal(host.hart.csr.raw("vsstatus") & 2n, 0n);
  });

  test("a vCPU that stops can be started again", () => {
    start();
    exits(operations.ecall(Eid.hsm, Hsm.suspend, 0));
    assert.equal(host.readCsr("scause"), 22n);
    host.enter(tvm, 1);
    assert.equal(exits(operations.ecall(Eid.hsm, Hsm.stop)).value, 1n);
    host.refuses("invalidState", "cpuRun", tvm.id, 1);
    host.enter(tvm, 0);
    assert.deepEqual(host.resume(), { done: { error: 0n, value: 0n } });
    startVcpu(1);
    host.leaveTvm();
    host.enter(tvm, 1);
    assert.equal(host.hart.pc, BigInt(TVM_MEMORY));
  });
});

describe("IPI", () => {
  test("to itself and to a vCPU that does not run: the host is told", () => {
    start();
    assert.deepEqual(host.call(Eid.ipi, 0, 1, 0), { error: 0n, value: 0n });
    assert.equal(host.readCsr("sip"), 2n);
    exits(operations.ecall(Eid.ipi, 0, 0b11, 0));
    assert.deepEqual(host.naclRegisters([10, 11, 17]), [0b11n, 0n, BigInt(Eid.ipi)]);
    host.enter(tvm, 1);
    assert.equal(host.readCsr("sip"), 2n);
  });

  test("to a vCPU on another hart", () => {
    start();
    runOnSecondHart();
    assert.deepEqual(host.call(Eid.ipi, 0, 0b10, 0), { error: 0n, value: 0n });
    second.step();
    assert.equal(second.readCsr("sip"), 2n);
  });

  test("one that is off gets none; unknown ones are an error", () => {
    start();
    assert.deepEqual(host.call(Eid.ipi, 0, 0b100, 0), { error: 0n, value: 0n });
    refused("invalidParam", Eid.ipi, 0, 0b1000, 0);
    refused("notSupported", Eid.ipi, 1, 1, 0);
    startVcpu(2);
    host.leaveTvm();
    host.enter(tvm, 2);
    assert.equal(host.readCsr("sip"), 0n);
  });
});

describe("RFENCE", () => {
  test("waits for a vCPU on another hart only", () => {
    start();
    assert.deepEqual(host.call(Eid.rfence, Rfence.sfenceVma, 0, EVERY, 0, EVERY), { error: 0n, value: 0n });
    runOnSecondHart();
    assert.deepEqual(host.perform(operations.ecall(Eid.rfence, Rfence.fenceI, 0b10, 0)), { halted: "waiting" });
    second.step();
    host.step();
    assert.deepEqual(host.resume(), { done: { error: 0n, value: 0n } });
  });

  test("a wait that the host's timer ends is made again", () => {
    start();
    host.leaveTvm();
    host.writeCsr("sie", 1 << 5);
    host.enter(tvm);
    runOnSecondHart();
    host.leaveTvm();
    host.call(Eid.time, 0, host.readCsr("time") + 2000n);
    host.enter(tvm);
    assert.deepEqual(host.perform(operations.ecall(Eid.rfence, Rfence.fenceI, 0b10, 0)), { halted: "waiting" });
    host.machine.clock.advance(3000n);
    host.step();
    assert(host.context.isHost, "the timer does not end the wait");
    assert.deepEqual(host.runResult(), { error: 0n, value: 0n });
    host.call(Eid.time, 0, EVERY);
    second.step();
    host.enter(tvm);
    // From the start: the other vCPU is asked once more.
    assert.deepEqual(host.resume(), { halted: "waiting" });
    second.step();
    host.step();
    assert.deepEqual(host.resume(), { done: { error: 0n, value: 0n } });
  });
});

describe("TIME", () => {
  test("a timer of the TVM's own time", () => {
    start();
    host.writeCsr("sie", 1 << 5);
    const now = host.readCsr("time");
    assert.deepEqual(host.call(Eid.time, 0, now + 500n), { error: 0n, value: 0n });
    assert.equal(host.readCsr("sip"), 0n);
    host.machine.clock.advance(1000n);
    assert.equal(host.readCsr("sip"), 1n << 5n);
    host.call(Eid.time, 0, EVERY);
    assert.equal(host.readCsr("sip"), 0n);
  });
});

describe("consoles", () => {
  test("legacy calls go to the host and get a0 only", () => {
    start();
    host.hart.registers[11] = 0x77n;
    exits(operations.ecall(Eid.putchar, 0, 0x41));
    assert.deepEqual(host.naclRegisters([10, 17]), [0x41n, 1n]);
    host.answer(0n, 0x1234n);
    host.enter(tvm);
    assert.deepEqual(host.resume(), { done: { error: 0n, value: 0x77n } });
    exits(operations.ecall(Eid.getchar, 0));
    host.answer(0x42n, 0x1234n);
    host.enter(tvm);
    assert.deepEqual(host.resume(), { done: { error: 0x42n, value: 0x77n } });
  });
});

describe("NACL", () => {
  test("memory that a TVM registers stays pinned, and comes back with the TVM", () => {
    start();
    assert.equal(host.call(Eid.nacl, 1, MEMORY, 0, 0).error, Sbi.success);
    host.leaveTvm();
    host.refuses("invalidAddress", "blockPages", tvm.id, MEMORY, PAGE);
    host.must("blockPages", tvm.id, MEMORY + 3 * PAGE, PAGE);
    host.must("tvmDestroy", tvm.id);
    host.must("reclaimPages", host.allDonated()[0].gpa, 1);
  });

  test("errors", () => {
    start();
    refused("invalidAddress", Eid.nacl, 1, MEMORY + 2 * PAGE, 0, 0);
    refused("invalidAddress", Eid.nacl, 1, HOST_CODE, 0, 0);
    refused("invalidParam", Eid.nacl, 1, MEMORY + 8, 0, 0);
  });
});

describe("the end of a vCPU", () => {
  for (const [what, operation, cause] of [
    ["a load outside of all regions", operations.load(0x1000), 21n],
    ["a store outside of all regions", operations.store(0x1000, 8, 0), 23n],
    ["a jump outside of all regions", operations.jump(0x1000), 20n],
  ] as const) {
    test(what, () => {
      start();
      assert.equal(exits(operation).value, 1n);
      assert.equal(host.readCsr("scause"), cause);
      assert.equal(host.naclCsr(0x643), 0n);
      host.refuses("invalidState", "cpuRun", tvm.id, 0);
      host.must("tvmDestroy", tvm.id);
    });
  }

  test("a jump into emulated memory", () => {
    start();
    exits(operations.ecall(Eid.covg, Covg.addMmioRegion, 0x1000_0000, PAGE));
    host.enter(tvm);
    assert.equal(exits(operations.jump(0x1000_0000)).value, 1n);
    assert.equal(host.readCsr("scause"), 20n);
  });
});

describe("emulated memory", () => {
  const MMIO = 0x1000_0000;

  for (const htinst of [true, false]) {
    test(`every encoding of loads and stores, ${htinst ? "from htinst" : "fetched"}`, async () => {
      const other = await CoveHost.boot({ options: { transformedInstruction: htinst } });
      const guest = other.buildTvm();
      other.enter(guest);
      assert("switched" in other.perform(operations.ecall(Eid.covg, Covg.addMmioRegion, MMIO, PAGE)));
      other.runResult();
      other.enter(guest);
      const answer = 0xfedc_ba98_8765_4321n;
      for (const width of [1, 2, 4, 8] as const) {
        for (const encoding of ["wide", "compressed", "compressed-sp"] as const) {
          for (const signed of [false, true]) {
            if (!exists(width, encoding, signed)) continue;
            const what = `${width} bytes, ${encoding}, ${signed ? "signed" : "unsigned"}`;
            assert(
              "switched" in other.perform(operations.load(MMIO + 8, width, { encoding, signed, register: 9 })),
              what,
            );
            other.runResult();
            assert.equal(other.readCsr("scause"), 21n);
            other.answer(answer);
            other.enter(guest);
            const bits = BigInt.asUintN(8 * width, answer);
            const expected = signed ? BigInt.asUintN(64, BigInt.asIntN(8 * width, bits)) : bits;
            assert.deepEqual(other.resume(), { done: expected }, what);
            if (signed) continue;
            assert(
              "switched" in other.perform(operations.store(MMIO + 16, width, answer, { encoding, register: 9 })),
              what,
            );
            other.runResult();
            assert.equal(other.readCsr("scause"), 23n);
            assert.deepEqual(other.naclRegisters([10]), [bits], what);
            other.enter(guest);
            assert.deepEqual(other.resume(), { done: undefined }, what);
          }
        }
      }
    });
  }

  /** c.lw and c.lwsp extend their sign, c.lbu does not; c.lh and c.lhu are both there; only words and double words go by sp. */
  function exists(width: number, encoding: string, signed: boolean): boolean {
    if (encoding === "wide") return width !== 8 || !signed;
    if (encoding === "compressed-sp") return width === 8 ? !signed : width === 4 && signed;
    return width === 1 ? !signed : width === 2 ? true : width === 4 ? signed : !signed;
  }
});

test("calls that TVMs do not have", () => {
  start();
  for (const eid of [Eid.covi, 0x504d55, 0x0900_0000]) assert.equal(errorName(host.call(eid, 0).error), "notSupported");
});
