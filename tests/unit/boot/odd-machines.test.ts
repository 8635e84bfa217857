import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { TreeNode } from "../../../machine/simulated/device-tree-blob.ts";
import { cells64, treeNode, writeDeviceTree } from "../../../machine/simulated/device-tree-blob.ts";
import { Csr } from "../../../machine/simulated/csr-numbers.ts";
import { machineTree } from "../../../machine/simulated/device-tree-builder.ts";
import { MachineEnded } from "../../../machine/simulated/errors.ts";
import { ImageSymbol } from "../../../machine/simulated/image-layout.ts";
import { MiB, machineOptions } from "../../../machine/simulated/machine-options.ts";
import type { MachineOptions } from "../../../machine/simulated/machine-options.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import { nodeAt } from "../support/fdt.ts";
import { CoveHost, HOST_CODE, TVM_MEMORY } from "../support/simulated/cove-host.ts";
import { cellsOf, hostTree } from "../support/simulated/host-tree.ts";
import { Atst, Eid, Hsm } from "../support/simulated/sbi.ts";

/** Machines that boot has to refuse with the right sentence, and such as it has to get along with. */

const BASE = 0x8000_0000;
const KERNEL = BASE + 8 * MiB;

/** Device tree of a machine without IMSIC, changed. */
function changedTree(options: Partial<MachineOptions>, change: (root: TreeNode) => void): Uint8Array {
  const root = machineTree(machineOptions(options), undefined);
  change(root);
  return writeDeviceTree(root, 0);
}

const child = (root: TreeNode, prefix: string): TreeNode => root.children.find(({ name }) => name.startsWith(prefix))!;

/** /chosen names these images: kind, address, size. */
const modules = (root: TreeNode, ...images: [kind: string, base: number, size: number][]): void => {
  child(root, "chosen").children = images.map(([kind, base, size]) =>
    treeNode(`module@${base.toString(16)}`, {
      compatible: ["multiboot,module", `multiboot,${kind}`],
      reg: cells64(base, size),
    }),
  );
};

const memory = (root: TreeNode, base: number, size: number): void =>
  void (child(root, "memory").properties["reg"] = cells64(base, size));

describe("refused:", () => {
  const cases: [string, RegExp, Partial<MachineOptions>, (root: TreeNode) => void][] = [
    [
      "no free memory for the description",
      /no free memory for the description/,
      {},
      (root) =>
        child(root, "reserved-memory").children.push(
          treeNode("below", { reg: cells64(BASE, 2 * MiB) }),
          treeNode("above", { reg: cells64(BASE + 2 * MiB, 62 * MiB) }),
        ),
    ],
    [
      "memory without the hypervisor",
      /does not include the hypervisor itself/,
      {},
      (root) => memory(root, BASE + 16 * MiB, 16 * MiB),
    ],
    [
      "memory that no mode reaches",
      /beyond the reach of any address-space mode/,
      {},
      (root) => root.children.push(treeNode("memory@far", { device_type: "memory", reg: cells64(2 ** 60, 2 * MiB) })),
    ],
    [
      "memory that no G-stage mode reaches",
      /no G-stage mode that reaches all memory/,
      { gStageModes: ["sv39"] },
      (root) => root.children.push(treeNode("memory@far", { device_type: "memory", reg: cells64(2 ** 42, 2 * MiB) })),
    ],
    [
      "memory that no first-stage mode reaches",
      /no address-space mode that reaches all memory/,
      { stageOneModes: ["sv39"] },
      (root) => root.children.push(treeNode("memory@far", { device_type: "memory", reg: cells64(2 ** 40, 2 * MiB) })),
    ],
    ["no G-stage mode at all", /no hypervisor extension/, { gStageModes: [] }, () => {}],
    [
      "memory in pieces",
      /no contiguous free memory that is large enough/,
      {},
      (root) => {
        // Every second 64 KiB belong to somebody, but for the place of the description and of the image.
        const reserved = child(root, "reserved-memory");
        for (let at = BASE + 5 * MiB; at < BASE + 31 * MiB; at += 128 * 1024) {
          reserved.children.push(treeNode(`piece@${at.toString(16)}`, { reg: cells64(at, 64 * 1024) }));
        }
        modules(root, ["kernel", BASE + 31 * MiB, 0x1_0000]);
      },
    ],
    [
      "a hart that the tree does not name",
      /does not name the hart that boots/,
      { harts: [0, 1] },
      (root) => {
        const cpus = child(root, "cpus");
        cpus.children = cpus.children.filter(({ name }) => name !== "cpu@0");
      },
    ],
    ["no kernel", /no image of a host kernel/, {}, (root) => modules(root)],
    [
      "a kernel outside of RAM",
      /kernel image is not in RAM/,
      {},
      (root) => modules(root, ["kernel", 0x4000_0000, MiB]),
    ],
    [
      "a RAM disk outside of RAM",
      /RAM disk is not in RAM/,
      {},
      (root) => modules(root, ["kernel", KERNEL, MiB], ["ramdisk", 0x4000_0000, MiB]),
    ],
    [
      "a kernel over the hypervisor",
      /kernel image overlaps/,
      {},
      (root) => modules(root, ["kernel", BASE + 2 * MiB + 0x1000, MiB]),
    ],
    [
      "a RAM disk over the firmware",
      /RAM disk overlaps/,
      {},
      (root) => modules(root, ["kernel", KERNEL, MiB], ["ramdisk", BASE, 0x1000]),
    ],
    [
      "images that overlap",
      /kernel image and initial RAM disk overlap/,
      {},
      (root) => modules(root, ["kernel", KERNEL, MiB], ["ramdisk", KERNEL + 0x8_0000, MiB]),
    ],
  ];
  for (const [what, sentence, options, change] of cases) {
    test(what, async () => {
      const all = { guestFiles: undefined, ...options };
      const machine = await Machine.create({ deviceTree: changedTree(all, change), options: all });
      assert.throws(
        () => machine.boot(),
        (error: unknown) => error instanceof MachineEnded && error.reason === 1,
      );
      assert.match(machine.console, sentence);
    });
  }
});

test("refused: a host whose kernel and RAM disk leave no place for its device tree; harts that are up already stop", async () => {
  const below = BASE - 2 * MiB;
  const disk = new Uint8Array(2 * MiB).fill(0x33);
  for (let span = 40 * MiB; ; span -= 2 * MiB) {
    assert(span > 8 * MiB, "there is always a place");
    const bytes = new Uint8Array(MiB);
    const header = new DataView(bytes.buffer);
    header.setUint32(16, span, true);
    header.setUint32(56, 0x05435352, true);
    const options: Partial<MachineOptions> = {
      harts: [0, 1],
      guestFiles: undefined,
      ram: [{ base: below, size: 34 * MiB }],
      hostImage: { base: KERNEL, bytes },
    };
    const deviceTree = changedTree(options, (root) => {
      // This firmware keeps no RAM for itself.
      child(root, "reserved-memory").children = [];
      modules(root, ["kernel", KERNEL, bytes.length], ["ramdisk", below, disk.length]);
    });
    const machine = await Machine.create({ deviceTree, options, panics: true });
    machine.memory.write(below, disk);
    assert.throws(() => machine.boot(), MachineEnded);
    if (!machine.console.includes("device tree")) continue;
    assert.match(machine.console, /panic on hart 0: host RAM has no room for the host's device tree/);
    assert.equal(machine.harts[1].state, "off");
    return;
  }
});

/** The firmware starts the hart only when the result is called, and says that it does at once. */
function heldBack({ firmware, harts }: Machine, id: number): () => void {
  const call = firmware.call.bind(firmware);
  let start: { address: bigint; opaque: bigint } | undefined;
  firmware.call = (hart, eid, fid, args) => {
    if (eid !== BigInt(Eid.hsm) || fid !== 0n || args[0] !== BigInt(id)) return call(hart, eid, fid, args);
    start = { address: args[1], opaque: args[2] };
    return { error: 0n, value: 0n };
  };
  return () => {
    assert(start, "nobody has started the hart");
    harts[id].startPending = start;
  };
}

test("refused: a hart without the hypervisor extension", async () => {
  const machine = await Machine.create();
  const [hart] = machine.harts;
  const exists = hart.csr.exists.bind(hart.csr);
  hart.csr.exists = (csr: number): boolean => csr !== Csr.hgatp && exists(csr);
  assert.throws(() => machine.boot(), MachineEnded);
  assert.match(machine.console, /no hypervisor extension/);
});

test("a build that records says so on its console, and in its measurement", async () => {
  const boot = async (recording: boolean): Promise<{ said: string; register: string }> => {
    const host = await CoveHost.boot({
      door: (usual) => ({
        imageAddress: (symbol: number) => {
          const address = usual["imageAddress"] as unknown as (symbol: number) => bigint;
          // The log of such a build lies behind everything else of the image.
          return recording && symbol === ImageSymbol.recordLog ? address(ImageSymbol.end) - 4096n : address(symbol);
        },
      }),
    });
    const tvm = host.buildTvm();
    host.must("addZeroPages", tvm.id, host.donated(1), 0, 1, TVM_MEMORY + 0x40_0000);
    host.registerNacl();
    host.enter(tvm);
    const out = TVM_MEMORY + 0x40_0000;
    assert.equal(host.call(Eid.atst, Atst.read, out, 64, 1).value, 48n);
    const register = Array.from({ length: 48 }, (_, index) => host.load(out + index, 1).toString(16)).join(" ");
    return { said: host.machine.console, register };
  };
  const [plain, recording] = [await boot(false), await boot(true)];
  assert.doesNotMatch(plain.said, /UNSAFE/);
  assert.match(recording.said, /UNSAFE: this build records all that it reads/);
  assert.notEqual(recording.register, plain.register);
});

describe("images", () => {
  const bytesOf = (size: number, seed: number): Uint8Array =>
    Uint8Array.from({ length: size }, (_, index) => (index * 7 + seed + (index >> 8)) & 0xff);

  /** Boots with a kernel and a RAM disk there; what the host finds at the gpas that its tree names. */
  async function bootWith(kernel: { at: number; bytes: Uint8Array }, disk: { at: number; bytes: Uint8Array }) {
    const options: Partial<MachineOptions> = {
      guestFiles: undefined,
      hostImage: { base: kernel.at, bytes: kernel.bytes },
      ram: [{ base: BASE, size: 64 * MiB }],
      bootArguments: "console=hvc0 quiet",
    };
    const deviceTree = changedTree(options, (root) =>
      modules(root, ["kernel", kernel.at, kernel.bytes.length], ["ramdisk", disk.at, disk.bytes.length]),
    );
    const machine = await Machine.create({ deviceTree, options });
    machine.memory.write(disk.at, disk.bytes);
    machine.boot();
    return machine;
  }

  /** First page of the host's memory that begins with these bytes. */
  function found(machine: Machine, bytes: Uint8Array): boolean {
    const [{ base, size }] = machine.memory.ranges;
    const ram = Buffer.from(machine.memory.bytes.buffer, base, size);
    return ram.includes(Buffer.from(bytes));
  }

  test("a kernel that is not 2 MiB aligned and a RAM disk that is in the way are moved whole", async () => {
    const kernel = { at: BASE + 9 * MiB + 0x3000, bytes: bytesOf(MiB + 77, 3) };
    const disk = { at: BASE + 4 * MiB + 0x5000, bytes: bytesOf(2 * MiB + 5, 9) };
    const machine = await bootWith(kernel, disk);
    assert.match(machine.console, /PASS: Salus Boot 0/);
    assert(found(machine, kernel.bytes));
    assert(found(machine, disk.bytes));
  });

  test("a RAM disk right behind a kernel that is going to use more memory is moved", async () => {
    const bytes = bytesOf(MiB, 5);
    const header = new DataView(bytes.buffer);
    header.setUint32(16, 12 * MiB, true);
    header.setUint32(20, 0, true);
    header.setUint32(56, 0x05435352, true);
    const disk = { at: KERNEL + MiB + 0x8000, bytes: bytesOf(0x1_2345, 7) };
    const machine = await bootWith({ at: KERNEL, bytes }, disk);
    const [, moved] = /initrd, loaded at 0x80908000, moved to 0x(\w+)/.exec(machine.console) ?? [];
    assert(moved !== undefined, machine.console);
    assert.deepEqual(machine.memory.slice(parseInt(moved, 16), disk.bytes.length), disk.bytes);
    const host = CoveHost.on(machine);
    const chosen = nodeAt(hostTree(machine, host), "/chosen")!;
    const gpa = cellsOf(chosen, "linux,initrd-start")[1];
    assert(gpa >= HOST_CODE + 12 * MiB, "the kernel does not write over it");
    assert.deepEqual(host.peek(gpa, 0x1000), disk.bytes.subarray(0, 0x1000));
  });

  test("a Linux kernel has as much memory as its header says", async () => {
    const bytes = new Uint8Array(MiB);
    const header = new DataView(bytes.buffer);
    header.setUint32(16, 12 * MiB, true);
    header.setUint32(56, 0x05435352, true);
    const disk = { at: BASE + 12 * MiB, bytes: bytesOf(0x1234, 1) };
    const machine = await bootWith({ at: KERNEL, bytes }, disk);
    assert.match(machine.console, /PASS: Salus Boot 0/);
    assert(found(machine, disk.bytes));
  });
});

describe("got along with:", () => {
  test("a hart with another vector length is left out", async () => {
    const machine = await Machine.create({ options: { harts: [0, 1] } });
    const [, second] = machine.harts;
    const read = second.csr.read.bind(second.csr);
    second.csr.read = (csr: number): bigint => (csr === 0xc22 ? 32n : read(csr));
    machine.boot();
    assert.match(machine.console, /harts up: 1/);
    assert.equal(second.state, "off");
  });

  test("a hart without the boot hart's address-space mode is left out", async () => {
    const machine = await Machine.create({ options: { harts: [0, 1] } });
    const [, second] = machine.harts;
    const write = second.csr.write.bind(second.csr);
    // satp keeps what it has if the mode does not exist.
    second.csr.write = (csr: number, value: bigint): void => {
      if (csr !== Csr.satp) write(csr, value);
    };
    machine.boot();
    assert.match(machine.console, /hart 1 does not have the address-space mode of the boot hart: left out/);
    assert.match(machine.console, /harts up: 1/);
    assert.equal(second.state, "off");
  });

  test("harts that the firmware starts and that do not come: they are waited for, and left out when time is up", async () => {
    const machine = await Machine.create({ options: { harts: [0, 1, 2] } });
    const comes = heldBack(machine, 1);
    machine.boot();
    assert.doesNotMatch(machine.console, /PASS: Salus Boot/, "the boot hart waits");
    machine.clock.advance(1_000_000_000n);
    while (machine.harts[0].state !== "guest") machine.step(machine.harts[0]);
    assert.match(machine.console, /hart 1 does not come up: left out/);
    assert.match(machine.console, /harts up: 2/);
    assert.match(machine.console, /PASS: Salus Boot 0/);
    // It comes after all.
    comes();
    machine.step(machine.harts[1]);
    assert.equal(machine.harts[1].state, "off");
    CoveHost.on(machine).buildTvm();
  });

  test("an interrupt for a hart before there is a host", async () => {
    const machine = await Machine.create({ options: { harts: [0, 1, 2] } });
    const comes = heldBack(machine, 2);
    machine.boot();
    const [first, second] = machine.harts;
    assert.equal(second.state, "waiting");
    machine.imsic!.harts[1].supervisor.setPending(1);
    machine.step(second);
    assert.equal(second.state, "waiting", "it has nothing to do");
    comes();
    while (first.state !== "guest") for (const hart of machine.harts) if (machine.canStep(hart)) machine.step(hart);
    assert.match(machine.console, /harts up: 3/);
    const host = CoveHost.on(machine);
    assert.equal(host.call(Eid.hsm, Hsm.start, 1, HOST_CODE, 0).error, 0n);
  });

  test("RAM below the hypervisor's", async () => {
    const ram = [
      { base: 0x4000_0000, size: 8 * MiB },
      { base: BASE, size: 32 * MiB },
    ];
    const host = await CoveHost.boot({ options: { ram } });
    assert.equal(host.hart.pc, BigInt(HOST_CODE), "the kernel is where the hypervisor's own RAM is");
    host.buildTvm();
  });

  test("something else right behind the hypervisor's image", async () => {
    const options: Partial<MachineOptions> = { guestFiles: undefined };
    const image = await Machine.create({ options });
    const end = Number(image.image.address(ImageSymbol.end));
    const deviceTree = changedTree(options, (root) =>
      child(root, "reserved-memory").children.push(treeNode("behind", { reg: cells64(end, 0x10_0000) })),
    );
    const host = await CoveHost.boot({ deviceTree, options });
    const sizes = [...host.machine.console.matchAll(/ - 0x[0-9a-f]+ .*, (\d+) [KMG]iB/g)].map(([, size]) =>
      Number(size),
    );
    assert(sizes.length > 5 && sizes.every((size) => size < 2048), host.machine.console);
    host.buildTvm();
  });

  test("a firmware that reserves nothing", async () => {
    const options: Partial<MachineOptions> = { guestFiles: undefined };
    const deviceTree = changedTree(options, (root) => {
      root.children = root.children.filter(({ name }) => name !== "reserved-memory");
    });
    const host = await CoveHost.boot({ deviceTree, options });
    assert.doesNotMatch(host.machine.console, /reserved, not mapped/);
    host.buildTvm();
  });

  test("a firmware that reserves the tree that it hands over", async () => {
    const options: Partial<MachineOptions> = { guestFiles: undefined, bootArguments: "quiet" };
    const deviceTree = changedTree(options, (root) =>
      child(root, "reserved-memory").children.push(treeNode("tree", { reg: cells64(BASE + 30 * MiB, 0x1_0000) })),
    );
    const host = await CoveHost.boot({ deviceTree, options });
    assert.match(host.machine.console, /host arguments: quiet/);
    assert.equal(host.hpaOf(BASE + 30 * MiB) === BASE + 30 * MiB, false, "the host does not get it");
    host.buildTvm();
  });

  test("a real-time clock, which the host gets", async () => {
    const options: Partial<MachineOptions> = { guestFiles: undefined };
    const clock = 0x10_1000;
    const deviceTree = changedTree(options, (root) =>
      child(root, "soc").children.push(
        treeNode("rtc@101000", { compatible: "google,goldfish-rtc", reg: cells64(clock, 0x1000) }),
      ),
    );
    const machine = await Machine.create({ deviceTree, options });
    const read = (): bigint => 0x1234_5678n;
    machine.devices.devices.push({ name: "clock", base: clock, size: 0x1000, read, write: () => {} });
    machine.boot();
    const host = CoveHost.on(machine);
    assert.deepEqual(cellsOf(nodeAt(hostTree(machine, host), "/soc/rtc")!, "reg"), [0, clock, 0, 0x1000]);
    assert.equal(host.load(clock, 4), 0x1234_5678n);
    assert.throws(() => host.load(clock + 0x1000, 4), { cause: 5 });
    host.buildTvm();
  });

  test("a timebase that is no multiple of a megahertz, and a host without the console's UART", async () => {
    const options: Partial<MachineOptions> = { guestFiles: undefined, timebase: 32_768 };
    const deviceTree = changedTree(options, (root) => {
      const soc = child(root, "soc");
      soc.children = soc.children.filter(({ name }) => !name.startsWith("serial"));
    });
    const host = await CoveHost.boot({ deviceTree, options });
    assert.match(host.machine.console, /32768/);
  });
});
