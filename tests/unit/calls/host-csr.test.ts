import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { CoviHost } from "../support/simulated/covi-host.ts";
import { Covh, Eid, Hsm } from "../support/simulated/sbi.ts";

/** The hypervisor CSRs that a host has although it is in VS-mode (vm/host-csr.ts), and interrupt 12 from guest files that it watches. */

const SGEI = 12n;
const SGEIE = 1n << SGEI;
const VECTOR = 0x8020_4000;

let covi: CoviHost;

before(async () => {
  covi = await CoviHost.boot();
  covi.host.save("new");
  covi.finalize();
  covi.bind(0, 1);
  covi.enter(0);
  covi.allowAll(0);
  covi.host.writeCsr("stvec", VECTOR);
  covi.host.save("bound");
});

const at = (state: string): CoviHost => {
  covi.host.restore(state);
  return covi;
};

describe("the host's hypervisor CSRs", () => {
  /** What is kept of all ones, and of nothing. */
  const kept: [string, number, bigint][] = [
    ["hie", 0x604, 0x1444n],
    ["hgeie", 0x607, 0b110n],
    ["hip", 0x644, 0n],
  ];
  for (const [name, csr, mask] of kept) {
    test(`${name} keeps its bits`, () => {
      const { host } = at("new");
      assert.equal(host.readCsr(csr), 0n);
      host.writeCsr(csr, (1n << 64n) - 1n);
      assert.equal(host.readCsr(csr), mask);
      assert.equal(host.complete(operations.csrClear(csr, 4n)), mask);
      assert.equal(host.readCsr(csr), mask & ~4n);
      assert.equal(host.complete(operations.csrSet(csr, 4n)), mask & ~4n);
      assert.equal(host.readCsr(csr), mask);
      host.writeCsr(csr, 0);
      assert.equal(host.readCsr(csr), 0n);
    });
  }

  test("hgatp keeps a VMID and the modes Bare and Sv48x4, and does nothing", () => {
    const { host } = at("new");
    const vmid = 0x7fn << 44n;
    host.writeCsr("hgatp", (9n << 60n) | (1n << 57n) | vmid | 0x1234n);
    assert.equal(host.readCsr("hgatp"), (9n << 60n) | vmid);
    for (const mode of [1n, 8n, 10n, 15n]) {
      host.writeCsr("hgatp", mode << 60n);
      assert.equal(host.readCsr("hgatp"), (9n << 60n) | vmid);
    }
    host.writeCsr("hgatp", 5n << 44n);
    assert.equal(host.readCsr("hgatp"), 5n << 44n);
  });

  test("hgeip shows its files that have something to deliver, and cannot be written", () => {
    const { host } = at("bound");
    assert.equal(host.readCsr("hgeip"), 0n);
    covi.file(0, 1).delivery = 1n;
    covi.file(0, 1).enabled = 1n << 5n;
    covi.must("injectExternalInterrupt", covi.tvm, 0, 5);
    assert.equal(host.readCsr("hgeip"), 2n);
    assert.equal(host.trapOf(operations.csrWrite("hgeip", 0)).cause, 2);
    assert.equal(host.trapOf(operations.csrSet("hgeip", 2n)).cause, 2);
  });

  test("no others, and none in user mode or in a TVM", () => {
    const { host } = at("bound");
    for (const csr of ["hstatus", "hedeleg", "hvip", "vsstatus", "hgeie"] as const) {
      if (csr !== "hgeie") assert.equal(host.trapOf(operations.csrRead(csr)).cause, 2, csr);
    }
    covi.enter(0);
    host.resume();
    for (const csr of ["hie", "hgeie", "hgeip", "hgatp"] as const) {
      assert.equal(host.trapOf(operations.csrRead(csr)).cause, 2, csr);
    }
  });
});

describe("interrupt 12", () => {
  /** The TVM's file, bound on hart 0, has something to deliver. */
  function raise(): void {
    const file = covi.file(0, 1);
    file.delivery = 1n;
    file.enabled = 1n << 5n;
    file.setPending(5);
  }

  function watch(): void {
    covi.host.writeCsr("hie", SGEIE);
    covi.host.writeCsr("hgeie", 2);
  }

  const settle = (): void => {
    for (let i = 0; i < 5 && covi.host.machine.canStep(covi.host.hart); i++) covi.host.step();
  };

  test("is not taken for a file that is not watched", () => {
    const { host } = at("bound");
    raise();
    for (const [hie, hgeie] of [
      [0n, 2n],
      [SGEIE, 0n],
      [SGEIE, 4n],
    ]) {
      host.writeCsr("hie", hie);
      host.writeCsr("hgeie", hgeie);
      assert.equal(host.machine.canStep(host.hart), false);
      // Pending does not depend on what is enabled.
      assert.equal(host.readCsr("hip"), hgeie === 2n ? SGEIE : 0n);
    }
  });

  test("is taken by a host that takes interrupts", () => {
    const { host } = at("bound");
    host.writeCsr("sstatus", 2);
    watch();
    raise();
    settle();
    assert.equal(host.hart.csr.raw("vscause"), (1n << 63n) | SGEI);
    assert.equal(host.hart.pc, BigInt(VECTOR));
    // Interrupts are off in its handler, which makes the reason go away.
    assert.equal(host.readCsr("hip"), SGEIE);
    covi.file(0, 1).claim();
    assert.equal(host.readCsr("hip"), 0n);
    settle();
    assert.equal(host.machine.canStep(host.hart), false);
  });

  test("waits for a host that takes none, and comes when it does", () => {
    const { host } = at("bound");
    watch();
    raise();
    settle();
    assert.notEqual(host.hart.csr.raw("vscause"), (1n << 63n) | SGEI);
    // Meanwhile its own interrupt registers are what they were.
    host.writeCsr("sie", 0x222);
    assert.equal(host.readCsr("sie"), 0x222n);
    assert.equal(host.readCsr("sip") & 0x20n, 0n);
    host.writeCsr("stimecmp", 0x1234_5678_9abcn);
    assert.equal(host.readCsr("stimecmp"), 0x1234_5678_9abcn);
    host.complete(operations.csrSet("sip", 2n));
    assert.equal(host.readCsr("sip") & 2n, 2n);
    host.complete(operations.csrClear("sip", 2n));
    host.writeCsr("sstatus", 2);
    host.machine.clock.advance(10_000n);
    settle();
    assert.equal(host.hart.csr.raw("vscause"), (1n << 63n) | SGEI);
  });

  test("is withdrawn when the host watches no more, and when a TVM runs", () => {
    for (const stop of [
      (): void => covi.host.writeCsr("hie", 0),
      (): void => covi.host.writeCsr("hgeie", 0),
      (): void => void covi.file(0, 1).claim(),
    ]) {
      const { host } = at("bound");
      watch();
      raise();
      settle();
      stop();
      host.machine.clock.advance(10_000n);
      settle();
      host.writeCsr("sstatus", 2);
      settle();
      assert.notEqual(host.hart.csr.raw("vscause"), (1n << 63n) | SGEI);
    }
  });

  test("comes again after it was withdrawn", () => {
    const { host } = at("bound");
    watch();
    raise();
    settle();
    covi.file(0, 1).claim();
    host.machine.clock.advance(10_000n);
    settle();
    host.writeCsr("sstatus", 2);
    settle();
    assert.notEqual(host.hart.csr.raw("vscause"), (1n << 63n) | SGEI);
    raise();
    settle();
    assert.equal(host.hart.csr.raw("vscause"), (1n << 63n) | SGEI);
  });

  test("ends the run of a TVM", () => {
    const { host, tvm } = at("bound");
    covi.convert(0, 2);
    covi.must("bindImsic", tvm, 1, 4);
    host.writeCsr("hie", SGEIE);
    host.writeCsr("hgeie", 4);
    covi.enter(0);
    host.resume();
    const file = covi.file(0, 2);
    file.delivery = 1n;
    file.enabled = 1n << 7n;
    file.setPending(7);
    settle();
    assert.deepEqual(host.runResult(), { error: 0n, value: 0n });
    assert.equal(host.readCsr("scause"), (1n << 63n) | SGEI);
  });

  test("is taken at once in user mode, and by a vectored handler at its own place", () => {
    const { host } = at("bound");
    host.writeCsr("stvec", VECTOR + 1);
    watch();
    host.complete(operations.mode(true));
    raise();
    settle();
    assert.equal(host.hart.csr.raw("vscause"), (1n << 63n) | SGEI);
    assert.equal(host.hart.pc, BigInt(VECTOR) + 4n * SGEI);
    assert.equal(host.hart.user, false);
  });

  test("wakes a host that has suspended its hart", () => {
    const { host } = at("bound");
    watch();
    assert.deepEqual(host.perform(operations.ecall(Eid.hsm, Hsm.suspend, 0, 0, 0)), { halted: "waiting" });
    assert.equal(host.machine.canStep(host.hart), false);
    raise();
    host.step();
    assert.equal(host.hart.state, "guest");
    assert.equal(host.readCsr("hip"), SGEIE);
  });

  test("that a host does not take is taken back while a TVM runs, whose run it ends", () => {
    const { host } = at("bound");
    watch();
    raise();
    settle();
    assert.notEqual(host.hart.csr.raw("hvictl"), 0n, "it is offered");
    // A run that is refused changes nothing of it.
    const refused = host.perform(operations.ecall(Eid.covh, Covh.cpuRun, covi.tvm, 1));
    assert.deepEqual(refused, { done: { error: -10n, value: 0n } });
    assert.notEqual(host.hart.csr.raw("hvictl"), 0n);
    covi.enter(0);
    assert.equal(host.hart.csr.raw("hvictl"), 0n, "the TVM is offered nothing");
    settle();
    assert.deepEqual(host.runResult(), { error: 0n, value: 0n });
    assert.equal(host.hart.csr.raw("vscause"), (1n << 63n) | SGEI);
  });
});

describe("without Sstc", () => {
  test("interrupt 12 is offered and taken with the next trap, and no comparator is touched", async () => {
    const plain = await CoviHost.boot(undefined, { sstc: false });
    plain.finalize();
    plain.bind(0, 1);
    plain.enter(0);
    plain.allowAll(0);
    const { host } = plain;
    host.writeCsr("stvec", VECTOR);
    host.writeCsr("hie", SGEIE);
    host.writeCsr("hgeie", 2);
    const file = plain.file(0, 1);
    file.delivery = 1n;
    file.enabled = 1n << 5n;
    file.setPending(5);
    host.step();
    assert.notEqual(host.hart.csr.raw("vscause"), (1n << 63n) | SGEI, "the host takes no interrupts");
    assert.equal(host.hart.csr.raw("sie") & 0x20n, 0n, "nobody looks again by a timer");
    // There is no stimecmp, offered or not.
    assert.equal(host.trapOf(operations.csrRead(0x14d)).cause, 2);
    host.complete(operations.csrSet("sstatus", 2));
    host.perform(operations.csrRead("hgeip"));
    assert.equal(host.hart.csr.raw("vscause"), (1n << 63n) | SGEI);
    assert.equal(host.hart.pc, BigInt(VECTOR));
    // The reason goes, and with it the offer.
    file.claim();
    assert.equal(host.readCsr("hip"), 0n);
    assert.equal(host.hart.csr.raw("hvictl"), 0n);
    assert.equal(host.hart.csr.raw("sie") & 0x20n, 0n);
  });
});

describe("instructions on the host's CSRs", () => {
  const HGEIE = 0x607;
  const encode = (csr: number, funct3: number, rs1: number, rd: number, opcode = 0x73): bigint =>
    BigInt(csr * 2 ** 20 + (rs1 << 15) + (funct3 << 12) + (rd << 7) + opcode);
  /** The hart says which instruction trapped; how far the host is then. */
  const trapped = (instruction: bigint): bigint => {
    const { host } = covi;
    const before = host.hart.pc;
    host.machine.trap(host.hart, 22, { stval: instruction });
    return host.hart.pc - before;
  };

  test("csrrwi, csrrsi and csrrci take the number in the instruction, not a register's value", () => {
    const { host } = at("new");
    host.hart.registers[4] = (1n << 64n) - 1n;
    host.hart.registers[2] = (1n << 64n) - 1n;
    assert.equal(trapped(encode(HGEIE, 5, 4, 0)), 4n);
    assert.equal(host.readCsr(HGEIE), 4n);
    assert.equal(trapped(encode(HGEIE, 6, 2, 10)), 4n);
    assert.equal(host.hart.registers[10], 4n);
    assert.equal(host.readCsr(HGEIE), 6n);
    assert.equal(trapped(encode(HGEIE, 7, 4, 10)), 4n);
    assert.equal(host.hart.registers[10], 6n);
    assert.equal(host.readCsr(HGEIE), 2n);
    // Zero writes with csrrwi only.
    assert.equal(trapped(encode(HGEIE, 6, 0, 10)), 4n);
    assert.equal(host.readCsr(HGEIE), 2n);
    assert.equal(trapped(encode(HGEIE, 5, 0, 0)), 4n);
    assert.equal(host.readCsr(HGEIE), 0n);
  });

  test("anything else is no instruction of the host's", () => {
    const SIE = 0x104;
    const STIMECMP = 0x14d;
    for (const instruction of [
      encode(HGEIE, 1, 4, 0, 0x33),
      encode(HGEIE, 0, 4, 0),
      encode(HGEIE, 4, 4, 0),
      // Ours to answer for only while an interrupt is offered.
      encode(SIE, 2, 0, 10),
      encode(STIMECMP, 2, 0, 10),
    ]) {
      const { host } = at("new");
      host.hart.csr.setRaw("vstvec", BigInt(VECTOR));
      host.hart.registers[4] = 2n;
      trapped(instruction);
      assert.equal(host.hart.pc, BigInt(VECTOR));
      assert.deepEqual([host.hart.csr.raw("vscause"), host.hart.csr.raw("vstval")], [2n, instruction]);
      host.hart.csr.setRaw("vscause", 0n);
      assert.equal(host.readCsr(HGEIE), 0n);
    }
  });
});
