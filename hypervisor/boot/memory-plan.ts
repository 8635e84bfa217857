import { APLIC_SIZE } from "../devices/aplic";
import { alignDown, alignUp, maximum } from "../lib/arithmetic";
import { REGISTERS_SIZE } from "../devices/iommu/registers";
import { ImageSymbol, imageAddress } from "../riscv/hw";
import { PAGE_SIZE } from "../riscv/pte";
import { BootAllocator } from "./boot-allocator";
import { nextPlatformIommu, platformRegisters } from "./describe-iommu";
import { memoryRangeCount, reservedRangeCount } from "./describe-memory";
import { treeSize } from "./device-tree/reader";
import { CHUNK_SIZE, HostLayout, hostLayoutBytes } from "./host-layout";
import { iommuPages } from "./iommus";
import { IntervalList, initIntervalList, intervalListBytes } from "./interval-list";
import { kernelMapLevels, kernelMapTables } from "./kernel-map";
import { MachineDescription } from "./machine-description";
import { HART_STACK_STRIDE, OWN_MEMORY_ALIGNMENT, OwnMemory, ownMemoryBytes } from "./own-memory";
import { secretMarkPage } from "./secret-mark";

/**
 * Who gets which part of RAM.
 *
 *     +----------+-------+------+-------------+------------+---------------------------------------+
 *     | firmware | image | mark | first block | own memory | host: everything else, in 2 MiB chunks |
 *     +----------+-------+------+-------------+------------+---------------------------------------+
 *
 * Own memory is right behind the image, so that all we keep shares its chunks, unless something else is there. The firmware's device
 * tree and the host's images keep their places until the host has them.
 */
@unmanaged
export class MemoryPlan {
  description: MachineDescription;
  /** Whole pages of RAM, by range. */
  ram: IntervalList;
  /** Firmware and reserved memory, whole pages: neither mapped nor given away. */
  reserved: IntervalList;
  /** What the host cannot have: reserved memory and what we keep. */
  kept: IntervalList;
  /** The firmware's device tree. */
  busy: IntervalList;
  /** Working copy for questions about what is left. */
  spare: IntervalList;
  own: OwnMemory;
  /** The block that holds this record and the description; dropped after boot but not given away. */
  firstStart: u64;
  firstEnd: u64;
  ownStart: u64;
  ownEnd: u64;
  /** First address beyond everything of ours that has one: RAM and devices. */
  physicalEnd: u64;
  /** First address beyond that and the windows of PCI. */
  hostEnd: u64;
  /** Levels of the kernel map and of the host's G-stage. */
  mapLevels: u64;
  gstageLevels: u32;
  reserved0: u32;
  /** Allocator that is divided in own memory; while planning, it counts. */
  allocator: BootAllocator;
  /** Machine time at which secondary harts are given up. */
  deadline: u64;
  layout: HostLayout;
}

/** Bytes of the plan and its lists, for the tree at `fdt`. */
export function memoryPlanBytes(fdt: usize): u64 {
  const ram = memoryRangeCount(fdt);
  const reserved = reservedRangeCount(fdt);
  return (
    <u64>(offsetof<MemoryPlan>() + offsetof<OwnMemory>() + offsetof<HostLayout>() + offsetof<BootAllocator>()) +
    intervalListBytes(ram) +
    2 * intervalListBytes(keptCapacity(ram, reserved)) +
    intervalListBytes(1) +
    intervalListBytes(spareCapacity(ram, reserved)) +
    64
  );
}

/** Reserved ranges, and ours: image, first block, own memory. A range can be cut in two where it meets nothing. */
function keptCapacity(ram: u64, reserved: u64): u64 {
  return ram + reserved + 4;
}

function spareCapacity(ram: u64, reserved: u64): u64 {
  return 2 * (ram + reserved) + 16;
}

/** Starts the plan: its records and lists come from `allocator`, RAM and what is reserved from the description. */
export function beginMemoryPlan(
  description: MachineDescription,
  allocator: BootAllocator,
  firstStart: u64,
  firstEnd: u64,
): MemoryPlan {
  const fdt = description.fdt;
  const ranges = memoryRangeCount(fdt);
  const reserved = reservedRangeCount(fdt);
  const plan = changetype<MemoryPlan>(allocator.take(<u64>offsetof<MemoryPlan>(), 8));
  plan.allocator = changetype<BootAllocator>(allocator.take(<u64>offsetof<BootAllocator>(), 8));
  plan.description = description;
  plan.own = changetype<OwnMemory>(allocator.take(<u64>offsetof<OwnMemory>(), 8));
  plan.layout = changetype<HostLayout>(allocator.take(<u64>offsetof<HostLayout>(), 8));
  plan.ram = takeList(allocator, ranges);
  plan.reserved = takeList(allocator, keptCapacity(ranges, reserved));
  plan.kept = takeList(allocator, keptCapacity(ranges, reserved));
  plan.busy = takeList(allocator, 1);
  plan.spare = takeList(allocator, spareCapacity(ranges, reserved));

  let end: u64 = 0;
  for (let i: u64 = 0; i < description.memoryCount; i++) {
    const range = description.memoryRange(i);
    plan.ram.append(alignUp(range.base, PAGE_SIZE), alignDown(range.base + range.size, PAGE_SIZE));
    end = maximum(end, range.base + range.size);
  }
  for (let i: u64 = 0; i < description.reservedCount; i++) {
    const range = description.reservedRange(i);
    const start = alignDown(range.base, PAGE_SIZE);
    const stop = alignUp(range.base + range.size, PAGE_SIZE);
    // What is reserved outside of RAM is nobody's concern.
    if (plan.ram.overlaps(start, stop)) plan.reserved.add(start, stop);
  }
  plan.kept.copyFrom(plan.reserved);
  plan.firstStart = firstStart;
  plan.firstEnd = firstEnd;
  plan.kept.add(imageAddress(ImageSymbol.Start), secretMarkPage() + PAGE_SIZE);
  plan.kept.add(firstStart, firstEnd);
  plan.busy.append(<u64>fdt, <u64>fdt + treeSize(fdt));
  plan.physicalEnd = maximum(end, devicesEnd(description));
  plan.hostEnd = maximum(plan.physicalEnd, pciEnd(description));
  plan.mapLevels = kernelMapLevels(plan.physicalEnd);
  return plan;
}

function takeList(allocator: BootAllocator, capacity: u64): IntervalList {
  return initIntervalList(allocator.take(intervalListBytes(capacity), 8), capacity);
}

/** First address beyond all devices that we or the host map. */
function devicesEnd(description: MachineDescription): u64 {
  let end = maximum(maximum(description.uart, description.testFinisher), description.hostRtc) + PAGE_SIZE;
  end = maximum(end, description.aplic + APLIC_SIZE);
  for (let i: u64 = 0; i < description.imsicRegionCount; i++) {
    const region = description.imsicRegion(i);
    end = maximum(end, region.base + region.size);
  }
  for (let i: u32 = 0; i < description.pciSegmentCount; i++) {
    const segment = description.pciSegment(i);
    if (segment.ecam != 0) end = maximum(end, segment.ecam + segment.ecamSize());
    for (let w: u32 = 0; w < segment.windowCount; w++) {
      // The end of a window is ours if it holds a device of ours.
      const window = segment.window(w);
      if (window.hostSize != window.size) end = maximum(end, window.base + window.size);
    }
  }
  for (let node = nextPlatformIommu(description, 0); node != 0; node = nextPlatformIommu(description, node)) {
    end = maximum(end, platformRegisters(description, node) + REGISTERS_SIZE);
  }
  return end;
}

/** First address beyond the windows of PCI. */
function pciEnd(description: MachineDescription): u64 {
  let end: u64 = 0;
  for (let i: u32 = 0; i < description.pciSegmentCount; i++) {
    const segment = description.pciSegment(i);
    for (let w: u32 = 0; w < segment.windowCount; w++) {
      const window = segment.window(w);
      end = maximum(end, window.base + window.size);
    }
  }
  return end;
}

/** `placeOwnMemory`: no range of RAM has room. */
export const NO_OWN_PLACE: u64 = ~0;

/**
 * Works out how much memory we need and where it is (ownStart, ownEnd), which becomes kept. Returns its address, or NO_OWN_PLACE.
 * `treeBytes`: what the host's device tree may need.
 */
export function placeOwnMemory(plan: MemoryPlan, vlenb: u64, treeBytes: u64): u64 {
  const own = plan.own;
  const description = plan.description;
  own.harts = description.hartCount;
  own.vlenb = vlenb;
  own.mapLevels = plan.mapLevels;
  own.ramBytes = plan.ram.total();
  own.ramRanges = plan.ram.count;
  own.layoutBytes = hostLayoutBytes(plan.ram.count, plan.kept.count + 1);
  own.treeBytes = treeBytes;
  own.pciFunctions = <u64>description.pciFunctionCount;
  own.iommus = <u64>description.iommuCount;
  own.iommuPageCount = iommuPages(description);
  // Each stretch of RAM between reserved ones, the parts of the image, each IMSIC region, three devices, each segment of PCI, each IOMMU, the ends
  // of the windows.
  let regions = description.imsicRegionCount + 3 + <u64>description.pciSegmentCount + own.iommus;
  for (let i: u32 = 0; i < description.pciSegmentCount; i++) regions += <u64>description.pciSegment(i).windowCount;
  const mapped = plan.ram.count + plan.reserved.count + 4 + regions;
  own.kernelTables = kernelMapTables(plan.mapLevels, mapped, plan.physicalEnd, own.harts * HART_STACK_STRIDE);
  own.gstageTables = gstageTables(plan, <u64>plan.gstageLevels);
  const bytes = ownMemoryBytes(own, plan.allocator);

  plan.spare.copyFrom(plan.ram);
  plan.spare.removeAll(plan.kept);
  plan.spare.removeAll(plan.busy);
  plan.spare.remove(description.kernelBase, description.kernelBase + description.kernelSize);
  plan.spare.remove(description.initrdBase, description.initrdBase + description.initrdSize);
  plan.ownStart = bestPlace(plan.spare, bytes);
  if (plan.ownStart == NO_OWN_PLACE) return NO_OWN_PLACE;
  plan.ownEnd = plan.ownStart + bytes;
  plan.kept.add(plan.ownStart, plan.ownEnd);
  return plan.ownStart;
}

/** Right after the image if there is room, else a chunk of its own as low as possible, else anything. */
function bestPlace(spare: IntervalList, bytes: u64): u64 {
  const image = imageAddress(ImageSymbol.Start);
  let fallback = NO_OWN_PLACE;
  let chunk = NO_OWN_PLACE;
  for (let i: u64 = 0; i < spare.count; i++) {
    const start = alignUp(spare.start(i), OWN_MEMORY_ALIGNMENT);
    if (start + bytes > spare.end(i)) continue;
    if (start > image && start - image < CHUNK_SIZE) return start;
    if (fallback == NO_OWN_PLACE) fallback = start;
    const aligned = alignUp(start, CHUNK_SIZE);
    if (chunk == NO_OWN_PLACE && aligned + bytes <= spare.end(i)) chunk = aligned;
  }
  return chunk != NO_OWN_PLACE ? chunk : fallback;
}

/** Table pages that map every 2 MiB of RAM with small pages, and the pages of the IMSIC and of the host's devices: as many as the host's G-stage can ever need. */
function gstageTables(plan: MemoryPlan, levels: u64): u64 {
  let tables: u64 = 0;
  for (let i: u64 = 0; i < plan.ram.count; i++) tables += tablesFor(plan.ram.start(i), plan.ram.end(i), levels);
  const description = plan.description;
  for (let i: u64 = 0; i < description.imsicRegionCount; i++) {
    const region = description.imsicRegion(i);
    tables += tablesFor(region.base, region.base + region.size, levels);
  }
  if (description.hostUart != 0) tables += tablesFor(description.hostUart, description.hostUart + PAGE_SIZE, levels);
  if (description.hostRtc != 0) tables += tablesFor(description.hostRtc, description.hostRtc + PAGE_SIZE, levels);
  for (let i: u32 = 0; i < description.pciSegmentCount; i++) {
    const segment = description.pciSegment(i);
    for (let w: u32 = 0; w < segment.windowCount; w++) {
      const window = segment.window(w);
      if (window.size != 0) tables += tablesForWindow(window.base, window.base + window.size, levels);
    }
  }
  return tables;
}

/** Tables for a range that is mapped by the largest leaves for ever: small ones only at its two ends. */
function tablesForWindow(start: u64, end: u64, levels: u64): u64 {
  const ends: u64 = 2;
  const large: u64 = 2;
  let tables = ends * large;
  for (let level = large; level + 1 < levels; level++) {
    const span = 21 + 9 * level;
    tables += ((end - 1) >> span) - (start >> span) + 1;
  }
  return tables;
}

/** Tables of all levels below the root that [start, end) touches. */
function tablesFor(start: u64, end: u64, levels: u64): u64 {
  let tables: u64 = 0;
  for (let level: u64 = 0; level + 1 < levels; level++) {
    const span = 21 + 9 * level;
    tables += ((end - 1) >> span) - (start >> span) + 1;
  }
  return tables;
}

/**
 * Everything that a boot after an uncontrolled reset has to zero: RAM but for the image and what this boot needs. Own memory is
 * not in use yet, so it is part of it.
 */
export function leftoverMemory(plan: MemoryPlan): IntervalList {
  const description = plan.description;
  const list = plan.spare;
  list.copyFrom(plan.ram);
  list.removeAll(plan.reserved);
  list.removeAll(plan.busy);
  list.remove(imageAddress(ImageSymbol.Start), imageAddress(ImageSymbol.End));
  list.remove(plan.firstStart, plan.firstEnd);
  list.remove(description.kernelBase, description.kernelBase + description.kernelSize);
  list.remove(description.initrdBase, description.initrdBase + description.initrdSize);
  return list;
}

/** Bytes of the 2 MiB chunks that the host does not get on our account. */
export function memoryKept(plan: MemoryPlan): u64 {
  const list = plan.spare;
  list.count = 0;
  list.add(alignDown(imageAddress(ImageSymbol.Start), CHUNK_SIZE), alignUp(secretMarkPage() + PAGE_SIZE, CHUNK_SIZE));
  list.add(alignDown(plan.firstStart, CHUNK_SIZE), alignUp(plan.firstEnd, CHUNK_SIZE));
  list.add(alignDown(plan.ownStart, CHUNK_SIZE), alignUp(plan.ownEnd, CHUNK_SIZE));
  return list.total();
}
