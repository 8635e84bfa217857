import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Checker } from "../../../machine/simulated/checker.ts";
import { treeNode, writeDeviceTree } from "../../../machine/simulated/device-tree-blob.ts";
import { machineTree } from "../../../machine/simulated/device-tree-builder.ts";
import { MachineEnded } from "../../../machine/simulated/errors.ts";
import { MiB, machineOptions } from "../../../machine/simulated/machine-options.ts";
import type { MachineOptions } from "../../../machine/simulated/machine-options.ts";
import { GuestDriver } from "../../../machine/simulated/guest-driver.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import type { MachineSetup } from "../../../machine/simulated/machine.ts";
import { RecordView } from "../../../machine/simulated/record-layout.ts";
import { CoveHost, FREE_MEMORY, HOST_CODE, PAGE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { Eid, Hsm, Sbi } from "../support/simulated/sbi.ts";

/** The hypervisor boots on machines of many shapes, and its host can start a TVM there. */

const BASE = 0x8000_0000;
const UART = 0x1000_0000;
const shapes: [string, Partial<MachineOptions>][] = [
  ["one hart", {}],
  ["harts with sparse and large ids, booted on the last", { harts: [7, 0x1000_0000, 3], bootHart: 3 }],
  ["eight harts", { harts: [0, 1, 2, 3, 4, 5, 6, 7] }],
  ["no IMSIC", { guestFiles: undefined, harts: [0, 1] }],
  ["an IMSIC without guest files", { guestFiles: 0, harts: [0, 1] }],
  ["no Sstc", { sstc: false }],
  ["no state enables", { smstateen: false }],
  ["no vectors", { vlenb: 0 }],
  ["vectors of 1024 bits", { vlenb: 128 }],
  ["no floating point", { floatingPoint: false, vlenb: 0 }],
  ["no Zicboz and no Zicbom", { zicboz: 0, zicbom: false }],
  ["Sv39x4 only", { gStageModes: ["sv39"] }],
  ["Sv57x4", { gStageModes: ["sv39", "sv48", "sv57"], stageOneModes: ["sv39", "sv48", "sv57"] }],
  ["no VMIDs", { vmidBits: 0 }],
  ["14 bits of VMID", { vmidBits: 14 }],
  ["htinst always 0", { transformedInstruction: false }],
  ["a firmware without DBCN", { debugConsole: false }],
  [
    "two ranges of RAM on two NUMA nodes",
    {
      ram: [
        { base: BASE, size: 32 * MiB, numaNode: 0 },
        { base: 0x1_0000_0000, size: 32 * MiB, numaNode: 1 },
      ],
    },
  ],
  [
    "an image in the second range",
    {
      ram: [
        { base: BASE, size: 32 * MiB },
        { base: 0x1_0000_0000, size: 32 * MiB },
      ],
      hostImage: { base: 0x1_0040_0000, bytes: new Uint8Array(100_000).fill(7) },
    },
  ],
  ["a large image", { hostImage: { base: BASE + 8 * MiB, bytes: new Uint8Array(3 * MiB + 5).fill(0x11) } }],
];

describe("machines of many shapes", () => {
  for (const [what, options] of shapes) {
    test(what, async () => {
      const host = await CoveHost.boot({ options });
      const own = host.machine.harts.indexOf(host.hart);
      assert.equal(host.context.key, `0:${own}`);
      assert.deepEqual(host.peek(HOST_CODE, 14), host.machine.options.hostImage!.bytes.slice(0, 14));
      const tvm = host.buildTvm();
      host.enter(tvm);
      host.store(TVM_MEMORY + 0x100, 8, 0x1234);
      host.leaveTvm();
      host.must("tvmDestroy", tvm.id);
      for (let id = 0; id < host.machine.harts.length; id++) {
        if (id === own) continue;
        assert.equal(host.call(Eid.hsm, Hsm.start, id, HOST_CODE, 0).error, Sbi.success);
      }
      for (const hart of host.machine.harts) while (host.machine.canStep(hart)) host.machine.step(hart);
      assert(host.machine.harts.every(({ state }) => state === "guest"));
    });
  }

  test("what VMs may do by themselves is the same on every hart, and not much", async () => {
    const host = await CoveHost.boot({ options: { harts: [0, 1] } });
    assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, Sbi.success);
    for (const hart of host.machine.harts) while (host.machine.canStep(hart)) host.machine.step(hart);
    const [hedeleg, hideleg, hcounteren, henvcfg, hvictl] = [0x602, 0x603, 0x606, 0x60a, 0x609];
    for (const { csr } of host.machine.harts) {
      // Calls of VS-mode, guest page faults and virtual instructions are ours.
      assert.equal(csr.read(hedeleg) & 0xf0_0600n, 0n);
      assert.equal(csr.read(hideleg), 0x444n);
      assert.equal(csr.read(hcounteren), 2n, "time, neither cycles nor instructions");
      assert.equal((csr.read(henvcfg) >> 4n) & 3n, 1n, "cbo.inval flushes: what we zeroed stays zero");
      assert.equal(csr.read(hvictl), 0n);
    }
  });

  test("guest interrupt files that the device tree does not show are used by no hart", async () => {
    const options: Partial<MachineOptions> = { harts: [0, 1, 2], guestFiles: 3 };
    const deviceTree = writeDeviceTree(machineTree(machineOptions(options), undefined), 0);
    const host = await CoveHost.boot({ deviceTree, options });
    // Secondary harts come up later than the boot hart decided it.
    assert.equal(host.machine.root.number("guestFileMask"), 0);
    Checker.attach(host.machine).check();
  });

  test("a hart that does not come up is left out", async () => {
    const machine = await Machine.create({ options: { harts: [0, 1, 2] } });
    // Its firmware has lost it.
    machine.firmware.harts = machine.harts.filter(({ id }) => id !== 1);
    machine.boot();
    Checker.attach(machine).check();
    assert.match(machine.console, /does not start hart 1/);
    assert.match(machine.console, /harts up: 2/);
  });
});

describe("machines that cannot be booted", () => {
  async function bootFails(deviceTree: Uint8Array | undefined, options: Partial<MachineOptions> = {}): Promise<string> {
    const machine = await Machine.create(deviceTree ? { deviceTree, options } : { options });
    assert.throws(
      () => machine.boot(),
      (error: unknown) => error instanceof MachineEnded && error.reason === 1,
    );
    return machine.console;
  }

  const tree = () => machineTree(machineOptions(), undefined);
  const without = (name: string): Uint8Array => {
    const root = tree();
    root.children = root.children.filter((child) => !child.name.startsWith(name));
    return writeDeviceTree(root, 0);
  };

  test("no device tree, no memory, no harts, no host image: a sentence, and the power goes off", async () => {
    assert.match(await bootFails(new Uint8Array(64)), /panic on hart 0: the device tree /);
    assert.match(await bootFails(without("memory")), /panic on hart 0: .*memory/);
    assert.match(await bootFails(without("cpus")), /panic on hart 0: .*hart/);
    assert.match(await bootFails(undefined, { hostImage: undefined }), /panic/);
  });

  test("a device tree that is cut short", async () => {
    const whole = writeDeviceTree(tree(), 0);
    for (const size of [8, 40, 200, whole.length - 1]) {
      const cut = whole.slice();
      cut.fill(0xff, size);
      assert.match(await bootFails(cut), /panic/);
    }
  });

  test("an extra node changes nothing", async () => {
    const root = tree();
    root.children.push(treeNode("odd", { reg: [1, 2, 3] }));
    const machine = await Machine.create({ deviceTree: writeDeviceTree(root, 0), options: { guestFiles: undefined } });
    machine.boot();
    assert.match(machine.console, /PASS: Salus Boot 0/);
  });
});

describe("secrets and resets", () => {
  const SECRET = 0x5ec7_e75e_c7e7_5ec7n;

  function occurrences(machine: Machine): number {
    const needle = Buffer.alloc(8);
    needle.writeBigUInt64LE(SECRET);
    const { base, size } = machine.memory.ranges[0];
    return Buffer.from(machine.memory.bytes.buffer, base, size).includes(needle) ? 1 : 0;
  }

  test("a boot after a reset that nobody announced scrubs what TVMs left", async () => {
    const host = await CoveHost.boot();
    const tvm = host.buildTvm();
    host.enter(tvm);
    host.store(TVM_MEMORY + 0x800, 8, SECRET);
    assert.equal(occurrences(host.machine), 1);
    const again = await Machine.create();
    again.restartKeepingMemory(host.machine);
    again.boot();
    assert.equal(occurrences(again), 0);
    assert.match(again.console, /PASS: Salus Boot 0/);
  });

  for (const guestFiles of [3, undefined]) {
    test(`a reset while another hart is in a TVM ${guestFiles ? "(IMSIC)" : "(firmware's IPIs)"}`, async () => {
      const { host, second } = await secondHartInTvm({ guestFiles });
      assert.throws(
        () => host.call(Eid.srst, 0, 1, 0),
        (error: unknown) => error instanceof MachineEnded && error.type === 1,
      );
      assert.equal(second.hart.state, "off");
      assert.equal(occurrences(host.machine), 0);
    });
  }

  test("a panic says what is wrong, stops the others, scrubs, and powers off", async () => {
    const { host, second } = await secondHartInTvm({}, { panics: true });
    const nacl = host.registerNacl();
    const { root, memory } = host.machine;
    const range = new RecordView(memory, "range", root.number("ranges"));
    memory.write64(range.number("records") + ((host.hpaOf(nacl) - range.number("base")) / PAGE) * 8, 2n);
    host.checker.paused = true;
    // The host's driver was about to set the speed, in a loop-back test.
    host.store(UART + 3, 1, 0x80);
    host.store(UART + 4, 1, 0x10);
    const before = host.machine.console.length;
    assert.throws(
      () => host.unregisterNacl(),
      (error: unknown) => error instanceof MachineEnded && error.reason === 1,
    );
    assert.match(host.machine.console.slice(before), /^salus: panic on hart 0: reference dropped that nobody held \(/);
    assert.equal(second.hart.state, "off");
    assert.equal(occurrences(host.machine), 0);
  });

  test("a hart that asks for a reset while another one ends the machine just stops", async () => {
    const host = await CoveHost.boot({ options: { harts: [0, 1] } });
    host.machine.root.set("endingHart", host.machine.harts[1].threadPointer);
    assert.deepEqual(host.perform(operations.ecall(Eid.srst, 0, 0, 0)), { halted: "off" });
    assert(!host.machine.ended);
  });

  test("a reset that a hart does not stop for says so, and the next boot scrubs", async () => {
    const { host, second } = await secondHartInTvm({});
    second.hart.pendingInterrupt = () => undefined;
    assert.throws(() => host.ecall(Eid.srst, 0, 0, 0), MachineEnded);
    assert.match(host.machine.console, /a hart does not stop; the next boot will scrub all memory/);
    const again = await Machine.create({ options: { harts: [0, 1] } });
    again.restartKeepingMemory(host.machine);
    again.boot();
    assert.match(again.console, /the last run ended without scrubbing/);
    assert.equal(occurrences(again), 0);
  });

  /** Hart 1 is in a TVM that holds the secret. */
  async function secondHartInTvm(
    options: Partial<MachineOptions>,
    setup: MachineSetup = {},
  ): Promise<{ host: CoveHost; second: GuestDriver }> {
    const host = await CoveHost.boot({ ...setup, options: { harts: [0, 1], ...options } });
    const tvm = host.buildTvm();
    assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, Sbi.success);
    const second = new GuestDriver(host.machine, 1);
    while (host.machine.canStep(second.hart)) second.step();
    assert.equal(second.ecall(Eid.nacl, 1, host.take(3), 0, 0).error, Sbi.success);
    assert("switched" in second.perform(operations.ecall(Eid.covh, 14, tvm.id, 0)));
    second.store(TVM_MEMORY + 0x800, 8, SECRET);
    assert.equal(occurrences(host.machine), 1);
    return { host, second };
  }

  test("without secrets a boot leaves RAM alone", async () => {
    const host = await CoveHost.boot();
    host.store(FREE_MEMORY + PAGE, 8, SECRET);
    const again = await Machine.create();
    again.restartKeepingMemory(host.machine);
    again.boot();
    assert.equal(occurrences(again), 1);
  });
});
