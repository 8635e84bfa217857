import {
  childNamed,
  findProperty,
  firstChild,
  nextSibling,
  nodeEnabled,
  nodeNameIs,
  numberOf,
  propertyIs,
  reservationAddress,
  reservationCount,
  reservationSize,
  rootNode,
} from "./device-tree/reader";
import { regAddress, regCount, regSize } from "./device-tree/cells";
import { DescribeError, MachineDescription, NO_NUMA_NODE } from "./machine-description";

/**
 * RAM and what is reserved in it: memory nodes, the children of /reserved-memory, and the memory reservation block
 * (Devicetree Specification 0.4: 3.4, 3.5, 5.3).
 */

/** An enabled child of the root that describes RAM. */
export function isMemoryNode(fdt: usize, node: u32): bool {
  const type = findProperty(fdt, node, "device_type");
  // device_type is required, but older firmware leaves it out.
  const memory = type != 0 ? propertyIs(fdt, type, "memory") : nodeNameIs(fdt, node, "memory");
  return memory && nodeEnabled(fdt, node);
}

/** An upper bound of the ranges of RAM (empty ones are counted). */
export function memoryRangeCount(fdt: usize): u64 {
  const root = rootNode(fdt);
  let total: u64 = 0;
  for (let node = firstChild(fdt, root); node != 0; node = nextSibling(fdt, node)) {
    if (!isMemoryNode(fdt, node)) continue;
    const count = regCount(fdt, root, node);
    if (count > 0) total += <u64>count;
  }
  return total;
}

/** An upper bound of the reserved ranges. */
export function reservedRangeCount(fdt: usize): u64 {
  let total = reservationCount(fdt);
  const parent = childNamed(fdt, rootNode(fdt), "reserved-memory");
  if (parent == 0) return total;
  for (let node = firstChild(fdt, parent); node != 0; node = nextSibling(fdt, node)) {
    const count = regCount(fdt, parent, node);
    if (count > 0) total += <u64>count;
  }
  return total;
}

export function describeMemory(description: MachineDescription): DescribeError {
  const error = describeRam(description);
  return error != DescribeError.None ? error : describeReserved(description);
}

function describeRam(description: MachineDescription): DescribeError {
  const fdt = description.fdt;
  const root = rootNode(fdt);
  for (let node = firstChild(fdt, root); node != 0; node = nextSibling(fdt, node)) {
    if (!isMemoryNode(fdt, node)) continue;
    const count = regCount(fdt, root, node);
    if (count < 0) return DescribeError.MemoryMalformed;
    const numaNode = numberOf(fdt, node, "numa-node-id", NO_NUMA_NODE);
    for (let index: u64 = 0; index < <u64>count; index++) {
      const base = regAddress(fdt, root, node, index);
      const size = regSize(fdt, root, node, index);
      if (size != 0 && !insertRange(description, base, size, numaNode)) return DescribeError.MemoryOverlaps;
    }
  }
  return description.memoryCount == 0 ? DescribeError.NoMemory : DescribeError.None;
}

/** Inserts a range by ascending base; false if it overlaps another. */
function insertRange(description: MachineDescription, base: u64, size: u64, numaNode: u32): bool {
  let index = description.memoryCount;
  for (; index > 0; index--) {
    const before = description.memoryRange(index - 1);
    if (before.base < base) {
      if (base - before.base < before.size) return false;
      break;
    }
    if (before.base - base < size) return false;
    const moved = description.memoryRange(index);
    moved.base = before.base;
    moved.size = before.size;
    moved.numaNode = before.numaNode;
  }
  const range = description.memoryRange(index);
  range.base = base;
  range.size = size;
  range.numaNode = numaNode;
  description.memoryCount++;
  return true;
}

function describeReserved(description: MachineDescription): DescribeError {
  const fdt = description.fdt;
  const reservations = reservationCount(fdt);
  for (let index: u64 = 0; index < reservations; index++) {
    addReserved(description, reservationAddress(fdt, index), reservationSize(fdt, index), false);
  }

  const parent = childNamed(fdt, rootNode(fdt), "reserved-memory");
  if (parent == 0) return DescribeError.None;
  for (let node = firstChild(fdt, parent); node != 0; node = nextSibling(fdt, node)) {
    // A child without reg asks the operating system to find a place: that is the host's matter.
    const count = regCount(fdt, parent, node);
    if (count < 0) return DescribeError.ReservedMalformed;
    const noMap = findProperty(fdt, node, "no-map") != 0;
    for (let index: u64 = 0; index < <u64>count; index++) {
      addReserved(description, regAddress(fdt, parent, node, index), regSize(fdt, parent, node, index), noMap);
    }
  }
  return DescribeError.None;
}

function addReserved(description: MachineDescription, base: u64, size: u64, noMap: bool): void {
  if (size == 0) return;
  const range = description.reservedRange(description.reservedCount++);
  range.base = base;
  range.size = size;
  range.noMap = noMap ? 1 : 0;
}
