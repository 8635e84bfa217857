import { addOverflows, rangeContains } from "../../lib/arithmetic";
import { cellCount, findProperty, numberAt, numberOf, parentOf, propertyLength } from "./reader";

/**
 * Addresses in a device tree: `reg` is counted in cells that the parent bus defines, and `ranges` of each bus says where its
 * addresses lie for the CPU (Devicetree Specification 0.4, 2.3).
 */

/** No such entry, or an address that does not reach the CPU. */
export const NO_ADDRESS: u64 = ~0;

const DEFAULT_ADDRESS_CELLS: u32 = 2;
const DEFAULT_SIZE_CELLS: u32 = 1;
/** Cells that fit into 64 bits. PCI's 3 address cells are no plain address. */
const MAX_CELLS: u32 = 2;

export function addressCells(fdt: usize, bus: u32): u32 {
  return numberOf(fdt, bus, "#address-cells", DEFAULT_ADDRESS_CELLS);
}

export function sizeCells(fdt: usize, bus: u32): u32 {
  return numberOf(fdt, bus, "#size-cells", DEFAULT_SIZE_CELLS);
}

/** Entries of the `reg` of a child of `bus`: 0 if it has none, -1 if it is malformed (cells, length, wrapping range). */
export function regCount(fdt: usize, bus: u32, node: u32): i64 {
  const reg = findProperty(fdt, node, "reg");
  if (reg == 0) return 0;
  return entryCount(fdt, reg, addressCells(fdt, bus), sizeCells(fdt, bus));
}

/** Entries (address, size) of a property in the given cells; -1 if it is malformed. */
export function entryCount(fdt: usize, property: u32, address: u32, size: u32): i64 {
  if (address == 0 || address > MAX_CELLS || size > MAX_CELLS) return -1;
  const stride = <u64>(address + size);
  const cells = cellCount(fdt, property);
  if (cells << 2 != propertyLength(fdt, property) || cells % stride != 0) return -1;
  for (let at: u64 = 0; at < cells; at += stride) {
    if (addOverflows(numberAt(fdt, property, at, address), numberAt(fdt, property, at + <u64>address, size))) return -1;
  }
  return <i64>(cells / stride);
}

/** Address of entry `index` (< regCount) as the bus sees it. */
export function regAddress(fdt: usize, bus: u32, node: u32, index: u64): u64 {
  const address = addressCells(fdt, bus);
  const stride = <u64>(address + sizeCells(fdt, bus));
  return numberAt(fdt, findProperty(fdt, node, "reg"), index * stride, address);
}

/** Size of entry `index` (< regCount). */
export function regSize(fdt: usize, bus: u32, node: u32, index: u64): u64 {
  const address = addressCells(fdt, bus);
  const size = sizeCells(fdt, bus);
  return numberAt(fdt, findProperty(fdt, node, "reg"), index * <u64>(address + size) + <u64>address, size);
}

/**
 * hpa of entry `index` of the node's `reg`, through the `ranges` of every bus above it; NO_ADDRESS if there is no such entry, or if
 * a bus does not pass all of it on.
 */
export function deviceAddress(fdt: usize, node: u32, index: u64): u64 {
  const bus = parentOf(fdt, node);
  if (bus == 0) return NO_ADDRESS;
  const count = regCount(fdt, bus, node);
  if (count < 0 || index >= <u64>count) return NO_ADDRESS;
  return toCpuAddress(fdt, bus, regAddress(fdt, bus, node, index), regSize(fdt, bus, node, index));
}

/** Size of entry `index` of the node's `reg`, 0 if there is none. */
export function deviceSize(fdt: usize, node: u32, index: u64): u64 {
  const bus = parentOf(fdt, node);
  if (bus == 0) return 0;
  const count = regCount(fdt, bus, node);
  return count < 0 || index >= <u64>count ? 0 : regSize(fdt, bus, node, index);
}

/** hpa of [address, address + size) on `bus`, or NO_ADDRESS. */
export function toCpuAddress(fdt: usize, bus: u32, address: u64, size: u64): u64 {
  // The root's children have CPU addresses; every turn goes one level up, so the tree's depth bounds it.
  for (let parent = parentOf(fdt, bus); parent != 0; parent = parentOf(fdt, bus)) {
    address = throughRanges(fdt, bus, parent, address, size);
    if (address == NO_ADDRESS) return NO_ADDRESS;
    bus = parent;
  }
  return address;
}

/** One level: the address on the parent bus, or NO_ADDRESS if `bus` does not pass the whole range on. */
function throughRanges(fdt: usize, bus: u32, parent: u32, address: u64, size: u64): u64 {
  const ranges = findProperty(fdt, bus, "ranges");
  if (ranges == 0) return NO_ADDRESS;
  if (propertyLength(fdt, ranges) == 0) return address;
  const childCells = addressCells(fdt, bus);
  const parentCells = addressCells(fdt, parent);
  const lengthCells = sizeCells(fdt, bus);
  if (childCells == 0 || childCells > MAX_CELLS || parentCells == 0 || parentCells > MAX_CELLS) return NO_ADDRESS;
  if (lengthCells == 0 || lengthCells > MAX_CELLS) return NO_ADDRESS;
  const stride = <u64>(childCells + parentCells + lengthCells);
  const cells = cellCount(fdt, ranges);
  for (let at: u64 = 0; at + stride <= cells; at += stride) {
    const from = numberAt(fdt, ranges, at, childCells);
    const to = numberAt(fdt, ranges, at + <u64>childCells, parentCells);
    const length = numberAt(fdt, ranges, at + <u64>(childCells + parentCells), lengthCells);
    if (!rangeContains(from, length, address, size)) continue;
    const offset = address - from;
    return addOverflows(to, offset) || addOverflows(to + offset, size) ? NO_ADDRESS : to + offset;
  }
  return NO_ADDRESS;
}
