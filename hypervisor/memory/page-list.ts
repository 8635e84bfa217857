import { Hart } from "../hart";
import { fence, read64, write64 } from "../riscv/hw";
import {
  GSTAGE_LEAF,
  PAGE_SHIFT,
  PAGE_SIZE,
  PTE_PARKED,
  PTE_PFN_MASK,
  PTE_V,
  isLeaf,
  isParked,
  pteAddress,
} from "../riscv/pte";
import { Vm } from "../vm/vm";
import { leafSize, walk, walkEntry, walkLevel } from "./gstage";
import { recordAddress } from "./page-map";
import { claimConverted, claimOwned, setRecord, unclaimConverted, unclaimOwned } from "./page-record";

/**
 * Batches of pages named by gpa: the loops that every call on a range of pages is made of.
 *
 * A batch is at most 512 pages and never crosses a 2 MiB boundary of gpa, so it lies in one table or in one large entry. `resolve` follows
 * the page tables once and leaves the page's hpa and the address of its record in this hart's work pages; the other functions go
 * over those lists. The lists are valid within one trap.
 */

/** Pages in one batch. */
export const BATCH: u64 = 512;

/** What `resolve` must find. */
export const enum Find {
  /** Valid leaves. */
  Mapped = 0,
  /** Parked entries. */
  Parked = 1,
}

// @ts-ignore: decorator
@inline
function hpaList(hart: Hart): usize {
  return hart.workPages;
}

// @ts-ignore: decorator
@inline
function recordList(hart: Hart): usize {
  return hart.workPages + <usize>PAGE_SIZE;
}

/** hpa of page `index` of the batch. */
// @ts-ignore: decorator
@inline
export function batchHpa(hart: Hart, index: u64): u64 {
  return read64(hpaList(hart) + <usize>(index << 3));
}

/** Address of the record of page `index` of the batch. */
// @ts-ignore: decorator
@inline
export function batchRecord(hart: Hart, index: u64): usize {
  return <usize>read64(recordList(hart) + <usize>(index << 3));
}

/** Pages of the batch that begins at `gpa` when `left` pages are to be done: up to the next 2 MiB boundary. */
// @ts-ignore: decorator
@inline
export function batchAt(gpa: u64, left: u64): u64 {
  return min(left, BATCH - ((gpa >> PAGE_SHIFT) & (BATCH - 1)));
}

/**
 * Looks up the batch of `count` pages at `gpa` (batchAt; inside the address space). Returns false if some page is not as asked or not RAM.
 */
export function resolve(hart: Hart, vm: Vm, gpa: u64, count: u64, find: Find): bool {
  const found = walk(vm, gpa);
  let at = walkEntry(found);
  let hpas = hpaList(hart);
  let records = recordList(hart);
  const end = hpas + <usize>(count << 3);
  if (walkLevel(found) != 0) {
    // One large entry covers the batch.
    const entry = read64(at);
    if (find == Find.Mapped ? !isLeaf(entry) : !isParked(entry)) return false;
    let hpa = pteAddress(entry) + (gpa & (leafSize(walkLevel(found)) - 1));
    while (hpas < end) {
      const record = recordAddress(hpa);
      if (record == 0) return false;
      write64(hpas, hpa);
      write64(records, record);
      hpas += 8;
      records += 8;
      hpa += PAGE_SIZE;
    }
    return true;
  }
  while (hpas < end) {
    const entry = read64(at);
    if (find == Find.Mapped ? !isLeaf(entry) : !isParked(entry)) return false;
    const hpa = pteAddress(entry);
    const record = recordAddress(hpa);
    if (record == 0) return false;
    write64(hpas, hpa);
    write64(records, record);
    hpas += 8;
    records += 8;
    at += 8;
  }
  return true;
}

/** Claims the first `count` pages, which `owner` must own alone. Returns true, or false with nothing claimed. */
export function claimOwnedBatch(hart: Hart, count: u64, owner: u32): bool {
  for (let i: u64 = 0; i < count; i++) {
    if (!claimOwned(batchRecord(hart, i), owner)) {
      unclaimOwnedBatch(hart, i, owner);
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
  for (let i: u64 = 0; i < count; i++) {
    if (!claimConverted(batchRecord(hart, i), owner, minVersion)) {
      unclaimConvertedBatch(hart, i);
      return false;
    }
  }
  return true;
}

export function unclaimConvertedBatch(hart: Hart, count: u64): void {
  for (let i: u64 = 0; i < count; i++) unclaimConverted(batchRecord(hart, i));
}

/** Gives the first `count` claimed pages a new state. */
export function setBatch(hart: Hart, count: u64, state: u32, owner: u32, payload: u64): void {
  for (let i: u64 = 0; i < count; i++) setRecord(batchRecord(hart, i), state, owner, payload);
}

/**
 * Takes the batch of `count` leaves at `gpa` out of reach (V := 0), keeping their PFN. The pages are claimed, and a large leaf lies
 * wholly inside the batch (memory/claims.ts splitAtEdges). The caller reads the version for their stamp after this returns. Caller
 * holds vm.lock, because another hart may be splitting the same large leaf.
 */
export function parkBatch(vm: Vm, gpa: u64, count: u64): void {
  const found = walk(vm, gpa);
  let at = walkEntry(found);
  const end = at + ((walkLevel(found) == 0 ? count : 1) << 3);
  while (at < end) {
    write64(at, (read64(at) & ~PTE_V) | PTE_PARKED);
    at += 8;
  }
  fence();
}

/** Makes the batch of `count` parked entries at `gpa` valid leaves again. The pages are claimed and ready to be seen. Caller holds vm.lock. */
export function unparkBatch(vm: Vm, gpa: u64, count: u64): void {
  const found = walk(vm, gpa);
  let at = walkEntry(found);
  const end = at + ((walkLevel(found) == 0 ? count : 1) << 3);
  fence();
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
