import { Vm } from "../vm/vm";
import { fenceWrites, read64, write64 } from "../riscv/hw";
import {
  GSTAGE_LEAF,
  PAGE_SHIFT,
  PAGE_SIZE,
  PAGES_PER_TABLE,
  PTE_V,
  isLeaf,
  isParked,
  isTable,
  pteAddress,
  pteFromAddress,
} from "../riscv/pte";
import { takeTablePage } from "./table-pool";

/**
 * G-stage page tables: guest physical to host physical (Privileged 21.5).
 *
 * A table entry, once stored, points at a completely filled child (release fence before the store), so hardware and other harts may
 * walk at any time. Entries are changed by the holder of vm.lock, or, for the leaf entries of a page that the caller has
 * claimed (memory/page-record.ts), without it.
 */

/** Result of `translate` when there is no valid leaf. */
export const NOT_MAPPED: u64 = ~0;

const INDEX_SHIFT: u64 = PAGE_SHIFT - 3;
const INDEX_MASK: u64 = (PAGES_PER_TABLE - 1) << 3;

/** Bytes of a leaf at `level`: 4 KiB, 2 MiB, 1 GiB, 512 GiB. */
// @ts-ignore: decorator
@inline
export function leafSize(level: u64): u64 {
  return (<u64>1) << (PAGE_SHIFT + 9 * level);
}

/** First gpa beyond the VM's address space: 41, 50 or 59 bits. */
// @ts-ignore: decorator
@inline
export function gpaLimit(vm: Vm): u64 {
  return (<u64>1) << (PAGE_SHIFT + 9 * <u64>vm.levels + 2);
}

/** True if [gpa, gpa + length) neither wraps nor leaves the VM's address space. */
// @ts-ignore: decorator
@inline
export function gpaRangeValid(vm: Vm, gpa: u64, length: u64): bool {
  const end = gpa + length;
  return end >= gpa && end <= gpaLimit(vm);
}

/**
 * Follows the tables for `gpa` (which must be inside the address space) until an entry that is not a table.
 * Returns that entry's address with its level (0 = 4 KiB) in the low three bits.
 */
export function walk(vm: Vm, gpa: u64): u64 {
  let level = <u64>vm.levels - 1;
  // Right by this, the index is in place for an array of 8-byte entries.
  let shift = INDEX_SHIFT + 9 * level;
  let at = vm.rootTable + ((gpa >> shift) & ~(<u64>7));
  while (level != 0) {
    const entry = read64(at);
    if (!isTable(entry)) break;
    level--;
    shift -= 9;
    at = pteAddress(entry) + ((gpa >> shift) & INDEX_MASK);
  }
  return at | level;
}

/** Entry address of a `walk` result. */
// @ts-ignore: decorator
@inline
export function walkEntry(found: u64): u64 {
  return found & ~(<u64>7);
}

/** Level of a `walk` result. */
// @ts-ignore: decorator
@inline
export function walkLevel(found: u64): u64 {
  return found & 7;
}

/** The address behind the last entry of the table that a `walk` ended in. The root's tables of 16 KiB have no end that matters: their entries cover all. */
// @ts-ignore: decorator
@inline
export function walkTableEnd(vm: Vm, found: u64): u64 {
  return walkLevel(found) == <u64>vm.levels - 1 ? ~(<u64>0) : (walkEntry(found) | (PAGE_SIZE - 1)) + 1;
}

/** hpa that `gpa` is mapped to now, or NOT_MAPPED. No lock: the answer may be old unless the caller holds the page. */
export function translate(vm: Vm, gpa: u64): u64 {
  if (gpa >= gpaLimit(vm)) return NOT_MAPPED;
  const found = walk(vm, gpa);
  const entry = read64(walkEntry(found));
  if (!isLeaf(entry)) return NOT_MAPPED;
  return pteAddress(entry) + (gpa & (leafSize(walkLevel(found)) - 1));
}

/** hpa of the page that is parked at `gpa`, which is inside the address space, or NOT_MAPPED. No lock, as for `translate`. */
export function parkedPage(vm: Vm, gpa: u64): u64 {
  const found = walk(vm, gpa);
  const entry = read64(walkEntry(found));
  if (!isParked(entry)) return NOT_MAPPED;
  return pteAddress(entry) + (gpa & (leafSize(walkLevel(found)) - 1));
}

/**
 * Address of the entry for `gpa` at exactly `level`, making missing tables. Returns 0 if the path ends in a leaf or parked entry
 * above `level`, or if the pool is empty. Caller holds vm.lock.
 */
export function walkMaking(vm: Vm, gpa: u64, level: u64): u64 {
  while (true) {
    const found = walk(vm, gpa);
    const at = walkEntry(found);
    if (walkLevel(found) == level) return at;
    if (walkLevel(found) < level || read64(at) != 0) return 0;
    const table = takeTablePage(vm);
    if (table == 0) return 0;
    fenceWrites();
    write64(at, pteFromAddress(table) | PTE_V);
  }
}

/**
 * Maps [gpa, gpa + length) to [hpa, ...), both page aligned, with the largest leaves that alignment and (if `allowHuge`) `maxLevel`
 * permit. Every entry must be unused. Returns false if one is not or the pool ran dry: boot only, where that is a panic.
 */
export function mapRange(vm: Vm, gpa: u64, hpa: u64, length: u64, allowHuge: bool): bool {
  let done: u64 = 0;
  const top: u64 = allowHuge ? 2 : 0;
  while (done < length) {
    let level = top;
    while (level != 0) {
      const mask = leafSize(level) - 1;
      if (((gpa + done) & mask) == 0 && ((hpa + done) & mask) == 0 && length - done >= leafSize(level)) break;
      level--;
    }
    const at = walkMaking(vm, gpa + done, level);
    if (at == 0 || read64(at) != 0) return false;
    write64(at, pteFromAddress(hpa + done) | GSTAGE_LEAF);
    done += leafSize(level);
  }
  return true;
}

/**
 * Replaces the leaf or parked entry above 4 KiB that covers `gpa` by a table of the next size with the same contents, once.
 * Returns false if the pool is empty. What the guest can reach does not change; the stale large translation on other harts
 * means the same pages and counts until the next fence. Caller holds vm.lock.
 */
export function splitEntry(vm: Vm, found: u64): bool {
  const at = walkEntry(found);
  const level = walkLevel(found);
  const entry = read64(at);
  assert(level != 0 && (isLeaf(entry) || isParked(entry)), "splitting an entry that is not a large page");
  const table = takeTablePage(vm);
  if (table == 0) return false;
  const step = pteFromAddress(leafSize(level - 1));
  let child = entry;
  for (let i: u64 = 0; i < PAGES_PER_TABLE; i++) {
    write64(table + (i << 3), child);
    child += step;
  }
  fenceWrites();
  write64(at, pteFromAddress(table) | PTE_V);
  return true;
}
