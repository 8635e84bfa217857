import { Hart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { PAGE_SHIFT, PAGE_SIZE, isLeaf, isParked } from "../riscv/pte";
import { read64 } from "../riscv/hw";
import { SBI_FAILED, SBI_INVALID_ADDRESS, SBI_INVALID_PARAM } from "../sbi/errors";
import { Vm } from "../vm/vm";
import { minVersion } from "./fence";
import { gpaRangeValid, leafSize, splitEntry, walk, walkEntry, walkLevel } from "./gstage";
import { BATCH, Find, batchHpa, claimConvertedBatch, resolve, unclaimConvertedBatch } from "./page-list";

/**
 * Claims over short ranges (the state pages of a TVM or vCPU), whole or not at all, and what calls on ranges of any length (sbi/covh/range-call.ts)
 * check before they begin.
 */

// @ts-ignore: decorator
@inline
export function lockOfVm(vm: Vm): usize {
  return changetype<usize>(vm) + offsetof<Vm>("lock");
}

/** Is [gpa, gpa + pages * 4 KiB) page aligned, non-empty, and inside the address space of `vm`? 0 or the error. */
export function checkPageRange(vm: Vm, gpa: u64, pages: u64): i64 {
  if (pages == 0) return SBI_INVALID_PARAM;
  if ((gpa & (PAGE_SIZE - 1)) != 0 || pages >> 44 != 0) return SBI_INVALID_ADDRESS;
  if (!gpaRangeValid(vm, gpa, pages << PAGE_SHIFT)) return SBI_INVALID_ADDRESS;
  return 0;
}

/**
 * Splits large pages until [gpa, gpa + pages * 4 KiB) consists of whole entries. SBI_FAILED if the table pool is empty (a host's never is). Takes vm.lock.
 */
export function splitForBatches(vm: Vm, gpa: u64, pages: u64): i64 {
  const end = gpa + (pages << PAGE_SHIFT);
  lockAcquire(lockOfVm(vm));
  const ok = splitAt(vm, gpa, 0) && splitAt(vm, end, 0);
  lockRelease(lockOfVm(vm));
  return ok ? 0 : SBI_FAILED;
}

/** Splits what is above 2 MiB at `gpa`, as a batch is no larger. Takes the lock of `vm`, a host. */
export function splitForBatch(vm: Vm, gpa: u64): void {
  lockAcquire(lockOfVm(vm));
  const ok = splitAt(vm, gpa, 2);
  lockRelease(lockOfVm(vm));
  assert(ok, "a host's tables do not suffice");
}

/** Splits what covers `gpa` until it is below level `below` (if not 0) or begins at `gpa` (if 0). */
function splitAt(vm: Vm, gpa: u64, below: u64): bool {
  if (!gpaRangeValid(vm, gpa, PAGE_SIZE)) return true;
  while (true) {
    const found = walk(vm, gpa);
    const level = walkLevel(found);
    if (below != 0 ? level < below : (gpa & (leafSize(level) - 1)) == 0) return true;
    const entry = read64(walkEntry(found));
    if (!isLeaf(entry) && !isParked(entry)) return true;
    if (!splitEntry(vm, found)) return false;
  }
}

/**
 * Claims pages that `vm` converted and fenced, a batch at most, which lie side by side and begin at a multiple of `alignment` bytes (a power of two). 0, or
 * SBI_INVALID_ADDRESS with nothing claimed.
 */
export function claimContiguous(hart: Hart, vm: Vm, gpa: u64, pages: u64, alignment: u64): i64 {
  assert(pages <= BATCH, "more pages at once than a batch");
  if (!resolve(hart, vm, gpa, pages, Find.Parked)) return SBI_INVALID_ADDRESS;
  const first = batchHpa(hart, 0);
  if ((first & (alignment - 1)) != 0 || !contiguousFrom(hart, pages, first)) return SBI_INVALID_ADDRESS;
  return claimConvertedBatch(hart, pages, vm.slot, minVersion(vm)) ? 0 : SBI_INVALID_ADDRESS;
}

/** Puts what `claimContiguous` took back. */
export function unclaimContiguous(hart: Hart, vm: Vm, gpa: u64, pages: u64): void {
  resolve(hart, vm, gpa, pages, Find.Parked);
  unclaimConvertedBatch(hart, pages);
}

/** Whether the first `count` pages of the batch lie side by side from `first` on. */
export function contiguousFrom(hart: Hart, count: u64, first: u64): bool {
  for (let i: u64 = 0; i < count; i++) {
    if (batchHpa(hart, i) != first + (i << PAGE_SHIFT)) return false;
  }
  return true;
}
