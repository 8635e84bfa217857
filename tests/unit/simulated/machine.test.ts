import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Deadlock, HypervisorPanic, MachineFault } from "../../../machine/simulated/errors.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { hypervisorModule } from "../../../machine/simulated/hypervisor-module.ts";
import { checkImports } from "../../../machine/simulated/door.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import { memoryDoor } from "../../../machine/simulated/memory-door.ts";
import { RecordView } from "../../../machine/simulated/record-layout.ts";
import { PhysicalMemory } from "../../../machine/simulated/physical-memory.ts";
import { CoveHost, FREE_MEMORY, HOST_CODE, HUGE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import type { Tvm } from "../support/simulated/cove-host.ts";

/** The simulated machine itself: memory, translation, guests, and that it stops where hardware would. */

describe("the door's memory functions", () => {
  const memory = new PhysicalMemory([{ base: 0x10_0000, size: 0x10_0000 }]);
  const door = memoryDoor(memory, 64).functions as unknown as Record<
    string,
    (...args: (bigint | number)[]) => bigint | number
  >;

  test("load, store and change memory in one step", () => {
    door.write64(0x10_0000n, 0x1122_3344_5566_7788n);
    assert.equal(door.read8(0x10_0003n), 0x55);
    assert.equal(door.read16(0x10_0002n), 0x5566);
    assert.equal(door.read32(0x10_0004n), 0x1122_3344);
    assert.equal(door.cas64(0x10_0000n, 1n, 2n), 0x1122_3344_5566_7788n);
    assert.equal(door.cas64(0x10_0000n, 0x1122_3344_5566_7788n, 5n), 0x1122_3344_5566_7788n);
    assert.equal(door.swap64(0x10_0000n, 8n), 5n);
    assert.equal(door.or64(0x10_0000n, 0x80n), 8n);
    assert.equal(door.and64(0x10_0000n, 0x8fn), 0x88n);
    assert.equal(door.swap64(0x10_0000n, -1n), 0x88n);
    assert.equal(door.read64(0x10_0000n), -1n);
    assert.equal(door.cas32(0x10_0000n, -1, 7), -1);
    assert.equal(door.add32(0x10_0000n, 1), 7);
    assert.equal(door.swap32(0x10_0000n, 9), 8);
    door.write8(0x10_0000n, 0x1ff);
    assert.equal(door.read64(0x10_0000n), -0x1_0000_0000n + 0xffn);
  });

  test("copy and zero", () => {
    memory.bytes.fill(0xab, 0x10_1000, 0x10_1200);
    door.copyBytes(0x10_2001n, 0x10_1000n, 100n);
    assert.equal(memory.bytes[0x10_2001 + 99], 0xab);
    assert.equal(memory.bytes[0x10_2001 + 100], 0);
    door.zeroBytes(0x10_1001n, 3n);
    assert.deepEqual([...memory.slice(0x10_1000, 5)], [0xab, 0, 0, 0, 0xab]);
    door.cboZero(0x10_1077n);
    assert(memory.slice(0x10_1040, 64).every((byte) => byte === 0));
    assert.equal(memory.bytes[0x10_1080], 0xab);
    door.copyBytes(0x20_0000n, 0x10_0000n, 0n);
  });

  test("refuse what is not RAM or not aligned", () => {
    for (const [name, ...args] of [
      ["read64", 0xf_fff8n],
      ["read8", 0x20_0000n],
      ["read64", 0x1f_fffcn],
      ["write32", 0x10_0002n, 1],
      ["cas64", 0x10_0004n, 0n, 0n],
      ["read8", -1n],
      ["copyBytes", 0x1f_fff0n, 0x10_0000n, 17n],
      ["copyBytes", 0x10_0000n, 0x1f_fff0n, 17n],
      ["zeroBytes", 0x1f_fff0n, 0x100n],
      ["zeroBytes", 0x10_0000n, -1n],
      ["cboZero", 0n],
    ] as const) {
      assert.throws(() => door[name](...args), MachineFault, `${name}(${args.join(", ")})`);
    }
  });
});

describe("loading the hypervisor", () => {
  test("a door that lacks a function, or has one too many, is refused", async () => {
    const module = await hypervisorModule();
    assert.throws(
      () => checkImports(module, {}, ["csrRead"]),
      /imports csrRead, which the simulated door does not have/,
    );
    await assert.rejects(Machine.create({ door: () => ({ csrPoke: () => {} }) }), /has no function csrPoke/);
  });

  test("an assertion of the hypervisor becomes an error with the names of its functions", async () => {
    const host = await CoveHost.boot();
    const page = host.registerNacl();
    // The record forgets the pins of that memory: giving it up finds none to drop.
    const { root, memory } = host.machine;
    const range = new RecordView(memory, "range", root.number("ranges"));
    memory.write64(range.number("records") + ((host.hpaOf(page) - range.number("base")) / PAGE) * 8, 2n);
    host.checker.paused = true;
    assert.throws(
      () => host.unregisterNacl(),
      (error: unknown) => {
        assert(error instanceof HypervisorPanic, String(error));
        assert.match(
          error.message,
          /^reference dropped that nobody held \(hypervisor\/memory\/page-record\.ts:\d+:\d+\)/,
        );
        assert.match(error.message, /\n {2}in main\/trap/);
        return true;
      },
    );
  });
});

test("a lock that is held for ever is a deadlock, not an endless loop", async () => {
  const host = await CoveHost.boot();
  const tvm = host.buildTvm();
  host.checker.paused = true;
  host.checker.state
    .vms()
    .find(({ id }) => id === tvm.id)!
    .record.set("lock", 1);
  assert.throws(() => host.must("tvmInitiateFence", tvm.id), Deadlock);
});

describe("guests", () => {
  let host: CoveHost;
  let tvm: Tvm;

  before(async () => {
    host = await CoveHost.boot({ options: { ram: [{ base: 0x8000_0000, size: 48 << 20 }] } });
    tvm = host.buildTvm({ vcpus: 2 });
    host.registerNacl();
    host.save("start");
  });
  const start = (): void => host.restore("start");

  test("loads and stores of all widths", () => {
    start();
    host.store(FREE_MEMORY, 8, 0x8877_6655_4433_2211n);
    assert.equal(host.load(FREE_MEMORY + 7, 1), 0x88n);
    assert.equal(host.load(FREE_MEMORY + 7, 1, { signed: true }), 0xffff_ffff_ffff_ff88n);
    assert.equal(host.load(FREE_MEMORY + 6, 2), 0x8877n);
    assert.equal(host.load(FREE_MEMORY + 4, 4, { signed: true }), 0xffff_ffff_8877_6655n);
    host.store(FREE_MEMORY + 2, 2, 0x1_abcd);
    assert.equal(host.load(FREE_MEMORY), 0x8877_6655_abcd_2211n);
    assert.equal(host.trapOf(operations.load(FREE_MEMORY + 1, 8)).cause, 4);
    assert.equal(host.trapOf(operations.store(FREE_MEMORY + 2, 4, 0)).cause, 6);
  });

  test("a host that touches nothing gets an access fault of the right kind at the right address", () => {
    start();
    for (const [operation, cause] of [
      [operations.load(0x1000), 5],
      [operations.store(0x1000, 8, 0), 7],
      [operations.jump(0x1000), 1],
      [operations.load(1n << 40n), 5],
      [operations.load(1n << 45n), 5],
    ] as const) {
      const trap = host.trapOf(operation);
      assert.equal(trap.cause, cause);
      assert.equal(trap.tval, "gva" in operation ? operation.gva : 0n);
    }
  });

  test("a guest's own page tables: translation, permissions, user pages, faults", () => {
    start();
    const tables = host.take(3);
    const entry = (gpa: number, flags: number): bigint => (BigInt(gpa) >> 2n) | BigInt(flags);
    // 1 GiB identity map of the code; a table for gva 0.
    host.store(tables + 8 * 2, 8, entry(0x8000_0000, 0xcf));
    host.store(tables, 8, entry(tables + PAGE, 1));
    host.store(tables + PAGE, 8, entry(tables + 2 * PAGE, 1));
    const leaf = (index: number, flags: number): void =>
      host.store(tables + 2 * PAGE + 8 * index, 8, entry(FREE_MEMORY + index * PAGE, flags));
    leaf(0, 0xc7);
    leaf(1, 0xc3);
    leaf(2, 0xd7);
    leaf(3, 0x07);
    leaf(4, 0xc5);
    host.writeCsr("satp", (8n << 60n) | BigInt(tables / PAGE));
    host.store(0x10, 8, 42);
    assert.equal(host.load(FREE_MEMORY + 0x10), 42n);
    assert.equal(host.trapOf(operations.store(PAGE, 8, 1)).cause, 15, "read only");
    assert.equal(host.trapOf(operations.load(2 * PAGE)).cause, 13, "a user page without SUM");
    host.writeCsr("sstatus", 1 << 18);
    host.load(2 * PAGE);
    assert.equal(host.trapOf(operations.load(3 * PAGE)).cause, 13, "not accessed yet");
    assert.equal(host.trapOf(operations.load(4 * PAGE)).cause, 13, "W without R is reserved");
    assert.equal(host.trapOf(operations.load(5 * PAGE)).cause, 13, "not mapped");
    assert.equal(host.trapOf(operations.load(1n << 38n)).cause, 13, "not canonical");
    assert.equal(host.trapOf(operations.jump(0)).cause, 12, "not executable");
    // Old until the guest fences.
    leaf(0, 0);
    assert.equal(host.load(0x10), 42n);
    host.complete(operations.sfence());
    assert.equal(host.trapOf(operations.load(0x10)).cause, 13);
  });

  test("a walk of the guest's tables that leads nowhere", () => {
    start();
    host.writeCsr("satp", (8n << 60n) | 0x1n);
    const outcome = host.perform(operations.load(0));
    assert("trap" in outcome && [1, 5].includes(outcome.trap.cause));
  });

  test("wfi of the host waits for an interrupt that it enables", () => {
    start();
    assert.deepEqual(host.perform(operations.wfi()), { sleeping: true });
    assert.equal(host.machine.canStep(host.hart), false);
  });

  test("interrupts of the guest go to its handler", () => {
    start();
    const seen: number[] = [];
    host.context.onInterrupt = (irq, hart) => {
      seen.push(irq);
      hart.csr.setRaw("hvip", 0n);
    };
    host.writeCsr("sie", 2);
    host.writeCsr("sip", 2);
    host.writeCsr("sstatus", 2);
    host.load(FREE_MEMORY);
    assert.deepEqual(seen, [1]);
    host.context.onInterrupt = undefined;
  });

  test("illegal and virtual instructions are the guest's own", () => {
    start();
    assert.equal(host.trapOf(operations.illegal(0)).cause, 2);
    assert.equal(host.trapOf(operations.illegal(0x0010_0073, 3)).cause, 3);
    for (const csr of ["htval", "vsatp", "hstatus"] as const)
      assert.equal(host.trapOf(operations.csrRead(csr)).cause, 2);
    host.enter(tvm);
    assert.equal(host.trapOf(operations.csrRead("hgatp")).cause, 2);
    assert.equal(host.trapOf(operations.csrRead("cycle")).cause, 2);
  });

  test("floating-point and vector registers belong to each vCPU", () => {
    start();
    const status = (3n << 13n) | (3n << 9n);
    const fill = (value: number): void => {
      host.writeCsr("sstatus", status);
      for (let i = 0; i < 32; i++) {
        host.complete(operations.fpSet(i, BigInt(value * 100 + i)));
        host.complete(operations.vectorSet(i, new Uint8Array(16).fill(value + i)));
      }
    };
    const check = (value: number): void => {
      host.writeCsr("sstatus", status);
      for (let i = 0; i < 32; i++) {
        assert.equal(host.complete(operations.fpGet(i)), value === 0 ? 0n : BigInt(value * 100 + i));
        assert.equal((host.complete(operations.vectorGet(i)) as Uint8Array)[15], value === 0 ? 0 : value + i);
      }
    };
    fill(1);
    host.enter(tvm);
    check(0);
    fill(2);
    host.leaveTvm();
    check(1);
    host.enter(tvm);
    check(2);
    host.leaveTvm();
    host.must("tvmDestroy", tvm.id);
    check(1);
  });

  test("CSRs of one vCPU are not another's", () => {
    start();
    const csrs = [
      "stvec",
      "sscratch",
      "sepc",
      "scause",
      "stval",
      "sie",
      "senvcfg",
      "scounteren",
      "siselect",
      "satp",
    ] as const;
    const values = [0x8020_0000n, 0x1111n, 0x2222n, 3n, 0x4444n, 0x20n, 0x50n, 5n, 0x70n, 0n];
    csrs.forEach((csr, index) => host.writeCsr(csr, values[index]));
    host.enter(tvm);
    csrs.forEach((csr) => assert.notEqual(csr === "satp" ? 1n : host.readCsr(csr), values[csrs.indexOf(csr)], csr));
    csrs.forEach((csr) => host.writeCsr(csr, csr === "satp" ? 0 : 0x44));
    host.leaveTvm();
    csrs.forEach((csr, index) => {
      // What an exit shows is in scause and stval.
      if (csr !== "scause" && csr !== "stval") assert.equal(host.readCsr(csr), values[index], csr);
    });
  });

  test("a state that is restored goes on exactly as it did", () => {
    start();
    const story = (): string => {
      host.must("addZeroPages", tvm.id, host.donated(3), 0, 3, TVM_MEMORY + HUGE);
      host.enter(tvm);
      host.store(TVM_MEMORY + HUGE, 8, 7);
      host.leaveTvm();
      const { harts, memory } = host.machine.save();
      return (
        JSON.stringify(harts, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value)) +
        Buffer.from(memory![0]).toString("base64").length
      );
    };
    const first = story();
    start();
    assert.equal(story(), first);
  });

  test("jumps are fetches", () => {
    start();
    host.complete(operations.jump(HOST_CODE + 0x100));
    assert.equal(host.hart.pc, BigInt(HOST_CODE + 0x100));
  });
});
