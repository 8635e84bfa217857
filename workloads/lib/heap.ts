import { thisVm, PAGE_SIZE, HUGE_PAGE_SIZE } from "./records";
import { zeroBytes } from "./hw";

/**
 * The memory that a test VM hands out to itself: a cursor that only goes up, and goes back when a scenario ends
 * (`heapMark`, `heapRelease`). Only the boot hart allocates. Pages are not zeroed unless said.
 */

/** `value` rounded up to a multiple of `alignment` (a power of two). */
// @ts-ignore: decorator
@inline
export function alignUp(value: u64, alignment: u64): u64 {
  return (value + alignment - 1) & ~(alignment - 1);
}

/** `count` contiguous 4 KiB pages, aligned to `alignment` bytes. Asserts that there is room. */
export function allocatePagesAligned(count: u64, alignment: u64): u64 {
  const vm = thisVm();
  const start = alignUp(vm.heapNext, alignment);
  const end = start + count * PAGE_SIZE;
  assert(end <= vm.heapEnd, "the test VM's memory is used up");
  vm.heapNext = end;
  return start;
}

/** `count` contiguous 4 KiB pages. */
export function allocatePages(count: u64): u64 {
  return allocatePagesAligned(count, PAGE_SIZE);
}

/** `count` contiguous 4 KiB pages, zeroed. */
export function allocateZeroed(count: u64): u64 {
  const start = allocatePagesAligned(count, PAGE_SIZE);
  zeroBytes(start, count * PAGE_SIZE);
  return start;
}

/** `count` contiguous 2 MiB pages. */
export function allocateHugePages(count: u64): u64 {
  return allocatePagesAligned(count * (HUGE_PAGE_SIZE / PAGE_SIZE), HUGE_PAGE_SIZE);
}

/** Where the heap is now, for `heapRelease`. */
export function heapMark(): u64 {
  return thisVm().heapNext;
}

/** Gives back everything that was allocated since `mark`. */
export function heapRelease(mark: u64): void {
  thisVm().heapNext = mark;
}

/** Bytes that can still be allocated. */
export function heapLeft(): u64 {
  const vm = thisVm();
  return vm.heapEnd - vm.heapNext;
}
