import { read64, write64 } from "../riscv/hw";
import { GSTAGE_LEAF, PAGE_SHIFT, PAGE_SIZE, pteFromAddress } from "../riscv/pte";
import { SBI_FAILED, SBI_INVALID_ADDRESS, SBI_INVALID_PARAM } from "../sbi/errors";
import { Vm } from "../vm/vm";
import { gpaRangeValid, leafSize, walk, walkEntry, walkLevel, walkMaking } from "./gstage";
import { RegionType, regionTypeOf } from "./regions";
import { BATCH } from "./page-list";
import { availableTablePages } from "./table-pool";

/**
 * Where pages are about to be inserted into a TVM: checked completely beforehand, a batch at a time, so that the insertion cannot fail.
 * All functions: caller holds vm.lock.
 */

/** Largest page type that a call takes: 0 = 4 KiB, 1 = 2 MiB, 2 = 1 GiB. */
const MAX_PAGE_TYPE: u64 = 2;

/**
 * May `count` pages of `type` be inserted at `gpa`, as far as the place is concerned? The range must be aligned and lie in one region of type `allowed` or
 * `allowedToo`. What is in it, `unusedPart` finds out. 0, or INVALID_PARAM (type, no pages), INVALID_ADDRESS.
 */
export function checkPlace(vm: Vm, gpa: u64, type: u64, count: u64, allowed: u32, allowedToo: u32): i64 {
  if (type > MAX_PAGE_TYPE || count == 0) return SBI_INVALID_PARAM;
  const size = leafSize(type);
  if (count >> (52 - 9 * type) != 0 || (gpa & (size - 1)) != 0) return SBI_INVALID_ADDRESS;
  const length = count * size;
  if (!gpaRangeValid(vm, gpa, length)) return SBI_INVALID_ADDRESS;
  const region = regionTypeOf(vm, gpa, length);
  if (region == RegionType.None || (region != allowed && region != allowedToo)) return SBI_INVALID_ADDRESS;
  return 0;
}

/** The whole check for one small page at `gpa`, which may be inserted at once: 0, INVALID_ADDRESS, or FAILED (table pages). */
export function checkSmallTarget(vm: Vm, gpa: u64, region: u32): i64 {
  const bad = checkPlace(vm, gpa, 0, 1, region, region);
  if (bad != 0) return bad;
  if (unusedPart(vm, gpa, gpa + PAGE_SIZE, 0) == USED) return SBI_INVALID_ADDRESS;
  const needed = takeNeededTables(vm);
  return needed <= availableTablePages(vm) ? 0 : SBI_FAILED;
}

/** Result of `unusedPart`: something is there. A blocked page is something. */
export const USED: u64 = ~0;

/**
 * Goes on with the check that there is nothing in [gpa, end), both aligned for pages of `type`: over as many entries as a batch has pages, or one that no table is behind, however much
 * it covers. Returns the gpa up to which nothing is, or USED. The tables that pages of `type` there will need are added to vm.neededTables; after USED that is 0.
 */
export function unusedPart(vm: Vm, start: u64, end: u64, type: u64): u64 {
  let work: u64 = 0;
  let gpa = start;
  while (gpa < end && work < BATCH) {
    const found = walk(vm, gpa);
    const level = walkLevel(found);
    let at = walkEntry(found);
    if (level < type) return used(vm);
    if (level > type) {
      if (read64(at) != 0) return used(vm);
      const stop = min(end, (gpa | (leafSize(level) - 1)) + 1);
      vm.neededTables += tablesFor(gpa, stop, type, level);
      gpa = stop;
      work++;
      continue;
    }
    // The rest of the table, or of the range: at the root, which is four tables long, that always ends first.
    let entries = min((end - gpa) / leafSize(type), BATCH - work);
    if (level != <u64>vm.levels - 1) entries = min(entries, ((at | (PAGE_SIZE - 1)) + 1 - at) >> 3);
    for (const stop = at + (entries << 3); at < stop; at += 8) {
      if (read64(at) != 0) return used(vm);
    }
    gpa += entries * leafSize(type);
    work += entries;
  }
  return gpa;
}

/** What the range that was checked needs, which is counted anew from here on. */
export function takeNeededTables(vm: Vm): u64 {
  const needed = vm.neededTables;
  vm.neededTables = 0;
  return needed;
}

function used(vm: Vm): u64 {
  vm.neededTables = 0;
  return USED;
}

/** Tables at the levels from `type` to `level` - 1 that [start, end), inside one empty entry of `level`, needs. */
function tablesFor(start: u64, end: u64, type: u64, level: u64): u64 {
  let tables: u64 = 0;
  for (let l = type; l < level; l++) {
    const shift = PAGE_SHIFT + 9 * (l + 1);
    tables += ((end - 1) >> shift) - (start >> shift) + 1;
  }
  return tables;
}

/** Maps one page of `type` at `gpa`, checked before. Its contents and record are final: the guest may use it at once. */
export function insertLeaf(vm: Vm, gpa: u64, hpa: u64, type: u64): void {
  const at = walkMaking(vm, gpa, type);
  assert(at != 0 && read64(at) == 0, "a target that was checked is in use");
  write64(at, pteFromAddress(hpa) | GSTAGE_LEAF);
}
