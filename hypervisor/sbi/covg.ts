import { Hart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { lockOfVm } from "../memory/claims";
import { gpaRangeValid } from "../memory/gstage";
import { RegionType, addRegion, changeRegion } from "../memory/regions";
import { PAGE_SIZE } from "../riscv/pte";
import { allowInterrupt } from "../vm/external-line";
import { callAgain } from "../vm/call-again";
import { exitForwardedCall, exitNotification } from "../vm/exit";
import { PendingExit, Vcpu } from "../vm/vcpu";
import { Vm, VmKind } from "../vm/vm";
import { SBI_INVALID_ADDRESS, SBI_INVALID_PARAM, SBI_NOT_SUPPORTED, SBI_PENDING } from "./errors";

/** Function numbers of COVG. */
const enum Covg {
  AddMmioRegion = 0,
  RemoveMmioRegion = 1,
  ShareMemory = 2,
  UnshareMemory = 3,
  AllowExternalInterrupt = 4,
  DenyExternalInterrupt = 5,
}

/**
 * The guest side of CoVE, EID 0x434F5647, for TVMs only (CoVE 0.7 §9.6). Errors go to the guest without an exit to its host:
 * INVALID_PARAM length 0 or not in pages, or (share, unshare) a range that is not of the right kind, or (allow, deny) no such interrupt;
 * INVALID_ADDRESS misaligned, outside the address space, overlapping; FAILED too many regions.
 */
export function covgCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  if (caller.vm.kind != VmKind.Tvm || fid > <u64>Covg.DenyExternalInterrupt) return SBI_NOT_SUPPORTED;
  const gpa = caller.a0;
  if (fid >= <u64>Covg.AllowExternalInterrupt) {
    const denied = fid == Covg.DenyExternalInterrupt;
    const result = allowInterrupt(hart.root, caller, gpa, !denied);
    if (result == 0) exitNotification(hart, caller, 1);
    return result;
  }
  const length = caller.a1;
  const bad = checkRange(caller.vm, gpa, length);
  if (bad != 0) return bad;
  switch (<u32>fid) {
    case Covg.AddMmioRegion:
      return changeMmio(hart, caller, gpa, length, true);
    case Covg.RemoveMmioRegion:
      return changeMmio(hart, caller, gpa, length, false);
    case Covg.ShareMemory:
      return beginShare(hart, caller, gpa, length, RegionType.Confidential, RegionType.ConfidentialRemovable);
    default:
      return beginShare(hart, caller, gpa, length, RegionType.Shared, RegionType.SharedRemovable);
  }
}

function checkRange(vm: Vm, gpa: u64, length: u64): i64 {
  if (length == 0 || (length & (PAGE_SIZE - 1)) != 0) return SBI_INVALID_PARAM;
  if ((gpa & (PAGE_SIZE - 1)) != 0 || !gpaRangeValid(vm, gpa, length)) return SBI_INVALID_ADDRESS;
  return 0;
}

/** COVG 0 and 1: takes effect at once; the host is told by an exit that it cannot refuse. */
function changeMmio(hart: Hart, caller: Vcpu, gpa: u64, length: u64, add: bool): i64 {
  const vm = caller.vm;
  lockAcquire(lockOfVm(vm));
  if (vm.inRangeCall != 0) {
    lockRelease(lockOfVm(vm));
    return callAgain();
  }
  const result = add
    ? addRegion(vm, gpa, length, RegionType.Mmio)
    : changeRegion(vm, gpa, length, RegionType.Mmio, RegionType.None);
  lockRelease(lockOfVm(vm));
  if (result == 0) exitNotification(hart, caller);
  return result;
}

/** COVG 2 and 3: the host may remove the range's pages from now on; vm/share.ts completes the call when it runs the vCPU again. */
function beginShare(hart: Hart, caller: Vcpu, gpa: u64, length: u64, from: u32, removable: u32): i64 {
  const vm = caller.vm;
  lockAcquire(lockOfVm(vm));
  if (vm.inRangeCall != 0) {
    lockRelease(lockOfVm(vm));
    return callAgain();
  }
  const changed = changeRegion(vm, gpa, length, from, removable);
  lockRelease(lockOfVm(vm));
  // The standard has INVALID_PARAM for a range that is not wholly of the kind.
  if (changed == SBI_INVALID_ADDRESS) return SBI_INVALID_PARAM;
  if (changed != 0) return changed;
  caller.pendingGpa = gpa;
  caller.pendingLength = length;
  exitForwardedCall(
    hart,
    caller,
    from == RegionType.Confidential ? PendingExit.ShareMemory : PendingExit.UnshareMemory,
  );
  return SBI_PENDING;
}
