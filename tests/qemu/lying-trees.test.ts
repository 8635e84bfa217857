import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { buildFdt, cells64, node, nodeAt, parseFdt, type Fdt, type FdtNode } from "../unit/support/fdt.ts";
import { buildControlledHost, hostReady } from "./support/controlled-host.ts";
import { LiveMachine } from "./support/live-machine.ts";
import { FREE_RAM, replaceTree, treeAtEntry } from "./support/machine-tree.ts";

/**
 * Device trees that are broken or lie, in place of the firmware's: each gives a panic with a sentence that says what is wrong, or a boot that makes do
 * without; never a hang. (tests/unit has many more, without a machine.)
 */

const MEMORY_MIB = 128;
const RAM = 0x8000_0000n;
const RAM_BYTES = BigInt(MEMORY_MIB) << 20n;
const KERNEL = 0x8420_0000n;

const boot = await buildControlledHost();

/** Changes the tree, or returns another blob. */
type Lie = (tree: Fdt) => void | Uint8Array;

/** Runs up to `outcome` on a machine whose hypervisor is told a lie. */
async function tell(lie: Lie, outcome: (machine: LiveMachine) => Promise<void>): Promise<void> {
  await LiveMachine.use({ boot, gdb: true, machine: { memoryMiB: MEMORY_MIB } }, async (machine) => {
    const tree = parseFdt(await treeAtEntry(machine));
    const blob = lie(tree) ?? buildFdt(tree.root, tree.reservations);
    await replaceTree(machine, blob);
    await machine.resume();
    await outcome(machine);
  });
}

async function expectPanic(machine: LiveMachine, sentence: RegExp): Promise<number | null> {
  const [, said] = await machine.line(/^salus: panic on hart \d+: (.*)|^host: ready$/);
  assert.match(said ?? "the host is ready", sentence);
  await machine.line(/^salus: the machine is powered off$/);
  return (await machine.exit()).code;
}

// ---- How to change a tree

function at(tree: Fdt, path: string): FdtNode {
  const found = nodeAt(tree.root, path);
  assert(found, `the machine's tree has no ${path}`);
  return found;
}

function set(tree: Fdt, path: string, properties: Parameters<typeof node>[1]): void {
  for (const [name, value] of node("", properties).properties) at(tree, path).properties.set(name, value);
}

function remove(tree: Fdt, parent: string, name: RegExp): void {
  const found = at(tree, parent);
  found.children = found.children.filter((child) => !name.test(child.name));
}

function cpus(tree: Fdt): FdtNode[] {
  return at(tree, "/cpus").children.filter((child) => child.name.startsWith("cpu@"));
}

/** The supervisor's IMSIC. */
const IMSIC = "/soc/interrupt-controller@28000000";

function moveKernel(tree: Fdt, base: bigint, size: bigint): void {
  set(tree, "/chosen/module", { reg: cells64(base, size) });
}

function addInitrd(tree: Fdt, base: bigint, size: bigint): void {
  const compatible = ["multiboot,module", "multiboot,ramdisk"];
  at(tree, "/chosen").children.push(node(`module@${base.toString(16)}`, { compatible, reg: cells64(base, size) }));
}

/** The whole tree with one 32-bit field of its blob changed. */
function patched(tree: Fdt, offset: (header: DataView) => number, value: number): Uint8Array {
  const blob = buildFdt(tree.root);
  const view = new DataView(blob.buffer);
  view.setUint32(offset(view), value);
  return blob;
}

const HEADER_STRUCTURE = 8;
const HEADER_STRUCTURE_SIZE = 36;

// ---- The lies

const REFUSED: Record<string, [Lie, RegExp]> = {
  "no memory": [(tree) => remove(tree, "/", /^memory@/), /^the device tree names no memory$/],
  "a memory node whose reg is cut": [
    (tree) => set(tree, "/memory", { reg: [0, Number(RAM), 0] }),
    /^the device tree names no memory$/,
  ],
  "half of all addresses are RAM": [
    (tree) => set(tree, "/memory", { reg: cells64(RAM, 1n << 63n) }),
    /^memory lies beyond the reach of any address-space mode$/,
  ],
  "memory that wraps around": [
    (tree) => set(tree, "/memory", { reg: cells64(RAM, (1n << 64n) - 4096n) }),
    /^the device tree names no memory$/,
  ],
  "memory ranges that overlap": [
    (tree) => set(tree, "/memory", { reg: cells64(RAM, RAM_BYTES, RAM + 4096n, 4096n) }),
    /^the device tree has memory ranges that overlap$/,
  ],
  "memory without the hypervisor in it": [
    (tree) => set(tree, "/memory", { reg: cells64(RAM + RAM_BYTES / 2n, RAM_BYTES / 2n) }),
    /^the device tree's memory does not include the hypervisor itself$/,
  ],
  "more memory than there is": [
    (tree) => set(tree, "/memory", { reg: cells64(RAM, 16n << 30n) }),
    /^store access fault in the hypervisor$/,
  ],
  "all memory is reserved": [
    (tree) => void at(tree, "/reserved-memory").children.push(node("all@80000000", { reg: cells64(RAM, RAM_BYTES) })),
    /^there is no free memory for the description of the machine$/,
  ],
  "addresses of no cells": [(tree) => set(tree, "/", { "#address-cells": [0] }), /^the device tree names no memory$/],
  "addresses of 200 cells": [
    (tree) => set(tree, "/", { "#address-cells": [200] }),
    /^the device tree names no memory$/,
  ],
  "no cpus node": [(tree) => remove(tree, "/", /^cpus$/), /^the device tree names no usable hart$/],
  "hart ids with a size": [
    (tree) => set(tree, "/cpus", { "#size-cells": [1] }),
    /^the device tree has a cpu node whose reg cannot be read$/,
  ],
  "harts without the one that boots": [
    (tree) => cpus(tree).forEach((cpu, index) => cpu.properties.set("reg", new Uint8Array([0, 0, 0, 7 + index]))),
    /^the device tree does not name the hart that boots$/,
  ],
  "two harts with one id": [
    (tree) => cpus(tree).forEach((cpu) => cpu.properties.set("reg", new Uint8Array(4))),
    /^the device tree names a hart twice$/,
  ],
  "no time base": [
    (tree) => void at(tree, "/cpus").properties.delete("timebase-frequency"),
    /^the device tree has no timebase-frequency$/,
  ],
  "no chosen node": [(tree) => remove(tree, "/", /^chosen$/), /^no image of a host kernel/],
  "a host image of no bytes": [(tree) => moveKernel(tree, KERNEL, 0n), /^no image of a host kernel/],
  "a host image whose reg is cut": [
    (tree) => set(tree, "/chosen/module", { reg: [0, Number(KERNEL)] }),
    /^the device tree has a boot module whose reg cannot be read$/,
  ],
  "a host image in the hypervisor": [
    (tree) => moveKernel(tree, 0x8020_1000n, 0xb000n),
    /^the host's kernel image overlaps firmware, reserved memory, the device tree or the hypervisor$/,
  ],
  "a host image in the firmware": [
    (tree) => moveKernel(tree, RAM, 0xb000n),
    /^the host's kernel image overlaps firmware, reserved memory, the device tree or the hypervisor$/,
  ],
  "a host image over the device tree": [
    (tree) => moveKernel(tree, BigInt(FREE_RAM) - 4096n, 0x4000n),
    /^the host's kernel image overlaps firmware, reserved memory, the device tree or the hypervisor$/,
  ],
  "a host image outside of RAM": [
    (tree) => moveKernel(tree, 0x4000_0000n, 0xb000n),
    /^the host's kernel image is not in RAM$/,
  ],
  "a host image beyond the end of RAM": [
    (tree) => moveKernel(tree, RAM + RAM_BYTES - 4096n, 0xb000n),
    /^the host's kernel image is not in RAM$/,
  ],
  "a host image that wraps around": [
    (tree) => moveKernel(tree, KERNEL, (1n << 64n) - 1n),
    /^the device tree has a boot module whose reg cannot be read$/,
  ],
  "a host image that fills RAM": [
    (tree) => moveKernel(tree, RAM, RAM_BYTES),
    /^there is no free memory for the description of the machine$/,
  ],
  "an initial RAM disk in the host image": [
    (tree) => addInitrd(tree, KERNEL + 4096n, 4096n),
    /^the host's kernel image and initial RAM disk overlap$/,
  ],
  "an initial RAM disk outside of RAM": [
    (tree) => addInitrd(tree, 0x1_8420_0000n, 4096n),
    /^the host's initial RAM disk is not in RAM$/,
  ],
  "an IMSIC that is too small for its harts": [
    (tree) => set(tree, IMSIC, { reg: cells64(0x2800_0000n, 0x1000n) }),
    /^the device tree has an IMSIC whose registers do not fit its harts$/,
  ],
  "an IMSIC in RAM": [
    (tree) => set(tree, IMSIC, { reg: cells64(0x8500_0000n, 0x10000n) }),
    /^the kernel map has two uses for one address /,
  ],
  "an IMSIC for 2^60 harts": [
    (tree) => set(tree, IMSIC, { "riscv,hart-index-bits": [60] }),
    /^the device tree has an IMSIC whose registers do not fit its harts$/,
  ],
};

/** Nothing that such a tree says is believed, not even where the test finisher is: QEMU sees an ordinary power-off. */
const UNREADABLE: Record<string, [Lie, RegExp]> = {
  "no device tree": [() => new Uint8Array(64), /^the device tree does not begin with its magic number$/],
  "a tree that is cut in half": [
    (tree) => buildFdt(tree.root).slice(0, 4096),
    /^the device tree (ends in the middle of its structure|has an unknown token in its structure)$/,
  ],
  "a tree of 4 GiB": [(tree) => patched(tree, () => 4, 0xffff_ffff), /^the device tree has an impossible total size$/],
  "a tree without end": [
    (tree) =>
      patched(tree, (header) => header.getUint32(HEADER_STRUCTURE) + header.getUint32(HEADER_STRUCTURE_SIZE) - 4, 4),
    /^the device tree ends in the middle of its structure$/,
  ],
  "a structure beyond the blob": [
    (tree) => patched(tree, () => HEADER_STRUCTURE_SIZE, 0x7fff_0000),
    /^the device tree has blocks that overlap or leave it$/,
  ],
  "a property of 4 GiB": [
    // BEGIN_NODE, the root's empty name, PROPERTY, length.
    (tree) => patched(tree, (header) => header.getUint32(HEADER_STRUCTURE) + 12, 0xffff_fff0),
    /^the device tree /,
  ],
  "nodes in nodes in nodes": [
    (tree) => {
      let inner = tree.root;
      for (let depth = 0; depth < 200; depth++) inner.children.push((inner = node("inner")));
    },
    /^the device tree /,
  ],
};

describe("a panic with a sentence and status 1", () => {
  for (const [name, [lie, sentence]] of Object.entries(REFUSED)) {
    test(name, () => tell(lie, async (machine) => assert.equal(await expectPanic(machine, sentence), 1)));
  }
});

describe("a panic with a sentence", () => {
  for (const [name, [lie, sentence]] of Object.entries(UNREADABLE)) {
    test(name, () => tell(lie, async (machine) => void (await expectPanic(machine, sentence))));
  }
});

describe("a boot that makes do", () => {
  test("without local interrupt controllers", async () => {
    const lie: Lie = (tree) => cpus(tree).forEach((cpu) => (cpu.children = []));
    await tell(lie, async (machine) => assert.equal((await hostReady(machine)).get("harts"), "2"));
  });

  test("with 300 harts that the firmware does not have", async () => {
    const lie: Lie = (tree) => {
      const [model] = cpus(tree);
      for (let id = 100; id < 400; id++) {
        const invented = node(`cpu@${id.toString(16)}`, { reg: [id], phandle: [0x1000 + id] });
        invented.properties = new Map([...model.properties, ...invented.properties]);
        at(tree, "/cpus").children.push(invented);
      }
    };
    await tell(lie, async (machine) => {
      assert.equal((await hostReady(machine)).get("harts"), "2");
      assert.equal(machine.lines.filter((line) => /^salus: .* hart \d+ .*left out$/.test(line)).length, 300);
    });
  });

  test("with 500 reserved pages", async () => {
    const lie: Lie = ({ reservations }) => {
      for (let page = 0n; page < 500n; page++)
        reservations.push({ address: 0x8600_0000n + page * 0x2000n, size: 4096n });
    };
    await tell(lie, async (machine) => {
      const [, size] = (await hostReady(machine)).get("memory")!.split(" ");
      // The pages lie in two chunks of 2 MiB, and what is said of them takes room; but the host has most of RAM.
      assert(BigInt(size) <= RAM_BYTES - (4n << 20n) && BigInt(size) > RAM_BYTES / 2n, `the host has ${size} bytes`);
    });
  });

  test("with boot arguments of 64 KiB", async () => {
    const text = "a".repeat(0xffff);
    const lie: Lie = (tree) => set(tree, "/chosen/module", { bootargs: text });
    await tell(lie, async (machine) => assert.equal((await hostReady(machine)).get("arguments"), text));
  });
});
