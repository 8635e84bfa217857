import { Vm } from "../vm/vm";
import { SBI_FAILED, SBI_INVALID_ADDRESS } from "../sbi/errors";

/**
 * What each part of a TVM's address space is for. A sorted list of ranges that do not overlap; neighbours of the same kind are one range,
 * except ranges in transition (Removable), which stay apart so that their completion finds them. Caller holds vm.lock.
 */
@unmanaged
export class Region {
  /** gpa of the first byte and of the first byte after it. */
  start: u64;
  end: u64;
  /** RegionType. */
  type: u64;
}

export const enum RegionType {
  None = 0,
  /** Memory that only the TVM can reach; demand-zero faults go to the host. */
  Confidential = 1,
  /** Memory that the host shares with it. */
  Shared = 2,
  /** Emulated by the host: accesses become MMIO exits. */
  Mmio = 3,
  /** Interrupt files of its vCPUs. */
  Imsic = 4,
  /** Confidential, on the way to Shared: the host may remove its pages. */
  ConfidentialRemovable = 5,
  /** Shared, on the way to Confidential. */
  SharedRemovable = 6,
}

/** Regions that a VM may have: one page of records. */
export const MAX_REGIONS: u32 = 128;

/** Region `index` < vm.regionCount, in order of address. */
// @ts-ignore: decorator
@inline
export function region(vm: Vm, index: u32): Region {
  return changetype<Region>(vm.regions + <usize>index * offsetof<Region>());
}

/** Index of the first region that ends after `gpa`. */
function firstEndingAfter(vm: Vm, gpa: u64): u32 {
  let low: u32 = 0;
  let high = vm.regionCount;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (region(vm, middle).end <= gpa) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Type of the region that holds `gpa`, RegionType.None outside all. */
export function regionTypeAt(vm: Vm, gpa: u64): u32 {
  const index = firstEndingAfter(vm, gpa);
  if (index == vm.regionCount || region(vm, index).start > gpa) return RegionType.None;
  return <u32>region(vm, index).type;
}

/** Type of the one region that holds all of [gpa, gpa + length), None if there is no such region. */
export function regionTypeOf(vm: Vm, gpa: u64, length: u64): u32 {
  const index = firstEndingAfter(vm, gpa);
  if (index == vm.regionCount) return RegionType.None;
  const found = region(vm, index);
  if (found.start > gpa || found.end < gpa + length) return RegionType.None;
  return <u32>found.type;
}

/**
 * Adds [gpa, gpa + length), length > 0. SBI_INVALID_ADDRESS if it overlaps a region, SBI_FAILED if the list is full.
 * Joins neighbours of the same type.
 */
export function addRegion(vm: Vm, gpa: u64, length: u64, type: u32): i64 {
  const end = gpa + length;
  const index = firstEndingAfter(vm, gpa);
  if (index < vm.regionCount && region(vm, index).start < end) return SBI_INVALID_ADDRESS;
  const joinsLeft = index != 0 && region(vm, index - 1).end == gpa && joinable(region(vm, index - 1), type);
  const joinsRight = index < vm.regionCount && region(vm, index).start == end && joinable(region(vm, index), type);
  if (joinsLeft && joinsRight) {
    region(vm, index - 1).end = region(vm, index).end;
    removeAt(vm, index);
  } else if (joinsLeft) {
    region(vm, index - 1).end = end;
  } else if (joinsRight) {
    region(vm, index).start = gpa;
  } else {
    if (vm.regionCount == MAX_REGIONS) return SBI_FAILED;
    insertAt(vm, index, gpa, end, type);
  }
  return 0;
}

/**
 * Turns [gpa, gpa + length), which lies in one region, into `type` (None removes it), splitting what remains. SBI_INVALID_ADDRESS if it does not lie
 * in one region of type `from`, SBI_FAILED if the pieces do not fit in the list.
 */
export function changeRegion(vm: Vm, gpa: u64, length: u64, from: u32, type: u32): i64 {
  if (regionTypeOf(vm, gpa, length) != from) return SBI_INVALID_ADDRESS;
  const end = gpa + length;
  const index = firstEndingAfter(vm, gpa);
  const found = region(vm, index);
  const oldStart = found.start;
  const oldEnd = found.end;
  const pieces: u32 = (oldStart < gpa ? 1 : 0) + (oldEnd > end ? 1 : 0) + (type != RegionType.None ? 1 : 0);
  if (vm.regionCount + pieces > MAX_REGIONS + 1) return SBI_FAILED;
  removeAt(vm, index);
  // None of these can fail: the ranges were free a moment ago and the list has room.
  let result: i64 = 0;
  if (oldStart < gpa) result |= addRegion(vm, oldStart, gpa - oldStart, from);
  if (oldEnd > end) result |= addRegion(vm, end, oldEnd - end, from);
  if (type != RegionType.None) result |= addRegion(vm, gpa, length, type);
  assert(result == 0, "a region that was checked did not fit");
  return 0;
}

/** Ranges in transition never join. */
function joinable(neighbour: Region, type: u32): bool {
  return <u32>neighbour.type == type && type < <u32>RegionType.Imsic;
}

function insertAt(vm: Vm, index: u32, start: u64, end: u64, type: u32): void {
  for (let i = vm.regionCount; i > index; i--) copyRegion(region(vm, i), region(vm, i - 1));
  vm.regionCount++;
  const added = region(vm, index);
  added.start = start;
  added.end = end;
  added.type = type;
}

function removeAt(vm: Vm, index: u32): void {
  vm.regionCount--;
  for (let i = index; i < vm.regionCount; i++) copyRegion(region(vm, i), region(vm, i + 1));
}

function copyRegion(to: Region, from: Region): void {
  to.start = from.start;
  to.end = from.end;
  to.type = from.type;
}
