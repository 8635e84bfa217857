import { read64, write64 } from "../riscv/hw";
import { GSTAGE_LEAF, PAGE_SHIFT, PAGE_SIZE, pteFromAddress } from "../riscv/pte";
import { SBI_FAILED, SBI_INVALID_ADDRESS, SBI_INVALID_PARAM } from "../sbi/errors";
import { Vm } from "../vm/vm";
import { gpaRangeValid, leafSize, walk, walkEntry, walkLevel, walkMaking } from "./gstage";
import { RegionType, regionTypeOf } from "./regions";
import { availableTablePages } from "./table-pool";

/**
 * Where pages are about to be inserted into a TVM: checked completely beforehand, so that the insertion cannot fail.
 * All functions: caller holds vm.lock.
 */

/** Largest page type that a call takes: 0 = 4 KiB, 1 = 2 MiB, 2 = 1 GiB. */
const MAX_PAGE_TYPE: u64 = 2;

/**
 * May `count` pages of `type` be inserted at `gpa`? The range must be aligned, lie in one region of type `allowed` or `allowedToo`,
 * and be unused (a blocked page is in use), and the table pool must suffice.
 * 0, or INVALID_PARAM (type, no pages), INVALID_ADDRESS, FAILED (table pages).
 */
export function checkTarget(vm: Vm, gpa: u64, type: u64, count: u64, allowed: u32, allowedToo: u32): i64 {
  if (type > MAX_PAGE_TYPE || count == 0) return SBI_INVALID_PARAM;
  const size = leafSize(type);
  if (count >> (52 - 9 * type) != 0 || (gpa & (size - 1)) != 0) return SBI_INVALID_ADDRESS;
  const length = count * size;
  if (!gpaRangeValid(vm, gpa, length)) return SBI_INVALID_ADDRESS;
  const region = regionTypeOf(vm, gpa, length);
  if (region == RegionType.None || (region != allowed && region != allowedToo)) return SBI_INVALID_ADDRESS;
  return checkUnused(vm, gpa, gpa + length, type);
}

function checkUnused(vm: Vm, start: u64, end: u64, type: u64): i64 {
  let needed: u64 = 0;
  let gpa = start;
  while (gpa < end) {
    const found = walk(vm, gpa);
    const level = walkLevel(found);
    let at = walkEntry(found);
    if (level < type) return SBI_INVALID_ADDRESS;
    if (level > type) {
      if (read64(at) != 0) return SBI_INVALID_ADDRESS;
      const stop = min(end, (gpa | (leafSize(level) - 1)) + 1);
      needed += tablesFor(gpa, stop, type, level);
      gpa = stop;
      continue;
    }
    // The rest of the table, or of the range: at the root, which is four tables long, that always ends first.
    let entries = (end - gpa) / leafSize(type);
    if (level != <u64>vm.levels - 1) entries = min(entries, ((at | (PAGE_SIZE - 1)) + 1 - at) >> 3);
    for (const stop = at + (entries << 3); at < stop; at += 8) {
      if (read64(at) != 0) return SBI_INVALID_ADDRESS;
    }
    gpa += entries * leafSize(type);
  }
  return needed > availableTablePages(vm) ? SBI_FAILED : 0;
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

/** True if no page, blocked or not, is in [gpa, gpa + length). */
export function rangeUnused(vm: Vm, start: u64, length: u64): bool {
  const end = start + length;
  let gpa = start;
  while (gpa < end) {
    const found = walk(vm, gpa);
    if (read64(walkEntry(found)) != 0) return false;
    gpa = (gpa | (leafSize(walkLevel(found)) - 1)) + 1;
  }
  return true;
}
