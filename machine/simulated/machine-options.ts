import type { IommuOptions } from "./iommu.ts";
import type { PciFunctionSpec } from "./pci.ts";

/**
 * What a simulated machine consists of. Everything has a default, so a test names only what it is about.
 */

export interface RamRange {
  /** First address; a multiple of 2 MiB. */
  base: number;
  /** Bytes. */
  size: number;
  /** NUMA node of the device tree, if any. */
  numaNode?: number;
}

export type TranslationMode = "sv39" | "sv48" | "sv57";

export interface MachineOptions {
  ram: RamRange[];
  /** Hart ids, in the order of the device tree; they may be sparse and large. */
  harts: number[];
  /** Which of `harts` the firmware boots on. */
  bootHart: number;
  /** First-stage modes of satp and vsatp. */
  stageOneModes: TranslationMode[];
  /** G-stage modes of hgatp (each is the x4 variant). */
  gStageModes: TranslationMode[];
  /** Width of hgatp.VMID, 0 to 14. */
  vmidBits: number;
  asidBits: number;
  /** Floating point (F, D). */
  floatingPoint: boolean;
  /** Bytes of a vector register, 0 without V. */
  vlenb: number;
  /** stimecmp and vstimecmp. */
  sstc: boolean;
  /** hstateen and sstateen CSRs. */
  smstateen: boolean;
  /** Cache block of cbo.zero in bytes, 0 without Zicboz. */
  zicboz: number;
  /** Rotations and byte reversal. */
  zbb: boolean;
  /** Instructions for SHA-2. */
  zknh: boolean;
  /** cbo.clean, cbo.flush, cbo.inval. */
  zicbom: boolean;
  /** Hardware updates of A and D. */
  svadu: boolean;
  /** IMSIC with that many guest interrupt files a hart; undefined: no IMSIC, no AIA. */
  guestFiles: number | undefined;
  /** Wired interrupts of the APLIC, which needs an IMSIC; 0: no APLIC. */
  aplicSources: number;
  /** Highest interrupt identity of a supervisor file: one less than a multiple of 64, up to 2047. */
  interruptIdentities: number;
  /** The same of a guest file; undefined: as many. */
  guestIdentities: number | undefined;
  /** Groups of harts, each with its interrupt files in a place of its own. */
  interruptGroups: number;
  /** Programmable performance counters, beside cycle and instret; undefined: the firmware has no PMU. */
  counters: number | undefined;
  /** Counters interrupt when they overflow, and can leave out privilege modes. */
  sscofpmf: boolean;
  /** Debug console of the firmware; without it only legacy putchar. */
  debugConsole: boolean;
  /** htinst holds the transformed instruction at guest page faults, otherwise 0. */
  transformedInstruction: boolean;
  /** Translation caches also keep "not mapped", which the architecture allows. */
  cacheInvalid: boolean;
  /** Ticks of the time CSR per second. */
  timebase: number;
  /** Where the loader puts the host image, and its bytes. */
  hostImage: { base: number; bytes: Uint8Array } | undefined;
  /** Boot arguments of the host. */
  bootArguments: string;
  /** PCI functions on the root bus; undefined: no PCI. */
  pci: PciFunctionSpec[] | undefined;
  /** PCI functions of a second segment (SECOND_BRIDGE); undefined: there is none. */
  secondPci: PciFunctionSpec[] | undefined;
  /** An IOMMU that all PCI functions are behind. */
  iommu: IommuOptions | undefined;
}

export const RAM_BASE = 0x8000_0000;
export const MiB = 1024 * 1024;

/** First bytes of a host image that only has to be there: hosts are scripts. */
const PLACEHOLDER_IMAGE = new TextEncoder().encode("simulated host");

const DEFAULTS: MachineOptions = {
  ram: [{ base: RAM_BASE, size: 32 * MiB }],
  harts: [0],
  bootHart: 0,
  stageOneModes: ["sv39", "sv48"],
  gStageModes: ["sv39", "sv48"],
  vmidBits: 7,
  asidBits: 9,
  floatingPoint: true,
  vlenb: 16,
  sstc: true,
  smstateen: true,
  zicboz: 64,
  zbb: false,
  zknh: false,
  zicbom: true,
  svadu: false,
  guestFiles: 3,
  aplicSources: 63,
  interruptIdentities: 255,
  guestIdentities: undefined,
  interruptGroups: 1,
  counters: undefined,
  sscofpmf: true,
  debugConsole: true,
  transformedInstruction: true,
  cacheInvalid: false,
  timebase: 10_000_000,
  hostImage: { base: RAM_BASE + 8 * MiB, bytes: PLACEHOLDER_IMAGE },
  bootArguments: "",
  pci: undefined,
  secondPci: undefined,
  iommu: undefined,
};

/** `given` with the defaults for the rest. */
export function machineOptions(given: Partial<MachineOptions> = {}): MachineOptions {
  const options = { ...DEFAULTS, ...given };
  if (given.bootHart === undefined) options.bootHart = options.harts[0];
  return options;
}
