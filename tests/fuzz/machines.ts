import { MiB, RAM_BASE } from "../../machine/simulated/machine-options.ts";
import type { MachineOptions } from "../../machine/simulated/machine-options.ts";
import type { PciFunctionSpec } from "../../machine/simulated/pci.ts";

/** The machines that runs take place on: small RAM, so that looking at all of it is cheap, and everything optional present and absent. */
const RAM = 16 * MiB;
const HOST_IMAGE = { base: RAM_BASE + 8 * MiB, bytes: new TextEncoder().encode("simulated host") };

const common: Partial<MachineOptions> = { ram: [{ base: RAM_BASE, size: RAM }], hostImage: HOST_IMAGE };

const zeros = (count: number): number[] => new Array<number>(count).fill(0);
const MSI = { offset: 0x40, bytes: [0x05, 0, 0x80, 0x01, ...zeros(20)] };
/** Messages with addresses of 32 bits. */
const SHORT_MSI = { offset: 0x40, bytes: [0x05, 0, 0x00, 0x00, ...zeros(12)] };
const SHORT_MASKED_MSI = { offset: 0x40, bytes: [0x05, 0, 0x00, 0x01, ...zeros(16)] };
const MSIX = { offset: 0x60, bytes: [0x11, 0, 3, 0, 0, 0, 0, 0, 0, 8, 0, 0] };
const EXPRESS = { offset: 0x70, bytes: [0x10, 0, 2, 0, ...zeros(56)] };
/** Version 1; a root port with a slot; a bridge to conventional PCI. */
const OLD_EXPRESS = { offset: 0x70, bytes: [0x10, 0, 1, 0, ...zeros(56)] };
const ROOT_PORT = { offset: 0x70, bytes: [0x10, 0, 0x42, 1, ...zeros(56)] };
const TO_PCI = { offset: 0x70, bytes: [0x10, 0, 0x72, 0, ...zeros(56)] };
const SUBSYSTEM = { offset: 0xc0, bytes: [0x0d, 0, 0, 0, 0x36, 0x1b, 0x21, 0x43] };
const VENDOR = { offset: 0xb0, bytes: [9, 0, 8, 0, 1, 2, 3, 4] };
/** Error reporting, address translation services, virtual functions, a serial number. */
const EXTENDED = [
  { offset: 0x100, bytes: [0x01, 0, 0x01, 0x15, ...zeros(40)] },
  { offset: 0x150, bytes: [0x0f, 0, 0x01, 0x16, 0, 0, 0, 0x80] },
  { offset: 0x160, bytes: [0x10, 0, 0x01, 0x1b, ...zeros(60)] },
  { offset: 0x1b0, bytes: [0x03, 0, 0x01, 0, 1, 2, 3, 4, 5, 6, 7, 8] },
];
/** The IOMMU's place on the root bus, where it is a PCI function. */
const IOMMU = 0x08;

/** Endpoints of all kinds, two bridges one behind the other, a port with a link, two functions of one device, and a device that nobody understands. */
const DEVICES: PciFunctionSpec[] = [
  {
    devfn: 0x10,
    bars: [
      { index: 0, size: 0x1000, kind: "memory32" },
      { index: 2, size: 0x4000, kind: "memory64" },
      { index: 4, size: 0x20, kind: "io" },
    ],
    capabilities: [MSI, EXPRESS, VENDOR, ...EXTENDED],
  },
  { devfn: 0x18, header: 0x80, bars: [{ index: 0, size: 0x2000, kind: "memory32" }], capabilities: [MSIX] },
  {
    devfn: 0x19,
    header: 0x80,
    bars: [
      { index: 0, size: 0x40, kind: "io", narrow: true },
      { index: 4, size: 0x1_0000, kind: "memory64" },
    ],
    capabilities: [SHORT_MASKED_MSI, OLD_EXPRESS],
  },
  {
    devfn: 0x20,
    behind: [
      { devfn: 0, bars: [{ index: 0, size: 0x1000, kind: "memory32" }], capabilities: [MSIX, EXPRESS] },
      {
        devfn: 0x08,
        windows: { io: 16, prefetch: 32 },
        capabilities: [TO_PCI, SUBSYSTEM],
        behind: [{ devfn: 0x18, bars: [{ index: 1, size: 0x10_0000, kind: "memory32" }], capabilities: [SHORT_MSI] }],
      },
    ],
  },
  {
    devfn: 0x30,
    windows: { io: 0, prefetch: 0 },
    capabilities: [ROOT_PORT],
    behind: [{ devfn: 0, bars: [{ index: 0, size: 0x4000, kind: "memory64" }], capabilities: [MSI, EXPRESS] }],
  },
  { devfn: 0x28, header: 5, bars: [{ index: 0, size: 0x1000, kind: "memory32" }] },
];

export const MACHINES: Record<string, Partial<MachineOptions>> = {
  "two harts": { ...common, harts: [0, 1], counters: 4 },
  "one hart": { ...common, harts: [0] },
  "four harts": { ...common, harts: [0, 1, 2, 3], guestFiles: 1, counters: 4 },
  "no VMID": { ...common, harts: [0, 1], vmidBits: 0, counters: 2 },
  "one bit of VMID, no vectors": { ...common, harts: [0, 1], vmidBits: 1, vlenb: 0, zicboz: 0 },
  "no Sstc, no IMSIC": { ...common, harts: [0, 1, 2], sstc: false, guestFiles: undefined, smstateen: false },
  "Sv39 only, TLBs keep invalid entries": {
    ...common,
    harts: [0, 1],
    gStageModes: ["sv39"],
    stageOneModes: ["sv39"],
    cacheInvalid: true,
    transformedInstruction: false,
  },
  "Sv57, long vectors": {
    ...common,
    harts: [0, 1],
    counters: 1,
    gStageModes: ["sv39", "sv48", "sv57"],
    vlenb: 128,
    svadu: true,
  },
  "PCI behind an IOMMU": { ...common, harts: [0, 1], pci: DEVICES, iommu: { function: IOMMU, extended: true } },
  "PCI, a platform IOMMU": { ...common, harts: [0, 1], pci: DEVICES, iommu: { levels: 2 } },
  "PCI without an IOMMU": { ...common, harts: [0], pci: DEVICES },
};
