import { thisHart } from "../hart";
import { add32, cas32, cas64, fence, loadAcquire32, loadAcquire64, storeRelease64 } from "../riscv/hw";
import { MAX_VM_SLOTS } from "../memory/page-record";
import { Vm } from "./vm";

/**
 * All VMs by slot. A guest id is (generation of the slot << 12 | slot), so it is never reused; slot 0 is the host, 1 is ours.
 *
 * A reference (acquireVm .. releaseVm, or a running vCPU) keeps the VM's record alive.
 */
@unmanaged
export class VmSlot {
  /** The VM, null while the slot is free. */
  vm: Vm | null;
  /** Guest id while in use; ID_NONE while free, being created or being destroyed. */
  id: u64;
  generation: u64;
  /** Calls and runs that use the VM, the one that reserves the slot included: atomics. */
  references: u32;
  reserved0: u32;
}

/** No guest id: as an index it is our own slot, which never holds a VM, so no caller can ask for it. */
const ID_NONE: u64 = 1;
const SLOT_BITS: u64 = 12;
const FIRST_TVM_SLOT: u64 = 2;

/** Bytes of the VM table, for boot. */
export function vmTableBytes(): u64 {
  return MAX_VM_SLOTS * offsetof<VmSlot>();
}

/** Makes every slot free and puts the host in slot 0. Boot only. */
export function initVmTable(address: usize, host: Vm): void {
  for (let i: u64 = 0; i < MAX_VM_SLOTS; i++) {
    const slot = changetype<VmSlot>(address + <usize>i * offsetof<VmSlot>());
    slot.vm = null;
    slot.id = ID_NONE;
    slot.generation = 0;
    slot.references = 0;
  }
  const first = changetype<VmSlot>(address);
  first.vm = host;
  first.id = 0;
}

// @ts-ignore: decorator
@inline
function slotAt(index: u64): VmSlot {
  return changetype<VmSlot>(thisHart().root.vmSlots + <usize>index * offsetof<VmSlot>());
}

// @ts-ignore: decorator
@inline
function referencesOf(slot: VmSlot): u64 {
  return changetype<usize>(slot) + offsetof<VmSlot>("references");
}

// @ts-ignore: decorator
@inline
function idOf(slot: VmSlot): u64 {
  return changetype<usize>(slot) + offsetof<VmSlot>("id");
}

/** The child of `caller` with guest id `id`, with a reference taken; null if there is none (SBI_INVALID_PARAM). */
// @ts-ignore: decorator
@inline
export function acquireVm(caller: Vm, id: u64): Vm | null {
  const slot = slotAt(id & (MAX_VM_SLOTS - 1));
  // The reference first, then the look: whoever retires the VM does it the other way round, so one of the two sees the other.
  add32(referencesOf(slot), 1);
  if (loadAcquire64(idOf(slot)) == id) {
    const vm = slot.vm;
    if (vm != null && vm.parent == caller) return vm;
  }
  add32(referencesOf(slot), -1);
  return null;
}

/** Gives a reference back. */
// @ts-ignore: decorator
@inline
export function releaseVm(vm: Vm): void {
  add32(vm.tableEntry + offsetof<VmSlot>("references"), -1);
}

/** Reserves a free slot; returns its index, or 0 if all are taken. The VM is not visible before `publishVm`. */
export function reserveSlot(): u64 {
  for (let index: u64 = FIRST_TVM_SLOT; index < MAX_VM_SLOTS; index++) {
    const slot = slotAt(index);
    if (slot.vm != null || cas32(referencesOf(slot), 0, 1) != 0) continue;
    if (slot.vm == null) return index;
    // Somebody else reserved it and made a VM visible in between.
    add32(referencesOf(slot), -1);
  }
  return 0;
}

/** Makes the VM in its reserved slot visible under a new guest id, which is returned. */
export function publishVm(vm: Vm): u64 {
  const slot = slotAt(vm.slot);
  const id = (slot.generation << SLOT_BITS) | (<u64>vm.slot);
  vm.id = id;
  vm.tableEntry = changetype<usize>(slot);
  slot.vm = vm;
  storeRelease64(idOf(slot), id);
  add32(referencesOf(slot), -1);
  return id;
}

/**
 * Takes the VM out of sight for good if the caller's reference is the only one. False, and nothing changed, if somebody else uses it
 * (a vCPU runs, another call is under way; such a call may miss the VM meanwhile).
 */
export function retireVm(vm: Vm): bool {
  const slot = slotAt(vm.slot);
  // Of two harts that destroy the VM at once, at the most one gets its id.
  if (cas64(idOf(slot), vm.id, ID_NONE) != vm.id) return false;
  fence();
  if (loadAcquire32(referencesOf(slot)) == 1) return true;
  storeRelease64(idOf(slot), vm.id);
  return false;
}

/** Frees a slot that was reserved, or whose VM was retired and whose pages are all given back: the caller's reference ends. */
export function freeSlot(index: u64): void {
  const slot = slotAt(index);
  slot.generation++;
  slot.vm = null;
  add32(referencesOf(slot), -1);
}
