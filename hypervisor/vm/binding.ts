import { MAX_GUEST_FILES } from "../devices/imsic";
import { clearFile } from "../devices/imsic-file";
import { Hart, HartRequest, thisHart } from "../hart";
import { fileRecord } from "../memory/interrupt-files";
import { PageState, setRecord } from "../memory/page-record";
import { loadAcquire64, or64, storeRelease64, swap64 } from "../riscv/hw";
import { sendRequest } from "./hart-messages";
import { Vcpu } from "./vcpu";
import { Vm } from "./vm";

/**
 * To which guest interrupt file a vCPU's own file is bound.
 *
 *     Unbound --bind--> Bound --unbind begin--> Unbinding --unbind end--> Unbound
 *                         | rebind begin
 *                         v
 *                     Rebinding --clone (old hart)--> Cloned --rebind end (new hart)--> Bound
 *
 * One word, so that another hart never sees half of a change:
 *
 *     63        56 55       40 39     32 31       16 15      8 7     0
 *    +------------+-----------+---------+-----------+---------+-------+
 *    |     0      | new hart  | new file|   hart    |  file   | state |
 *    +------------+-----------+---------+-----------+---------+-------+
 *
 * It changes under vm.lock. A vCPU whose TVM has interrupt files runs only where its word says Bound: CpuRun looks at it without the
 * lock, which is enough, because what takes a vCPU out of Bound either happens on the hart that it is bound to, or leaves the file to it
 * until that hart has executed RebindClone.
 */
export const enum BindState {
  /** The state of the file is in devices/interrupt-state.ts. */
  Unbound = 0,
  Bound = 1,
  /** Out of reach of the TVM; its pending bits are still in hardware. */
  Unbinding = 2,
  /** Senders reach the new file; the old one still has the state. */
  Rebinding = 3,
  /** Only the new file is left; the state is in devices/interrupt-state.ts. */
  Cloned = 4,
}

// @ts-ignore: decorator
@inline
export function bindState(binding: u64): u32 {
  return <u32>(binding & 0xff);
}

/** Number of the guest file: the old one while there are two. */
// @ts-ignore: decorator
@inline
export function boundFile(binding: u64): u64 {
  return (binding >> 8) & 0xff;
}

/** Index of that file's hart. */
// @ts-ignore: decorator
@inline
export function boundHart(binding: u64): u64 {
  return (binding >> 16) & 0xffff;
}

/** The file and hart that a rebind leads to, as a Bound word has them. */
// @ts-ignore: decorator
@inline
export function nextFile(binding: u64): u64 {
  return (binding >> 32) & 0xff;
}

// @ts-ignore: decorator
@inline
export function nextHart(binding: u64): u64 {
  return (binding >> 40) & 0xffff;
}

/** A word with one file. */
// @ts-ignore: decorator
@inline
export function bindingTo(state: u32, hart: Hart, file: u64): u64 {
  return (<u64>state) | (file << 8) | ((<u64>hart.index) << 16);
}

/** `binding` in state Rebinding to `file` of `hart`. */
// @ts-ignore: decorator
@inline
export function rebindingTo(binding: u64, hart: Hart, file: u64): u64 {
  return (binding & 0xffff_ff00) | (<u64>BindState.Rebinding) | (file << 32) | ((<u64>hart.index) << 40);
}

/** The binding of `vcpu` now. */
// @ts-ignore: decorator
@inline
export function bindingOf(vcpu: Vcpu): u64 {
  return loadAcquire64(vcpu.bindingAddress());
}

/** Caller holds vm.lock. */
// @ts-ignore: decorator
@inline
export function setBinding(vcpu: Vcpu, binding: u64): void {
  storeRelease64(vcpu.bindingAddress(), binding);
}

/**
 * The files of a vCPU whose TVM is gone go back to `parent`, as converted ones. Only their own hart can clear them: a file of another hart is
 * Claimed until that has happened.
 */
export function returnFiles(vcpu: Vcpu, parent: Vm): void {
  const binding = bindingOf(vcpu);
  const root = thisHart().root;
  const state = bindState(binding);
  if (state == BindState.Unbound) return;
  if (state != BindState.Cloned) returnFile(root.hart(boundHart(binding)), boundFile(binding), parent);
  if (state == BindState.Rebinding || state == BindState.Cloned) {
    returnFile(root.hart(nextHart(binding)), nextFile(binding), parent);
  }
}

function returnFile(hart: Hart, file: u64, parent: Vm): void {
  if (hart == thisHart()) return returnCleared(hart, file, parent.slot);
  setRecord(fileRecord(hart, file), PageState.Claimed, parent.slot, 0);
  or64(changetype<usize>(hart) + offsetof<Hart>("filesToClear"), (<u64>1) << file);
  sendRequest(hart, HartRequest.ClearFiles);
}

/**
 * Clears a file of this hart, which nobody reaches any more, and makes it a converted one of the VM in slot `owner`. Its stamp is the
 * oldest: the owner's own translations of it were fenced when it gave the file away.
 */
export function returnCleared(hart: Hart, file: u64, owner: u32): void {
  clearFile(hart.root, file);
  setRecord(fileRecord(hart, file), PageState.Converted, owner, 0);
}

/** HartRequest.ClearFiles. */
export function clearReturnedFiles(hart: Hart): void {
  const files = swap64(changetype<usize>(hart) + offsetof<Hart>("filesToClear"), 0);
  for (let file: u64 = 1; file <= MAX_GUEST_FILES && files >> file != 0; file++) {
    if (((files >> file) & 1) != 0) returnCleared(hart, file, hart.root.host.slot);
  }
}
