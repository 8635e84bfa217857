import { thisHart } from "../hart";
import { Root } from "../root";
import { PAGE_SHIFT } from "../riscv/pte";
import { PageState, packRecord } from "./page-record";
import { write64 } from "../riscv/hw";

/** A contiguous range of RAM with the records of its pages. Constant after boot. */
@unmanaged
export class MemoryRange {
  /** hpa and bytes, page aligned. */
  base: u64;
  size: u64;
  /** Address of the first page's record (8 bytes a page). */
  records: usize;
  numaNode: u64;
}

/** Bytes of records for `size` bytes of RAM. */
export function pageMapBytes(size: u64): u64 {
  return (size >> PAGE_SHIFT) << 3;
}

/** Fills a range in; its pages count as Reserved until they are marked. */
export function initRange(range: MemoryRange, base: u64, size: u64, records: usize, numaNode: u64): void {
  range.base = base;
  range.size = size;
  range.records = records;
  range.numaNode = numaNode;
  fillRecords(records, size >> PAGE_SHIFT, packRecord(PageState.Reserved, 0, 0));
}

/** Gives `pages` pages from `hpa` on, all in one range, a state and an owner. Boot only: no other hart looks yet. */
export function markPages(hpa: u64, pages: u64, state: u32, owner: u32): void {
  const first = recordAddress(hpa);
  assert(first != 0 && recordAddress(hpa + ((pages - 1) << PAGE_SHIFT)) != 0, "marking memory that is not RAM");
  fillRecords(first, pages, packRecord(state, owner, 0));
}

/** Address of the record of the page at `hpa`, or 0 if that is not RAM. */
export function recordAddress(hpa: u64): usize {
  const range = rangeOf(thisHart().root, hpa);
  return range == null ? 0 : recordIn(range.records, hpa - range.base);
}

/** The range of RAM that `hpa` lies in, or null. */
// @ts-ignore: decorator
@inline
export function rangeOf(root: Root, hpa: u64): MemoryRange | null {
  let range = changetype<MemoryRange>(root.ranges);
  let left = root.rangeCount;
  while (left != 0) {
    if (hpa - range.base < range.size) return range;
    range = changetype<MemoryRange>(changetype<usize>(range) + offsetof<MemoryRange>());
    left--;
  }
  return null;
}

/** Address of the record (8 bytes for each 4096) of the page that begins `offset` bytes into the range whose records are at `records`. */
// @ts-ignore: decorator
@inline
export function recordIn(records: usize, offset: u64): usize {
  return records + <usize>((offset >> PAGE_SHIFT) << 3);
}

/** `count` equal records, eight a turn: 2 GiB of RAM are half a million of them. */
function fillRecords(address: usize, count: u64, record: u64): void {
  let at = address;
  const end = address + <usize>(count << 3);
  while (at + 64 <= end) {
    write64(at, record);
    write64(at + 8, record);
    write64(at + 16, record);
    write64(at + 24, record);
    write64(at + 32, record);
    write64(at + 40, record);
    write64(at + 48, record);
    write64(at + 56, record);
    at += 64;
  }
  while (at < end) {
    write64(at, record);
    at += 8;
  }
}
