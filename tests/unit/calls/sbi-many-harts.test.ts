import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Csr } from "../../../machine/simulated/csr-numbers.ts";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { CoveHost, FREE_MEMORY, HOST_CODE, HUGE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { EVERY, Eid, Hsm, Rfence, Sbi, errorName } from "../support/simulated/sbi.ts";
import type { SbiError } from "../support/simulated/sbi.ts";

/** HSM, IPI and RFENCE: what one hart asks of others; and COVH calls that are refused because of another hart. */

for (const guestFiles of [3, undefined]) {
  describe(guestFiles === undefined ? "with the firmware's IPIs" : "with an IMSIC", () => {
    let host: CoveHost;
    let second: GuestDriver;
    let third: GuestDriver;
    /** vCPUs 0 to 2, of which 1 and 2 are not started. */
    let tvm: Tvm;

    before(async () => {
      host = await CoveHost.boot({ options: { harts: [0, 4, 1000], guestFiles } });
      second = new GuestDriver(host.machine, 4);
      third = new GuestDriver(host.machine, 1000);
      tvm = host.buildTvm({ vcpus: 3 });
      host.registerNacl();
      host.take(0, HUGE);
      host.save("alone");
      startHart(1, 0x51);
      startHart(2, 0x52);
      host.save("together");
    });

    function startHart(id: number, opaque: number): void {
      assert.equal(host.call(Eid.hsm, Hsm.start, id, HOST_CODE, opaque).error, Sbi.success);
      settle();
    }

    /** Lets the other harts take what is pending for them. */
    function settle(): void {
      for (const other of [second, third]) while (host.machine.canStep(other.hart)) other.step();
    }

    function refused(error: SbiError, eid: number, fid: number, ...args: (number | bigint)[]): void {
      host.refusesCall(error, () => host.call(eid, fid, ...args), `${fid}(${args.map(String).join(", ")})`);
    }

    const status = (id: number): bigint => host.call(Eid.hsm, Hsm.status, id).value;

    describe("HSM", () => {
      test("a started hart begins where it was told, with its id and the opaque value", () => {
        host.restore("alone");
        assert.equal(status(1), 1n);
        assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE + 0x20, 0xfeed).error, Sbi.success);
        assert.equal(status(1), 2n, "start pending");
        settle();
        assert.equal(status(1), 0n);
        assert.equal(second.context.key, "0:1");
        assert.equal(second.hart.pc, BigInt(HOST_CODE + 0x20));
        assert.deepEqual([...second.hart.registers.slice(10, 12)], [1n, 0xfeedn]);
        assert.equal(second.readCsr("satp"), 0n);
      });

      test("a hart that stops can be started again, and finds nothing of its earlier life", () => {
        host.restore("together");
        for (const csr of ["stvec", "sscratch", "sepc", "senvcfg"] as const) second.writeCsr(csr, 0x40);
        // Those that every trap saves, and (by another trap than a call) those that only some do.
        for (let register = 1; register < 32; register++) second.hart.registers[register] = 0x5ec2e7n;
        assert.equal(second.trapOf(operations.load(0x1000, 8)).cause, 5);
        assert.deepEqual(second.perform(operations.ecall(Eid.hsm, Hsm.stop)), { halted: "waiting" });
        assert.equal(status(1), 1n);
        startHart(1, 0x77);
        const kept = [...second.hart.registers.keys()].filter((register) => second.hart.registers[register] !== 0n);
        assert.deepEqual(kept, [10, 11], "registers with anything in them");
        assert.deepEqual([...second.hart.registers.slice(10, 12)], [1n, 0x77n]);
        for (const csr of ["stvec", "sscratch", "sepc", "senvcfg"] as const) assert.equal(second.readCsr(csr), 0n);
      });

      test("a hart that stops gives its NACL memory up", () => {
        host.restore("together");
        const nacl = host.take(3);
        assert.equal(second.ecall(Eid.nacl, 1, nacl, 0, 0).error, Sbi.success);
        host.refuses("invalidAddress", "convertPages", nacl, 3);
        second.perform(operations.ecall(Eid.hsm, Hsm.stop));
        host.must("convertPages", nacl, 3);
        startHart(1, 0);
      });

      test("a suspended hart goes on when an interrupt comes", () => {
        host.restore("together");
        second.writeCsr("sie", 2);
        assert.deepEqual(second.perform(operations.ecall(Eid.hsm, Hsm.suspend, 0)), { halted: "waiting" });
        assert.equal(status(1), 4n);
        assert.equal(host.call(Eid.ipi, 0, 2, 0).error, Sbi.success);
        settle();
        assert.equal(status(1), 0n);
        assert.deepEqual(second.resume(), { done: { error: 0n, value: 0n } });
        assert.equal(second.readCsr("sip"), 2n);
      });

      test("a suspend with an interrupt pending returns at once", () => {
        host.restore("together");
        host.writeCsr("sie", 2);
        host.writeCsr("sip", 2);
        assert.deepEqual(host.call(Eid.hsm, Hsm.suspend, 0), { error: 0n, value: 0n });
      });

      test("a non-retentive suspend goes on at its resume address, as from a start", () => {
        host.restore("together");
        second.writeCsr("sie", 2);
        second.writeCsr("sstatus", 2);
        const suspend = operations.ecall(Eid.hsm, Hsm.suspend, 0x8000_0000, HOST_CODE + 0x80, 0x55);
        assert.deepEqual(second.perform(suspend), { halted: "waiting" });
        assert.equal(host.call(Eid.ipi, 0, 2, 0).error, Sbi.success);
        settle();
        assert.equal(second.hart.pc, BigInt(HOST_CODE + 0x80));
        assert.deepEqual([second.hart.registers[10], second.hart.registers[11]], [1n, 0x55n]);
        assert.equal(second.hart.csr.raw("vsatp"), 0n);
        assert.equal(second.hart.csr.raw("vsstatus") & 2n, 0n, "interrupts are off");
        assert.equal(second.hart.csr.read(Csr.vsip), 2n, "the one that woke it is pending");
      });

      test("errors", () => {
        host.restore("alone");
        for (const address of [HOST_CODE + 1, 0x1000, host.converted(1)]) {
          refused("invalidAddress", Eid.hsm, Hsm.suspend, 0x8000_0000, address, 0);
        }
        for (const id of [3, 4, 1000, 1n << 32n, EVERY]) {
          refused("invalidParam", Eid.hsm, Hsm.start, id, HOST_CODE, 0);
          refused("invalidParam", Eid.hsm, Hsm.status, id);
        }
        refused("alreadyAvailable", Eid.hsm, Hsm.start, 0, HOST_CODE, 0);
        refused("invalidAddress", Eid.hsm, Hsm.start, 1, HOST_CODE + 1, 0);
        refused("invalidAddress", Eid.hsm, Hsm.start, 1, 0x1000, 0);
        refused("invalidAddress", Eid.hsm, Hsm.start, 1, host.converted(1), 0);
        refused("notSupported", Eid.hsm, 4);
        for (const type of [1, 0x0fff_ffff, 0x8000_0001, 0x8fff_ffff, 1n << 32n, EVERY]) {
          refused("invalidParam", Eid.hsm, Hsm.suspend, type, HOST_CODE, 0);
        }
        for (const type of [0x1000_0000, 0x7fff_ffff, 0x9000_0000, 0xffff_ffff]) {
          refused("notSupported", Eid.hsm, Hsm.suspend, type, HOST_CODE, 0);
        }
        assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, Sbi.success);
        refused("alreadyAvailable", Eid.hsm, Hsm.start, 1, HOST_CODE, 0);
      });
    });

    describe("IPI", () => {
      const pending = (): bigint[] => [host, second, third].map((hart) => hart.readCsr("sip") & 2n);

      test("reaches the harts of the mask, its sender too", () => {
        host.restore("together");
        for (const [mask, base, expected] of [
          [0n, 0n, [0n, 0n, 0n]],
          [1n, 0n, [2n, 0n, 0n]],
          [0b110n, 0n, [0n, 2n, 2n]],
          [1n, 2n, [0n, 0n, 2n]],
          [0n, EVERY, [2n, 2n, 2n]],
        ] as const) {
          host.restore("together");
          assert.deepEqual(host.call(Eid.ipi, 0, mask, base), { error: 0n, value: 0n });
          settle();
          assert.deepEqual(pending(), expected, `mask ${mask}, base ${base}`);
        }
      });

      test("errors", () => {
        host.restore("together");
        for (const [mask, base] of [
          [8, 0],
          [1, 3],
          [1, 1n << 32n],
          [3, EVERY - 1n],
          [1n << 63n, 0],
        ]) {
          refused("invalidParam", Eid.ipi, 0, mask, base);
        }
        refused("notSupported", Eid.ipi, 1, 1, 0);
      });

      test("ends the run of a TVM if the host takes software interrupts", () => {
        host.restore("together");
        host.writeCsr("sie", 2);
        host.enter(tvm);
        assert.equal(second.ecall(Eid.ipi, 0, 1, 0).error, Sbi.success);
        host.step();
        assert.deepEqual(host.runResult(), { error: 0n, value: 0n });
        assert.equal(host.readCsr("scause"), (1n << 63n) | 1n);
        assert.equal(host.readCsr("sip"), 2n);
        // It is there until the host takes it away: running the TVM is answered at once.
        assert.deepEqual(host.run(tvm), { done: { error: 0n, value: 0n } });
        host.writeCsr("sip", 0);
        host.enter(tvm);
      });
    });

    describe("RFENCE", () => {
      test("waits until every hart of the mask has fenced", () => {
        host.restore("together");
        const target = translated(second);
        for (const call of [operations.ecall(Eid.rfence, Rfence.sfenceVma, 0b111, 0, 0, EVERY)]) {
          assert.deepEqual(host.perform(call), { halted: "waiting" });
          assert(target() > 0, "the other hart has not fenced yet");
          second.step();
          assert.equal(target(), 0, "the other hart has fenced");
          host.step();
          assert.equal(host.hart.state, "waiting", "the third hart has not");
          third.step();
          host.step();
          assert.deepEqual(host.resume(), { done: { error: 0n, value: 0n } });
        }
      });

      test("needs nobody for its own hart, and harts that are off need nothing", () => {
        host.restore("alone");
        for (const fid of Object.values(Rfence)) {
          assert.deepEqual(host.call(Eid.rfence, fid, 1, 0, 0, 0), { error: 0n, value: 0n });
          assert.deepEqual(host.call(Eid.rfence, fid, 0b111, 0, 0x1000, 0x1000), { error: 0n, value: 0n });
          assert.deepEqual(host.call(Eid.rfence, fid, 0, EVERY, 0, 0), { error: 0n, value: 0n });
        }
      });

      test("two harts that fence each other both go on", () => {
        host.restore("together");
        const call = operations.ecall(Eid.rfence, Rfence.fenceI, 0, EVERY);
        third.hart.instructionFences = 0;
        assert.deepEqual(host.perform(call), { halted: "waiting" });
        assert.deepEqual(second.perform(call), { halted: "waiting" });
        third.step();
        assert(third.hart.instructionFences > 0, "the hart that is told to executes fence.i");
        for (let i = 0; i < 6; i++) [host, second].forEach((driver) => driver.step());
        assert.deepEqual(host.resume(), { done: { error: 0n, value: 0n } });
        assert.deepEqual(second.resume(), { done: { error: 0n, value: 0n } });
      });

      test("errors", () => {
        host.restore("together");
        for (const fid of Object.values(Rfence)) {
          refused("invalidParam", Eid.rfence, fid, 8, 0, 0, 0);
          refused("invalidParam", Eid.rfence, fid, 1, 3, 0, 0);
        }
        refused("invalidAddress", Eid.rfence, Rfence.sfenceVma, 1, 0, -0x1000n, 0x2000);
        refused("invalidAddress", Eid.rfence, Rfence.sfenceVmaAsid, 1, 0, 3, EVERY - 1n, 0);
        for (const fid of [3, 4, 5, 6, 7]) refused("notSupported", Eid.rfence, fid, 1, 0, 0, 0);
      });

      /** Lets the driver's guest use a page through tables of its own; returns how many guest translations its hart keeps. */
      function translated(driver: GuestDriver): () => number {
        const tables = host.take(3);
        host.store(tables, 8, ((tables + PAGE) / 4) | 1);
        host.store(tables + PAGE + 8 * 2, 8, 0x2000_0000 | 0xcf);
        host.store(tables + 8 * 2, 8, 0x2000_0000 | 0xcf);
        driver.writeCsr("satp", (8n << 60n) | BigInt(tables / PAGE));
        driver.load(FREE_MEMORY);
        const vmid = Number((driver.hart.csr.raw("hgatp") >> 44n) & 0x3fffn);
        return () => driver.hart.tlb.cachedGuestLeaves(vmid).length;
      }
    });

    describe("COVH calls with other harts about", () => {
      test("a fence is in progress until every hart in the host has caught up: alreadyStarted", () => {
        host.restore("together");
        const page = host.converted(1);
        host.must("initiateFence");
        host.refuses("alreadyStarted", "initiateFence");
        host.refuses("invalidAddress", "reclaimPages", page, 1);
        assert.equal(second.ecall(Eid.covh, 4).error, Sbi.success);
        host.refuses("alreadyStarted", "initiateFence");
        assert.equal(third.ecall(Eid.covh, 4).error, Sbi.success);
        host.must("reclaimPages", page, 1);
        host.must("initiateFence");
      });

      test("a hart that leaves the host, or sleeps, needs no fence", () => {
        host.restore("together");
        const page = host.converted(1);
        host.must("initiateFence");
        second.perform(operations.ecall(Eid.hsm, Hsm.suspend, 0));
        third.perform(operations.ecall(Eid.hsm, Hsm.stop));
        host.must("reclaimPages", page, 1);
      });

      test("a vCPU runs on one hart at a time, and its TVM is not destroyed meanwhile: invalidState", () => {
        host.restore("together");
        const nacl = host.take(3);
        assert.equal(second.ecall(Eid.nacl, 1, nacl, 0, 0).error, Sbi.success);
        assert("switched" in second.perform(operations.ecall(Eid.covh, 14, tvm.id, 0)));
        host.refuses("invalidState", "cpuRun", tvm.id, 0);
        host.refuses("invalidState", "tvmDestroy", tvm.id);
        assert("switched" in second.perform(operations.wfi()));
        host.enter(tvm);
        assert.equal(errorName(second.ecall(Eid.covh, 7, tvm.id).error), "invalidState");
        host.leaveTvm();
        host.must("tvmDestroy", tvm.id);
      });

      test("a fence of a TVM waits for the harts that run it: alreadyStarted", () => {
        host.restore("together");
        assert.equal(second.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, Sbi.success);
        host.must("addZeroPages", tvm.id, host.donated(1), 0, 1, TVM_MEMORY + PAGE);
        host.fence();
        assert("switched" in second.perform(operations.ecall(Eid.covh, 14, tvm.id, 0)));
        second.load(TVM_MEMORY + PAGE);
        host.must("blockPages", tvm.id, TVM_MEMORY + PAGE, PAGE);
        host.must("tvmInitiateFence", tvm.id);
        host.refuses("alreadyStarted", "tvmInitiateFence", tvm.id);
        assert("switched" in second.perform(operations.wfi()));
        host.must("tvmInitiateFence", tvm.id);
      });
    });
  });
}
