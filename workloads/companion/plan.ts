import { imageAddress, ImageSymbol, read64 } from "../lib/hw";
import { bigEndianCells, FdtCursor, fdtOpen, FdtToken } from "../lib/fdt";
import { allocateZeroed } from "../lib/heap";
import { HUGE_PAGE_SIZE, thisVm } from "../lib/records";
import { largestStretch } from "../tellus/host-memory";
import { GUEST_IMAGE_DISTANCE } from "../tellus/machine";
import { MAX_HOLES, Range, state } from "../tellus/state";

/**
 * Who gets which memory:
 *
 *     image (2 MiB) | Linux' image ...                     ... | device tree for Linux | kept
 *     reserved                                                                           reserved
 */

/** Bytes that the companion keeps, at the end of the largest stretch of free RAM. */
const KEPT_BYTES: u64 = 32 << 20;
/** Room for Linux' device tree in front of it. */
const TREE_ROOM: u64 = HUGE_PAGE_SIZE;
/** In the header of a Linux image: its size in memory, bytes. */
const IMAGE_SIZE_OFFSET: u64 = 16;

/** Linux' image, which is behind the companion's. */
export function linuxImage(): u64 {
  return imageAddress(ImageSymbol.Start) + GUEST_IMAGE_DISTANCE;
}

/** Finds the kept memory; it becomes the heap. Returns where Linux' device tree goes. */
export function chooseKept(kept: Range): u64 {
  addHole(linuxImage(), linuxImage() + read64(linuxImage() + IMAGE_SIZE_OFFSET));
  addInitrd();
  const free = largestStretch();
  kept.end = free.end & ~(HUGE_PAGE_SIZE - 1);
  kept.start = kept.end - KEPT_BYTES;
  assert(kept.start - TREE_ROOM >= free.start, "too little memory for the companion");
  const vm = thisVm();
  vm.heapNext = kept.start;
  vm.heapEnd = kept.end;
  return kept.start - TREE_ROOM;
}

function addHole(start: u64, end: u64): void {
  const machine = state();
  assert(machine.holeCount < MAX_HOLES, "too many holes");
  const hole = machine.hole(machine.holeCount++);
  hole.start = start;
  hole.end = end;
}

/** The initial RAM disk is Linux'. */
function addInitrd(): void {
  let start: u64 = 0;
  const cursor = changetype<FdtCursor>(<usize>allocateZeroed(1));
  fdtOpen(cursor, state().fdt);
  while (cursor.next() != FdtToken.End) {
    if (cursor.token != FdtToken.Property) continue;
    const cells = <u32>(cursor.valueLength / 4);
    if (cursor.isProperty("linux,initrd-start")) start = bigEndianCells(cursor.value, cells);
    if (cursor.isProperty("linux,initrd-end")) addHole(start, bigEndianCells(cursor.value, cells));
  }
}
