import { Hart } from "../../hart";
import { currentVersion, initiateFence, minVersion } from "../../memory/fence";
import { gpaRangeValid, leafSize, walk, walkEntry, walkLevel } from "../../memory/gstage";
import { recordAddress } from "../../memory/page-map";
import { PageState, recordOwner, recordState } from "../../memory/page-record";
import { RegionType, regionTypeAt, regionTypeOf } from "../../memory/regions";
import { fence, read64, write64 } from "../../riscv/hw";
import {
  GSTAGE_LEAF,
  PAGE_SHIFT,
  PAGE_SIZE,
  isLeaf,
  isParked,
  parkedEntry,
  parkedLongEnough,
  pteAddress,
  pteFromAddress,
} from "../../riscv/pte";
import { releasePage } from "../../vm/tear-down";
import { Vm, VmLifecycle } from "../../vm/vm";
import { SBI_INVALID_ADDRESS, SBI_INVALID_STATE } from "../errors";

/*
 * Taking memory of a running TVM out of its reach: block, fence, then remove (or promote, demote: huge-pages.ts), or unblock.
 * Blocking is a property of the TVM's translation, so a page that several TVMs share is blocked for one of them only.
 * All: caller holds the TVM's lock and a reference. Two passes over the range, the first of which checks all: an error changes nothing.
 * Lengths are rounded up to pages; length 0 does nothing.
 */

/** What one pass of `passOver` does with each leaf of the range. */
const enum Pass {
  CheckBlock,
  Block,
  CheckUnblock,
  Unblock,
  CheckRemove,
  Remove,
}

/** COVH 15, TvmInitiateFence(guest id) (CoVE 0.7 §9.4.17). INVALID_STATE not finalized; ALREADY_STARTED one is in progress. */
export function tvmInitiateFence(vm: Vm): i64 {
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  return initiateFence(vm);
}

/**
 * COVH 16, TvmBlockPages(guest id, gpa, length): no new access of the TVM reaches the pages; after a fence none does (CoVE 0.7 §9.4.18).
 *
 * Errors: INVALID_STATE not finalized; INVALID_ADDRESS misaligned, a page is not mapped, already blocked, pinned, or larger than the range.
 */
export function tvmBlockPages(hart: Hart, vm: Vm, gpa: u64, length: u64): i64 {
  return twoPasses(hart, vm, gpa, length, Pass.CheckBlock, Pass.Block);
}

/** COVH 17, TvmUnblockPages(guest id, gpa, length): undoes a block; needs no fence (CoVE 0.7 §9.4.19). Errors as above. */
export function tvmUnblockPages(hart: Hart, vm: Vm, gpa: u64, length: u64): i64 {
  return twoPasses(hart, vm, gpa, length, Pass.CheckUnblock, Pass.Unblock);
}

/**
 * COVH 20, TvmRemovePages(guest id, gpa, length): blocked and fenced pages of a range that the TVM is giving up leave it: its own
 * become converted pages of the parent, shared ones lose a reference. Gaps in the range are skipped (CoVE 0.7 §9.4.20).
 *
 * Errors: INVALID_STATE not finalized; INVALID_ADDRESS misaligned, not in one removable region, a page not blocked or not fenced.
 */
export function tvmRemovePages(hart: Hart, vm: Vm, gpa: u64, length: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  const type = length == 0 ? regionTypeAt(vm, gpa) : regionTypeOf(vm, gpa, length);
  if (type != RegionType.ConfidentialRemovable && type != RegionType.SharedRemovable) return SBI_INVALID_ADDRESS;
  return twoPasses(hart, vm, gpa, length, Pass.CheckRemove, Pass.Remove);
}

function twoPasses(hart: Hart, vm: Vm, gpa: u64, length: u64, check: Pass, perform: Pass): i64 {
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  if ((gpa & (PAGE_SIZE - 1)) != 0) return SBI_INVALID_ADDRESS;
  const rounded = (length + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
  if (rounded < length || !gpaRangeValid(vm, gpa, rounded)) return SBI_INVALID_ADDRESS;
  const end = gpa + rounded;
  // The TVM's version changes only under its lock, so it is one and the same for all pages of this call.
  const version = check == Pass.CheckRemove ? minVersion(vm) : currentVersion(vm);
  if (!passOver(vm, gpa, end, check, version)) return SBI_INVALID_ADDRESS;
  passOver(vm, gpa, end, perform, version);
  fence();
  return 0;
}

/** Applies `pass` to each entry of [gpa, end). False at the first that a checking pass refuses. */
function passOver(vm: Vm, start: u64, end: u64, pass: Pass, version: u64): bool {
  let gpa = start;
  while (gpa < end) {
    const found = walk(vm, gpa);
    const size = leafSize(walkLevel(found));
    let at = walkEntry(found);
    const tableEnd = walkLevel(found) == <u64>vm.levels - 1 ? ~(<u64>0) : (at | (PAGE_SIZE - 1)) + 1;
    while (gpa < end && at < tableEnd) {
      const entry = read64(at);
      if (entry == 0 && (pass == Pass.CheckRemove || pass == Pass.Remove)) {
        gpa = (gpa | (size - 1)) + 1;
        at += 8;
        continue;
      }
      const whole = (gpa & (size - 1)) == 0 && end - gpa >= size;
      if (!whole && (isLeaf(entry) || isParked(entry) || entry == 0)) return false;
      if (!whole || !(isLeaf(entry) || isParked(entry) || entry == 0)) break;
      if (!applyTo(vm, at, entry, size, pass, version)) return false;
      at += 8;
      gpa += size;
    }
  }
  return true;
}

function applyTo(vm: Vm, at: u64, entry: u64, size: u64, pass: Pass, version: u64): bool {
  const hpa = pteAddress(entry);
  switch (pass) {
    case Pass.CheckBlock:
      return isLeaf(entry) && blockable(vm, hpa, size);
    case Pass.Block:
      write64(at, parkedEntry(hpa, version));
      return true;
    case Pass.CheckUnblock:
      return isParked(entry) && recordAddress(hpa) != 0;
    case Pass.Unblock:
      write64(at, pteFromAddress(hpa) | GSTAGE_LEAF);
      return true;
    case Pass.CheckRemove:
      return isParked(entry) && parkedLongEnough(entry, version);
    default:
      write64(at, 0);
      for (let offset: u64 = 0; offset < size; offset += PAGE_SIZE) releasePage(vm, vm.parent!, hpa + offset);
      return true;
  }
}

/** RAM, the TVM's own and nobody holds it, or its parent's. An interrupt file is taken away by COVI calls only. */
function blockable(vm: Vm, hpa: u64, size: u64): bool {
  if (recordAddress(hpa) == 0) return false;
  const pages = size >> PAGE_SHIFT;
  for (let i: u64 = 0; i < pages; i++) {
    const record = read64(recordAddress(hpa + (i << PAGE_SHIFT)));
    const wanted: u32 = recordOwner(record) == vm.slot ? PageState.Owned : PageState.Shared;
    if (recordState(record) != wanted) return false;
  }
  return true;
}
