import { Hart } from "../hart";
import { Root } from "../root";
import { fence, read64, write64 } from "../riscv/hw";
import {
  GSTAGE_LEAF,
  PAGE_SHIFT,
  PAGE_SIZE,
  PTE_PARKED,
  PTE_PFN_MASK,
  PTE_V,
  pteAddress,
  pteFromAddress,
} from "../riscv/pte";
import { Vm } from "../vm/vm";
import { leafSize, walk, walkEntry, walkLevel } from "./gstage";
import { rangeOf, recordIn } from "./page-map";
import { claimConverted, claimOwned, packRecord, unclaimConverted, unclaimOwned } from "./page-record";
import { zeroPages } from "./zero";

/**
 * Batches of pages named by gpa: the loops that every call on a range of pages is made of.
 *
 * A batch is at most 512 pages: a range that is no longer is one batch, a longer one ends its batches at 2 MiB boundaries of gpa. So it lies
 * in at most two tables or large entries, its segments. `resolve` follows the page tables once for each and leaves the page's hpa and the
 * address of its record in this hart's work pages; the other functions go over that list. It is valid within one trap.
 */

/** Pages in one batch. */
export const BATCH: u64 = 512;

/** What `resolve` must find: the low two bits of an entry. No leaf lacks the right to read, whose bit is that of parked entries. */
export const enum Find {
  /** Valid leaves. */
  Mapped = 3,
  /** Parked entries. */
  Parked = 2,
}

const KIND_MASK: u64 = PTE_V | PTE_PARKED;

/** One page of the list. */
@unmanaged
class ListedPage {
  hpa: u64;
  record: usize;
}

const LISTED_BYTES: usize = 16;

// @ts-ignore: decorator
@inline
function listed(hart: Hart, index: u64): ListedPage {
  return changetype<ListedPage>(hart.workPages + <usize>index * LISTED_BYTES);
}

/** The page `count` places behind `page`. */
// @ts-ignore: decorator
@inline
function after(page: ListedPage, count: u64): ListedPage {
  return changetype<ListedPage>(changetype<usize>(page) + <usize>count * LISTED_BYTES);
}

/** How many places `page` is behind `first`. */
// @ts-ignore: decorator
@inline
function distance(first: ListedPage, page: ListedPage): u64 {
  return (<u64>changetype<usize>(page) - <u64>changetype<usize>(first)) / LISTED_BYTES;
}

/** hpa of page `index` of the batch. */
// @ts-ignore: decorator
@inline
export function batchHpa(hart: Hart, index: u64): u64 {
  return listed(hart, index).hpa;
}

/** Address of the record of page `index` of the batch. */
// @ts-ignore: decorator
@inline
export function batchRecord(hart: Hart, index: u64): usize {
  return listed(hart, index).record;
}

/** Pages of the batch that begins at `gpa` when `left` pages are to be done. */
// @ts-ignore: decorator
@inline
export function batchAt(gpa: u64, left: u64): u64 {
  return left <= BATCH ? left : pagesToBoundary(gpa);
}

/** Pages from `gpa` to the next 2 MiB boundary. */
// @ts-ignore: decorator
@inline
function pagesToBoundary(gpa: u64): u64 {
  return BATCH - ((gpa >> PAGE_SHIFT) & (BATCH - 1));
}

/**
 * Looks up the batch of `count` pages at `gpa` (batchAt; inside the address space). Returns false if some page is not as asked or not RAM.
 */
export function resolve(hart: Hart, vm: Vm, gpa: u64, count: u64, find: Find): bool {
  const first = min(count, pagesToBoundary(gpa));
  if (!resolveSegment(hart, vm, gpa, first, find, listed(hart, 0))) return false;
  if (first == count) return true;
  return resolveSegment(hart, vm, gpa + (first << PAGE_SHIFT), count - first, find, listed(hart, first));
}

/** Lists the `count` pages at `gpa`, which one table or one large entry holds, at `list`. */
function resolveSegment(hart: Hart, vm: Vm, gpa: u64, count: u64, find: Find, list: ListedPage): bool {
  const found = walk(vm, gpa);
  const at = walkEntry(found);
  const end = after(list, count);
  if (walkLevel(found) == 0) return listEntries(hart.root, at, find, list, end);
  const entry = read64(at);
  if ((entry & KIND_MASK) != <u64>find) return false;
  const offset = gpa & (leafSize(walkLevel(found)) - 1);
  return listContiguous(hart.root, pteAddress(entry) + offset, count, list, end);
}

/** Lists the pages of small entries from `at` on. Neighbours are in the same range of RAM, as a rule: it is looked up when they are not. */
function listEntries(root: Root, at: u64, find: Find, list: ListedPage, end: ListedPage): bool {
  let base: u64 = 0;
  let size: u64 = 0;
  let records: usize = 0;
  for (let page = list; page != end; page = after(page, 1)) {
    const entry = read64(at);
    if ((entry & KIND_MASK) != <u64>find) return false;
    const hpa = pteAddress(entry);
    if (hpa - base >= size) {
      const range = rangeOf(root, hpa);
      if (range == null) return false;
      base = range.base;
      size = range.size;
      records = range.records;
    }
    page.hpa = hpa;
    page.record = recordIn(records, hpa - base);
    at += 8;
  }
  return true;
}

/** Lists `count` pages from `hpa` on. */
function listContiguous(root: Root, hpa: u64, count: u64, list: ListedPage, end: ListedPage): bool {
  const range = rangeOf(root, hpa);
  if (range == null || hpa - range.base + (count << PAGE_SHIFT) > range.size) return false;
  let record = recordIn(range.records, hpa - range.base);
  for (let page = list; page != end; page = after(page, 1)) {
    page.hpa = hpa;
    page.record = record;
    hpa += PAGE_SIZE;
    record += 8;
  }
  return true;
}

// The loops go by address: an index would be turned into one for every page, from a field that might have changed for all gcc knows.

/** Claims the first `count` pages, which `owner` must own alone. Returns true, or false with nothing claimed. */
export function claimOwnedBatch(hart: Hart, count: u64, owner: u32): bool {
  const first = listed(hart, 0);
  const end = after(first, count);
  for (let page = first; page != end; page = after(page, 1)) {
    if (!claimOwned(page.record, owner)) {
      unclaimOwnedBatch(hart, distance(first, page), owner);
      return false;
    }
  }
  return true;
}

export function unclaimOwnedBatch(hart: Hart, count: u64, owner: u32): void {
  for (let i: u64 = 0; i < count; i++) unclaimOwned(batchRecord(hart, i), owner);
}

/** Claims the first `count` pages, which `owner` must have converted before `minVersion`. True, or false with nothing claimed. */
export function claimConvertedBatch(hart: Hart, count: u64, owner: u32, minVersion: u64): bool {
  const first = listed(hart, 0);
  const end = after(first, count);
  for (let page = first; page != end; page = after(page, 1)) {
    if (!claimConverted(page.record, owner, minVersion)) {
      unclaimConvertedBatch(hart, distance(first, page));
      return false;
    }
  }
  return true;
}

export function unclaimConvertedBatch(hart: Hart, count: u64): void {
  for (let i: u64 = 0; i < count; i++) unclaimConverted(batchRecord(hart, i));
}

/** Gives the first `count` claimed pages a new state; what was done to them before is seen by whoever sees it. */
export function setBatch(hart: Hart, count: u64, state: u32, owner: u32, payload: u64): void {
  const record = packRecord(state, owner, payload);
  const first = listed(hart, 0);
  const end = after(first, count);
  fence();
  for (let page = first; page != end; page = after(page, 1)) write64(page.record, record);
}

/** Zeroes the first `count` pages, neighbours at one go. */
export function zeroBatch(hart: Hart, count: u64): void {
  let page = listed(hart, 0);
  const end = after(page, count);
  while (page != end) {
    const hpa = page.hpa;
    let next = hpa;
    do {
      next += PAGE_SIZE;
      page = after(page, 1);
    } while (page != end && page.hpa == next);
    zeroPages(hpa, (next - hpa) >> PAGE_SHIFT);
  }
}

/** Writes leaves for `count` pages of the batch, from page `index` on, into the entries at `at` of one table. */
export function writeLeaves(hart: Hart, index: u64, count: u64, at: u64): void {
  const first = listed(hart, index);
  const end = after(first, count);
  for (let page = first; page != end; page = after(page, 1)) {
    write64(at, pteFromAddress(page.hpa) | GSTAGE_LEAF);
    at += 8;
  }
}

/**
 * Takes the batch of `count` leaves at `gpa` out of reach (V := 0), keeping their PFN. The pages are claimed, and a large leaf lies
 * wholly inside the batch (memory/claims.ts splitForBatches). The caller reads the version for their stamp after this returns. Caller
 * holds vm.lock, because another hart may be splitting the same large leaf.
 */
export function parkBatch(vm: Vm, gpa: u64, count: u64): void {
  const first = min(count, pagesToBoundary(gpa));
  parkSegment(vm, gpa, first);
  if (first != count) parkSegment(vm, gpa + (first << PAGE_SHIFT), count - first);
  fence();
}

function parkSegment(vm: Vm, gpa: u64, count: u64): void {
  const found = walk(vm, gpa);
  let at = walkEntry(found);
  const end = at + ((walkLevel(found) == 0 ? count : 1) << 3);
  while (at < end) {
    write64(at, (read64(at) & ~PTE_V) | PTE_PARKED);
    at += 8;
  }
}

/** Makes the batch of `count` parked entries at `gpa` valid leaves again. The pages are claimed and ready to be seen. Caller holds vm.lock. */
export function unparkBatch(vm: Vm, gpa: u64, count: u64): void {
  fence();
  const first = min(count, pagesToBoundary(gpa));
  unparkSegment(vm, gpa, first);
  if (first != count) unparkSegment(vm, gpa + (first << PAGE_SHIFT), count - first);
}

function unparkSegment(vm: Vm, gpa: u64, count: u64): void {
  const found = walk(vm, gpa);
  let at = walkEntry(found);
  const end = at + ((walkLevel(found) == 0 ? count : 1) << 3);
  while (at < end) {
    write64(at, (read64(at) & PTE_PFN_MASK) | GSTAGE_LEAF);
    at += 8;
  }
}

/** The third work page: bytes of a structure that is being copied in or out, or of a hash in progress. */
// @ts-ignore: decorator
@inline
export function workBytes(hart: Hart): usize {
  return hart.workPages + <usize>(PAGE_SIZE * 2);
}
