import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { cells64, treeNode, type TreeNode } from "../../../machine/simulated/device-tree-blob.ts";
import type { MachineOptions } from "../../../machine/simulated/machine-options.ts";
import type { Machine } from "../../../machine/simulated/machine.ts";
import { ECAM_BASE, PCI_WINDOW, SECOND_BRIDGE, type PciFunctionSpec } from "../../../machine/simulated/pci.ts";
import { bridgesOf, cellsOf, hostTree } from "../support/simulated/host-tree.ts";
import {
  bootPci,
  changedTree,
  configAddress,
  type DeviceNodes,
  type PciHostDriver,
} from "../support/simulated/pci-host.ts";
import type { FdtNode } from "../support/fdt.ts";

/** Host bridges in the machine's device tree, and what becomes of them in the host's. */

const DEVICE = 8;
const CARD: PciFunctionSpec = { devfn: DEVICE, device: 0x1111, bars: [{ index: 0, size: 0x1000, kind: "memory32" }] };
const [COMMAND, BAR0, MEMORY] = [4, 0x10, 2];
const WINDOW = [0x0200_0000, ...cells64(PCI_WINDOW.base, PCI_WINDOW.base, PCI_WINDOW.size)];

interface Booted {
  machine: Machine;
  host: PciHostDriver;
  /** Host bridges of the host's tree. */
  bridges: FdtNode[];
}

async function boot(change: (nodes: DeviceNodes) => void, options: Partial<MachineOptions> = {}): Promise<Booted> {
  const all = { pci: [CARD], ...options };
  const { machine, host } = await bootPci({ options: all, deviceTree: await changedTree(all, change) });
  return { machine, host, bridges: bridgesOf(hostTree(machine, host)) };
}

/** Whether the card answers in the window. */
function answers({ machine, host }: Booted): boolean {
  host.write(DEVICE, BAR0, PCI_WINDOW.base);
  host.write(DEVICE, COMMAND, MEMORY, 2);
  return machine.pci!.at(0, DEVICE)!.decoded().length > 0;
}

describe("windows", () => {
  const far = (upper: number, lower: number): number[] => [upper, lower];
  const at = (base: number): number[] => cells64(base);
  const MIB = cells64(0x10_0000);
  const none: [string, number[]][] = [
    ["of no bytes", [0x0200_0000, ...at(PCI_WINDOW.base), ...at(PCI_WINDOW.base), 0, 0]],
    ["of configuration space", [0, ...at(PCI_WINDOW.base), ...at(PCI_WINDOW.base), ...MIB]],
    ["that wraps around", [0x0300_0000, ...at(PCI_WINDOW.base), ...far(0xffff_ffff, 0xffff_f000), ...MIB]],
    ["that wraps around on the bus", [0x0300_0000, ...far(0xffff_ffff, 0xffff_f000), ...at(PCI_WINDOW.base), ...MIB]],
    ["that begins in a page", [0x0200_0000, ...at(PCI_WINDOW.base), ...at(PCI_WINDOW.base + 0x800), ...MIB]],
    ["that begins in a page on the bus", [0x0200_0000, ...at(PCI_WINDOW.base + 0x800), ...at(PCI_WINDOW.base), ...MIB]],
    [
      "of which a part has no physical addresses",
      [0x0300_0000, ...at(PCI_WINDOW.base), ...far(0x00ff_ffff, 0xfff0_0000), ...cells64(0x20_0000)],
    ],
  ];
  for (const [name, cells] of none) {
    test(`${name}: none, the others stay`, async () => {
      const booted = await boot(({ bridges }) => (bridges[0].properties["ranges"] = [...cells, ...WINDOW]));
      assert.deepEqual(cellsOf(booted.bridges[0], "ranges"), WINDOW);
      assert.ok(answers(booted));
    });
  }

  test("that a bus does not pass on", async () => {
    const booted = await boot(({ soc }) => (soc.properties["ranges"] = cells64(0, 0, PCI_WINDOW.base)));
    // That of I/O lies lower.
    assert.equal(cellsOf(booted.bridges[0], "ranges").length, 7);
    assert.equal(cellsOf(booted.bridges[0], "ranges")[0], 0x0100_0000);
    assert.ok(!answers(booted));
  });

  test("with memory that may be prefetched say so", async () => {
    const fetched = [0x4200_0000, ...WINDOW.slice(1)];
    const booted = await boot(({ bridges }) => (bridges[0].properties["ranges"] = fetched));
    assert.deepEqual(cellsOf(booted.bridges[0], "ranges"), fetched);
    assert.ok(answers(booted));
  });

  const cells: [string, TreeNode["properties"]][] = [
    ["addresses of two cells", { "#address-cells": [2] }],
    ["sizes of no cells", { "#size-cells": [0] }],
    ["sizes of three cells", { "#size-cells": [3] }],
  ];
  for (const [name, properties] of cells) {
    test(`in ${name}: there are none`, async () => {
      const booted = await boot(({ bridges }) => Object.assign(bridges[0].properties, properties));
      assert.deepEqual(cellsOf(booted.bridges[0], "ranges"), []);
      assert.equal(booted.host.read(DEVICE, 2, 2), 0x1111);
      assert.ok(!answers(booted));
    });
  }

  for (const count of [0, 3]) {
    test(`of a bridge on a bus with addresses of ${count} cells: no PCI`, async () => {
      const { machine, host, bridges } = await boot(({ soc, bridges }) => {
        soc.children = soc.children.filter((node) => node !== bridges[0]);
        soc.children.push(
          treeNode("bus", { "#address-cells": [count], "#size-cells": [2], ranges: true }, [bridges[0]]),
        );
      });
      assert.match(machine.console, /PCI segment 0: not usable/);
      assert.deepEqual(bridges, []);
      assert.equal(host.trapOf({ kind: "load", gva: BigInt(ECAM_BASE), width: 4 } as never).cause, 5);
    });
  }
});

describe("two host bridges that want the same addresses", () => {
  const second = [{ ...CARD, device: 0x2222 }];
  const places: [string, number][] = [
    ["configuration space of the first", ECAM_BASE + 0x10_0000],
    ["a window of the first", PCI_WINDOW.base],
  ];
  for (const [name, base] of places) {
    test(`the second has its configuration space in ${name}: it is not used`, async () => {
      const booted = await boot(({ bridges }) => (bridges[1].properties["reg"] = cells64(base, 0x10_0000)), {
        secondPci: second,
      });
      assert.match(booted.machine.console, /PCI segment 1: not usable/);
      assert.equal(booted.bridges.length, 1);
      assert.ok(answers(booted));
    });
    test(`the second has a window in ${name}: it has none there`, async () => {
      const { bridges, host } = await boot(
        ({ bridges }) =>
          (bridges[1].properties["ranges"] = [
            ...[0x0200_0000, ...cells64(base, base, 0x10_0000)],
            ...[0x0200_0000, ...cells64(SECOND_BRIDGE.window.base, SECOND_BRIDGE.window.base, 0x10_0000)],
          ]),
        { secondPci: second },
      );
      assert.equal(cellsOf(bridges[1], "ranges").length, 7);
      assert.equal(cellsOf(bridges[1], "ranges")[4], SECOND_BRIDGE.window.base);
      assert.equal(host.load(SECOND_BRIDGE.ecam + (DEVICE << 12), 4) >> 16n, 0x2222n);
    });
  }
});

describe("the host's bridge", () => {
  test("is as the machine's: coherence, place, numbers of buses", async () => {
    const { bridges } = await boot(({ bridges: [bridge] }) => {
      delete bridge.properties["dma-coherent"];
      delete bridge.properties["bus-range"];
      bridge.properties["numa-node-id"] = [1];
    });
    assert.equal(bridges[0].properties.get("dma-coherent"), undefined);
    assert.deepEqual(cellsOf(bridges[0], "numa-node-id"), [1]);
    assert.deepEqual([cellsOf(bridges[0], "#address-cells"), cellsOf(bridges[0], "#size-cells")], [[3], [2]]);
    // As many as configuration space has room for.
    assert.deepEqual(cellsOf(bridges[0], "bus-range"), [0, 7]);
    const { bridges: usual } = await boot(({ bridges: [bridge] }) => (bridge.properties["bus-range"] = [3]));
    assert.notEqual(usual[0].properties.get("dma-coherent"), undefined);
    assert.equal(usual[0].properties.get("numa-node-id"), undefined);
    assert.deepEqual(cellsOf(usual[0], "bus-range"), [0, 7], "half a range is none");
  });

  for (const [place, mode] of [
    [2 ** 40, 8],
    [2 ** 45, 9],
    [2 ** 52, 10],
  ]) {
    test(`has a window at 2^${Math.log2(place)}: the host's address space has as many levels as it takes`, async () => {
      const window = ({ bridges: [bridge] }: DeviceNodes): void => {
        bridge.properties["ranges"] = [0x0300_0000, ...cells64(place, place, 2 ** 30)];
      };
      const { machine } = await boot(window, { gStageModes: ["sv39", "sv48", "sv57"] });
      assert.equal(machine.harts[0].csr.raw("hgatp") >> 60n, BigInt(mode));
    });
  }

  test("has no messages without interrupt files, and no wires without an APLIC", async () => {
    const wired = {
      "#interrupt-cells": [1],
      "interrupt-map-mask": [0x1800, 0, 0, 7],
      "interrupt-map": [0, 0, 0, 1, 0x1001, 0x20, 4],
    };
    const change = ({ bridges }: DeviceNodes): void => void Object.assign(bridges[0].properties, wired);
    const messages = ({ bridges }: Booted): unknown => bridges[0].properties.get("msi-parent");
    const wires = ({ bridges }: Booted): unknown => bridges[0].properties.get("interrupt-map");
    const all = await boot(change);
    assert.ok(messages(all) !== undefined && wires(all) !== undefined);
    const noAplic = await boot(change, { aplicSources: 0 });
    assert.ok(messages(noAplic) !== undefined && wires(noAplic) === undefined);
    assert.equal(noAplic.host.read(DEVICE, 0x3c), 0, "no pin");
    const neither = await boot(change, { guestFiles: undefined });
    assert.ok(messages(neither) === undefined && wires(neither) === undefined);
    assert.equal(Number(neither.host.load(configAddress(0, DEVICE, 2), 2)), 0x1111);
  });
});
