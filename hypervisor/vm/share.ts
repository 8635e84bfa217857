import { Hart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { lockOfVm } from "../memory/claims";
import { RegionType, changeRegion } from "../memory/regions";
import { USED, takeNeededTables, unusedPart } from "../memory/target-range";
import { SBI_INVALID_ADDRESS, SBI_PENDING } from "../sbi/errors";
import { callAgain } from "./call-again";
import { PendingExit, Vcpu } from "./vcpu";
import { Vm } from "./vm";
import { mustGiveWay } from "./wait";

/** No answer: a call on a range of the TVM has to be over first. */
export const RANGE_UNDER_WAY: i64 = SBI_PENDING + 1;

/**
 * The second half of COVG ShareMemory and UnshareMemory, when the host runs the vCPU again: with `accepted` the range, whose pages
 * the host has removed, gets its new type; otherwise it returns to the old one (CoVE 0.7 §9.6.3).
 * SBI_INVALID_ADDRESS, and still pending, if the host accepts while pages are mapped. SBI_PENDING, and the host runs the vCPU again, if an interrupt waits between
 * two parts of a long range; RANGE_UNDER_WAY while pages are being added to the TVM. Takes vm.lock.
 */
export function completeShare(hart: Hart, vcpu: Vcpu, accepted: bool): i64 {
  const vm = vcpu.vm;
  const sharing = vcpu.pending == PendingExit.ShareMemory;
  const from: u32 = sharing ? RegionType.ConfidentialRemovable : RegionType.SharedRemovable;
  const before: u32 = sharing ? RegionType.Confidential : RegionType.Shared;
  const after: u32 = sharing ? RegionType.Shared : RegionType.Confidential;
  while (true) {
    lockAcquire(lockOfVm(vm));
    let result: i64 = RANGE_UNDER_WAY;
    if (vm.inRangeCall == 0) {
      if (!accepted) result = changeRegion(vm, vcpu.pendingGpa, vcpu.pendingLength, from, before);
      else {
        result = checkRemoved(vm, vcpu);
        if (result == 0) result = changeRegion(vm, vcpu.pendingGpa, vcpu.pendingLength, from, after);
      }
    }
    lockRelease(lockOfVm(vm));
    if (result != SBI_PENDING) return result;
    if (mustGiveWay(hart)) return callAgain();
  }
}

/**
 * Goes on with the check that the host has removed all pages of the range, for a batch: 0, SBI_PENDING if it has so far, SBI_INVALID_ADDRESS. What was looked at
 * stays empty unless pages are added to the TVM in between: then it begins anew. Caller holds vm.lock.
 */
function checkRemoved(vm: Vm, vcpu: Vcpu): i64 {
  const from = vcpu.pendingInsertions == vm.insertions ? vcpu.pendingChecked : vcpu.pendingGpa;
  const end = vcpu.pendingGpa + vcpu.pendingLength;
  const next = unusedPart(vm, from, end, 0);
  if (next == USED) return SBI_INVALID_ADDRESS;
  takeNeededTables(vm);
  if (next == end) return 0;
  vcpu.pendingInsertions = vm.insertions;
  vcpu.pendingChecked = next;
  return SBI_PENDING;
}
