import { Hart } from "../../hart";
import { copyFromVm } from "../../memory/guest-access";
import { gpaRangeValid } from "../../memory/gstage";
import { workBytes } from "../../memory/page-list";
import { RegionType, addRegion, changeRegion } from "../../memory/regions";
import { PAGE_SHIFT, PAGE_SIZE } from "../../riscv/pte";
import { measureWord } from "../../vm/measurement";
import { Vcpu } from "../../vm/vcpu";
import { NO_IMSIC_ADDRESS } from "../../vm/vcpu-init";
import { Vm, VmLifecycle } from "../../vm/vm";
import {
  SBI_ALREADY_AVAILABLE,
  SBI_INVALID_ADDRESS,
  SBI_INVALID_PARAM,
  SBI_INVALID_STATE,
  SBI_NOT_SUPPORTED,
} from "../errors";

/*
 * Where the interrupt files of a TVM's vCPUs lie in its address space. As in AIA 3.6, the address of a file is
 *
 *     base | group << group shift | hart << (12 + guest bits) | guest << 12
 *
 * and a vCPU's own file is one with guest 0. All: caller holds vm.lock.
 */

/** What TvmAiaInit reads (32 bytes). */
@unmanaged
class TvmAiaParams {
  base: u64;
  groupBits: u32;
  groupShift: u32;
  hartBits: u32;
  guestBits: u32;
  guestsPerHart: u32;
  reserved: u32;
}

/** Limits of the architecture (AIA 3.6), and of the number of regions that a TVM can have. */
const MIN_GROUP_SHIFT: u32 = 24;
const MAX_GROUP_BITS: u32 = 7;
const MAX_HART_BITS: u32 = 15;
const MAX_GUEST_BITS: u32 = 6;

/**
 * COVI 0, TvmAiaInit(guest id, params gpa, length): the TVM's vCPUs have interrupt files, at these addresses (CoVE 0.7 §9.5.1). Again with the same
 * geometry it changes nothing.
 *
 * Errors: INVALID_PARAM not initializing, params too short, a geometry that cannot be; NOT_SUPPORTED guest files for the vCPUs;
 * ALREADY_AVAILABLE it has another geometry; INVALID_ADDRESS the params, or files outside the address space or over a region; FAILED too many regions.
 */
export function tvmAiaInit(hart: Hart, caller: Vcpu, vm: Vm, gpa: u64, length: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Initializing || length < <u64>offsetof<TvmAiaParams>()) return SBI_INVALID_PARAM;
  const params = changetype<TvmAiaParams>(workBytes(hart));
  const copied = copyFromVm(caller.vm, gpa, changetype<usize>(params), offsetof<TvmAiaParams>());
  if (copied != 0) return copied;
  if (params.guestsPerHart != 0) return SBI_NOT_SUPPORTED;
  if (!isPossible(params)) return SBI_INVALID_PARAM;
  if (vm.hasInterruptFiles != 0) return isGeometryOf(vm, params) ? 0 : SBI_ALREADY_AVAILABLE;
  const added = addImsicRegions(vm, params);
  if (added != 0) return added;
  vm.imsicBase = params.base;
  vm.imsicGroupBits = params.groupBits;
  vm.imsicGroupShift = params.groupShift;
  vm.imsicHartBits = params.hartBits;
  vm.imsicGuestBits = params.guestBits;
  vm.hasInterruptFiles = 1;
  return 0;
}

/**
 * COVI 1, SetImsicAddress(guest id, vCPU id, gpa): where the vCPU's interrupt file is (CoVE 0.7 §9.5.2). It can be changed until the TVM is
 * finalized, when every vCPU must have an address of its own.
 *
 * Errors: INVALID_PARAM not initializing; INVALID_ADDRESS not the address of a supervisor-level file of the geometry.
 */
export function setImsicAddress(vm: Vm, vcpu: Vcpu, gpa: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Initializing) return SBI_INVALID_PARAM;
  const group = fieldMask(vm.imsicGroupBits, vm.imsicGroupShift);
  const hart = fieldMask(vm.imsicHartBits, <u32>PAGE_SHIFT + vm.imsicGuestBits);
  if ((gpa & ~(group | hart)) != vm.imsicBase) return SBI_INVALID_ADDRESS;
  vcpu.imsicGpa = gpa;
  return 0;
}

/** TvmFinalize: 0 if every vCPU has an interrupt file of its own, or none needs one; INVALID_STATE otherwise. */
export function checkImsicAddresses(vm: Vm): i64 {
  if (vm.hasInterruptFiles == 0) return 0;
  for (let id: u64 = 0; id < <u64>vm.maxVcpus; id++) {
    const vcpu = vm.vcpu(id);
    if (vcpu == null) continue;
    if (vcpu.imsicGpa == NO_IMSIC_ADDRESS) return SBI_INVALID_STATE;
    for (let before: u64 = 0; before < id; before++) {
      const other = vm.vcpu(before);
      if (other != null && other.imsicGpa == vcpu.imsicGpa) return SBI_INVALID_STATE;
    }
  }
  return 0;
}

/** TvmFinalize: the TVM's configuration with interrupt files: the geometry, then id and address of each vCPU. Without them nothing. */
export function measureImsic(vm: Vm, scratch: usize): void {
  if (vm.hasInterruptFiles == 0) return;
  measureWord(vm, vm.imsicBase, scratch);
  measureWord(vm, (<u64>vm.imsicGroupBits) | ((<u64>vm.imsicGroupShift) << 32), scratch);
  measureWord(vm, (<u64>vm.imsicHartBits) | ((<u64>vm.imsicGuestBits) << 32), scratch);
  for (let id: u64 = 0; id < <u64>vm.maxVcpus; id++) {
    const vcpu = vm.vcpu(id);
    if (vcpu == null) continue;
    measureWord(vm, id, scratch);
    measureWord(vm, vcpu.imsicGpa, scratch);
  }
}

/** `bits` ones from bit `shift` on; bits + shift <= 64 and bits < 64. */
function fieldMask(bits: u32, shift: u32): u64 {
  return (((<u64>1) << (<u64>bits)) - 1) << (<u64>shift);
}

function isPossible(params: TvmAiaParams): bool {
  const groupBits = params.groupBits;
  const shift = params.groupShift;
  const hartBits = params.hartBits;
  const guestBits = params.guestBits;
  if (groupBits > MAX_GROUP_BITS || hartBits > MAX_HART_BITS || guestBits > MAX_GUEST_BITS) return false;
  const low = <u32>PAGE_SHIFT + hartBits + guestBits;
  if (shift < MIN_GROUP_SHIFT || shift < low || shift > 63 || shift + groupBits > 63) return false;
  return (params.base & (fieldMask(low, 0) | fieldMask(groupBits, shift))) == 0;
}

function isGeometryOf(vm: Vm, params: TvmAiaParams): bool {
  return (
    vm.imsicBase == params.base &&
    vm.imsicGroupBits == params.groupBits &&
    vm.imsicGroupShift == params.groupShift &&
    vm.imsicHartBits == params.hartBits &&
    vm.imsicGuestBits == params.guestBits
  );
}

/** One region for the files of each group: all of them, or none. */
function addImsicRegions(vm: Vm, params: TvmAiaParams): i64 {
  const indexBits: u64 = params.hartBits + params.guestBits;
  const length = PAGE_SIZE << indexBits;
  const groups = (<u64>1) << (<u64>params.groupBits);
  const shift = <u64>params.groupShift;
  let result: i64 = 0;
  let added: u64 = 0;
  while (result == 0 && added < groups) {
    const start = params.base | (added << shift);
    result = gpaRangeValid(vm, start, length) ? addRegion(vm, start, length, RegionType.Imsic) : SBI_INVALID_ADDRESS;
    if (result == 0) added++;
  }
  if (result == 0) return 0;
  while (added != 0) {
    added--;
    changeRegion(vm, params.base | (added << shift), length, RegionType.Imsic, RegionType.None);
  }
  return result;
}
