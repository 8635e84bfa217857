import { lockAcquire, lockRelease } from "../lib/spinlock";
import { lockOfVm } from "../memory/claims";
import { RegionType, changeRegion } from "../memory/regions";
import { rangeUnused } from "../memory/target-range";
import { SBI_INVALID_ADDRESS } from "../sbi/errors";
import { callAgain } from "./call-again";
import { PendingExit, Vcpu } from "./vcpu";

/**
 * The second half of COVG ShareMemory and UnshareMemory, when the host runs the vCPU again: with `accepted` the range, whose pages
 * the host has removed, gets its new type; otherwise it returns to the old one (CoVE 0.7 §9.6.3).
 * SBI_INVALID_ADDRESS, and still pending, if the host accepts while pages are mapped. SBI_PENDING, and the host runs the vCPU again, while
 * pages are being added to the TVM. Takes vm.lock.
 */
export function completeShare(vcpu: Vcpu, accepted: bool): i64 {
  const vm = vcpu.vm;
  const sharing = vcpu.pending == PendingExit.ShareMemory;
  const from: u32 = sharing ? RegionType.ConfidentialRemovable : RegionType.SharedRemovable;
  const before: u32 = sharing ? RegionType.Confidential : RegionType.Shared;
  const after: u32 = sharing ? RegionType.Shared : RegionType.Confidential;
  lockAcquire(lockOfVm(vm));
  if (vm.inRangeCall != 0) {
    lockRelease(lockOfVm(vm));
    return callAgain();
  }
  let result: i64 = SBI_INVALID_ADDRESS;
  if (!accepted) result = changeRegion(vm, vcpu.pendingGpa, vcpu.pendingLength, from, before);
  else if (rangeUnused(vm, vcpu.pendingGpa, vcpu.pendingLength)) {
    result = changeRegion(vm, vcpu.pendingGpa, vcpu.pendingLength, from, after);
  }
  lockRelease(lockOfVm(vm));
  return result;
}
