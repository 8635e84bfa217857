import { initiateFence } from "../../memory/fence";
import { gpaRangeValid } from "../../memory/gstage";
import { RegionType, regionTypeAt, regionTypeOf } from "../../memory/regions";
import { PAGE_SHIFT, PAGE_SIZE } from "../../riscv/pte";
import { Vcpu } from "../../vm/vcpu";
import { Vm, VmLifecycle } from "../../vm/vm";
import { SBI_INVALID_ADDRESS, SBI_INVALID_STATE } from "../errors";
import { beginRange } from "./range-call";
import { RangeKind } from "./range-perform";

/*
 * Taking memory of a running TVM out of its reach: block, fence, then remove (or promote, demote: huge-pages.ts), or unblock.
 * Blocking is a property of the TVM's translation, so a page that several TVMs share is blocked for one of them only.
 * All: caller holds the TVM's lock and a reference. Calls on ranges, which are carried out in batches (range-call.ts): a pass over the range checks
 * all, then one changes it, so an error changes nothing. Lengths are rounded up to pages; length 0 does nothing.
 */

/** COVH 15, TvmInitiateFence(guest id) (CoVE 0.7 §9.4.17). INVALID_STATE not finalized; ALREADY_STARTED one is in progress. */
export function tvmInitiateFence(vm: Vm): i64 {
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  return initiateFence(vm);
}

/**
 * COVH 16, TvmBlockPages(guest id, gpa, length): no new access of the TVM reaches the pages; after a fence none does (CoVE 0.7 §9.4.18).
 *
 * Errors: INVALID_STATE not finalized; INVALID_ADDRESS misaligned, a page is not mapped, already blocked, pinned, or larger than the range. One
 * that is pinned by another hart at this very moment may be out of the TVM's reach until the error is returned.
 */
export function tvmBlockPages(caller: Vcpu, vm: Vm, gpa: u64, length: u64): i64 {
  return begin(caller, RangeKind.Block, vm, gpa, length);
}

/** COVH 17, TvmUnblockPages(guest id, gpa, length): undoes a block; needs no fence (CoVE 0.7 §9.4.19). Errors as above. */
export function tvmUnblockPages(caller: Vcpu, vm: Vm, gpa: u64, length: u64): i64 {
  return begin(caller, RangeKind.Unblock, vm, gpa, length);
}

/**
 * COVH 20, TvmRemovePages(guest id, gpa, length): blocked and fenced pages of a range that the TVM is giving up leave it: its own
 * become converted pages of the parent, shared ones lose a reference. Gaps in the range are skipped (CoVE 0.7 §9.4.20).
 *
 * Errors: INVALID_STATE not finalized; INVALID_ADDRESS misaligned, not in one removable region, a page not blocked or not fenced.
 */
export function tvmRemovePages(caller: Vcpu, vm: Vm, gpa: u64, length: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  const type = length == 0 ? regionTypeAt(vm, gpa) : regionTypeOf(vm, gpa, length);
  if (type != RegionType.ConfidentialRemovable && type != RegionType.SharedRemovable) return SBI_INVALID_ADDRESS;
  return begin(caller, RangeKind.Remove, vm, gpa, length);
}

function begin(caller: Vcpu, kind: RangeKind, vm: Vm, gpa: u64, length: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  if ((gpa & (PAGE_SIZE - 1)) != 0) return SBI_INVALID_ADDRESS;
  const rounded = (length + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
  if (rounded < length || !gpaRangeValid(vm, gpa, rounded)) return SBI_INVALID_ADDRESS;
  if (rounded == 0) return 0;
  return beginRange(caller, kind, vm, 0, 0, gpa, 0, rounded >> PAGE_SHIFT);
}
