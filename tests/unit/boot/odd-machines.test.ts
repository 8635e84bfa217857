import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { TreeNode } from "../../../machine/simulated/device-tree-blob.ts";
import { cells64, treeNode, writeDeviceTree } from "../../../machine/simulated/device-tree-blob.ts";
import { machineTree } from "../../../machine/simulated/device-tree-builder.ts";
import { MachineEnded } from "../../../machine/simulated/errors.ts";
import { ImageSymbol } from "../../../machine/simulated/image-layout.ts";
import { MiB, machineOptions } from "../../../machine/simulated/machine-options.ts";
import type { MachineOptions } from "../../../machine/simulated/machine-options.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import { CoveHost } from "../support/simulated/cove-host.ts";

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
