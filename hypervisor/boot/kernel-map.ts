import { alignDown, alignUp } from "../lib/arithmetic";
import { ATP_MODE_39, ATP_MODE_SHIFT, SATP } from "../riscv/csr";
import { csrRead, csrWrite, read64, sfenceVma, write64 } from "../riscv/hw";
import {
  PAGE_SHIFT,
  PAGE_SIZE,
  PAGES_PER_TABLE,
  PTE_A,
  PTE_D,
  PTE_G,
  PTE_R,
  PTE_V,
  PTE_W,
  PTE_X,
  isTable,
  pteAddress,
  pteFromAddress,
} from "../riscv/pte";
import { BootAllocator } from "./boot-allocator";
import { IntervalList } from "./interval-list";

/**
 * Our own page tables (Privileged 12.3-12.6): one identity map, made at boot, shared by all harts and never changed.
 *
 * What is not mapped faults: firmware and reserved memory, the guard page under each stack, and everything that is neither RAM nor a
 * device that we drive. Nothing is both writable and executable. A and D are set, so no hart writes an entry.
 */
@unmanaged
export class KernelMap {
  allocator: BootAllocator;
  root: u64;
  /** 3, 4 or 5: Sv39, Sv48, Sv57. */
  levels: u64;
}

/** What may be done with a mapped range. */
export const KERNEL_READ: u64 = PTE_R;
export const KERNEL_READ_WRITE: u64 = PTE_R | PTE_W;
export const KERNEL_EXECUTE: u64 = PTE_R | PTE_X;

const MAX_LEAF_LEVEL: u64 = 2;
const MIN_LEVELS: u64 = 3;
const MAX_LEVELS: u64 = 5;

/** Levels that an identity map needs to reach addresses below `end`: an address uses at most the lower half of a mode's range. */
export function kernelMapLevels(end: u64): u64 {
  let levels = MIN_LEVELS;
  while (levels < MAX_LEVELS && end > lowerHalf(levels)) levels++;
  return end <= lowerHalf(levels) ? levels : 0;
}

function lowerHalf(levels: u64): u64 {
  return (<u64>1) << (PAGE_SHIFT + 9 * levels - 1);
}

/**
 * Table pages that are enough for `ranges` separate ranges that cover `bytes`, and for any number of ends of ranges inside
 * `dense` contiguous bytes (the stacks with their guards).
 */
export function kernelMapTables(levels: u64, ranges: u64, bytes: u64, dense: u64): u64 {
  const large = (<u64>1) << (PAGE_SHIFT + 18);
  const small = (<u64>1) << (PAGE_SHIFT + 9);
  // Each end of a range can need one table at every level below the root.
  return 1 + ranges * 2 * (levels - 1) + bytes / (large << 9) + dense / small + 2 * levels;
}

/** An empty map with its root table. */
export function initKernelMap(map: KernelMap, allocator: BootAllocator, levels: u64): void {
  map.allocator = allocator;
  map.levels = levels;
  map.root = <u64>allocator.take(PAGE_SIZE, PAGE_SIZE);
}

/** Maps [start, end), page aligned and not mapped yet, to itself with the largest leaves. `permissions`: KERNEL_*. */
export function mapKernelRange(map: KernelMap, start: u64, end: u64, permissions: u64): void {
  const flags = permissions | PTE_V | PTE_A | PTE_D | PTE_G;
  let at = start;
  while (at < end) {
    let level = MAX_LEAF_LEVEL;
    while (level != 0 && ((at & (leafBytes(level) - 1)) != 0 || end - at < leafBytes(level))) level--;
    const entry = entryFor(map, at, level);
    assert(read64(entry) == 0, "the kernel map has two uses for one address");
    write64(entry, pteFromAddress(at) | flags);
    at += leafBytes(level);
  }
}

/** Maps one page at `address` to `hpa`, not global: for a map that is not the one of all harts. `permissions`: PTE_R, W, X, U. */
export function mapPage(map: KernelMap, address: u64, hpa: u64, permissions: u64): void {
  const entry = entryFor(map, address, 0);
  assert(read64(entry) == 0, "a map has two uses for one address");
  write64(entry, pteFromAddress(hpa) | permissions | PTE_V | PTE_A | PTE_D);
}

/** Maps every page that the intervals touch. */
export function mapKernelList(map: KernelMap, list: IntervalList, permissions: u64): void {
  for (let i: u64 = 0; i < list.count; i++) {
    mapKernelRange(map, alignDown(list.start(i), PAGE_SIZE), alignUp(list.end(i), PAGE_SIZE), permissions);
  }
}

/** satp of the finished map. */
export function kernelMapSatp(map: KernelMap): u64 {
  return ((ATP_MODE_39 + map.levels - MIN_LEVELS) << ATP_MODE_SHIFT) | (map.root >> PAGE_SHIFT);
}

/** Switches this hart to the map; false, and nothing changed, if the hart does not have its mode (Privileged 12.1.11). */
export function enterKernelMap(satp: u64): bool {
  csrWrite(SATP, satp);
  sfenceVma();
  return csrRead(SATP) == satp;
}

// @ts-ignore: decorator
@inline
function leafBytes(level: u64): u64 {
  return (<u64>1) << (PAGE_SHIFT + 9 * level);
}

/** Address of the entry for `address` at `level`, with the tables above it. */
function entryFor(map: KernelMap, address: u64, level: u64): u64 {
  let table = map.root;
  let at = map.levels - 1;
  while (true) {
    const entry = table + (((address >> (PAGE_SHIFT + 9 * at)) & (PAGES_PER_TABLE - 1)) << 3);
    if (at == level) return entry;
    const found = read64(entry);
    if (isTable(found)) {
      table = pteAddress(found);
    } else {
      assert(found == 0, "the kernel map has two uses for one address");
      table = <u64>map.allocator.take(PAGE_SIZE, PAGE_SIZE);
      write64(entry, pteFromAddress(table) | PTE_V);
    }
    at--;
  }
}
