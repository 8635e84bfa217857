import { addOverflows, isAligned, minimum, rangesOverlap } from "../lib/arithmetic";
import { BUS_SHIFT, BUSES, BusOrigin, CONFIG_SIZE, PciSegment, PciSpace, PciWindow } from "../devices/pci/segment";
import { addressCells, deviceAddress, deviceSize, NO_ADDRESS, sizeCells, toCpuAddress } from "./device-tree/cells";
import { cellAt, cellCount, findProperty, nextCompatible, numberAt, numberOf, parentOf } from "./device-tree/reader";
import { MachineDescription, NO_NUMA_NODE } from "./machine-description";

/**
 * PCI host bridges with memory-mapped configuration space (binding "pci-host-ecam-generic"; Open Firmware PCI binding 2.2). One that
 * cannot be understood stays without ECAM and is not used; a window that cannot be what it says (it lies on RAM or on a device of ours) has size 0.
 */
const COMPATIBLE: string = "pci-host-ecam-generic";

/** Cells of an address on the PCI bus: attributes, then 64 bits. */
const PCI_ADDRESS_CELLS: u32 = 3;
const SPACE_SHIFT: u32 = 24;
const PREFETCHABLE: u32 = 1 << 30;

export function pciSegmentCount(fdt: usize): u64 {
  let count: u64 = 0;
  for (let node = nextCompatible(fdt, 0, COMPATIBLE); node != 0; node = nextCompatible(fdt, node, COMPATIBLE)) count++;
  return count;
}

/** Bytes for all segments, their windows and buses. */
export function pciDescriptionBytes(fdt: usize): u64 {
  let bytes: u64 = 0;
  for (let node = nextCompatible(fdt, 0, COMPATIBLE); node != 0; node = nextCompatible(fdt, node, COMPATIBLE)) {
    bytes += <u64>offsetof<PciSegment>() + windowCount(fdt, node) * <u64>offsetof<PciWindow>() + busBytes();
  }
  return bytes;
}

function busBytes(): u64 {
  return BUSES * <u64>offsetof<BusOrigin>();
}

/** Entries of `ranges`, 0 if it cannot be read. */
function windowCount(fdt: usize, node: u32): u64 {
  const stride = rangeCells(fdt, node);
  return stride == 0 ? 0 : cellCount(fdt, findProperty(fdt, node, "ranges")) / stride;
}

function rangeCells(fdt: usize, node: u32): u64 {
  const parent = addressCells(fdt, parentOf(fdt, node));
  const size = sizeCells(fdt, node);
  if (addressCells(fdt, node) != PCI_ADDRESS_CELLS || parent == 0 || parent > 2 || size == 0 || size > 2) return 0;
  return <u64>(PCI_ADDRESS_CELLS + parent + size);
}

/** Fills the segments in the pciDescriptionBytes zeroed bytes at `block`. After memory and devices. */
export function describePci(description: MachineDescription, block: usize): void {
  const fdt = description.fdt;
  const count = pciSegmentCount(fdt);
  description.pciSegments = block;
  description.pciSegmentCount = <u32>count;
  let next = block + <usize>count * offsetof<PciSegment>();
  let index: u32 = 0;
  for (let node = nextCompatible(fdt, 0, COMPATIBLE); node != 0; node = nextCompatible(fdt, node, COMPATIBLE)) {
    const segment = description.pciSegment(index);
    segment.node = node;
    segment.buses = next;
    next += <usize>busBytes();
    segment.windows = next;
    segment.windowCount = <u32>windowCount(fdt, node);
    next += <usize>segment.windowCount * offsetof<PciWindow>();
    describeSegment(description, segment, index);
    index++;
  }
}

function describeSegment(description: MachineDescription, segment: PciSegment, index: u32): void {
  const fdt = description.fdt;
  const node = segment.node;
  segment.domain = numberOf(fdt, node, "linux,pci-domain", index);
  segment.coherent = findProperty(fdt, node, "dma-coherent") != 0 ? 1 : 0;
  segment.numaNode = numberOf(fdt, node, "numa-node-id", NO_NUMA_NODE);
  segment.lastBus = 255;
  const range = findProperty(fdt, node, "bus-range");
  if (range != 0 && cellCount(fdt, range) >= 2) {
    segment.firstBus = cellAt(fdt, range, 0);
    segment.lastBus = cellAt(fdt, range, 1);
  }
  if (segment.firstBus > segment.lastBus || segment.lastBus > 255) return;
  const base = deviceAddress(fdt, node, 0);
  const size = deviceSize(fdt, node, 0);
  if (base == NO_ADDRESS || !isAligned(base, CONFIG_SIZE) || size >> BUS_SHIFT == 0) return;
  segment.lastBus = <u32>minimum(<u64>segment.lastBus, <u64>segment.firstBus + (size >> BUS_SHIFT) - 1);
  if (isTaken(description, base, segment.ecamSize())) return;
  for (let i: u32 = 0; i < segment.windowCount; i++) describeWindow(description, segment, i);
  // Last, so that the windows were not compared with it.
  segment.ecam = base;
  for (let i: u32 = 0; i < segment.windowCount; i++) {
    const window = segment.window(i);
    if (rangesOverlap(base, segment.ecamSize(), window.base, window.size)) dropWindow(window);
  }
}

function describeWindow(description: MachineDescription, segment: PciSegment, index: u32): void {
  const fdt = description.fdt;
  const node = segment.node;
  const bus = parentOf(fdt, node);
  const ranges = findProperty(fdt, node, "ranges");
  const at = <u64>index * rangeCells(fdt, node);
  const attributes = cellAt(fdt, ranges, at);
  const parentCells = addressCells(fdt, bus);
  const window = segment.window(index);
  window.space = (attributes >> SPACE_SHIFT) & 3;
  window.prefetchable = (attributes & PREFETCHABLE) != 0 ? 1 : 0;
  window.busAddress = numberAt(fdt, ranges, at + 1, 2);
  const sizeAt = at + <u64>(PCI_ADDRESS_CELLS + parentCells);
  const size = numberAt(fdt, ranges, sizeAt, sizeCells(fdt, node));
  const address = numberAt(fdt, ranges, at + <u64>PCI_ADDRESS_CELLS, parentCells);
  if (size == 0 || window.space == PciSpace.None) return;
  if (addOverflows(address, size) || addOverflows(window.busAddress, size)) return;
  const base = toCpuAddress(fdt, bus, address, size);
  if (base == NO_ADDRESS || !isAligned(base, CONFIG_SIZE) || !isAligned(size, CONFIG_SIZE)) return;
  if (!isAligned(window.busAddress, CONFIG_SIZE) || base + size > MAX_ADDRESS || isTaken(description, base, size))
    return;
  window.base = base;
  window.size = size;
  window.hostSize = size;
}

/** Physical addresses have 56 bits. */
const MAX_ADDRESS: u64 = (<u64>1) << 56;

/** The window is not usable. */
export function dropWindow(window: PciWindow): void {
  window.base = 0;
  window.size = 0;
  window.hostSize = 0;
}

/** Whether something that is not PCI's lies in [base, base + size), which does not wrap: RAM, interrupt files, our devices, another segment. */
function isTaken(description: MachineDescription, base: u64, size: u64): bool {
  for (let i: u64 = 0; i < description.memoryCount; i++) {
    const range = description.memoryRange(i);
    if (rangesOverlap(base, size, range.base, range.size)) return true;
  }
  for (let i: u64 = 0; i < description.imsicRegionCount; i++) {
    const region = description.imsicRegion(i);
    if (rangesOverlap(base, size, region.base, region.size)) return true;
  }
  if (isPageTaken(description, base, size)) return true;
  for (let i: u32 = 0; i < description.pciSegmentCount; i++) {
    const other = description.pciSegment(i);
    if (other.ecam != 0 && rangesOverlap(base, size, other.ecam, other.ecamSize())) return true;
    for (let w: u32 = 0; w < other.windowCount; w++) {
      const window = other.window(w);
      if (rangesOverlap(base, size, window.base, window.size)) return true;
    }
  }
  return false;
}

/** Whether a page of ours, or of the host's other devices, lies there. */
export function isPageTaken(description: MachineDescription, base: u64, size: u64): bool {
  return (
    isOurs(description.uart, base, size) ||
    isOurs(description.testFinisher, base, size) ||
    isOurs(description.hostRtc, base, size)
  );
}

function isOurs(device: u64, base: u64, size: u64): bool {
  return device != 0 && rangesOverlap(base, size, device & ~(CONFIG_SIZE - 1), CONFIG_SIZE);
}
