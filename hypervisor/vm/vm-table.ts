import { thisHart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { Root } from "../root";
import { MAX_VM_SLOTS } from "../memory/page-record";
import { Vm } from "./vm";

/**
 * All VMs by slot. A guest id is (generation of the slot << 12 | slot), so it is never reused; slot 0 is the host, 1 is ours.
 *
 * A reference (acquireVm .. releaseVm, or a running vCPU) keeps the VM's record alive. The slot's lock covers the slot only and
 * is held for a few instructions.
 */
@unmanaged
export class VmSlot {
  /** The VM, null while the slot is free. */
  vm: Vm | null;
  /** Guest id while in use; ~0 while free, being created or being destroyed. */
  id: u64;
  generation: u64;
  /** spin lock */
  lock: u32;
  references: u32;
}

const ID_NONE: u64 = ~0;
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
    slot.lock = 0;
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
function lockOf(slot: VmSlot): usize {
  return changetype<usize>(slot) + offsetof<VmSlot>("lock");
}

/** The child of `caller` with guest id `id`, with a reference taken; null if there is none (SBI_INVALID_PARAM). */
export function acquireVm(caller: Vm, id: u64): Vm | null {
  const index = id & (MAX_VM_SLOTS - 1);
  // A caller can name any number, also the one that stands for "none".
  if (index < FIRST_TVM_SLOT || id == ID_NONE) return null;
  const slot = slotAt(index);
  let found: Vm | null = null;
  lockAcquire(lockOf(slot));
  if (slot.id == id) {
    const vm = slot.vm;
    if (vm != null && vm.parent == caller) {
      slot.references++;
      found = vm;
    }
  }
  lockRelease(lockOf(slot));
  return found;
}

/** Gives a reference back. */
export function releaseVm(vm: Vm): void {
  const slot = slotAt(vm.slot);
  lockAcquire(lockOf(slot));
  slot.references--;
  lockRelease(lockOf(slot));
}

/** Reserves a free slot; returns its index, or 0 if all are taken. The VM is not visible before `publishVm`. */
export function reserveSlot(): u64 {
  const table = changetype<usize>(thisHart().root) + offsetof<Root>("vmTableLock");
  lockAcquire(table);
  let result: u64 = 0;
  for (let tries: u64 = FIRST_TVM_SLOT; tries < MAX_VM_SLOTS; tries++) {
    const slot = slotAt(tries);
    // Only this function turns a free slot into a reserved one, under the table lock.
    if (slot.references == 0 && slot.vm == null) {
      slot.references = 1;
      result = tries;
      break;
    }
  }
  lockRelease(table);
  return result;
}

/** Makes the VM in its reserved slot visible under a new guest id, which is returned. */
export function publishVm(vm: Vm): u64 {
  const slot = slotAt(vm.slot);
  lockAcquire(lockOf(slot));
  vm.id = (slot.generation << SLOT_BITS) | (<u64>vm.slot);
  slot.vm = vm;
  slot.id = vm.id;
  slot.references = 0;
  lockRelease(lockOf(slot));
  return vm.id;
}

/**
 * Takes the VM out of sight for good if the caller's reference is the only one. False, and nothing changed, if somebody else uses it
 * (a vCPU runs, another call is under way).
 */
export function retireVm(vm: Vm): bool {
  const slot = slotAt(vm.slot);
  lockAcquire(lockOf(slot));
  const alone = slot.references == 1;
  if (alone) slot.id = ID_NONE;
  lockRelease(lockOf(slot));
  return alone;
}

/** Frees the slot of a VM that was retired and whose pages are all given back. */
export function freeSlot(index: u64): void {
  const slot = slotAt(index);
  lockAcquire(lockOf(slot));
  slot.generation++;
  slot.vm = null;
  slot.references = 0;
  lockRelease(lockOf(slot));
}
