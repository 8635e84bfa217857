import { APLIC_SIZE, MAX_SOURCES } from "../devices/aplic";
import { isAligned, rangesOverlap } from "../lib/arithmetic";
import { PAGE_SIZE } from "../riscv/pte";
import { phandleOf } from "./describe-harts";
import { deviceAddress, deviceSize, NO_ADDRESS } from "./device-tree/cells";
import { findProperty, nextCompatible, numberOf, parentOf } from "./device-tree/reader";
import { MachineDescription } from "./machine-description";

/**
 * The APLIC of supervisor level (AIA, chapter 4; binding riscv,aplic): the one whose MSIs go to the IMSIC of supervisor level. One that is odd is
 * left alone, and then no device has a wired interrupt.
 */
export function describeAplic(description: MachineDescription): void {
  const fdt = description.fdt;
  if (description.hasImsic == 0 || description.imsicPhandle == 0) return;
  for (let node = nextCompatible(fdt, 0, "riscv,aplic"); node != 0; node = nextCompatible(fdt, node, "riscv,aplic")) {
    if (numberOf(fdt, node, "msi-parent", 0) != description.imsicPhandle) continue;
    const base = deviceAddress(fdt, node, 0);
    const sources = numberOf(fdt, node, "riscv,num-sources", 0);
    if (base == NO_ADDRESS || base == 0 || !isAligned(base, PAGE_SIZE)) continue;
    if (deviceSize(fdt, node, 0) < APLIC_SIZE || isTaken(description, base)) continue;
    if (sources == 0 || sources > MAX_SOURCES || phandleOf(fdt, node) == 0) continue;
    description.aplicNode = node;
    description.aplic = base;
    description.aplicSources = sources;
    return;
  }
}

/** Whether RAM or interrupt files lie where the registers are said to be. */
function isTaken(description: MachineDescription, base: u64): bool {
  for (let i: u64 = 0; i < description.memoryCount; i++) {
    const range = description.memoryRange(i);
    if (rangesOverlap(base, APLIC_SIZE, range.base, range.size)) return true;
  }
  for (let i: u64 = 0; i < description.imsicRegionCount; i++) {
    const region = description.imsicRegion(i);
    if (rangesOverlap(base, APLIC_SIZE, region.base, region.size)) return true;
  }
  return false;
}

/** phandle of the controller that a node's wired interrupts go to: the node's own statement, or that of the nearest node above it. */
export function interruptParent(fdt: usize, node: u32): u32 {
  for (let at = node; at != 0; at = parentOf(fdt, at)) {
    if (findProperty(fdt, at, "interrupt-parent") != 0) return numberOf(fdt, at, "interrupt-parent", 0);
  }
  return 0;
}
