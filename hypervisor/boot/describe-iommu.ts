import { isAligned, rangesOverlap } from "../lib/arithmetic";
import { NO_FUNCTION } from "../devices/iommu/iommu";
import { REGISTERS_SIZE } from "../devices/iommu/registers";
import { PciSegment } from "../devices/pci/segment";
import { deviceAddress, deviceSize, NO_ADDRESS } from "./device-tree/cells";
import {
  cellAt,
  cellCount,
  findProperty,
  firstChild,
  nextCompatible,
  nextSibling,
  numberOf,
} from "./device-tree/reader";
import { isPageTaken } from "./describe-pci";
import { MachineDescription } from "./machine-description";

/**
 * IOMMUs in the device tree (bindings "riscv,iommu", "riscv,pci-iommu" and iommu-map): platform devices, the nodes of PCI functions that
 * are IOMMUs, and which devices each serves.
 */
const PLATFORM: string = "riscv,iommu";

/** The next platform IOMMU after node `after` (0: the first) whose registers can be used; 0 at the end. */
export function nextPlatformIommu(description: MachineDescription, after: u32): u32 {
  const fdt = description.fdt;
  let node = nextCompatible(fdt, after, PLATFORM);
  while (node != 0 && platformRegisters(description, node) == 0) node = nextCompatible(fdt, node, PLATFORM);
  return node;
}

/** hpa of the registers of a platform IOMMU; 0 if they cannot be there. */
export function platformRegisters(description: MachineDescription, node: u32): u64 {
  const fdt = description.fdt;
  const base = deviceAddress(fdt, node, 0);
  if (base == NO_ADDRESS || !isAligned(base, REGISTERS_SIZE) || deviceSize(fdt, node, 0) < REGISTERS_SIZE) return 0;
  if (isPageTaken(description, base, REGISTERS_SIZE)) return 0;
  for (let i: u64 = 0; i < description.memoryCount; i++) {
    const range = description.memoryRange(i);
    if (rangesOverlap(base, REGISTERS_SIZE, range.base, range.size)) return 0;
  }
  for (let i: u64 = 0; i < description.imsicRegionCount; i++) {
    const region = description.imsicRegion(i);
    if (rangesOverlap(base, REGISTERS_SIZE, region.base, region.size)) return 0;
  }
  for (let i: u32 = 0; i < description.pciSegmentCount; i++) {
    const segment = description.pciSegment(i);
    if (segment.ecam != 0 && rangesOverlap(base, REGISTERS_SIZE, segment.ecam, segment.ecamSize())) return 0;
    for (let w: u32 = 0; w < segment.windowCount; w++) {
      if (rangesOverlap(base, REGISTERS_SIZE, segment.window(w).base, segment.window(w).size)) return 0;
    }
  }
  return base;
}

/** 0 if the node has none. */
export function phandleOfNode(fdt: usize, node: u32): u32 {
  return numberOf(fdt, node, "phandle", 0);
}

/** Requester id in the first cell of `reg` of a PCI function's node. */
const FUNCTION_SHIFT: u32 = 8;
const FUNCTION_MASK: u32 = 0xffff;

/** phandle of the node of the function with that requester id, 0 if it has none. */
export function phandleOfFunction(fdt: usize, segment: PciSegment, address: u32): u32 {
  for (let node = firstChild(fdt, segment.node); node != 0; node = nextSibling(fdt, node)) {
    const reg = findProperty(fdt, node, "reg");
    if (cellCount(fdt, reg) == 0) continue;
    if (((cellAt(fdt, reg, 0) >> FUNCTION_SHIFT) & FUNCTION_MASK) == address) return phandleOfNode(fdt, node);
  }
  return 0;
}

/** `mappedDevice`: no IOMMU serves the device. */
export const NOT_SERVED: u64 = (<u64>NO_FUNCTION) << 32;

const MAP_CELLS: u64 = 4;

/** phandle of the IOMMU (upper half) and device id (lower half) of the requester id `address` by the bridge's iommu-map, or NOT_SERVED. */
export function mappedDevice(fdt: usize, segment: PciSegment, address: u32): u64 {
  const map = findProperty(fdt, segment.node, "iommu-map");
  const masked = <u64>(address & numberOf(fdt, segment.node, "iommu-map-mask", 0xffff_ffff));
  const cells = cellCount(fdt, map);
  for (let at: u64 = 0; at + MAP_CELLS <= cells; at += MAP_CELLS) {
    const first = <u64>cellAt(fdt, map, at);
    if (masked < first || masked - first >= <u64>cellAt(fdt, map, at + 3)) continue;
    const id = <u64>cellAt(fdt, map, at + 2) + (masked - first);
    const phandle = <u64>cellAt(fdt, map, at + 1);
    // No node has phandle 0: it would name every IOMMU that the tree does not know.
    if (phandle == 0 || id >> 24 != 0) return NOT_SERVED;
    return (phandle << 32) | id;
  }
  return NOT_SERVED;
}
