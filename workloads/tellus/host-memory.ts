import { HUGE_PAGE_SIZE, PAGE_SIZE, thisVm } from "../lib/records";
import { allocateZeroed } from "../lib/heap";
import { AddressSpace, createAddressSpace, LEVEL_1G, PagingMode, PTE_RWX } from "../lib/paging";
import { largestGap } from "./machine";
import { Range, state } from "./state";

/** Which host memory tellus uses: the largest free stretch is its heap, the other ranges are for tests of their own. */

/** Smallest heap that the tests can do with. */
const HEAP_NEEDED: u64 = 64 << 20;

/** The largest free stretch of RAM. */
export function largestStretch(): Range {
  const page = <usize>allocateZeroed(1);
  const largest = changetype<Range>(page);
  const gap = changetype<Range>(page + offsetof<Range>());
  for (let i: u32 = 0; i < state().ramCount; i++) {
    largestGap(i, gap);
    if (gap.end - gap.start <= largest.end - largest.start) continue;
    largest.start = gap.start;
    largest.end = gap.end;
  }
  return largest;
}

/** Moves the heap to the largest free stretch of RAM, from its middle on if it is large enough. */
export function useHeapRange(): void {
  const free = largestStretch();
  const start = free.start;
  const end = free.end;
  assert(end - start >= HEAP_NEEDED, "too little memory for the tests");
  // Like the original, which leaves the lower half alone: a hypervisor that confuses the halves is found out.
  const middle = (start + (end - start) / 2) & ~(HUGE_PAGE_SIZE - 1);
  const vm = thisVm();
  vm.heapNext = end - middle >= HEAP_NEEDED ? middle : start;
  vm.heapEnd = end;
}

/** `pages` free pages in a range of RAM other than the heap's, 2 MiB aligned; 0 if there is only one range. */
export function otherRangePages(pages: u64): u64 {
  const heap = thisVm().heapEnd;
  const gap = changetype<Range>(<usize>allocateZeroed(1));
  for (let i: u32 = 0; i < state().ramCount; i++) {
    largestGap(i, gap);
    const start = (gap.start + HUGE_PAGE_SIZE - 1) & ~(HUGE_PAGE_SIZE - 1);
    if (gap.end != heap && start + pages * PAGE_SIZE <= gap.end) return start;
  }
  return 0;
}

/** An address space in which all RAM is where it is. */
export function mapAllRam(): AddressSpace {
  const space = createAddressSpace(PagingMode.Sv39);
  for (let i: u32 = 0; i < state().ramCount; i++) {
    const ram = state().ram(i);
    for (let gigabyte = ram.start >> 30; gigabyte <= (ram.end - 1) >> 30; gigabyte++) {
      space.map(gigabyte << 30, gigabyte << 30, LEVEL_1G, PTE_RWX);
    }
  }
  return space;
}
