import { askDevices, askOldDevices, devicesIdle, lookAtDevices, oldestDeviceVersion } from "../devices/iommu/commands";
import { reportFaults } from "../devices/iommu/faults";
import { Hart, NO_VM, thisHart } from "../hart";
import { HGATP, HGATP_VMID_SHIFT } from "../riscv/csr";
import {
  cas64,
  csrWrite,
  fence,
  fenceI,
  hfenceGvmaVmid,
  hfenceVvmaAll,
  loadAcquire64,
  read64,
  storeRelease64,
  write64,
} from "../riscv/hw";
import { SBI_ALREADY_STARTED } from "../sbi/errors";
import { Vcpu } from "../vm/vcpu";
import { Vm, VmKind } from "../vm/vm";

/**
 * Who may still hold old translations: the convert / fence / use protocol (CoVE 0.7 §9.3.2).
 *
 * Each VM has a translation version. A hart that enters the VM's address space announces the version it enters with, after which it
 * flushes what is older; a hart that leaves announces that. A page that leaves the address space is stamped with the
 * version of that moment. It may be given away once every hart that is inside the VM entered with a later version:
 * `stamp < minVersion(vm)`. A fence raises the version by one, and harts that run the VM catch up when they next enter or
 * fence themselves (TsmLocalFence).
 *
 * Order (Dekker): an entering hart stores its announcement, fences, and reads the version again; a fencing hart raises the version,
 * fences, and reads the announcements. One of the two sees the other.
 *
 * Devices of the host translate by the same tables. Each IOMMU announces, like a hart, the version before which it has forgotten everything
 * (devices/iommu/commands.ts); it is told to by the hart that raises the version.
 */

// @ts-ignore: decorator
@inline
function versionAddress(vm: Vm): u64 {
  return changetype<usize>(vm) + offsetof<Vm>("version");
}

/** The VM's translation version now. */
// @ts-ignore: decorator
@inline
export function currentVersion(vm: Vm): u64 {
  return read64(versionAddress(vm));
}

/**
 * Oldest version that any hart inside `vm` has entered with, or that an IOMMU may remember something of; the current version if there is
 * neither.
 */
export function minVersion(vm: Vm): u64 {
  const root = thisHart().root;
  let oldest = loadAcquire64(versionAddress(vm));
  const slot = <u64>vm.slot;
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const hart = changetype<usize>(root.hart(i));
    if (loadAcquire64(hart + offsetof<Hart>("enteredVm")) != slot) continue;
    const entered = read64(hart + offsetof<Hart>("enteredVersion"));
    if (entered < oldest) oldest = entered;
  }
  if (root.iommuCount != 0 && vm.kind == VmKind.Host) oldest = min<u64>(oldest, oldestDeviceVersion(root));
  return oldest;
}

/** Whether devices translate by the tables of `vm`, so that IOMMUs take part in its fences. */
// @ts-ignore: decorator
@inline
export function hasDevices(vm: Vm): bool {
  return thisHart().root.iommuCount != 0 && vm.kind == VmKind.Host;
}

/**
 * Devices of `vm`, which has some, are to forget what they know of its tables. `devicesForgot` says when they have; until then they have not announced it, and a fence
 * is not complete.
 */
export function refreshDevices(vm: Vm): void {
  const root = thisHart().root;
  askDevices(root, loadAcquire64(versionAddress(vm)));
  reportFaults(root);
}

/**
 * The part of IOMMUs in a fence of `vm`, which has devices: they are asked to forget what is older than the current version, if nobody has asked them. Returns true if there is nothing to
 * wait for.
 */
export function refreshOldDevices(vm: Vm): bool {
  const root = thisHart().root;
  const version = loadAcquire64(versionAddress(vm));
  if (oldestDeviceVersion(root) >= version && devicesIdle(root)) return true;
  askOldDevices(root, version);
  reportFaults(root);
  return false;
}

/** A short look at all IOMMUs: true if none is working on what it was asked, so that it makes no sense to wait. */
export function devicesForgot(): bool {
  return lookAtDevices(thisHart().root);
}

/**
 * Starts a fence: raises the version. SBI_ALREADY_STARTED while a hart has not caught up with the last one. The caller then lets its own
 * hart catch up with `refreshAddressSpace` if it is inside the VM.
 */
export function initiateFence(vm: Vm): i64 {
  const version = loadAcquire64(versionAddress(vm));
  if (minVersion(vm) < version) return SBI_ALREADY_STARTED;
  if (cas64(versionAddress(vm), version, version + 1) != version) return SBI_ALREADY_STARTED;
  fence();
  return 0;
}

/**
 * Makes the address space of `vcpu`'s VM the one of this hart: announces it, chooses a VMID, writes hgatp, and drops translations that are too old.
 * vsatp must hold nothing of another VM that could be walked now (the caller clears it first).
 */
// @ts-ignore: decorator
@inline
export function enterAddressSpace(hart: Hart, vcpu: Vcpu): void {
  const vm = vcpu.vm;
  const version = announce(hart, vm);
  const known = vcpu.vmidHart == <u64>hart.index + 1 && vcpu.vmidGeneration == hart.vmidGeneration;
  if (known && vcpu.flushedVersion >= version) {
    csrWrite(HGATP, vm.hgatp | (vcpu.vmid << HGATP_VMID_SHIFT));
  } else {
    enterFlushing(hart, vcpu, version, !known);
  }
  // Pages change hands while other worlds run; no hart may fetch what it cached of a page in another world.
  fenceI();
}

/** Writes hgatp and drops what is too old; a fresh VMID may have belonged to another vCPU, whose guest translations go too. */
function enterFlushing(hart: Hart, vcpu: Vcpu, version: u64, fresh: bool): void {
  if (fresh) takeVmid(hart, vcpu);
  csrWrite(HGATP, vcpu.vm.hgatp | (vcpu.vmid << HGATP_VMID_SHIFT));
  hfenceGvmaVmid(vcpu.vmid);
  if (fresh) hfenceVvmaAll();
  vcpu.flushedVersion = version;
}

/** This hart catches up with the VM whose vCPU is current (TsmLocalFence, and the caller's part of TsmInitiateFence). */
export function refreshAddressSpace(hart: Hart, vcpu: Vcpu): void {
  const version = announce(hart, vcpu.vm);
  hfenceGvmaVmid(vcpu.vmid);
  vcpu.flushedVersion = version;
}

/** This hart runs no VM from now on: fences need not wait for it. */
// @ts-ignore: decorator
@inline
export function leaveAddressSpace(hart: Hart): void {
  storeRelease64(changetype<usize>(hart) + offsetof<Hart>("enteredVm"), NO_VM);
}

// @ts-ignore: decorator
@inline
function announce(hart: Hart, vm: Vm): u64 {
  const self = changetype<usize>(hart);
  const slot = <u64>vm.slot;
  let version = read64(versionAddress(vm));
  while (true) {
    // Until the slot follows, this is taken for a version of the VM that the hart was in. It has left that one, so none is wrong.
    write64(self + offsetof<Hart>("enteredVersion"), version);
    storeRelease64(self + offsetof<Hart>("enteredVm"), slot);
    fence();
    const again = read64(versionAddress(vm));
    if (again == version) return version;
    version = again;
  }
}

/**
 * VMIDs are per hart: one belongs to one vCPU on one hart at a time. When they run out the generation changes, which takes
 * them from all vCPUs of this hart at once; each is flushed when it is given out again.
 */
function takeVmid(hart: Hart, vcpu: Vcpu): void {
  if (hart.nextVmid >> hart.root.vmidBits != 0) {
    hart.vmidGeneration++;
    hart.nextVmid = 0;
  }
  vcpu.vmid = hart.nextVmid;
  hart.nextVmid++;
  vcpu.vmidHart = <u64>hart.index + 1;
  vcpu.vmidGeneration = hart.vmidGeneration;
}
