import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Csr } from "../../../machine/simulated/csr-numbers.ts";
import type { CsrName } from "../../../machine/simulated/csr-numbers.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { CoveHost, HUGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Eid } from "../support/simulated/sbi.ts";

/**
 * Which registers are whose: everything that a VM can write is its own, over any number of switches, on machines with and without the
 * optional registers. Values are put into the machine's registers as the guest's own instructions would.
 */

/** A register as the machine has it, with what the host and the TVM put there. */
const OWN: [register: CsrName, host: bigint, tvm: bigint][] = [
  ["vsstatus", (2n << 32n) | (1n << 8n), (2n << 32n) | (1n << 5n) | (1n << 19n)],
  ["vsie", 0x20n, 0x2n],
  ["vstvec", 0x8020_1000n, 0x8000_2001n],
  ["vsscratch", 0x1111_2222_3333_4444n, 0x5555_6666_7777_8888n],
  ["vsepc", 0x8020_0100n, 0x8000_0200n],
  ["scounteren", 5n, 2n],
  // No translation, so that the guests can go on; the rest of the register is theirs all the same.
  ["vsatp", 0x80321n, 0x80456n],
  ["hvip", 1n << 2n, 1n << 6n],
  ["senvcfg", 0x40n, 0x80n],
];
/** Of the TVM alone: in the host's an exit shows what happened. */
const OF_THE_TVM: [register: CsrName, host: bigint, tvm: bigint][] = [
  ["vscause", 7n, 13n],
  ["vstval", 0x7777n, 0x8888n],
];
const OPTIONAL: Partial<Record<CsrName, [host: bigint, tvm: bigint]>> = {
  vstimecmp: [1n << 50n, 1n << 51n],
  vsiselect: [0x70n, 0x72n],
};

const VTW = 1n << 21n;
const VGEIN = 0x3fn << 12n;
const SGEIE = 1n << 12n;
const FS_VS = (3n << 13n) | (3n << 9n);
const VIRTUAL_INTERRUPTS = 0x444n;

interface Variant {
  title: string;
  options: { sstc?: boolean; guestFiles?: number };
  optional: CsrName[];
}

const VARIANTS: Variant[] = [
  { title: "with Sstc and AIA", options: {}, optional: ["vstimecmp", "vsiselect"] },
  { title: "without Sstc", options: { sstc: false }, optional: ["vsiselect"] },
];

for (const { title, options, optional } of VARIANTS) {
  describe(title, () => {
    let host: CoveHost;
    let tvm: Tvm;
    const read = (register: CsrName): bigint => host.hart.csr.read(Csr[register]);
    const write = (register: CsrName, value: bigint): void => host.hart.csr.write(Csr[register], value);
    const kept: typeof OWN = [...OWN, ...optional.map((name): (typeof OWN)[number] => [name, ...OPTIONAL[name]!])];

    before(async () => {
      host = await CoveHost.boot({ options });
      tvm = host.buildTvm();
      host.registerNacl();
      host.take(0, HUGE);
      host.save("start");
    });

    /** The TVM asks for something, which is an exit whatever its registers are. */
    const leave = (): void => {
      assert("switched" in host.perform(operations.ecall(Eid.dbcn, 2, 0x41)));
      // The host's own translation is nonsense meanwhile: it does nothing but make calls.
      assert(host.context.isHost);
      host.resume();
    };

    test("what a VM writes is its own, and what the other wrote is not there", () => {
      host.restore("start");
      for (const [register, value] of kept) write(register, value);
      host.enter(tvm);
      for (const [register, value] of kept) assert.notEqual(read(register), value, register);
      for (const [register, , value] of [...kept, ...OF_THE_TVM]) write(register, value);
      for (let round = 0; round < 2; round++) {
        leave();
        for (const [register, value] of kept) assert.equal(read(register), value, `${register} of the host`);
        for (const [register, value] of OF_THE_TVM) write(register, value);
        host.enter(tvm);
        for (const [register, , value] of [...kept, ...OF_THE_TVM]) {
          assert.equal(read(register), value, `${register} of the TVM`);
        }
      }
    });

    test("general registers of both are what they were", () => {
      host.restore("start");
      const fill = (base: bigint): void => {
        for (let i = 1; i < 32; i++) host.hart.registers[i] = base + BigInt(i);
      };
      const check = (base: bigint, except: number[]): void => {
        for (let i = 1; i < 32; i++) {
          if (!except.includes(i)) assert.equal(host.hart.registers[i], base + BigInt(i), `x${i}`);
        }
      };
      const call = [10, 11, 12, 13, 16, 17];
      fill(0x1000n);
      host.enter(tvm);
      assert.deepEqual([...host.hart.registers].slice(1, 10), new Array<bigint>(9).fill(0n));
      fill(0x2000n);
      leave();
      check(0x1000n, call);
      host.enter(tvm);
      check(0x2000n, call);
    });

    test("what decides about a VM is the VM's", () => {
      host.restore("start");
      const delta = read("htimedelta");
      const [hostStatus, hostHgatp] = [read("hstatus"), read("hgatp")];
      assert.equal(hostStatus & VTW, 0n);
      host.machine.clock.advance(10_000n);
      write("vsie", 0x200n);
      host.enter(tvm);
      assert.equal(read("hstatus") & VTW, VTW);
      assert.equal(read("hstatus") & VGEIN, 0n);
      assert.notEqual(read("hgatp"), hostHgatp);
      assert.notEqual(read("htimedelta"), delta);
      assert.equal(read("hie") & VIRTUAL_INTERRUPTS, 0n, "the TVM has enabled none");
      assert.equal(read("hie") & SGEIE, SGEIE, "an external interrupt of the host ends the run");
      assert.equal(read("sstatus") & FS_VS, 0n, "the registers are the host's until the TVM uses them");
      write("vsie", 0x22n);
      leave();
      assert.equal(read("hstatus") & (VTW | VGEIN), hostStatus & (VTW | VGEIN));
      assert.equal(read("hgatp") >> 60n, hostHgatp >> 60n);
      assert.equal(read("htimedelta"), delta);
      assert.equal(read("hie"), 0x400n);
      host.enter(tvm);
      assert.equal(read("hie") & VIRTUAL_INTERRUPTS, 0x44n);
    });

    test("a TVM that was interrupted in user mode goes on there", () => {
      host.restore("start");
      host.enter(tvm);
      host.complete(operations.mode(true));
      const exit = host.perform(operations.load(TVM_MEMORY + HUGE));
      assert("switched" in exit);
      host.runResult();
      host.must("addZeroPages", tvm.id, host.donated(1), 0, 1, TVM_MEMORY + HUGE);
      assert.equal(host.hart.user, false);
      host.enter(tvm);
      assert.equal(host.hart.user, true);
      assert.deepEqual(host.resume(), { done: 0n });
    });

    test("floating-point registers that a TVM dirtied are not the host's, nor the other way round", () => {
      host.restore("start");
      host.complete(operations.csrSet("sstatus", FS_VS));
      host.complete(operations.fpSet(1, 0x1111n));
      host.complete(operations.vectorSet(1, new Uint8Array(16).fill(1)));
      host.enter(tvm);
      host.complete(operations.csrSet("sstatus", FS_VS));
      assert.equal(host.complete(operations.fpGet(1)), 0n);
      host.complete(operations.fpSet(1, 0x2222n));
      host.complete(operations.vectorSet(1, new Uint8Array(16).fill(2)));
      leave();
      assert.equal(host.complete(operations.fpGet(1)), 0x1111n);
      assert.deepEqual(host.complete(operations.vectorGet(1)), new Uint8Array(16).fill(1));
      assert.equal(read("sstatus") & (1n << 13n), 0n, "as they were loaded: clean");
      host.enter(tvm);
      assert.equal(read("sstatus") & FS_VS, 0n);
      assert.equal(host.complete(operations.fpGet(1)), 0x2222n);
      assert.deepEqual(host.complete(operations.vectorGet(1)), new Uint8Array(16).fill(2));
    });

    test("a guest's illegal instruction is its own, also when it owns the registers", () => {
      host.restore("start");
      host.enter(tvm);
      // The first one gives it its registers, and is executed again.
      assert.equal(host.trapOf(operations.illegal(0xffff_ffff)).cause, 2);
      assert.equal(host.trapOf(operations.illegal(0xffff_ffff)).cause, 2);
    });
  });
}

test("no page table of a guest can be walked while hgatp changes", async () => {
  const seen: bigint[] = [];
  let booted = false;
  const host: CoveHost = await CoveHost.boot({
    door: (door) => ({
      csrWrite: (csr: number, value: bigint) => {
        if (csr === Csr.hgatp && booted) seen.push(host.hart.csr.raw("vsatp"));
        (door["csrWrite"] as (csr: number, value: bigint) => void)(csr, value);
      },
    }),
  });
  booted = true;
  const tvm = host.buildTvm();
  host.hart.csr.setRaw("vsatp", 0x80321n);
  host.enter(tvm);
  host.hart.csr.setRaw("vsatp", 0x80456n);
  host.perform(operations.wfi());
  assert(seen.length >= 2);
  assert(seen.every((vsatp) => vsatp === 0n));
});

test("instructions that were fetched in one world are not executed in another", async () => {
  const host = await CoveHost.boot();
  const tvm = host.buildTvm();
  host.registerNacl();
  host.hart.instructionFences = 0;
  host.enter(tvm);
  assert(host.hart.instructionFences > 0, "fence.i on the way into the TVM");
  host.hart.instructionFences = 0;
  host.leaveTvm();
  assert(host.hart.instructionFences > 0, "fence.i on the way back");
});
