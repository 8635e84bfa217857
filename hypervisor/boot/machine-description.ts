import { PciSegment } from "../devices/pci/segment";
import { zeroBytes } from "../riscv/hw";
import { treeCheck, TreeError } from "./device-tree/check";

import { describeAplic } from "./describe-aplic";
import { describeDevices } from "./describe-devices";
import { cpuCount, describeHarts } from "./describe-harts";
import { describeImsic, imsicRegionCount, supervisorImsic } from "./describe-imsic";
import { describeHostDevices } from "./host-devices";
import { describePci, pciDescriptionBytes } from "./describe-pci";
import { describeMemory, memoryRangeCount, reservedRangeCount } from "./describe-memory";

/**
 * What boot needs to know about the machine, taken once from the firmware's device tree into records of our own.
 *
 *     describeSize(fdt) bytes, given by the caller:
 *     | MachineDescription | HartDescription ... | MemoryRange ... | ReservedRange ... | ImsicRegion ... | PciSegment ... |
 *
 * Capacities come from counting in the tree. Texts (boot arguments, ISA) stay in the tree and are pointed at, so the tree has to
 * stay where it is for as long as the description is used.
 */
@unmanaged
export class MachineDescription {
  /** The device tree that this describes. */
  fdt: usize;
  /** DescribeError: anything but None means that the rest is incomplete. */
  error: u32;
  /** 1 if the tree has an IMSIC for supervisor level that serves every hart. */
  hasImsic: u32;

  // ---- arrays; use the accessors
  harts: usize;
  hartCount: u64;
  memory: usize;
  memoryCount: u64;
  reserved: usize;
  reservedCount: u64;

  /** Feature bits (riscv/isa.ts) that every hart has. */
  features: u64;
  /** Hz of the time CSR. */
  timebaseFrequency: u64;
  /** Cache block sizes in bytes, common to all harts; 0 where absent or where harts differ. */
  cbomBlockSize: u64;
  cbozBlockSize: u64;
  cbopBlockSize: u64;

  // ---- /chosen
  /** Boot arguments: address in the tree and bytes without the NUL; of the kernel's module if it has some, else of /chosen. */
  bootArguments: usize;
  bootArgumentsLength: u64;
  /** Firmware's seed for an operating system's random numbers, 0 if none. */
  randomSeed: usize;
  randomSeedLength: u64;
  /** Images that the loader put into RAM (hpa, bytes); size 0 if there is none. */
  kernelBase: u64;
  kernelSize: u64;
  initrdBase: u64;
  initrdSize: u64;

  // ---- devices (hpa, 0 if none)
  uart: u64;
  testFinisher: u64;
  /** Offsets of the nodes of the UART and of the real-time clock, 0 if none. */
  uartNode: u32;
  rtcNode: u32;
  /** The APLIC of supervisor level, which the host uses through us: hpa, 0 if none; its node; wired interrupts. */
  aplic: u64;
  aplicNode: u32;
  aplicSources: u32;
  /** Pages of the devices that the host gets (boot/host-devices.ts), 0 if it does not. */
  hostUart: u64;
  hostRtc: u64;

  // ---- IMSIC (devices/imsic.ts); valid if hasImsic
  /** Offset of the device's node in the tree, 0 if there is none. */
  imsicNode: u32;
  imsicPhandle: u32;
  imsicRegions: usize;
  imsicRegionCount: u64;
  /** Bits of the page number that choose the guest file, the hart and the group; bit where the group number begins. */
  imsicGuestIndexBits: u32;
  imsicHartIndexBits: u32;
  imsicGroupIndexBits: u32;
  imsicGroupIndexShift: u32;
  /** Highest interrupt identity of a supervisor file and of a guest file. */
  imsicIdentities: u32;
  imsicGuestIdentities: u32;
  /** Guest files of each hart that the regions have pages for: those of the hart with the fewest. */
  imsicGuestFiles: u64;

  // ---- PCI; these records stay in use after boot
  pciSegments: usize;
  pciSegmentCount: u32;
  /** Functions of all segments (boot/survey.ts). */
  pciFunctionCount: u32;
  /** IOMMUs, platform devices and PCI functions (boot/survey.ts). */
  iommuCount: u32;
  reserved0: u32;

  /** Host bridge `index` (< pciSegmentCount). */
  pciSegment(index: u32): PciSegment {
    return changetype<PciSegment>(this.pciSegments + <usize>index * offsetof<PciSegment>());
  }

  /** Hart `index` (< hartCount), in the order of the tree. */
  hart(index: u64): HartDescription {
    return changetype<HartDescription>(this.harts + <usize>index * offsetof<HartDescription>());
  }

  /** RAM range `index` (< memoryCount), by ascending base; ranges do not overlap. */
  memoryRange(index: u64): MemoryRange {
    return changetype<MemoryRange>(this.memory + <usize>index * offsetof<MemoryRange>());
  }

  /** NUMA node of the RAM range that holds `address`; NO_NUMA_NODE if it has none, or there is no such range. */
  numaNodeOf(address: u64): u32 {
    for (let index: u64 = 0; index < this.memoryCount; index++) {
      const range = this.memoryRange(index);
      // Below the base the difference wraps.
      if (address - range.base < range.size) return range.numaNode;
    }
    return NO_NUMA_NODE;
  }

  /** Reserved range `index` (< reservedCount), in no order; they may overlap and need not be RAM. */
  reservedRange(index: u64): ReservedRange {
    return changetype<ReservedRange>(this.reserved + <usize>index * offsetof<ReservedRange>());
  }

  /** Register region `index` (< imsicRegionCount) of the IMSIC, as its `reg` lists them. */
  imsicRegion(index: u64): ImsicRegion {
    return changetype<ImsicRegion>(this.imsicRegions + <usize>index * offsetof<ImsicRegion>());
  }

  /** Index of the hart with that id, or -1. */
  hartIndexOf(id: u64): i64 {
    for (let index: u64 = 0; index < this.hartCount; index++) {
      if (this.hart(index).id == id) return <i64>index;
    }
    return -1;
  }
}

/** One enabled hart. */
@unmanaged
export class HartDescription {
  /** Hart id of the firmware. */
  id: u64;
  /** Offset of its node in the tree. */
  node: u32;
  /** phandle of its local interrupt controller, 0 if none. */
  interruptPhandle: u32;
  numaNode: u32;
  /** IsaText of the text below. */
  isaKind: u32;
  /** Its extensions: address in the tree and bytes. */
  isa: usize;
  isaLength: u64;
  /** Feature bits of this hart. */
  features: u64;
  cbomBlockSize: u64;
  cbozBlockSize: u64;
  cbopBlockSize: u64;
  /** hpa of its supervisor-level interrupt file, 0 if none. */
  imsicPage: u64;
  /** 1 if its ISA text is the same as that of hart 0 of the description. */
  sameIsaAsFirst: u32;
  reserved0: u32;
}

/** RAM: never empty, never wraps. */
@unmanaged
export class MemoryRange {
  base: u64;
  size: u64;
  numaNode: u32;
  reserved0: u32;
}

/** Memory that the firmware keeps for itself or for a device. */
@unmanaged
export class ReservedRange {
  base: u64;
  size: u64;
  /** 1 if nobody may even map it. */
  noMap: u32;
  reserved0: u32;
}

@unmanaged
export class ImsicRegion {
  base: u64;
  size: u64;
}

/** numaNode of a hart or range whose node has none. */
export const NO_NUMA_NODE: u32 = 0xffff_ffff;

/** Why there is no description. */
export const enum DescribeError {
  None = 0,
  /** The tree fails treeCheck (its error says more). */
  Tree = 1,
  NoMemory = 2,
  MemoryMalformed = 3,
  MemoryOverlaps = 4,
  ReservedMalformed = 5,
  NoHarts = 6,
  HartMalformed = 7,
  HartTwice = 8,
  NoTimebase = 9,
  ImageMalformed = 10,
  ImsicMalformed = 11,
}

/** Bytes that `describe` needs for the tree at `fdt`; 0 if the tree fails treeCheck. */
export function describeSize(fdt: usize): u64 {
  if (treeCheck(fdt) != TreeError.None) return 0;
  return (
    <u64>offsetof<MachineDescription>() +
    cpuCount(fdt) * <u64>offsetof<HartDescription>() +
    memoryRangeCount(fdt) * <u64>offsetof<MemoryRange>() +
    reservedRangeCount(fdt) * <u64>offsetof<ReservedRange>() +
    imsicRegionCount(fdt, supervisorImsic(fdt)) * <u64>offsetof<ImsicRegion>() +
    pciDescriptionBytes(fdt)
  );
}

/**
 * Describes the machine of the tree at `fdt` in the describeSize(fdt) bytes at `block` (8-byte aligned, any content).
 * The record's `error` says whether it worked. Runs once, on the boot hart.
 */
export function describe(fdt: usize, block: usize): MachineDescription {
  zeroBytes(<u64>block, <u64>offsetof<MachineDescription>());
  const description = changetype<MachineDescription>(block);
  description.fdt = fdt;
  if (treeCheck(fdt) != TreeError.None) {
    description.error = DescribeError.Tree;
    return description;
  }
  description.imsicNode = supervisorImsic(fdt);
  description.harts = block + offsetof<MachineDescription>();
  description.memory = description.harts + <usize>cpuCount(fdt) * offsetof<HartDescription>();
  description.reserved = description.memory + <usize>memoryRangeCount(fdt) * offsetof<MemoryRange>();
  description.imsicRegions = description.reserved + <usize>reservedRangeCount(fdt) * offsetof<ReservedRange>();
  const pci = description.imsicRegions + <usize>imsicRegionCount(fdt, description.imsicNode) * offsetof<ImsicRegion>();
  const end = pci + <usize>pciDescriptionBytes(fdt);
  zeroBytes(<u64>description.harts, <u64>(end - description.harts));

  let error = describeMemory(description);
  if (error == DescribeError.None) error = describeHarts(description);
  if (error == DescribeError.None) error = describeDevices(description);
  if (error == DescribeError.None) error = describeImsic(description);
  if (error == DescribeError.None) {
    describeAplic(description);
    describeHostDevices(description);
  }
  if (error == DescribeError.None) describePci(description, pci);
  description.error = error;
  return description;
}

/** What is wrong, for the console: "The device tree ...". */
export function describeErrorText(error: DescribeError): string {
  switch (error) {
    case DescribeError.None:
      return "describes the machine";
    case DescribeError.Tree:
      return "is malformed";
    case DescribeError.NoMemory:
      return "names no memory";
    case DescribeError.MemoryMalformed:
      return "has a memory node whose reg cannot be read";
    case DescribeError.MemoryOverlaps:
      return "has memory ranges that overlap";
    case DescribeError.ReservedMalformed:
      return "has reserved memory whose reg cannot be read";
    case DescribeError.NoHarts:
      return "names no usable hart";
    case DescribeError.HartMalformed:
      return "has a cpu node whose reg cannot be read";
    case DescribeError.HartTwice:
      return "names a hart twice";
    case DescribeError.NoTimebase:
      return "has no timebase-frequency";
    case DescribeError.ImageMalformed:
      return "has a boot module whose reg cannot be read";
    default:
      return "has an IMSIC whose registers do not fit its harts";
  }
}
