import { minVersion } from "../../memory/fence";
import { gpaRangeValid, leafSize, walk, walkEntry, walkLevel } from "../../memory/gstage";
import { RegionType, regionTypeOf } from "../../memory/regions";
import { availableTablePages, retireTablePage, takeTablePage } from "../../memory/table-pool";
import { fence, fenceWrites, read64, write64 } from "../../riscv/hw";
import {
  GSTAGE_LEAF,
  PAGES_PER_TABLE,
  PTE_V,
  isParked,
  parkedLongEnough,
  pteAddress,
  pteFromAddress,
} from "../../riscv/pte";
import { Vm, VmLifecycle } from "../../vm/vm";
import { SBI_FAILED, SBI_INVALID_ADDRESS, SBI_INVALID_PARAM, SBI_INVALID_STATE } from "../errors";

/*
 * Changing the size of the pages that back a running TVM, without its noticing more than a fault that resumes. The range is blocked and fenced
 * before (block.ts), and mapped again on return. All: caller holds the TVM's lock and a reference.
 */

/**
 * COVH 18, TvmPromotePage(guest id, gpa, page type): 512 blocked pages of the next smaller size, contiguous and aligned, become one page
 * of `type`; the table that held them returns to the pool after a fence.
 *
 * Errors: INVALID_STATE not finalized; INVALID_PARAM type; INVALID_ADDRESS (also for 4 KiB, which nothing can be promoted to).
 */
export function tvmPromotePage(vm: Vm, gpa: u64, type: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  if (type > 3) return SBI_INVALID_PARAM;
  if (type == 0 || !inMemoryRegion(vm, gpa, type)) return SBI_INVALID_ADDRESS;
  const found = walk(vm, gpa);
  if (walkLevel(found) != type - 1) return SBI_INVALID_ADDRESS;
  const table = walkEntry(found);
  const first = pteAddress(read64(table));
  if ((first & (leafSize(type) - 1)) != 0) return SBI_INVALID_ADDRESS;
  const oldest = minVersion(vm);
  const step = leafSize(type - 1);
  for (let i: u64 = 0; i < PAGES_PER_TABLE; i++) {
    const entry = read64(table + (i << 3));
    if (!isParked(entry) || !parkedLongEnough(entry, oldest)) return SBI_INVALID_ADDRESS;
    if (pteAddress(entry) != first + i * step) return SBI_INVALID_ADDRESS;
  }

  fenceWrites();
  write64(entryAt(vm, gpa, type), pteFromAddress(first) | GSTAGE_LEAF);
  fence();
  retireTablePage(vm, table);
  return 0;
}

/**
 * COVH 19, TvmDemotePage(guest id, gpa, page type): a blocked page of the next larger size becomes 512 pages of `type`. The guest may be
 * giving up a part of it: so it may lie in several regions.
 *
 * Errors: INVALID_STATE not finalized; INVALID_PARAM type; INVALID_ADDRESS; FAILED no table page in the pool.
 */
export function tvmDemotePage(vm: Vm, gpa: u64, type: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  if (type > 3) return SBI_INVALID_PARAM;
  if (type == 3 || !isPlace(vm, gpa, type + 1)) return SBI_INVALID_ADDRESS;
  const found = walk(vm, gpa);
  const at = walkEntry(found);
  const entry = read64(at);
  if (walkLevel(found) != type + 1 || !isParked(entry)) return SBI_INVALID_ADDRESS;
  if (!parkedLongEnough(entry, minVersion(vm))) return SBI_INVALID_ADDRESS;
  if (availableTablePages(vm) == 0) return SBI_FAILED;

  const table = takeTablePage(vm);
  const step = pteFromAddress(leafSize(type));
  let leaf = pteFromAddress(pteAddress(entry)) | GSTAGE_LEAF;
  for (let i: u64 = 0; i < PAGES_PER_TABLE; i++) {
    write64(table + (i << 3), leaf);
    leaf += step;
  }
  fenceWrites();
  write64(at, pteFromAddress(table) | PTE_V);
  fence();
  return 0;
}

/** Is `gpa` aligned for a page of `type`, which the tables can hold, and inside the address space? */
function isPlace(vm: Vm, gpa: u64, type: u64): bool {
  const size = leafSize(type);
  return type < <u64>vm.levels && (gpa & (size - 1)) == 0 && gpaRangeValid(vm, gpa, size);
}

/** Does a page of `type` at `gpa` lie inside one region of memory? */
function inMemoryRegion(vm: Vm, gpa: u64, type: u64): bool {
  const size = leafSize(type);
  if (!isPlace(vm, gpa, type)) return false;
  switch (regionTypeOf(vm, gpa, size)) {
    case RegionType.Confidential:
    case RegionType.Shared:
    case RegionType.ConfidentialRemovable:
    case RegionType.SharedRemovable:
      return true;
    default:
      return false;
  }
}

/** Address of the entry at `level` on the way to `gpa`; the tables above it exist. */
function entryAt(vm: Vm, gpa: u64, level: u64): u64 {
  let l = <u64>vm.levels - 1;
  let at = vm.rootTable + ((gpa >> (12 + 9 * l)) << 3);
  while (l != level) {
    l--;
    at = pteAddress(read64(at)) + (((gpa >> (12 + 9 * l)) & (PAGES_PER_TABLE - 1)) << 3);
  }
  return at;
}
