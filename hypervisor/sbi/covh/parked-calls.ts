import { lockAcquire, lockRelease } from "../../lib/spinlock";
import { lockOfVm } from "../../memory/claims";
import { read32, read64, storeRelease32, write64 } from "../../riscv/hw";
import { Vcpu } from "../../vm/vcpu";
import { Vm } from "../../vm/vm";

/**
 * Calls on ranges that made way for an interrupt, and have not been made again yet. Such a call is parked in the record of the vCPU that made it
 * (Vcpu.range...), but belongs to whoever makes it again: a kernel that can be preempted may have moved the thread to another hart meanwhile.
 * A call is known again by the registers a0-a6.
 *
 * A record changes hands under the lock of the vCPUs' VM. Without it one looks at Vm.parkedCalls and Vcpu.rangeParked, which are written after all else: a
 * vCPU that sees its own at 0 has its record for itself.
 */

/** The part of a vCPU's record that is the call. */
const CALL: usize = offsetof<Vcpu>("rangeStep");
const CALL_SIZE: usize = offsetof<Vcpu>("rangeParked") - CALL;

/** Whether a vCPU of `vm` has left a call. */
// @ts-ignore: decorator
@inline
export function hasParkedCalls(vm: Vm): bool {
  return vm.parkedCalls != 0;
}

/** The call of `caller` waits until it is made again. Takes the lock of the caller's VM. */
export function parkCall(caller: Vcpu): void {
  const vm = caller.vm;
  lockAcquire(lockOfVm(vm));
  caller.rangeParked = 1;
  vm.parkedCalls++;
  lockRelease(lockOfVm(vm));
}

/**
 * Gives `caller` a parked call to go on with: the one that its registers hold, whichever vCPU of its VM has made it, or else its own, which is another one then. False if
 * there is neither. Takes the lock of the caller's VM.
 */
export function takeParkedCall(caller: Vcpu): bool {
  const parked = isParked(caller);
  if (parked && isSameCall(caller, caller)) return takeOwnCall(caller);
  const from = vcpuWithCall(caller);
  if (from != null && exchangeCalls(caller, from)) return true;
  return parked && takeOwnCall(caller);
}

/** Gives `caller` the call that it has parked itself. False if there is none (any more). Takes the lock of the caller's VM. */
export function takeOwnCall(caller: Vcpu): bool {
  if (!isParked(caller)) return false;
  const vm = caller.vm;
  lockAcquire(lockOfVm(vm));
  const found = isParked(caller);
  if (found) unpark(vm, caller);
  lockRelease(lockOfVm(vm));
  return found;
}

/** Whether the registers of `caller` hold the call that is in the record of `vcpu`. */
export function isSameCall(caller: Vcpu, vcpu: Vcpu): bool {
  if (caller.a0 != vcpu.rangeA0 || caller.a1 != vcpu.rangeA1 || caller.a2 != vcpu.rangeA2) return false;
  if (caller.a3 != vcpu.rangeA3 || caller.a4 != vcpu.rangeA4 || caller.a5 != vcpu.rangeA5) return false;
  return caller.a6 == vcpu.rangeA6;
}

/** Another vCPU of the caller's VM that seems to have the caller's call parked: without the lock it may just be losing it. */
function vcpuWithCall(caller: Vcpu): Vcpu | null {
  const vm = caller.vm;
  for (let id: u64 = 0; id < <u64>vm.maxVcpus; id++) {
    const vcpu = vm.vcpu(id);
    if (vcpu != null && vcpu != caller && isParked(vcpu) && isSameCall(caller, vcpu)) return vcpu;
  }
  return null;
}

/** Takes the caller's call out of the record of `from`, and leaves there what the caller has parked. False if it is not there any more. */
function exchangeCalls(caller: Vcpu, from: Vcpu): bool {
  const vm = caller.vm;
  lockAcquire(lockOfVm(vm));
  const found = isParked(from) && isSameCall(caller, from);
  if (found) {
    const mine = changetype<usize>(caller) + CALL;
    const theirs = changetype<usize>(from) + CALL;
    for (let offset: usize = 0; offset < CALL_SIZE; offset += 8) {
      const word = read64(mine + offset);
      write64(mine + offset, read64(theirs + offset));
      write64(theirs + offset, word);
    }
    unpark(vm, isParked(caller) ? caller : from);
  }
  lockRelease(lockOfVm(vm));
  return found;
}

/** `vcpu` has no parked call any more. Caller holds the lock of `vm`, its VM. */
function unpark(vm: Vm, vcpu: Vcpu): void {
  storeRelease32(changetype<usize>(vcpu) + offsetof<Vcpu>("rangeParked"), 0);
  storeRelease32(changetype<usize>(vm) + offsetof<Vm>("parkedCalls"), vm.parkedCalls - 1);
}

function isParked(vcpu: Vcpu): bool {
  return read32(changetype<usize>(vcpu) + offsetof<Vcpu>("rangeParked")) != 0;
}
