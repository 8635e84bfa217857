import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { cells64, treeNode, type TreeNode } from "../../../machine/simulated/device-tree-blob.ts";
import type { Machine } from "../../../machine/simulated/machine.ts";
import { ECAM_BASE, PCI_WINDOW, type PciFunctionSpec } from "../../../machine/simulated/pci.ts";
import { bridgesOf, cellsOf, hostTree } from "../support/simulated/host-tree.ts";
import { bootPci, changedTree, configAddress, type PciHostDriver } from "../support/simulated/pci-host.ts";

/** PCI as the host sees it, on devices that behave and on devices that do not. */

const COMMAND = 0x04;
const BAR0 = 0x10;
const MEMORY = 2;
const MASTER = 4;
const RAM = 0x8080_0000;

const boot = (pci: PciFunctionSpec[], options = {}): Promise<{ machine: Machine; host: PciHostDriver }> =>
  bootPci({ options: { pci, ...options } });

const MSIX = { offset: 0x50, bytes: [0x11, 0, 0x0f, 0, 0, 0, 0, 0, 0, 8, 0, 0] };
const POWER = { offset: 0x40, bytes: [1, 0, 3, 0, 0, 0, 0, 0] };
const VENDOR = { offset: 0x60, bytes: [9, 0, 16, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] };
const PLAIN: PciFunctionSpec = {
  devfn: 8,
  bars: [
    { index: 0, size: 0x1000, kind: "memory32" },
    { index: 2, size: 0x4000, kind: "memory64" },
    { index: 4, size: 0x20, kind: "io" },
  ],
  capabilities: [POWER, MSIX, VENDOR],
};

describe("what the host sees", () => {
  test("functions, absent ones as all ones, and no capability that it must not have", async () => {
    const { host } = await boot([PLAIN]);
    assert.equal(host.read(8, 0), 0x1234_1b36);
    assert.equal(host.read(8, 2, 2), 0x1234);
    assert.equal(host.read(8, 3, 1), 0x12);
    assert.equal(host.read(16, 0), 0xffff_ffff);
    assert.equal(host.read(8, 0, 4, 3), 0xffff_ffff);
    // Power management is left out of the list.
    assert.equal(host.read(8, 0x34), 0x50);
    assert.equal(host.read(8, 0x50, 2), 0x6011);
    assert.equal(host.read(8, 0x60, 2), 0x0009);
    assert.equal(host.read(8, 0x64), 0x0403_0201);
    assert.equal(host.read(8, 0x40), 0);
    assert.equal(host.read(8, 0x3c), 0, "no INTx");
  });

  test("a wide access is none, an access with a gap of alignment traps", async () => {
    const { host } = await boot([PLAIN]);
    assert.equal(host.load(configAddress(0, 8, 0), 8), 0xffff_ffff_ffff_ffffn);
    const trap = host.trapOf({ kind: "load", gva: BigInt(configAddress(0, 8, 2)), width: 4 } as never);
    assert.equal(trap.cause, 4);
  });

  test("sizes of BARs, without a write to the device", async () => {
    const { machine, host } = await boot([PLAIN]);
    host.write(8, BAR0, 0xffff_ffff);
    host.write(8, 0x18, 0xffff_ffff);
    host.write(8, 0x1c, 0xffff_ffff);
    host.write(8, 0x20, 0xffff_ffff);
    assert.equal(host.read(8, BAR0), 0xffff_f000);
    assert.equal(host.read(8, 0x18), 0xffff_c004);
    assert.equal(host.read(8, 0x1c), 0xffff_ffff);
    assert.equal(host.read(8, 0x20), 0xffff_ffe1);
    assert.equal(host.read(8, 0x14), 0);
    assert.equal(machine.pci?.at(0, 8)?.command, 0);
  });
});

describe("what a device gets", () => {
  test("it decodes in the window and its registers are the host's", async () => {
    const { machine, host } = await boot([PLAIN]);
    host.write(8, BAR0, PCI_WINDOW.base);
    host.write(8, 0x18, PCI_WINDOW.base + 0x4000);
    host.write(8, COMMAND, MEMORY, 2);
    assert.equal(host.read(8, COMMAND, 2), MEMORY);
    host.store(PCI_WINDOW.base + 8, 4, 77);
    assert.equal(host.load(PCI_WINDOW.base + 8, 4), 77n);
    assert.deepEqual(
      machine.pci
        ?.at(0, 8)
        ?.decoded()
        .map(({ base }) => base),
      [PCI_WINDOW.base, PCI_WINDOW.base + 0x4000],
    );
  });

  const elsewhere: [string, number, number][] = [
    ["RAM", RAM, 0],
    ["the interrupt files", 0x2800_0000, 0],
    ["configuration space", ECAM_BASE, 0],
    ["an address of 64 bits", PCI_WINDOW.base, 1],
    ["the UART", 0x1000_0000, 0],
    ["behind the window", PCI_WINDOW.base + PCI_WINDOW.size, 0],
  ];
  for (const [name, low, high] of elsewhere) {
    test(`it decodes nothing at ${name}`, async () => {
      const { machine, host } = await boot([PLAIN]);
      host.write(8, BAR0, PCI_WINDOW.base);
      host.write(8, COMMAND, MEMORY, 2);
      host.write(8, 0x18, low);
      host.write(8, 0x1c, high);
      assert.equal(host.read(8, COMMAND, 2), 0);
      assert.deepEqual(machine.pci?.at(0, 8)?.decoded(), []);
      // Back in the window it works again, as the host has enabled it.
      host.write(8, 0x18, PCI_WINDOW.base + 0x4000);
      host.write(8, 0x1c, 0);
      assert.equal(host.read(8, COMMAND, 2), MEMORY);
    });
  }

  test("without an IOMMU nobody becomes a bus master", async () => {
    const { machine, host } = await boot([PLAIN]);
    host.write(8, COMMAND, MEMORY | MASTER, 2);
    assert.equal(host.read(8, COMMAND, 2) & MASTER, 0);
    assert.equal(machine.pci?.at(0, 8)?.master, false);
    assert.match(machine.console, /bus mastering/);
    // Nor with an error bit that the same access clears.
    host.write(8, COMMAND, 0x8000_0000 | MEMORY | MASTER);
    assert.equal(machine.pci?.at(0, 8)?.master, false);
  });

  test("bits that ones clear are cleared by the host's ones only", async () => {
    const { machine, host } = await boot([PLAIN]);
    const device = machine.pci?.at(0, 8);
    assert.ok(device);
    host.write(8, 0x50, 0xc000_0000);
    assert.equal(host.read(8, 0x52, 2), 0xc00f);
    host.write(8, 0x52, 0x8000, 2);
    assert.equal(host.read(8, 0x52, 2), 0x800f);
    host.write(8, 0x50, 0xff, 1);
    assert.equal(device.config.getUint8(0x50), 0x11);
  });
});

describe("bridges", () => {
  const TREE: PciFunctionSpec[] = [
    { devfn: 8, behind: [{ devfn: 0, behind: [{ ...PLAIN, devfn: 0 }] }] },
    { devfn: 16, behind: [{ ...PLAIN, devfn: 0, device: 0x4321 }] },
  ];

  test("the machine's bus numbers are given once, the host's are its own", async () => {
    const { machine, host } = await boot(TREE);
    assert.deepEqual(
      machine.pci?.all().map(({ id }) => id),
      [0x0008, 0x0100, 0x0200, 0x0010, 0x0300],
    );
    assert.equal(host.read(8, 0x18), 0);
    const numbers = machine.pci.all().map(({ pci }) => pci.config.getUint32(0x18, true) & 0xff_ffff);
    assert.deepEqual(
      [numbers[0], numbers[1], numbers[3]],
      [0x02_01_00, 0x02_02_01, 0x03_03_00],
      "last, own and upper bus",
    );
    // The other way round than the machine has it.
    host.write(16, 0x18, 0x01_01_00);
    host.write(8, 0x18, 0x05_02_00);
    host.write(0, 0x18, 0x05_03_02, 4, 2);
    assert.equal(host.read(0, 0, 4, 1), 0x4321_1b36);
    assert.equal(host.read(0, 0, 4, 3), 0x1234_1b36);
    assert.equal(host.read(0, 0, 4, 4), 0xffff_ffff);
    assert.deepEqual(
      machine.pci?.all().map(({ id }) => id),
      [0x0008, 0x0100, 0x0200, 0x0010, 0x0300],
    );
  });

  test("a window that is not the host's stays closed", async () => {
    const { machine, host } = await boot(TREE);
    const bridge = machine.pci?.at(0, 8);
    const windowOf = (): number => bridge!.config.getUint32(0x20, true);
    host.write(8, 0x20, 0x4010_4000);
    assert.equal(windowOf(), 0x4010_4000);
    for (const window of [0x8010_8000, 0x5010_4000, 0xfff0_0000]) {
      host.write(8, 0x20, window);
      assert.equal(host.read(8, 0x20), window);
      assert.equal(windowOf(), 0x0000_fff0);
    }
  });

  test("numbers that lead nowhere, in circles or to themselves", async () => {
    const { host } = await boot(TREE);
    host.write(8, 0x18, 0xff_00_00);
    assert.equal(host.read(0, 0, 4, 1), 0xffff_ffff);
    host.write(8, 0x18, 0x07_01_00);
    host.write(0, 0x18, 0x07_01_01, 4, 1);
    for (let bus = 1; bus < 8; bus++) host.read(0, 0, 4, bus);
  });
});

describe("odd devices", () => {
  const odd: [string, PciFunctionSpec][] = [
    ["a header type that nobody knows", { devfn: 16, header: 5 }],
    ["a CardBus bridge", { devfn: 16, header: 2 }],
    ["a 64-bit BAR without an upper half", { devfn: 16, bars: [{ index: 5, size: 0x1000, kind: "memory64" }] }],
    ["a BAR whose size is no power of two", { devfn: 16, fixed: { 0x10: 0xffff_5000 } }],
  ];
  for (const [name, spec] of odd) {
    test(`${name} is hidden, and boot goes on`, async () => {
      const { machine, host } = await boot([PLAIN, spec]);
      assert.equal(host.read(16, 0), 0xffff_ffff);
      assert.equal(host.read(8, 0), 0x1234_1b36);
      assert.match(machine.console, /0:0x0:0x2\.0 is hidden/);
    });
  }

  test("an IOMMU that we cannot drive is not the host's", async () => {
    const { host } = await boot([PLAIN, { devfn: 16, class: 0x080600 }]);
    assert.equal(host.read(16, 0), 0xffff_ffff);
  });

  const lists: [string, PciFunctionSpec][] = [
    ["goes round in circles", { devfn: 8, capabilities: [{ ...VENDOR, next: 0x60 }] }],
    ["leads into the header", { devfn: 8, capabilities: [{ ...VENDOR, next: 0x04 }] }],
    ["ends behind the legacy part", { devfn: 8, capabilities: [{ offset: 0xf8, bytes: [9, 0, 64, 0, 0, 0, 0, 0] }] }],
    [
      "overlaps",
      {
        devfn: 8,
        capabilities: [VENDOR, { offset: 0x64, bytes: [0x05, 0, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] }],
      },
    ],
  ];
  for (const [name, spec] of lists) {
    test(`a list of capabilities that ${name}`, async () => {
      const { host } = await boot([spec]);
      const seen: number[] = [];
      for (let at = host.read(8, 0x34); at !== 0 && seen.length < 50; at = host.read(8, at + 1, 1)) seen.push(at);
      assert.ok(seen.length <= 1, seen.join());
    });
  }

  test("extended capabilities: errors are shown, address services and virtual functions are turned off", async () => {
    const link = (id: number, next: number): number[] => [id, 0, 1 | ((next & 15) << 4), next >> 4];
    const { machine, host } = await boot([
      {
        devfn: 8,
        capabilities: [
          { offset: 0x100, bytes: [...link(0x0f, 0x140), 0, 0, 0, 0x80] },
          { offset: 0x140, bytes: [...link(0x01, 0x180), ...new Array<number>(40).fill(0)] },
          { offset: 0x180, bytes: [...link(0x10, 0x140), 0, 0, 0, 0, 9, 0, 0, 0] },
        ],
      },
    ]);
    assert.equal(machine.pci?.at(0, 8)?.config.getUint32(0x104, true), 0);
    assert.equal(machine.pci?.at(0, 8)?.config.getUint32(0x188, true), 0);
    assert.equal(host.read(8, 0x100), 0x140 << 20);
    assert.equal(host.read(8, 0x140), 0x0001_0001);
    assert.equal(host.read(8, 0x104), 0);
  });

  test("a bridge for which no bus number is left", async () => {
    const chain = (depth: number): PciFunctionSpec => ({
      devfn: 0,
      behind: depth === 0 ? [PLAIN] : [chain(depth - 1)],
    });
    const { machine, host } = await boot([chain(9), PLAIN]);
    assert.equal(host.read(8, 0), 0x1234_1b36);
    assert.match(machine.console, /is hidden/);
  });
});

describe("device trees that do not tell the truth", () => {
  type Change = (bridge: TreeNode, soc: TreeNode) => void;
  const boots = async (change: Change): Promise<{ machine: Machine; host: PciHostDriver }> => {
    const options = { pci: [PLAIN] };
    const deviceTree = await changedTree(options, ({ bridges, soc }) => change(bridges[0], soc));
    return bootPci({ options, deviceTree });
  };
  const ranges = (...windows: [number, number, number][]): number[] =>
    windows.flatMap(([space, base, size]) => [space, ...cells64(base, base, size)]);

  const unusable: [string, Change][] = [
    ["buses the wrong way round", (bridge) => (bridge.properties["bus-range"] = [7, 0])],
    ["more than 256 buses", (bridge) => (bridge.properties["bus-range"] = [0, 256])],
    ["configuration space in RAM", (bridge) => (bridge.properties["reg"] = cells64(RAM, 0x80_0000))],
    ["less than a bus", (bridge) => (bridge.properties["reg"] = cells64(ECAM_BASE, 0x8_0000))],
    ["no registers", (bridge) => delete bridge.properties["reg"]],
    ["an address that nothing reaches", (bridge) => (bridge.properties["reg"] = cells64(2 ** 52, 0x80_0000))],
  ];
  for (const [name, change] of unusable) {
    test(`${name}: no PCI`, async () => {
      const { machine, host } = await boots(change);
      assert.match(machine.console, /PCI segment 0: not usable/);
      assert.equal(host.trapOf({ kind: "load", gva: BigInt(ECAM_BASE), width: 4 } as never).cause, 5);
    });
  }

  const badWindows: [string, [number, number, number]][] = [
    ["RAM", [0x0200_0000, RAM, 0x10_0000]],
    ["the interrupt files", [0x0200_0000, 0x2800_0000, 0x10_0000]],
    ["the UART", [0x0200_0000, 0x1000_0000, 0x10_0000]],
    ["configuration space", [0x0200_0000, ECAM_BASE, 0x10_0000]],
    ["all addresses", [0x0300_0000, 0, 2 ** 53]],
    ["half a page", [0x0200_0000, PCI_WINDOW.base, 0x800]],
    ["beyond the G-stage", [0x0300_0000, 2 ** 52, 0x10_0000]],
  ];
  for (const [name, window] of badWindows) {
    test(`a window at ${name} is none`, async () => {
      const { machine, host } = await boots((bridge) => (bridge.properties["ranges"] = ranges(window)));
      host.write(8, BAR0, window[1]);
      host.write(8, 0x18, window[1] + 0x4000);
      host.write(8, COMMAND, MEMORY, 2);
      assert.deepEqual(machine.pci?.at(0, 8)?.decoded(), []);
    });
  }

  const wires = (controller: number): number[] => [
    0,
    0,
    0,
    1,
    controller,
    0x20,
    4,
    0x800,
    0,
    0,
    1,
    controller,
    0x21,
    4,
  ];
  const maps: [string, number[], number][] = [
    ["the host's APLIC", wires(0x1001), 0x0100],
    ["another controller", wires(0x1002), 0],
    ["half an entry", wires(0x1001).slice(0, 13), 0],
  ];
  for (const [name, map, pin] of maps) {
    test(`interrupt lines that lead to ${name}: the pin is ${pin === 0 ? "hidden" : "shown"}`, async () => {
      const { host } = await boots((bridge) => {
        Object.assign(bridge.properties, {
          "#interrupt-cells": [1],
          "interrupt-map-mask": [0x1800, 0, 0, 7],
          "interrupt-map": map,
        });
      });
      assert.equal(host.read(8, 0x3c), pin);
    });
  }

  test("interrupt lines that lead to the host's APLIC are in its device tree as they are in the machine's", async () => {
    const wired = {
      "#interrupt-cells": [1],
      "interrupt-map-mask": [0x1800, 0, 0, 7],
      "interrupt-map": wires(0x1001),
    };
    const { machine, host } = await boots((bridge) => Object.assign(bridge.properties, wired));
    const [bridge] = bridgesOf(hostTree(machine, host));
    for (const [name, cells] of Object.entries(wired)) assert.deepEqual(cellsOf(bridge, name), cells, name);
    const { machine: other, host: otherHost } = await boots((bridge) =>
      Object.assign(bridge.properties, { ...wired, "interrupt-map": wires(0x1002) }),
    );
    assert.equal(bridgesOf(hostTree(other, otherHost))[0].properties.get("interrupt-map"), undefined);
  });

  test("fewer buses than configuration space has room for", async () => {
    const { host } = await boots((bridge) => (bridge.properties["bus-range"] = [0, 0]));
    assert.equal(host.read(8, 0), 0x1234_1b36);
    assert.equal(host.trapOf({ kind: "load", gva: BigInt(configAddress(1, 0, 0)), width: 4 } as never).cause, 5);
  });

  test("a platform IOMMU in RAM is not used", async () => {
    const { machine } = await boots((_, soc) =>
      soc.children.push(
        treeNode("iommu@80800000", { compatible: "riscv,iommu", reg: cells64(RAM, 0x1000), phandle: [99] }),
      ),
    );
    assert.match(machine.console, /no IOMMU: PCI devices/);
  });
});

test("a virtio function that no IOMMU confines is hidden, and the log says why; another one keeps its registers", async () => {
  const virtio = (devfn: number, device: number): PciFunctionSpec => ({ ...PLAIN, devfn, vendor: 0x1af4, device });
  const functions = [PLAIN, virtio(16, 0x1042), virtio(24, 0x1000), virtio(32, 0x1110)];
  const { machine, host } = await boot(functions);
  assert.equal(host.read(8, 0), 0x1234_1b36);
  assert.equal(host.read(16, 0), 0xffff_ffff);
  assert.equal(host.read(24, 0), 0xffff_ffff);
  assert.equal(host.read(32, 0), 0x1110_1af4, "memory that is shared among machines needs no DMA");
  assert.equal(machine.console.match(/is hidden from the host: a virtio device does nothing without DMA/g)?.length, 2);
  const confined = await boot(functions, { iommu: { function: 8 * 5 } });
  assert.equal(confined.host.read(16, 0), 0x1042_1af4);
  assert.equal(confined.host.read(24, 0), 0x1000_1af4);
});

test("a fuzzed host: whatever it writes, devices decode inside the windows only", async () => {
  const { machine, host } = await boot([
    PLAIN,
    {
      devfn: 16,
      behind: [
        { ...PLAIN, devfn: 0 },
        { devfn: 8, behind: [{ ...PLAIN, devfn: 3 }] },
      ],
    },
  ]);
  let state = 12345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const values = [0, 0xffff_ffff, PCI_WINDOW.base, PCI_WINDOW.base + 0x10_0000, RAM, 0x2800_0000, 7, 0x0705_0100];
  for (let turn = 0; turn < 1500; turn++) {
    const width = [1, 2, 4][random(3)] as 1 | 2 | 4;
    const offset = (random(3) === 0 ? random(0x1000) : random(0x40)) & ~(width - 1);
    const value = random(2) === 0 ? values[random(values.length)] : random(2 ** 32);
    const devfn = [0, 3, 8, 16][random(4)];
    const bus = random(4);
    if (random(4) === 0) host.read(devfn, offset, width, bus);
    else host.write(devfn, offset, value, width, bus);
    for (const { pci } of machine.pci!.all()) {
      assert.equal(pci.master, false);
      for (const { io, base, size } of pci.decoded()) {
        const window = io ? { base: 0, size: 0x1_0000 } : PCI_WINDOW;
        assert.ok(base >= window.base && base + size <= window.base + window.size, `turn ${turn}`);
      }
    }
  }
});
