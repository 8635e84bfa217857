import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { cells64, treeNode, type TreeNode } from "../../../machine/simulated/device-tree-blob.ts";
import { PLATFORM_IOMMU, type IommuOptions } from "../../../machine/simulated/iommu.ts";
import type { MachineOptions } from "../../../machine/simulated/machine-options.ts";
import type { Machine } from "../../../machine/simulated/machine.ts";
import { ECAM_BASE, PCI_WINDOW, type PciFunctionSpec } from "../../../machine/simulated/pci.ts";
import { bridgesOf, cellsOf, hostTree } from "../support/simulated/host-tree.ts";
import {
  bootPci,
  changedTree,
  configAddress,
  type DeviceNodes,
  type PciHostDriver,
} from "../support/simulated/pci-host.ts";

/** IOMMUs at boot: where their registers get a place, whom they serve, and functions and device trees that are odd. */

const COMMAND = 4;
const MASTER = 4;
const DEVICE = 0x10;
const IOMMU_FUNCTION = 8;
const IN_PCI: IommuOptions = { function: IOMMU_FUNCTION };
const WINDOW_END = PCI_WINDOW.base + PCI_WINDOW.size;
const NOBODY = /no IOMMU: PCI devices of the host stay without bus mastering/;
/** What says that a function is an IOMMU that we know. */
const KNOWN = { vendor: 0x1b36, device: 0x0014, class: 0x080600 };
const PHANDLE = 0x2000;

interface Booted {
  machine: Machine;
  host: PciHostDriver;
  /** Whether the host's function may be a bus master. */
  confined: (devfn?: number, bus?: number) => boolean;
}

async function boot(options: Partial<MachineOptions>, change?: (nodes: DeviceNodes) => void): Promise<Booted> {
  const all = { pci: [{ devfn: DEVICE }], ...options };
  const { machine, host } = await bootPci({
    options: all,
    deviceTree: change && (await changedTree(all, change)),
  });
  const confined = (devfn = DEVICE, bus = 0): boolean => {
    host.write(devfn, COMMAND, MASTER, 2, bus);
    return (host.read(devfn, COMMAND, 2, bus) & MASTER) !== 0;
  };
  return { machine, host, confined };
}

/** Entries of ranges: attributes, first address, bytes, and the first address on the bus if it is another one. */
const ranges = (...windows: [number, number, number, number?][]): number[] =>
  windows.flatMap(([space, base, size, bus]) => [space, ...cells64(bus ?? base, base, size)]);

describe("registers of an IOMMU that is a function", () => {
  /** The last of the windows' addresses that is still the host's, by its device tree. */
  const hostWindows = ({ machine, host }: Booted): number[][] => {
    const cells = cellsOf(bridgesOf(hostTree(machine, host))[0], "ranges");
    return Array.from({ length: cells.length / 7 }, (_, i) => [cells[7 * i + 4], cells[7 * i + 6]]);
  };

  test("a BAR of 32 bits and others, one for I/O among them", async () => {
    const booted = await boot({
      iommu: {
        ...IN_PCI,
        bars: [
          { index: 0, size: 0x1000, kind: "memory32" },
          { index: 1, size: 0x20, kind: "io" },
          { index: 2, size: 0x4000, kind: "memory32" },
        ],
      },
    });
    assert.match(booted.machine.console, /IOMMU \(PCI 0:0x0:0x1\.0\) at 0x4ffff000, levels/);
    assert.ok(booted.confined());
    const bars = booted.machine.pci!.at(0, IOMMU_FUNCTION)!.decoded();
    assert.deepEqual(
      bars.map(({ base }) => base),
      [WINDOW_END - 0x1000, WINDOW_END - 0x8000],
    );
    assert.deepEqual(hostWindows(booted).at(-1), [PCI_WINDOW.base, PCI_WINDOW.size - 0x8000]);
    assert.equal(booted.machine.pci!.at(0, IOMMU_FUNCTION)!.command & 3, 2, "nothing but memory is decoded");
  });

  test("its messages are on and not masked", async () => {
    const capabilities = [{ offset: 0x40, bytes: [0x11, 0, 3, 0x40, 0, 0, 0, 0, 0, 8, 0, 0] }];
    const { machine, confined } = await boot({ iommu: { ...IN_PCI, capabilities } });
    assert.equal(machine.pci!.at(0, IOMMU_FUNCTION)!.config.getUint16(0x42, true), 0x8003);
    assert.ok(confined());
  });

  const SMALL: [number, number, number] = [0x0200_0000, PCI_WINDOW.base + 0x0800_0000, 0x10_0000];
  const LARGE: [number, number, number] = [0x0200_0000, PCI_WINDOW.base, 0x0800_0000];
  const FETCHED: [number, number, number] = [0x4200_0000, PCI_WINDOW.base + 0x0900_0000, 0x1_0000];
  for (const windows of [
    [SMALL, LARGE, FETCHED],
    [LARGE, FETCHED, SMALL],
  ]) {
    test(`the smallest window that is not prefetchable loses its end, be it number ${windows.indexOf(SMALL)}`, async () => {
      const booted = await boot({ iommu: IN_PCI }, ({ bridges }) => {
        bridges[0].properties["ranges"] = ranges(...windows);
      });
      assert.ok(booted.confined());
      assert.deepEqual(
        hostWindows(booted),
        windows.map(([, base, size]) => [base, base === SMALL[1] ? size - 0x1000 : size]),
      );
    });
  }

  const bar = (index: number, size: number, kind: "memory32" | "memory64" | "io") => ({ index, size, kind });
  const above = ranges([0x0300_0000, PCI_WINDOW.base, 0x10_0000, 2 ** 33]);
  const useless: [string, IommuOptions, number[]?][] = [
    ["a 64-bit BAR without an upper half", { bars: [bar(0, 0x1000, "memory32"), bar(5, 0x1000, "memory64")] }],
    ["a BAR larger than the windows", { bars: [bar(0, 0x2000_0000, "memory64")] }],
    [
      "a BAR for which no window is aligned",
      { bars: [bar(0, 0x1_0000, "memory64")] },
      ranges([0x0200_0000, PCI_WINDOW.base + 0x1000, 0x1_0000]),
    ],
    ["a BAR of 32 bits and windows beyond them", { bars: [bar(0, 0x1000, "memory32")] }, above],
    ["no window of memory", {}, ranges([0x0100_0000, PCI_WINDOW.base, 0x1_0000, 0])],
    ["no BAR 0", { bars: [bar(2, 0x1000, "memory32")] }],
    ["a BAR 0 for I/O", { bars: [bar(0, 0x1000, "io"), bar(1, 0x1000, "memory32")] }],
    ["a BAR 0 that is too small", { bars: [bar(0, 0x100, "memory32")] }],
  ];
  for (const [name, options, windows] of useless) {
    test(`${name}: it is not used, and not the host's`, async () => {
      const { machine, host, confined } = await boot({ iommu: { ...IN_PCI, ...options } }, ({ bridges }) => {
        if (windows) bridges[0].properties["ranges"] = windows;
      });
      assert.match(machine.console, NOBODY);
      assert.equal(host.read(IOMMU_FUNCTION, 0), 0xffff_ffff);
      assert.equal(machine.pci!.at(0, IOMMU_FUNCTION)!.command & 7, 0);
      assert.ok(!confined());
    });
  }

  const liars: [string, PciFunctionSpec][] = [
    ["whose size is no power of two", { ...KNOWN, devfn: IOMMU_FUNCTION, fixed: { 0x10: 0xffff_5000 } }],
    [
      "that stays where it is, outside of the windows",
      { ...KNOWN, devfn: IOMMU_FUNCTION, fixed: keeping(0x2000_0000) },
    ],
    [
      "that stays where it is, in the host's part of a window",
      { ...KNOWN, devfn: IOMMU_FUNCTION, fixed: keeping(PCI_WINDOW.base) },
    ],
  ];
  for (const [name, spec] of liars) {
    test(`a BAR ${name}: nothing is written there`, async () => {
      const { machine, confined } = await boot({ pci: [spec, { devfn: DEVICE }] });
      assert.match(machine.console, NOBODY);
      assert.doesNotMatch(machine.console, /IOMMU \(PCI/);
      assert.equal(machine.pci!.at(0, IOMMU_FUNCTION)!.command & 7, 0);
      assert.ok(!confined());
    });
  }

  test("one that has no place does not keep another one from its own", async () => {
    const other = { ...KNOWN, devfn: 0, bars: [bar(0, 0x4000_0000, "memory64")] };
    const { machine, confined } = await boot({ pci: [other, { devfn: DEVICE }], iommu: IN_PCI });
    assert.match(machine.console, /IOMMU \(PCI 0:0x0:0x1\.0\) at 0x4ffff000, levels/);
    assert.ok(confined());
  });

  test("one behind a bridge is neither used nor the host's", async () => {
    const behind = [{ ...KNOWN, devfn: 0, bars: [bar(0, 0x1000, "memory64")] }];
    const { machine, host } = await boot({ pci: [{ devfn: DEVICE, behind }], iommu: IN_PCI });
    assert.equal(machine.console.match(/salus: IOMMU/g)?.length, 1);
    host.write(DEVICE, 0x18, 0x01_01_00);
    assert.equal(host.read(0, 0, 4, 1), 0xffff_ffff);
    assert.equal(machine.pci!.at(1, 0)!.command & 7, 0);
    // Nor in the place of one that has been counted.
    const liar = { ...KNOWN, devfn: IOMMU_FUNCTION, fixed: keeping(PCI_WINDOW.base) };
    const { machine: other } = await boot({ pci: [liar, { devfn: DEVICE, behind }] });
    assert.match(other.console, NOBODY);
    assert.doesNotMatch(other.console, /IOMMU \(PCI/);
  });
});

/** A BAR of 4 KiB that shows its size to whoever asks, and an address of its own otherwise. */
function keeping(address: number): Record<number, number> {
  let reads = 0;
  return {
    get [0x10]() {
      return ++reads % 2 === 0 ? 0xffff_f000 : address;
    },
  };
}

describe("whom it serves", () => {
  const only =
    (...entries: [first: number, phandle: number, id: number, count: number][]) =>
    ({ bridges }: DeviceNodes): void => {
      bridges[0].properties["iommu-map"] = entries.flat();
    };

  test("a function without a node of its own serves nobody, not even those whose map names phandle 0", async () => {
    for (const phandle of [PHANDLE, 0]) {
      const { machine, confined } = await boot({ iommu: IN_PCI }, (nodes) => {
        nodes.bridges[0].children = [];
        only([0, phandle, 0, 0x1_0000])(nodes);
      });
      assert.match(machine.console, /devices of the host: 0$/m);
      assert.ok(!confined());
    }
  });

  test("its node is found among those of other functions and such as have no address", async () => {
    const { confined } = await boot({ iommu: IN_PCI }, ({ bridges }) => {
      bridges[0].children.unshift(
        treeNode("slots"),
        treeNode("ethernet@2,0", { reg: [DEVICE << 8, 0, 0, 0, 0], phandle: [5] }),
      );
    });
    assert.ok(confined());
  });

  test("devices that the map names for it, and no others", async () => {
    const pci = [0x10, 0x18, 0x20, 0x28].map((devfn) => ({ devfn }));
    const { machine, confined } = await boot(
      { pci, iommu: {} },
      only([0x10, PHANDLE, 0x10, 1], [0x18, 0x2001, 0x18, 1], [0x20, PHANDLE, 0x100_0000, 1]),
    );
    assert.match(machine.console, /devices of the host: 1$/m);
    assert.deepEqual(
      pci.map(({ devfn }) => confined(devfn)),
      [true, false, false, false],
    );
    assert.equal(machine.iommu!.contextInMemory(0x10)!.control, 1n);
    for (const id of [0x18, 0x20, 0x28]) assert.equal(machine.iommu!.contextInMemory(id)!.control, 0n);
  });

  test("a bridge whose secondary bus is not in the map", async () => {
    const pci = [{ devfn: DEVICE, behind: [{ devfn: 0 }] }];
    const { host, confined } = await boot({ pci, iommu: {} }, only([0, PHANDLE, 0, 0x100]));
    host.write(DEVICE, 0x18, 0x01_01_00);
    assert.deepEqual([confined(), confined(0, 1)], [true, false]);
  });

  test("ids so far from each other that directories run out: who has no context is no bus master", async () => {
    const pci = [0, 1, 2, 3].map((number) => ({ devfn: 8 + 8 * number, behind: [{ devfn: DEVICE }] }));
    // Bridges, what is behind them, and the bridges' second names.
    const requesters = [8, 0x10, 0x18, 0x20, ...[1, 2, 3, 4].flatMap((bus) => [(bus << 8) | DEVICE, bus << 8])];
    const map = requesters.map((id, index): [number, number, number, number] => [id, PHANDLE, (index + 1) << 16, 1]);
    const { host, machine, confined } = await boot({ pci, iommu: {} }, only(...map));
    for (let bus = 1; bus <= 4; bus++) host.write(8 * bus, 0x18, (bus << 16) | (bus << 8));
    const allowed = [1, 2, 3, 4].map((bus) => confined(DEVICE, bus));
    assert.ok([1, 2, 3, 4].every((number) => confined(8 * number)));
    assert.ok(allowed.includes(true) && allowed.includes(false), allowed.join());
    allowed.forEach((each, index) => {
      const [, , id] = map.find(([requester]) => requester === (((index + 1) << 8) | DEVICE))!;
      assert.equal((machine.iommu!.contextInMemory(id)?.control ?? 0n) === 1n, each);
    });
  });
});

describe("a platform IOMMU", () => {
  const places: [string, TreeNode["properties"]][] = [
    ["without registers", { reg: [] }],
    ["that is not aligned", { reg: cells64(PLATFORM_IOMMU + 0x800, 0x1000) }],
    ["with less than a page", { reg: cells64(PLATFORM_IOMMU, 0x800) }],
    ["at the UART", { reg: cells64(0x1000_0000, 0x1000) }],
    ["at the interrupt files", { reg: cells64(0x2800_1000, 0x1000) }],
    ["in configuration space", { reg: cells64(ECAM_BASE + 0x1000, 0x1000) }],
    ["in a window of PCI", { reg: cells64(PCI_WINDOW.base, 0x1000) }],
    ["that is disabled", { status: "disabled" }],
  ];
  for (const [name, properties] of places) {
    test(`${name} is not used`, async () => {
      const { machine, confined } = await boot({ iommu: {} }, ({ soc }) => {
        Object.assign(soc.children.find(({ name }) => name.startsWith("iommu@"))!.properties, properties);
      });
      assert.match(machine.console, NOBODY);
      assert.ok(!confined());
    });
  }

  for (const [name, base] of [
    ["before", ECAM_BASE - 0x1000],
    ["behind", PCI_WINDOW.base - 0x1000],
  ] as const) {
    test(`right ${name} configuration space or a window is used`, async () => {
      const { machine, confined } = await boot({ iommu: { base } });
      assert.match(machine.console, new RegExp(`IOMMU at 0x${base.toString(16)}`));
      assert.ok(confined());
    });
  }

  test("of a machine whose configuration space cannot be used", async () => {
    const { machine, host } = await boot({ iommu: {} }, ({ bridges }) => delete bridges[0].properties["reg"]);
    assert.match(machine.console, /PCI segment 0: not usable/);
    assert.match(machine.console, /IOMMU at 0x3010000, .*devices of the host: 0$/m);
    assert.equal(host.trapOf({ kind: "load", gva: BigInt(configAddress(0, DEVICE, 0)), width: 4 } as never).cause, 5);
  });
});
