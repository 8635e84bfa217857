import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Csr } from "../../../machine/simulated/csr-numbers.ts";
import type { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import type { TrapInfo } from "../../../machine/simulated/hart.ts";
import type { Instruction } from "../../../machine/simulated/instruction-encoding.ts";
import { ECAM_BASE } from "../../../machine/simulated/pci.ts";
import { bootPci } from "../support/simulated/pci-host.ts";
import { CoveHost, HOST_CODE, HUGE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Covg, Eid } from "../support/simulated/sbi.ts";

/**
 * Traps that no well-behaved guest on a well-behaved machine causes: exceptions and interrupts that are not delegated and not known,
 * accesses to emulated memory that are none. Each is given to the hart as the hardware would give it.
 */

const MMIO = 0x1000_0000;
const CODE = TVM_MEMORY + 0x100;
const INTERRUPT = 1n << 63n;

interface Scene {
  host: CoveHost;
  tvm: Tvm;
}

/** A host with a TVM that has emulated memory at MMIO; saved as "host" and "tvm", by whose vCPU is on the hart. */
async function scene(options: { guestFiles?: number | undefined } = {}): Promise<Scene> {
  const host = await CoveHost.boot({ options });
  const tvm = host.buildTvm();
  host.registerNacl();
  host.enter(tvm);
  assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.addMmioRegion, MMIO, PAGE)));
  host.runResult();
  host.take(0, HUGE);
  host.save("host");
  host.enter(tvm);
  host.save("tvm");
  return { host, tvm };
}

/** The hart takes a trap at `pc`; returns where the guest that is there then goes on. */
function trap(host: CoveHost, cause: bigint | number, info: TrapInfo = {}, instruction?: Instruction): bigint {
  host.hart.instruction = instruction;
  host.machine.trap(host.hart, cause, info);
  return host.hart.pc;
}

const raw = (host: GuestDriver, csr: keyof typeof Csr): bigint => host.hart.csr.raw(csr);

describe("exceptions that nobody expects", () => {
  let host: CoveHost;
  before(async () => {
    ({ host } = await scene());
  });

  test("the host gets those that exist, and a hardware error for the others", () => {
    for (const [cause, seen] of [
      // Delegated, but the hardware did not.
      [3n, 3n],
      [13n, 13n],
      [16n, 16n],
      [18n, 18n],
      [19n, 19n],
      [9n, 19n],
      [11n, 19n],
      [20n + 44n, 19n],
      [63n, 19n],
      [1000n, 19n],
    ]) {
      host.restore("host");
      host.hart.csr.setRaw("vstvec", 0x8020_1000n);
      host.hart.csr.setRaw("vsstatus", 2n);
      host.hart.user = true;
      const at = host.hart.pc;
      assert.equal(trap(host, cause, { stval: 0x77n }), 0x8020_1000n, `cause ${cause}`);
      assert.deepEqual([raw(host, "vscause"), raw(host, "vstval"), raw(host, "vsepc")], [seen, 0x77n, at]);
      assert.equal(raw(host, "vsstatus") & 0x122n, 0x20n, "interrupts off, and they were on; from user mode");
      assert.equal(host.hart.user, false);
    }
  });

  test("a TVM's vCPU ends with those that are not its own", () => {
    for (const cause of [16n, 18n, 19n, 9n, 63n, 1000n]) {
      host.restore("tvm");
      trap(host, cause, { stval: 0x77n });
      assert.deepEqual(host.runResult(), { error: 0n, value: 1n });
      assert.equal(raw(host, "vscause"), cause === 1000n ? 1000n & 0xffn : cause);
      assert.deepEqual([raw(host, "vstval"), host.naclCsr(0x643)], [0n, 0n]);
    }
    host.restore("tvm");
    host.hart.csr.setRaw("vstvec", BigInt(CODE));
    assert.equal(trap(host, 13, { stval: 0x77n }), BigInt(CODE));
    assert.equal(raw(host, "vscause"), 13n);
  });

  test("interrupts that nobody enabled change nothing", () => {
    for (const interrupt of [0n, 2n, 13n, 35n, 64n, 1000n]) {
      host.restore("host");
      const at = host.hart.pc;
      assert.equal(trap(host, INTERRUPT | interrupt), at);
      host.restore("tvm");
      const inTvm = host.hart.pc;
      assert.equal(trap(host, INTERRUPT | interrupt), inTvm);
      assert(!host.context.isHost);
    }
  });

  test("an enabled one that nobody knows is turned off", () => {
    host.restore("host");
    host.hart.csr.setRaw("sie", (1n << 14n) | (1n << 9n));
    trap(host, INTERRUPT | 14n);
    assert.equal(raw(host, "sie"), 1n << 9n);
  });

  test("the firmware's software interrupt on a machine with IMSIC, and a timer that is not the host's", () => {
    host.restore("host");
    const at = host.hart.pc;
    host.hart.csr.setRaw("sie", (1n << 1n) | (1n << 5n) | (1n << 9n));
    assert.equal(trap(host, INTERRUPT | 1n), at);
    assert.equal(raw(host, "sie"), (1n << 5n) | (1n << 9n));
    assert.equal(trap(host, INTERRUPT | 5n), at);
    assert.equal(raw(host, "sie"), 1n << 9n);
    assert.equal(trap(host, INTERRUPT | 9n), at);
    assert.equal(raw(host, "sie"), 1n << 9n);
  });

  test("what our own interrupt file should not have is counted, and an end is made of what comes again and again", async () => {
    let answer: (() => bigint) | undefined;
    const plain = await CoveHost.boot({
      door: ({ csrSwap }) => ({
        csrSwap: (csr: number, value: bigint) =>
          answer && csr === Csr.stopei ? answer() : (csrSwap as (...args: unknown[]) => unknown)(csr, value),
      }),
    });
    const strays = (): bigint => plain.hart.record.word("strayInterrupts");
    const at = plain.hart.pc;
    // From a device of ours, from nobody, from another hart.
    const claimed = [2n, 5n, 1n, 0n].map((identity) => identity << 16n);
    answer = () => claimed.shift()!;
    assert.equal(trap(plain, INTERRUPT | 9n), at);
    assert.deepEqual(claimed, []);
    assert.equal(strays(), 1n);
    let claims = 0;
    answer = () => {
      claims++;
      return 5n << 16n;
    };
    assert.equal(trap(plain, INTERRUPT | 9n), at);
    assert(claims >= 2 && claims <= 64, `${claims} claims`);
    assert.equal(strays(), 1n + BigInt(claims));
    answer = undefined;
    assert.deepEqual(plain.ecall(Eid.base, 0), { error: 0n, value: 0x200_0000n });
  });

  test("an external interrupt on a machine without IMSIC", async () => {
    const { host: plain } = await scene({ guestFiles: undefined });
    plain.restore("host");
    const at = plain.hart.pc;
    plain.hart.csr.setRaw("sie", (1n << 1n) | (1n << 9n));
    plain.hart.csr.softwarePending = true;
    assert.equal(trap(plain, INTERRUPT | 9n), at);
    assert.equal(raw(plain, "sie"), 1n << 1n);
    assert.equal(trap(plain, INTERRUPT | 1n), at);
    assert.equal(raw(plain, "sie"), 1n << 1n);
    assert.equal(plain.hart.csr.softwarePending, false);
  });
});

describe("virtual instructions", () => {
  let host: CoveHost;
  let tvm: Tvm;
  before(async () => {
    ({ host, tvm } = await scene());
  });
  const WFI: Instruction = { bits: 0x1050_0073, length: 4 };
  const HFENCE: Instruction = { bits: 0x6200_0073, length: 4 };

  test("a WFI that the hardware does not name is fetched", () => {
    host.restore("tvm");
    const at = host.hart.pc;
    trap(host, 22, {}, WFI);
    assert.deepEqual(host.runResult(), { error: 0n, value: 0n });
    assert.equal(raw(host, "vscause"), 22n);
    assert.equal(raw(host, "vstval"), BigInt(WFI.bits));
    host.enter(tvm);
    assert.equal(host.hart.pc, at + 4n);
  });

  test("what is no WFI, or comes from user mode, is an illegal instruction", () => {
    for (const [instruction, user] of [
      [HFENCE, false],
      [WFI, true],
    ] as const) {
      host.restore("tvm");
      host.hart.csr.setRaw("vstvec", BigInt(CODE));
      host.hart.user = user;
      assert.equal(trap(host, 22, {}, instruction), BigInt(CODE));
      assert.deepEqual([raw(host, "vscause"), raw(host, "vstval")], [2n, BigInt(instruction.bits)]);
    }
  });

  test("one that cannot be fetched any more is executed again", () => {
    host.restore("tvm");
    host.hart.pc = 0x1000n;
    assert.equal(trap(host, 22), 0x1000n);
    assert(!host.context.isHost);
  });

  test("a WFI with an interrupt pending goes on", () => {
    host.restore("tvm");
    const at = host.hart.pc;
    host.hart.csr.write(Csr.vsie, 2n);
    host.hart.csr.setRaw("hvip", 4n);
    assert.equal(trap(host, 22, { stval: BigInt(WFI.bits) }), at + 4n);
    assert(!host.context.isHost);
  });
});

describe("emulated memory", () => {
  let host: CoveHost;
  let tvm: Tvm;
  before(async () => {
    ({ host, tvm } = await scene());
  });

  const LOAD = 21;
  const STORE = 23;
  const fault = (cause: number, gpa: number, htinst: number, instruction?: Instruction): bigint => {
    host.hart.csr.setRaw("vstvec", BigInt(CODE));
    const info = { stval: BigInt(gpa), gpa: BigInt(gpa), htinst: BigInt(htinst >>> 0), gva: true };
    return trap(host, cause, info, instruction);
  };
  const exited = (): void => {
    assert.deepEqual(host.runResult(), { error: 0n, value: 0n });
  };
  const refused = (cause: bigint, tval: bigint): void => {
    assert(!host.context.isHost);
    assert.deepEqual([raw(host, "vscause"), raw(host, "vstval"), host.hart.pc], [cause, tval, BigInt(CODE)]);
  };

  // lr.w, amoadd.d, a vector load, cbo.zero, with and without htinst; and a load that faulted as a store.
  for (const [what, cause, bits] of [
    ["lr.w", LOAD, 0x1000_27af],
    ["amoadd.d", STORE, 0x00f7_37af],
    ["vle8.v", LOAD, 0x0200_0007],
    ["cbo.zero", STORE, 0x0040_200f],
    ["a load with a store's fault", STORE, 0x0000_2783],
    ["a store with a load's fault", LOAD, 0x00f0_2023],
    ["ld with the reserved funct3", LOAD, 0x0000_7783],
  ] as const) {
    test(`${what} is an illegal instruction there`, () => {
      host.restore("tvm");
      fault(cause, MMIO, bits & ~(31 << 15));
      refused(2n, 0n);
      host.restore("tvm");
      fault(cause, MMIO, 0, { bits: bits >>> 0, length: 4 });
      refused(2n, 0n);
    });
  }

  test("what has become zeros meanwhile is an illegal instruction there", () => {
    host.restore("tvm");
    fault(LOAD, MMIO, 0, { bits: 0, length: 2 });
    refused(2n, 0n);
  });

  test("the second half of a misaligned access, and an address that is not aligned", () => {
    for (const [cause, bits, seen] of [
      [LOAD, 0x0000_2783 | (2 << 15), 4n],
      [STORE, 0x00f0_2023 | (2 << 15), 6n],
    ] as const) {
      host.restore("tvm");
      fault(cause, MMIO, bits);
      refused(seen, BigInt(MMIO));
    }
    for (const [cause, bits, seen] of [
      [LOAD, 0x0000_2783, 4n],
      [STORE, 0x00f0_2023, 6n],
    ] as const) {
      host.restore("tvm");
      fault(cause, MMIO + 2, bits);
      refused(seen, BigInt(MMIO + 2));
    }
  });

  test("the page-table walk of a load and of a store", () => {
    for (const [cause, seen] of [
      [LOAD, 5n],
      [STORE, 7n],
    ] as const) {
      host.restore("tvm");
      fault(cause, MMIO, 0x3000);
      refused(seen, BigInt(MMIO));
    }
  });

  test("an instruction that is gone is executed again; a half that is gone too", () => {
    host.restore("tvm");
    host.hart.pc = 0x1000n;
    assert.equal(fault(LOAD, MMIO, 0), 0x1000n);
    // Its second half lies on a page that does not exist.
    host.restore("tvm");
    host.hart.pc = BigInt(TVM_MEMORY + PAGE - 2);
    host.store(TVM_MEMORY + PAGE - 2, 2, 0x2783);
    host.hart.pc = BigInt(TVM_MEMORY + PAGE - 2);
    const pc = fault(LOAD, MMIO, 0);
    assert.equal(pc, BigInt(TVM_MEMORY + PAGE - 2));
    assert(!host.context.isHost);
  });

  test("x0 reads as 0, and takes no load", () => {
    host.restore("tvm");
    const at = host.hart.pc;
    fault(STORE, MMIO, 0x0000_3023);
    exited();
    assert.deepEqual(host.naclRegisters([10]), [0n]);
    host.enter(tvm);
    assert.equal(host.hart.pc, at + 4n);
    fault(LOAD, MMIO, 0x0000_3003);
    exited();
    host.answer(0x55n);
    host.enter(tvm);
    assert.equal(host.hart.pc, at + 8n);
    assert.equal(host.hart.registers[0], 0n);
    fault(STORE, MMIO, 0x0000_3023);
    exited();
    assert.deepEqual(host.naclRegisters([10]), [0n]);
  });

  test("floating-point registers: fsd, fld, and flw, which boxes", () => {
    host.restore("tvm");
    host.complete(operations.csrSet("sstatus", 3 << 13));
    host.complete(operations.fpSet(7, 0x1234_5678_9abc_def0n));
    fault(STORE, MMIO, 0x0070_3027);
    exited();
    assert.deepEqual(host.naclRegisters([10]), [0x1234_5678_9abc_def0n]);
    host.enter(tvm);
    assert.equal(host.complete(operations.fpGet(7)), 0x1234_5678_9abc_def0n);
    fault(LOAD, MMIO, 0x0000_3407);
    exited();
    host.answer(0x1111_2222_3333_4444n);
    host.enter(tvm);
    assert.equal(raw(host, "vsstatus") & (3n << 13n), 3n << 13n, "the guest sees its registers as changed");
    assert.equal(host.complete(operations.fpGet(8)), 0x1111_2222_3333_4444n);
    assert.equal(host.complete(operations.fpGet(7)), 0x1234_5678_9abc_def0n);
    fault(LOAD, MMIO, 0x0000_2487);
    exited();
    host.answer(0x5555_6666n);
    host.enter(tvm);
    assert.equal(host.complete(operations.fpGet(9)), 0xffff_ffff_5555_6666n);
  });

  test("the host's own accesses outside of its memory are its access faults", () => {
    for (const [cause, seen] of [
      [20, 1n],
      [21, 5n],
      [23, 7n],
    ] as const) {
      host.restore("host");
      host.hart.csr.setRaw("vstvec", BigInt(HOST_CODE));
      trap(host, cause, { stval: 0x1234n, gpa: 0x4000_0000n, gva: true });
      assert.deepEqual([raw(host, "vscause"), raw(host, "vstval")], [seen, 0x1234n]);
      assert.equal(host.hart.pc, BigInt(HOST_CODE));
    }
  });

  test("the host's access to a device that is emulated, whose instruction is gone, is made again", async () => {
    const { host: wired } = await scene();
    wired.restore("host");
    const { host: pci } = await bootPci({ options: { pci: [{ devfn: 8 }] } });
    for (const [each, gpa] of [
      [wired, 0x0d00_0000n],
      [pci, BigInt(ECAM_BASE) + 0x8000n],
    ] as const) {
      // Memory that is nobody's: another hart has given the code away.
      each.hart.pc = 0x1000n;
      each.machine.trap(each.hart, 21, { stval: gpa, gpa, gva: true });
      assert.equal(each.hart.pc, 0x1000n);
    }
  });

  test("no configuration register goes to a floating-point one", async () => {
    const { host: pci } = await bootPci({ options: { pci: [{ devfn: 8 }] } });
    const gpa = BigInt(ECAM_BASE) + 0x8000n;
    for (const [cause, htinst] of [
      [21, 0x0000_2407n],
      [23, 0x0070_2027n],
    ] as const) {
      pci.hart.csr.setRaw("vstvec", BigInt(HOST_CODE));
      pci.hart.csr.setRaw("vscause", 0n);
      pci.machine.trap(pci.hart, cause, { stval: gpa, gpa, htinst, gva: true });
      assert.equal(pci.hart.pc, BigInt(HOST_CODE));
      assert.deepEqual([raw(pci, "vscause"), raw(pci, "vstval")], [2n, 0n]);
    }
  });

  test("a fault that is none any more is no fault", () => {
    host.restore("host");
    const at = host.hart.pc;
    assert.equal(trap(host, 21, { stval: BigInt(HOST_CODE), gpa: BigInt(HOST_CODE), gva: true }), at);
    host.restore("tvm");
    const inTvm = host.hart.pc;
    assert.equal(trap(host, 21, { stval: BigInt(TVM_MEMORY), gpa: BigInt(TVM_MEMORY), gva: true }), inTvm);
  });
});
