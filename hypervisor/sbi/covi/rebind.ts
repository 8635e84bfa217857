import { clearFile, filePage, finishSave, prepareSave, restoreFile } from "../../devices/imsic-file";
import { InterruptState } from "../../devices/interrupt-state";
import { Hart } from "../../hart";
import { currentVersion, minVersion } from "../../memory/fence";
import { fileRecord } from "../../memory/interrupt-files";
import { PageState, setRecord } from "../../memory/page-record";
import { fence, write64 } from "../../riscv/hw";
import { GSTAGE_LEAF, pteFromAddress } from "../../riscv/pte";
import {
  BindState,
  bindState,
  bindingOf,
  bindingTo,
  boundFile,
  boundHart,
  nextFile,
  nextHart,
  rebindingTo,
  returnCleared,
  setBinding,
} from "../../vm/binding";
import { Vcpu } from "../../vm/vcpu";
import { Vm } from "../../vm/vm";
import { SBI_INVALID_ADDRESS, SBI_INVALID_PARAM, SBI_INVALID_STATE } from "../errors";
import { claimFile, fileEntry, fileOfMask } from "./bind";
import { refused } from "./convert";

/*
 * A bound vCPU moves to a guest file of another hart (or another one of the same), while others go on sending to it: begin on the new
 * hart, fence the TVM, clone on the old hart, end on the new hart. All: caller holds vm.lock.
 */

/**
 * COVI 8, RebindImsicBegin(guest id, vCPU id, mask), on the new hart: what is sent to the vCPU arrives in the new file, from all senders once
 * a TvmInitiateFence is complete (CoVE 0.7 §9.5.9).
 *
 * Errors: INVALID_PARAM mask; INVALID_STATE not bound; INVALID_ADDRESS the file was not converted and fenced, or has a vCPU.
 */
export function rebindImsicBegin(hart: Hart, caller: Vcpu, vm: Vm, vcpu: Vcpu, mask: u64): i64 {
  const file = fileOfMask(hart, mask);
  if (file == 0) return SBI_INVALID_PARAM;
  const binding = bindingOf(vcpu);
  if (bindState(binding) != BindState.Bound) return SBI_INVALID_STATE;
  const record = claimFile(hart, caller, file);
  if (record == 0) return refused(fileRecord(hart, file));

  clearFile(hart.root, file);
  setRecord(record, PageState.Owned, vm.slot, 0);
  // From valid to valid: a sender reaches the old file or the new one, never none.
  write64(fileEntry(vm, vcpu), pteFromAddress(filePage(hart, file)) | GSTAGE_LEAF);
  fence();
  vcpu.bindingStamp = currentVersion(vm);
  setBinding(vcpu, rebindingTo(binding, hart, file));
  return 0;
}

/**
 * COVI 9, RebindImsicClone(guest id, vCPU id), on the old hart: saves the old file, which is the caller's again, as a converted one
 * (CoVE 0.7 §9.5.10). Errors: INVALID_STATE rebinding has not begun, or the old file is another hart's; INVALID_ADDRESS not fenced.
 */
export function rebindImsicClone(hart: Hart, vm: Vm, vcpu: Vcpu): i64 {
  const binding = bindingOf(vcpu);
  if (bindState(binding) != BindState.Rebinding || boundHart(binding) != <u64>hart.index) return SBI_INVALID_STATE;
  if (vcpu.bindingStamp >= minVersion(vm)) return SBI_INVALID_ADDRESS;
  const file = boundFile(binding);
  const state = changetype<InterruptState>(vcpu.interrupts);
  prepareSave(hart.root, file, state);
  finishSave(hart.root, file, state);
  returnCleared(hart, file, vm.parent!.slot);
  setBinding(vcpu, (binding & ~(<u64>0xff)) | BindState.Cloned);
  return 0;
}

/**
 * COVI 10, RebindImsicEnd(guest id, vCPU id), on the new hart: the new file gets the state, and the vCPU can run here
 * (CoVE 0.7 §9.5.11). INVALID_STATE: not cloned, or the new file is another hart's.
 */
export function rebindImsicEnd(hart: Hart, vm: Vm, vcpu: Vcpu): i64 {
  const binding = bindingOf(vcpu);
  if (bindState(binding) != BindState.Cloned || nextHart(binding) != <u64>hart.index) return SBI_INVALID_STATE;
  const file = nextFile(binding);
  restoreFile(hart.root, file, changetype<InterruptState>(vcpu.interrupts));
  setBinding(vcpu, bindingTo(BindState.Bound, hart, file));
  return 0;
}
