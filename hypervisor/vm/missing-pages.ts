import { Hart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { lockOfVm } from "../memory/claims";
import { NOT_MAPPED, gpaRangeValid, translate } from "../memory/gstage";
import { RegionType, regionTypeAt } from "../memory/regions";
import { PAGE_SIZE } from "../riscv/pte";
import { SBI_INVALID_ADDRESS } from "../sbi/errors";
import { callAgain } from "./call-again";
import { exitPageFault } from "./exit";
import { Vcpu } from "./vcpu";
import { Vm, VmKind } from "./vm";

/**
 * Memory that a TVM names in a call may not be there yet: its host populates pages when they are first touched, and the guest does not see which are. Such
 * a call ends like a load or store there, with a guest page fault that the host is shown, and is made again when the vCPU goes on.
 */

/** No page of the range is missing. */
const NONE: u64 = ~0;

/**
 * The answer to the current vCPU's call, whose use of the `length` bytes at `gpa` came to `result`, with nothing changed: `result`, unless that is
 * SBI_INVALID_ADDRESS for memory of a TVM that its host can populate. Then SBI_PENDING, and the call is made again: after the host was shown guest page
 * fault `cause` of the first page that is missing, or at once if none is by now. Takes vm.lock.
 */
export function unlessMissing(hart: Hart, caller: Vcpu, result: i64, gpa: u64, length: u64, cause: u64): i64 {
  const vm = caller.vm;
  if (result != SBI_INVALID_ADDRESS || vm.kind != VmKind.Tvm) return result;
  if (!gpaRangeValid(vm, gpa, length) || !isMemory(vm, gpa, length)) return result;
  const page = firstMissing(vm, gpa, length);
  const again = callAgain();
  if (page != NONE) exitPageFault(hart, caller, cause, page);
  return again;
}

/** Whether all of the range lies in regions of memory, confidential or shared. */
function isMemory(vm: Vm, gpa: u64, length: u64): bool {
  let all = true;
  lockAcquire(lockOfVm(vm));
  for (let at = gpa & ~(PAGE_SIZE - 1); all && at < gpa + length; at += PAGE_SIZE) {
    const type = regionTypeAt(vm, at);
    all = type != RegionType.None && type != RegionType.Mmio && type != RegionType.Imsic;
  }
  lockRelease(lockOfVm(vm));
  return all;
}

/** The first page of the range that the TVM does not reach, NONE if it reaches all. */
function firstMissing(vm: Vm, gpa: u64, length: u64): u64 {
  for (let at = gpa & ~(PAGE_SIZE - 1); at < gpa + length; at += PAGE_SIZE) {
    if (translate(vm, at) == NOT_MAPPED) return at;
  }
  return NONE;
}
