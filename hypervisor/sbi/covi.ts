import { filesForTvms } from "../devices/imsic";
import { Hart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { lockOfVm } from "../memory/claims";
import { Vcpu } from "../vm/vcpu";
import { Vm, VmKind } from "../vm/vm";
import { acquireVm, releaseVm } from "../vm/vm-table";
import { bindImsic, unbindImsicBegin, unbindImsicEnd } from "./covi/bind";
import { convertImsic, reclaimImsic } from "./covi/convert";
import { setImsicAddress, tvmAiaInit } from "./covi/geometry";
import { injectExternalInterrupt } from "./covi/inject";
import { rebindImsicBegin, rebindImsicClone, rebindImsicEnd } from "./covi/rebind";
import { afterRange } from "./covh/range-call";
import { SBI_INVALID_PARAM, SBI_NOT_SUPPORTED } from "./errors";

/** Function numbers of COVI. */
const enum Covi {
  TvmAiaInit = 0,
  SetImsicAddress = 1,
  ConvertImsic = 2,
  ReclaimImsic = 3,
  BindImsic = 4,
  UnbindImsicBegin = 5,
  UnbindImsicEnd = 6,
  InjectExternalInterrupt = 7,
  RebindImsicBegin = 8,
  RebindImsicClone = 9,
  RebindImsicEnd = 10,
}

/** Whether `caller` can give guest interrupt files to TVMs: it is a host, and its harts have some. */
export function hasCovi(hart: Hart, caller: Vcpu): bool {
  return caller.vm.kind == VmKind.Host && filesForTvms(hart.root) != 0;
}

/**
 * Interrupt files of TVMs, EID 0x434F5649 (CoVE 0.7 §9.5): the host's guest interrupt files become those of its TVMs' vCPUs, whose own
 * interrupts then reach them without an exit. NOT_SUPPORTED for a caller that has no guest files.
 */
export function coviCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  if (fid > <u64>Covi.RebindImsicEnd || !hasCovi(hart, caller)) return SBI_NOT_SUPPORTED;
  if (fid == Covi.ConvertImsic) return convertImsic(hart, caller, caller.a0);
  if (fid == Covi.ReclaimImsic) return reclaimImsic(hart, caller, caller.a0);
  const vm = acquireVm(caller.vm, caller.a0);
  if (vm == null) return SBI_INVALID_PARAM;
  lockAcquire(lockOfVm(vm));
  // The table pages that a range needs were counted: binding takes some. An interrupt needs none.
  if (vm.inRangeCall != 0 && fid != Covi.InjectExternalInterrupt) {
    lockRelease(lockOfVm(vm));
    releaseVm(vm);
    return afterRange(hart, caller);
  }
  const result =
    fid == Covi.TvmAiaInit
      ? tvmAiaInit(hart, caller, vm, caller.a1, caller.a2)
      : callOnVcpu(hart, caller, vm, <u32>fid);
  lockRelease(lockOfVm(vm));
  releaseVm(vm);
  return result;
}

/** The calls on one vCPU of a TVM that has interrupt files. Caller holds the TVM's lock. */
function callOnVcpu(hart: Hart, caller: Vcpu, vm: Vm, fid: u32): i64 {
  const vcpu = vm.vcpu(caller.a1);
  if (vcpu == null) return SBI_INVALID_PARAM;
  if (vm.hasInterruptFiles == 0) return SBI_NOT_SUPPORTED;
  switch (fid) {
    case Covi.SetImsicAddress:
      return setImsicAddress(vm, vcpu, caller.a2);
    case Covi.BindImsic:
      return bindImsic(hart, caller, vm, vcpu, caller.a2);
    case Covi.UnbindImsicBegin:
      return unbindImsicBegin(hart, vm, vcpu);
    case Covi.UnbindImsicEnd:
      return unbindImsicEnd(hart, vm, vcpu);
    case Covi.InjectExternalInterrupt:
      return injectExternalInterrupt(hart, vm, vcpu, caller.a2);
    case Covi.RebindImsicBegin:
      return rebindImsicBegin(hart, caller, vm, vcpu, caller.a2);
    case Covi.RebindImsicClone:
      return rebindImsicClone(hart, vm, vcpu);
    default:
      return rebindImsicEnd(hart, vm, vcpu);
  }
}
