import { Hart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { lockOfVm } from "../memory/claims";
import { runTvmVcpu } from "../vm/run";
import { RANGE_UNDER_WAY } from "../vm/share";
import { Vcpu } from "../vm/vcpu";
import { Vm } from "../vm/vm";
import { acquireVm, releaseVm } from "../vm/vm-table";
import {
  tvmAddMeasuredPages,
  tvmAddMemoryRegion,
  tvmAddPageTablePages,
  tvmAddSharedPages,
  tvmAddZeroPages,
} from "./covh/add-pages";
import { tvmBlockPages, tvmInitiateFence, tvmRemovePages, tvmUnblockPages } from "./covh/block";
import { convertPages, reclaimPages, tsmInitiateFence, tsmLocalFence } from "./covh/convert";
import { tvmDemotePage, tvmPromotePage } from "./covh/huge-pages";
import { tvmCpuCreate, tvmCreate, tvmDestroy, tvmFinalize } from "./covh/lifecycle";
import { hasParkedCalls } from "./covh/parked-calls";
import { NOTHING_PARKED, RangeStep, afterRange, carryOn, resumeParked } from "./covh/range-call";
import { tsmGetInfo } from "./covh/tsm-info";
import { SBI_INVALID_PARAM, SBI_NOT_SUPPORTED } from "./errors";

/** Function numbers of COVH as the original has them (and the Linux patches); CoVE 0.6 and later insert one at 7. */
export const enum Covh {
  TsmGetInfo = 0,
  TsmConvertPages = 1,
  TsmReclaimPages = 2,
  TsmInitiateFence = 3,
  TsmLocalFence = 4,
  TvmCreate = 5,
  TvmFinalize = 6,
  TvmDestroy = 7,
  TvmAddMemoryRegion = 8,
  TvmAddPageTablePages = 9,
  TvmAddMeasuredPages = 10,
  TvmAddZeroPages = 11,
  TvmAddSharedPages = 12,
  TvmCpuCreate = 13,
  TvmCpuRun = 14,
  TvmInitiateFence = 15,
  TvmBlockPages = 16,
  TvmUnblockPages = 17,
  TvmPromotePage = 18,
  TvmDemotePage = 19,
  TvmRemovePages = 20,
}

/** The host side of CoVE, EID 0x434F5648 (CoVE 0.7 §9.4). The caller's registers a0-a5 are the arguments. */
export function covhCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  if (fid > <u64>Covh.TvmRemovePages) return SBI_NOT_SUPPORTED;
  if (hasParkedCalls(caller.vm)) {
    const answer = resumeParked(hart, caller, true);
    if (answer != NOTHING_PARKED) return answer;
  }
  switch (<u32>fid) {
    case Covh.TsmGetInfo:
      return tsmGetInfo(hart, caller, caller.a0, caller.a1);
    case Covh.TsmConvertPages:
      return finishRange(hart, caller, convertPages(caller, caller.a0, caller.a1));
    case Covh.TsmReclaimPages:
      return finishRange(hart, caller, reclaimPages(caller, caller.a0, caller.a1));
    case Covh.TsmInitiateFence:
      return tsmInitiateFence(hart, caller);
    case Covh.TsmLocalFence:
      return tsmLocalFence(hart, caller);
    case Covh.TvmCreate:
      return tvmCreate(hart, caller, caller.a0, caller.a1);
    case Covh.TvmCpuRun:
      return tvmCpuRun(hart, caller);
    default:
      return callOnTvm(hart, caller, <u32>fid);
  }
}

/** The calls whose first argument is a guest id: finds the TVM, holds it, and (except to run or destroy it) locks it. */
function callOnTvm(hart: Hart, caller: Vcpu, fid: u32): i64 {
  const vm = acquireVm(caller.vm, caller.a0);
  if (vm == null) return SBI_INVALID_PARAM;
  // These two end the reference themselves: a running vCPU keeps it, destruction consumes it.
  if (fid == Covh.TvmDestroy) return finishRange(hart, caller, tvmDestroy(caller, vm));
  lockAcquire(lockOfVm(vm));
  if (vm.inRangeCall != 0) {
    lockRelease(lockOfVm(vm));
    releaseVm(vm);
    return afterRange(hart, caller);
  }
  const result = callOnLockedTvm(hart, caller, vm, fid);
  lockRelease(lockOfVm(vm));
  // It keeps the reference.
  if (caller.rangeStep != RangeStep.None) return carryOn(hart, caller);
  releaseVm(vm);
  return result;
}

/** A call on a range of the caller's own memory: checked with the result `bad`, and begun if that is 0. */
function finishRange(hart: Hart, caller: Vcpu, bad: i64): i64 {
  return bad != 0 ? bad : carryOn(hart, caller);
}

function callOnLockedTvm(hart: Hart, caller: Vcpu, vm: Vm, fid: u32): i64 {
  const a1 = caller.a1;
  const a2 = caller.a2;
  const a3 = caller.a3;
  const a4 = caller.a4;
  switch (fid) {
    case Covh.TvmFinalize:
      return tvmFinalize(hart, vm, a1, a2);
    case Covh.TvmAddMemoryRegion:
      return tvmAddMemoryRegion(vm, a1, a2);
    case Covh.TvmAddPageTablePages:
      return tvmAddPageTablePages(caller, vm, a1, a2);
    case Covh.TvmAddMeasuredPages:
      return tvmAddMeasuredPages(caller, vm, a1, a2, a3, a4, caller.a5);
    case Covh.TvmAddZeroPages:
      return tvmAddZeroPages(caller, vm, a1, a2, a3, a4);
    case Covh.TvmAddSharedPages:
      return tvmAddSharedPages(caller, vm, a1, a2, a3, a4);
    case Covh.TvmCpuCreate:
      return tvmCpuCreate(hart, caller, vm, a1, a2);
    case Covh.TvmInitiateFence:
      return tvmInitiateFence(vm);
    case Covh.TvmBlockPages:
      return tvmBlockPages(caller, vm, a1, a2);
    case Covh.TvmUnblockPages:
      return tvmUnblockPages(caller, vm, a1, a2);
    case Covh.TvmPromotePage:
      return tvmPromotePage(vm, a1, a2);
    case Covh.TvmDemotePage:
      return tvmDemotePage(vm, a1, a2);
    default:
      return tvmRemovePages(caller, vm, a1, a2);
  }
}

/** COVH 14, CpuRun(guest id, vCPU id): see runTvmVcpu. */
export function tvmCpuRun(hart: Hart, caller: Vcpu): i64 {
  const vm = acquireVm(caller.vm, caller.a0);
  if (vm == null) return SBI_INVALID_PARAM;
  const answer = runTvmVcpu(hart, caller, vm, caller.a1);
  return answer == RANGE_UNDER_WAY ? afterRange(hart, caller) : answer;
}
