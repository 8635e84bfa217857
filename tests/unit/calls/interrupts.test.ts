import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Csr } from "../../../machine/simulated/csr-numbers.ts";
import type { DoorReplacement } from "../../../machine/simulated/door.ts";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { enumValues, fieldOffset } from "../../../machine/simulated/record-layout.ts";
import { CoveHost, HOST_CODE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";
import { Covg, EVERY, Eid, Hsm, Sbi } from "../support/simulated/sbi.ts";

/** Interrupts of host and TVMs, vCPUs that move between harts, and accesses that are emulated for guests with page tables. */

const EXTERNAL = (1n << 63n) + 9n;
const TARGET = TVM_MEMORY + 0x10_0000;
const MMIO = 0x1000_0000;
const SOFTWARE_INTERRUPT = BigInt(enumValues("vm/vcpu", "VcpuMessage")["SoftwareInterrupt"]);
const RUNNING = enumValues("vm/vcpu", "VcpuState")["Running"];

let host: CoveHost;
let second: GuestDriver;
let tvm: Tvm;
/** Happens right before a hart stores the state of a vCPU that it lets go of: what another hart does at that moment. */
let beforeLetGo: ((state: number) => void) | undefined;
/** Happens right before a hart makes the state of its host's vCPU Running. */
let beforeRunning: ((state: number) => void) | undefined;

before(async () => {
  const door: DoorReplacement = (usual) => ({
    storeRelease32: (at: bigint, value: number): unknown => {
      beforeLetGo?.(Number(at));
      return usual["storeRelease32"](at as never, value as never);
    },
    write32: (at: bigint, value: number): unknown => {
      if (beforeRunning && value === RUNNING) beforeRunning(Number(at));
      return usual["write32"](at as never, value as never);
    },
  });
  host = await CoveHost.boot({ options: { harts: [0, 1] }, door });
  second = new GuestDriver(host.machine, 1);
  tvm = host.buildTvm({ vcpus: 2 });
  host.must("addZeroPages", tvm.id, host.donated(3), 0, 3, TARGET);
  host.registerNacl();
  assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, Sbi.success);
  while (host.machine.canStep(second.hart)) second.step();
  assert.equal(second.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, Sbi.success);
  host.save("start");
});

const start = (): void => host.restore("start");

/** The driver's hart runs a vCPU of the TVM. */
function enterOn(driver: GuestDriver, vcpu: number): void {
  assert("switched" in driver.perform(operations.ecall(Eid.covh, 14, tvm.id, vcpu)));
}

/** The TVM on the driver's hart waits for an interrupt, which is an exit. */
function leaveOn(driver: GuestDriver): void {
  assert("switched" in driver.perform(operations.wfi()));
  assert("done" in driver.resume());
}

describe("the host's interrupt file", () => {
  /** Lets identity 5 interrupt the host. */
  function enableFive(): void {
    const register = (select: number, value: number): void => {
      host.writeCsr("siselect", select);
      host.writeCsr("sireg", value);
    };
    register(0x70, 1);
    register(0x72, 0);
    register(0xc0, 1 << 5);
    host.writeCsr("sie", 1 << 9);
  }

  const hostFile = () => host.machine.imsic!.harts[0].guest(1)!;

  test("a message is pending, claimed, and gone", () => {
    start();
    enableFive();
    hostFile().setPending(5);
    assert.equal(host.readCsr("sip"), 1n << 9n);
    assert.equal(host.complete(operations.csrWrite("stopei", 0)), (5n << 16n) | 5n);
    assert.equal(host.readCsr("sip"), 0n);
  });

  test("ends the run of a TVM", () => {
    start();
    enableFive();
    host.enter(tvm);
    hostFile().setPending(5);
    host.step();
    assert.deepEqual(host.runResult(), { error: 0n, value: 0n });
    assert.equal(host.readCsr("scause"), EXTERNAL);
    assert.equal(host.readCsr("sip"), 1n << 9n);
  });

  test("does not end it if the host does not take external interrupts", () => {
    start();
    enableFive();
    host.writeCsr("sie", 0);
    host.enter(tvm);
    hostFile().setPending(5);
    assert.equal(host.machine.canStep(host.hart), false);
    assert.equal(host.load(TARGET), 0n);
  });

  test("wakes the host's wfi", () => {
    start();
    enableFive();
    assert("sleeping" in host.perform(operations.wfi()));
    hostFile().setPending(5);
    assert("done" in host.resume());
  });

  test("is not the hypervisor's own: another identity there changes nothing", () => {
    start();
    host.machine.imsic!.harts[0].supervisor.setPending(9);
    assert.equal(host.machine.canStep(host.hart), false);
    assert.equal(host.readCsr("sip"), 0n);
  });

  test("a TVM has none", () => {
    start();
    enableFive();
    hostFile().setPending(5);
    host.writeCsr("sie", 0);
    host.enter(tvm);
    assert.equal(host.trapOf(operations.csrRead("stopei")).cause, 2);
    assert.equal(host.readCsr("sip"), 0n);
  });
});

describe("the external interrupt of a TVM without a file", () => {
  const VSEIP = 1n << 10n;
  const SEIP = 1n << 9n;

  /** The guest's call, of which the host is told by an exit; then the host runs it again with its line at `line`. */
  function allow(fid: number, identity: number | bigint, line: bigint): void {
    assert("switched" in host.perform(operations.ecall(Eid.covg, fid, identity)));
    host.runResult();
    runWith(line);
    assert("done" in host.resume());
  }

  function runWith(line: bigint): void {
    host.setNaclCsr(Csr.hvip, line);
    host.enter(tvm);
  }

  test("is what the host says, as long as the guest allows it", () => {
    start();
    runWith(VSEIP);
    assert.equal(host.readCsr("sip"), 0n, "not before it is allowed");
    assert.equal(host.ecall(Eid.covg, Covg.allowExternalInterrupt, 3).error, Sbi.invalidParam);
    allow(Covg.allowExternalInterrupt, 9, VSEIP);
    assert.equal(host.readCsr("sip"), SEIP);
    host.leaveTvm();
    runWith(0n);
    assert("done" in host.resume());
    assert.equal(host.readCsr("sip"), 0n, "the host lets it down");
    host.leaveTvm();
    runWith(~0n & ((1n << 64n) - 1n));
    assert("done" in host.resume());
    assert.equal(host.readCsr("sip"), SEIP, "no other bit of hvip counts");
    allow(Covg.denyExternalInterrupt, EVERY, VSEIP);
    assert.equal(host.readCsr("sip"), 0n, "withdrawn, and not taken any more");
  });
});

test("a TVM vCPU that is sent a software interrupt while it leaves with a wfi is not put to sleep", () => {
  start();
  host.enter(tvm);
  const [vcpu] = host.checker.state
    .vms()
    .find(({ id }) => id === tvm.id)!
    .vcpus();
  beforeLetGo = (at) => {
    // The sender posts, and finds the vCPU running still.
    if (at === vcpu.address + fieldOffset("vcpu", "state")) vcpu.set("messages", SOFTWARE_INTERRUPT);
  };
  try {
    assert("switched" in host.perform(operations.wfi()));
  } finally {
    beforeLetGo = undefined;
  }
  assert.equal(host.runResult().error, Sbi.success);
  assert.equal(host.readCsr("scause"), (1n << 63n) | 1n, "the host is shown an interrupt, not a wfi");
  host.enter(tvm);
  assert("done" in host.resume());
  assert.equal(host.readCsr("sip"), 2n);
});

test("a host vCPU that is sent an interrupt while its timer wakes it has got it when it goes on", () => {
  start();
  const state = host.hart.record.number("vcpu") + fieldOffset("vcpu", "state");
  const messages = host.hart.record.number("vcpu") + fieldOffset("vcpu", "messages");
  host.writeCsr("sie", 1 << 5);
  host.writeCsr("stimecmp", host.machine.clock.now + 1000n);
  assert.deepEqual(host.perform(operations.ecall(Eid.hsm, Hsm.suspend, 0)), { halted: "waiting" });
  host.machine.clock.advance(2000n);
  let sent = 0;
  beforeRunning = (at) => {
    // The sender posts, and finds the vCPU asleep still.
    if (at === state && sent++ === 0) host.machine.memory.write64(messages, SOFTWARE_INTERRUPT);
  };
  try {
    host.step();
  } finally {
    beforeRunning = undefined;
  }
  assert.equal(sent, 1);
  assert.deepEqual(host.resume(), { done: { error: 0n, value: 0n } });
  assert.equal(host.readCsr("sip") & 2n, 2n);
});

test("an interrupt that nobody asked for is turned off, not taken for ever", () => {
  start();
  host.hart.csr.softwarePending = true;
  for (let i = 0; i < 3; i++) host.step();
  assert.equal(host.machine.canStep(host.hart), false);
  host.ecall(Eid.base, 0);
});

describe("a vCPU that moves between harts", () => {
  test("takes its registers, CSRs, floating-point and vector registers with it", () => {
    start();
    host.enter(tvm);
    host.writeCsr("sstatus", (3n << 13n) | (3n << 9n));
    host.writeCsr("sscratch", 0x1111);
    host.complete(operations.fpSet(7, 0x7777n));
    host.complete(operations.vectorSet(3, new Uint8Array(16).fill(3)));
    host.hart.registers[18] = 0x1818n;
    host.leaveTvm();
    enterOn(second, 0);
    assert.equal(second.readCsr("sscratch"), 0x1111n);
    assert.equal(second.complete(operations.fpGet(7)), 0x7777n);
    assert.deepEqual(second.complete(operations.vectorGet(3)), new Uint8Array(16).fill(3));
    assert.equal(second.hart.registers[18], 0x1818n);
    second.complete(operations.fpSet(7, 0x8888n));
    second.hart.registers[18] = 0x2828n;
    leaveOn(second);
    host.enter(tvm);
    assert.equal(host.complete(operations.fpGet(7)), 0x8888n);
    assert.equal(host.hart.registers[18], 0x2828n);
  });

  test("finds nothing of its old translations on a hart that it comes back to", () => {
    start();
    host.enter(tvm);
    const entry = (gpa: number, flags: number): bigint => (BigInt(gpa) >> 2n) | BigInt(flags);
    // Root, and gva 0 -> 1 GiB of the TVM's memory.
    host.store(TARGET, 8, entry(TVM_MEMORY, 0xcf));
    host.store(TARGET + 8 * 2, 8, entry(TVM_MEMORY, 0xcf));
    host.writeCsr("satp", (8n << 60n) | BigInt(TARGET / PAGE));
    host.store(0x10_1000, 8, 1);
    host.leaveTvm();
    enterOn(second, 0);
    second.store(TARGET, 8, 0);
    second.complete(operations.sfence());
    assert.equal(second.trapOf(operations.load(0x10_1000)).cause, 13);
    leaveOn(second);
    host.enter(tvm);
    assert.equal(host.trapOf(operations.load(0x10_1000)).cause, 13, "a stale translation of the first hart");
  });

  test("a remote fence of a sibling reaches it where it is, or where it will be", () => {
    start();
    host.enter(tvm);
    assert("switched" in host.perform(operations.ecall(Eid.hsm, Hsm.start, 1, TVM_MEMORY, 0)));
    host.runResult();
    enterOn(second, 0);
    assert("done" in second.resume());
    second.store(TARGET, 8, (BigInt(TVM_MEMORY) >> 2n) | 0xcfn);
    second.store(TARGET + 8 * 2, 8, (BigInt(TVM_MEMORY) >> 2n) | 0xcfn);
    second.writeCsr("satp", (8n << 60n) | BigInt(TARGET / PAGE));
    second.load(0x10_1000);
    leaveOn(second);
    // vCPU 0 runs nowhere: its sibling's fence waits for it.
    host.enter(tvm, 1);
    host.store(TARGET, 8, 0);
    assert.deepEqual(host.ecall(Eid.rfence, 1, 1, 0, 0, EVERY), { error: 0n, value: 0n });
    enterOn(second, 0);
    assert.equal(second.trapOf(operations.load(0x10_1000)).cause, 13);
  });
});

describe("emulated memory", () => {
  test("through the guest's own page tables", () => {
    start();
    host.enter(tvm);
    assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.addMmioRegion, MMIO, PAGE)));
    host.runResult();
    host.enter(tvm);
    const entry = (gpa: number, flags: number): bigint => (BigInt(gpa) >> 2n) | BigInt(flags);
    host.store(TARGET + 8 * 2, 8, entry(TVM_MEMORY, 0xcf));
    host.store(TARGET, 8, entry(TARGET + PAGE, 1));
    host.store(TARGET + PAGE, 8, entry(TARGET + 2 * PAGE, 1));
    host.store(TARGET + 2 * PAGE + 8 * 3, 8, entry(MMIO, 0xc7));
    host.writeCsr("satp", (8n << 60n) | BigInt(TARGET / PAGE));
    assert("switched" in host.perform(operations.load(0x3010, 4)));
    host.runResult();
    assert.equal(host.naclCsr(0x643) << 2n, BigInt(MMIO + 0x10));
    host.answer(0x55n);
    host.enter(tvm);
    assert.deepEqual(host.resume(), { done: 0x55n });
  });

  test("a page table of the guest that lies there is an access fault", () => {
    start();
    host.enter(tvm);
    assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.addMmioRegion, MMIO, PAGE)));
    host.runResult();
    host.enter(tvm);
    host.store(TARGET + 8 * 2, 8, (BigInt(TVM_MEMORY) >> 2n) | 0xcfn);
    host.store(TARGET, 8, (BigInt(MMIO) >> 2n) | 1n);
    host.writeCsr("satp", (8n << 60n) | BigInt(TARGET / PAGE));
    assert.equal(host.trapOf(operations.load(0x3010)).cause, 5);
    assert.equal(host.trapOf(operations.store(0x3010, 8, 0)).cause, 7);
  });

  test("an access that is not naturally aligned never gets there", () => {
    start();
    host.enter(tvm);
    assert("switched" in host.perform(operations.ecall(Eid.covg, Covg.addMmioRegion, MMIO, PAGE)));
    host.runResult();
    host.enter(tvm);
    assert.equal(host.trapOf(operations.load(MMIO + 1, 4)).cause, 4);
  });
});
