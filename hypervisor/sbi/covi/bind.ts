import { HOST_FILE_SHIFT, filesForTvms } from "../../devices/imsic";
import { clearFile, filePage, finishSave, prepareSave, restoreFile } from "../../devices/imsic-file";
import { InterruptState } from "../../devices/interrupt-state";
import { Hart } from "../../hart";
import { currentVersion, minVersion } from "../../memory/fence";
import { walk, walkEntry, walkLevel } from "../../memory/gstage";
import { fileRecord } from "../../memory/interrupt-files";
import { PageState, claimConverted, setRecord } from "../../memory/page-record";
import { RegionType } from "../../memory/regions";
import { checkSmallTarget, insertLeaf } from "../../memory/target-range";
import { fence, read64, write64 } from "../../riscv/hw";
import { parkedEntry, pteAddress } from "../../riscv/pte";
import {
  BindState,
  bindState,
  bindingOf,
  bindingTo,
  boundFile,
  boundHart,
  returnCleared,
  setBinding,
} from "../../vm/binding";
import { Vcpu } from "../../vm/vcpu";
import { Vm, VmLifecycle } from "../../vm/vm";
import { SBI_INVALID_ADDRESS, SBI_INVALID_PARAM, SBI_INVALID_STATE } from "../errors";
import { refused } from "./convert";

/*
 * A vCPU's interrupt file becomes one of the guest files of the calling hart, or software again. All: caller holds vm.lock; the
 * vCPU is one of a TVM with interrupt files.
 *
 * `mask` is as in hgeie: bit k is the caller's guest file k on the hart it calls from.
 */

/**
 * COVI 4, BindImsic(guest id, vCPU id, mask): the vCPU's interrupts arrive in that file, and it can run on this hart (CoVE 0.7 §9.5.5).
 *
 * Errors: INVALID_STATE not finalized, or bound already; INVALID_PARAM mask; INVALID_ADDRESS the file was not converted and fenced, or has
 * another vCPU; FAILED table pages.
 */
export function bindImsic(hart: Hart, caller: Vcpu, vm: Vm, vcpu: Vcpu, mask: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  const file = fileOfMask(hart, mask);
  if (file == 0) return SBI_INVALID_PARAM;
  if (bindState(bindingOf(vcpu)) != BindState.Unbound) return SBI_INVALID_STATE;
  const target = checkSmallTarget(vm, vcpu.imsicGpa, RegionType.Imsic);
  if (target != 0) return target;
  const record = claimFile(hart, caller, file);
  if (record == 0) return refused(fileRecord(hart, file));

  clearFile(hart.root, file);
  setRecord(record, PageState.Owned, vm.slot, 0);
  insertLeaf(vm, vcpu.imsicGpa, filePage(hart, file), 0);
  restoreFile(hart.root, file, changetype<InterruptState>(vcpu.interrupts));
  setBinding(vcpu, bindingTo(BindState.Bound, hart, file));
  return 0;
}

/**
 * COVI 5, UnbindImsicBegin(guest id, vCPU id), on the hart of the file: the TVM cannot reach the file any more, once a TvmInitiateFence is
 * complete (CoVE 0.7 §9.5.6). INVALID_STATE: not bound to a file of this hart.
 */
export function unbindImsicBegin(hart: Hart, vm: Vm, vcpu: Vcpu): i64 {
  const binding = bindingOf(vcpu);
  if (bindState(binding) != BindState.Bound || boundHart(binding) != <u64>hart.index) return SBI_INVALID_STATE;
  const file = boundFile(binding);
  const at = fileEntry(vm, vcpu);
  write64(at, parkedEntry(pteAddress(read64(at)), currentVersion(vm)));
  fence();
  // Read after the entry is gone: whoever enters with a later version cannot have seen it.
  vcpu.bindingStamp = currentVersion(vm);
  prepareSave(hart.root, file, changetype<InterruptState>(vcpu.interrupts));
  setBinding(vcpu, bindingTo(BindState.Unbinding, hart, file));
  return 0;
}

/**
 * COVI 6, UnbindImsicEnd(guest id, vCPU id), on the same hart: what arrived is saved, and the file is the caller's, as a converted one
 * (CoVE 0.7 §9.5.7). Errors: INVALID_STATE unbinding has not begun, or another hart's file; INVALID_ADDRESS not fenced.
 */
export function unbindImsicEnd(hart: Hart, vm: Vm, vcpu: Vcpu): i64 {
  const binding = bindingOf(vcpu);
  if (bindState(binding) != BindState.Unbinding || boundHart(binding) != <u64>hart.index) return SBI_INVALID_STATE;
  if (vcpu.bindingStamp >= minVersion(vm)) return SBI_INVALID_ADDRESS;
  const file = boundFile(binding);
  write64(fileEntry(vm, vcpu), 0);
  finishSave(hart.root, file, changetype<InterruptState>(vcpu.interrupts));
  returnCleared(hart, file, vm.parent!.slot);
  setBinding(vcpu, BindState.Unbound);
  return 0;
}

/** The machine's number of the guest file of this hart that `mask` names, 0 if it names none or several. */
export function fileOfMask(hart: Hart, mask: u64): u64 {
  if ((mask & filesForTvms(hart.root)) != mask || popcnt<u64>(mask) != 1) return 0;
  return ctz<u64>(mask) + HOST_FILE_SHIFT;
}

/** Takes a file of this hart that the caller converted and fenced; the address of its record, or 0. */
export function claimFile(hart: Hart, caller: Vcpu, file: u64): usize {
  const record = fileRecord(hart, file);
  return claimConverted(record, caller.vm.slot, minVersion(caller.vm)) ? record : 0;
}

/** Address of the table entry of the vCPU's interrupt file, which is in use. */
export function fileEntry(vm: Vm, vcpu: Vcpu): u64 {
  const found = walk(vm, vcpu.imsicGpa);
  assert(walkLevel(found) == 0 && read64(walkEntry(found)) != 0, "a bound interrupt file has no table entry");
  return walkEntry(found);
}
