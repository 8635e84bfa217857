import type { TreeNode } from "./device-tree-blob.ts";
import { cells64, treeNode, writeDeviceTree } from "./device-tree-blob.ts";
import type { Imsic } from "./imsic.ts";
import { GROUP_SHIFT } from "./imsic.ts";
import type { Iommu } from "./iommu.ts";
import { IOMMU_REGISTERS } from "./iommu.ts";
import type { MachineOptions } from "./machine-options.ts";
import type { PciHost } from "./pci.ts";
import { PCI_IO_WINDOW } from "./pci.ts";

/**
 * The device tree that the firmware of a simulated machine hands over: what QEMU's virt board and OpenSBI would write for the same
 * options.
 */

/** Memory that the firmware keeps at the start of RAM. */
export const FIRMWARE_SIZE = 0x8_0000;

const UART_BASE = 0x1000_0000;
const FINISHER_BASE = 0x10_0000;

/** The tree itself, for tests that change it before it is written. */
export function machineTree(
  options: MachineOptions,
  imsic: Imsic | undefined,
  bridges: PciHost[] = [],
  iommu?: Iommu,
): TreeNode {
  const children = [
    chosen(options),
    cpus(options),
    ...memory(options),
    reserved(options),
    soc(options, imsic, bridges, iommu),
  ];
  return treeNode(
    "",
    { "#address-cells": [2], "#size-cells": [2], compatible: "riscv-virtio", model: "simulated" },
    children,
  );
}

export function machineTreeBlob(
  options: MachineOptions,
  imsic: Imsic | undefined,
  bridges: PciHost[],
  iommu?: Iommu,
): Uint8Array {
  return writeDeviceTree(machineTree(options, imsic, bridges, iommu), options.bootHart);
}

function chosen(options: MachineOptions): TreeNode {
  const properties = {
    "stdout-path": "/soc/serial@10000000",
    "rng-seed": Uint8Array.from({ length: 32 }, (_, i) => i),
  };
  if (options.hostImage === undefined) return treeNode("chosen", properties);
  const { base, bytes } = options.hostImage;
  const module = treeNode(`module@${base.toString(16)}`, {
    compatible: ["multiboot,module", "multiboot,kernel"],
    reg: cells64(base, bytes.length),
    bootargs: options.bootArguments,
  });
  return treeNode("chosen", { "#address-cells": [2], "#size-cells": [2], ...properties }, [module]);
}

const interruptController = (index: number): number => index + 1;
const IMSIC_PHANDLE = 0x1000;
const APLIC_PHANDLE = 0x1001;
const UART_SOURCE = 10;

function cpus(options: MachineOptions): TreeNode {
  const extensions = isaExtensions(options);
  const deepest = options.stageOneModes.includes("sv57")
    ? "sv57"
    : options.stageOneModes.includes("sv48")
      ? "sv48"
      : "sv39";
  const nodes = options.harts.map((id, index) =>
    treeNode(
      `cpu@${id.toString(16)}`,
      {
        device_type: "cpu",
        reg: [id],
        status: "okay",
        compatible: "riscv",
        "riscv,isa-base": "rv64i",
        "riscv,isa-extensions": extensions,
        "riscv,isa": isaString(extensions),
        "mmu-type": `riscv,${deepest}`,
        ...(options.zicboz > 0 ? { "riscv,cboz-block-size": [options.zicboz] } : {}),
        ...(options.zicbom ? { "riscv,cbom-block-size": [64] } : {}),
      },
      [
        treeNode("interrupt-controller", {
          "#interrupt-cells": [1],
          "interrupt-controller": true,
          compatible: "riscv,cpu-intc",
          phandle: [interruptController(index)],
        }),
      ],
    ),
  );
  return treeNode(
    "cpus",
    { "#address-cells": [1], "#size-cells": [0], "timebase-frequency": [options.timebase] },
    nodes,
  );
}

/** Names as the binding riscv,isa-extensions has them. */
function isaExtensions(options: MachineOptions): string[] {
  const names = ["i", "m", "a"];
  if (options.floatingPoint) names.push("f", "d");
  names.push("c");
  if (options.vlenb > 0) names.push("v");
  names.push("h");
  if (options.zicbom) names.push("zicbom");
  if (options.zicboz > 0) names.push("zicboz");
  if (options.zbb) names.push("zbb");
  if (options.zknh) names.push("zknh");
  names.push("zicntr", "zicsr", "zifencei");
  if (options.guestFiles !== undefined) names.push("smaia", "ssaia");
  if (options.smstateen) names.push("smstateen");
  if (options.counters !== undefined && options.sscofpmf) names.push("sscofpmf");
  if (options.sstc) names.push("sstc");
  if (options.svadu) names.push("svadu");
  return names;
}

function isaString(names: string[]): string {
  const single = names.filter((name) => name.length === 1).join("");
  return ["rv64" + single, ...names.filter((name) => name.length > 1)].join("_");
}

function memory(options: MachineOptions): TreeNode[] {
  return options.ram.map(({ base, size, numaNode }) =>
    treeNode(`memory@${base.toString(16)}`, {
      device_type: "memory",
      reg: cells64(base, size),
      ...(numaNode === undefined ? {} : { "numa-node-id": [numaNode] }),
    }),
  );
}

function reserved(options: MachineOptions): TreeNode {
  const { base } = options.ram[0];
  const firmware = treeNode(`mmode_resv0@${base.toString(16)}`, { reg: cells64(base, FIRMWARE_SIZE), "no-map": true });
  return treeNode("reserved-memory", { "#address-cells": [2], "#size-cells": [2], ranges: true }, [firmware]);
}

function soc(options: MachineOptions, imsic: Imsic | undefined, bridges: PciHost[], iommu?: Iommu): TreeNode {
  const children = [
    treeNode("serial@10000000", {
      compatible: "ns16550a",
      reg: cells64(UART_BASE, 0x100),
      "clock-frequency": [3686400],
      "interrupt-parent": [APLIC_PHANDLE],
      interrupts: [UART_SOURCE, 4],
    }),
    treeNode("test@100000", {
      compatible: ["sifive,test1", "sifive,test0", "syscon"],
      reg: cells64(FINISHER_BASE, 0x1000),
    }),
  ];
  if (imsic) {
    children.push(
      treeNode(`interrupt-controller@${imsic.base.toString(16)}`, {
        compatible: "riscv,imsics",
        "interrupt-controller": true,
        "msi-controller": true,
        "#interrupt-cells": [0],
        "#msi-cells": [0],
        "interrupts-extended": options.harts.flatMap((_, index) => [interruptController(index), 9]),
        reg: cells64(...imsic.regions.flatMap(({ base, size }) => [base, size])),
        "riscv,num-ids": [imsic.identities],
        ...(imsic.guestIdentities !== imsic.identities && { "riscv,num-guest-ids": [imsic.guestIdentities] }),
        ...(imsic.groups > 1 && {
          "riscv,hart-index-bits": [imsic.hartIndexBits],
          "riscv,group-index-bits": [Math.ceil(Math.log2(imsic.groups))],
          "riscv,group-index-shift": [GROUP_SHIFT],
        }),
        "riscv,guest-index-bits": [imsic.guestIndexBits],
        phandle: [IMSIC_PHANDLE],
      }),
    );
  }
  if (imsic && options.aplicSources > 0) {
    children.push(
      treeNode("interrupt-controller@d000000", {
        compatible: ["qemu,aplic", "riscv,aplic"],
        reg: cells64(0xd00_0000, 0x8000),
        "interrupt-controller": true,
        "#interrupt-cells": [2],
        "msi-parent": [IMSIC_PHANDLE],
        "riscv,num-sources": [options.aplicSources],
        phandle: [APLIC_PHANDLE],
      }),
    );
  }
  if (iommu && iommu.options.function === undefined) children.push(platformIommu(iommu));
  for (const bridge of bridges) children.push(pciBridge(bridge, iommu));
  return treeNode(
    "soc",
    { "#address-cells": [2], "#size-cells": [2], compatible: "simple-bus", ranges: true },
    children,
  );
}

const IOMMU_PHANDLE = 0x2000;

function platformIommu({ base }: Iommu): TreeNode {
  return treeNode(`iommu@${base.toString(16)}`, {
    compatible: "riscv,iommu",
    reg: cells64(base, IOMMU_REGISTERS),
    "#iommu-cells": [1],
    phandle: [IOMMU_PHANDLE],
  });
}

function pciBridge(bridge: PciHost, iommu: Iommu | undefined): TreeNode {
  const { domain, ecam, window, firstBus, idBase } = bridge.place;
  // An IOMMU that is a function is one of the first bridge's.
  const own = domain === 0 ? iommu?.options.function : undefined;
  const children: TreeNode[] = [];
  if (own !== undefined) {
    children.push(
      treeNode(`iommu@${own.toString(16)}`, {
        compatible: "riscv,pci-iommu",
        reg: [own << 8, 0, 0, 0, 0],
        "#iommu-cells": [1],
        phandle: [IOMMU_PHANDLE],
      }),
    );
  }
  // All requester ids but the IOMMU's own.
  const map =
    own === undefined
      ? [0, IOMMU_PHANDLE, idBase, 0x1_0000]
      : [...[0, IOMMU_PHANDLE, 0, own], ...[own + 1, IOMMU_PHANDLE, own + 1, 0xffff - own]];
  return treeNode(
    `pci@${ecam.toString(16)}`,
    {
      compatible: "pci-host-ecam-generic",
      device_type: "pci",
      "#address-cells": [3],
      "#size-cells": [2],
      reg: cells64(ecam, bridge.size),
      "bus-range": [firstBus, firstBus + bridge.buses - 1],
      "linux,pci-domain": [domain],
      "dma-coherent": true,
      "msi-parent": [IMSIC_PHANDLE],
      ...(iommu ? { "iommu-map": map } : {}),
      ranges: [
        ...(domain === 0 ? [0x0100_0000, 0, 0, ...cells64(PCI_IO_WINDOW.base, PCI_IO_WINDOW.size)] : []),
        ...[0x0200_0000, ...cells64(window.base, window.base, window.size)],
      ],
    },
    children,
  );
}
