import { pinPages, unpinPages } from "../memory/guest-access";
import { PAGE_SIZE } from "../riscv/pte";
import { NACL_CSR_ANCHOR, NACL_PAGES } from "../vm/nacl-memory";
import { Vcpu } from "../vm/vcpu";
import { SBI_INVALID_ADDRESS, SBI_INVALID_PARAM, SBI_NOT_SUPPORTED } from "./errors";

/** Function numbers of NACL that exist here: no synchronization function is offered, as ProbeFeature says. */
const enum Nacl {
  ProbeFeature = 0,
  SetShmem = 1,
}

const NO_MEMORY: u64 = ~0;

/**
 * Nested acceleration, EID 0x4E41434C (SBI 3.0 chapter 15): a host vCPU registers the memory in which it sees its TVMs' exits
 * (vm/nacl-memory.ts).
 */
export function naclCall(caller: Vcpu, fid: u64): i64 {
  if (fid == <u64>Nacl.ProbeFeature) return 0;
  if (fid == <u64>Nacl.SetShmem) return setShmem(caller, caller.a0, caller.a1, caller.a2);
  return SBI_NOT_SUPPORTED;
}

/**
 * set_shmem(gpa low, gpa high, flags) for the calling vCPU; all ones in both halves (or, as hosts of the original call it, in the
 * low one with 0 in the other two) unregisters. The 12 KiB are pinned, physically contiguous memory of the caller's VM; they cannot be converted
 * before they are unregistered. Replaces an earlier registration; an error leaves it.
 *
 * INVALID_PARAM flags, misaligned; INVALID_ADDRESS not such memory.
 */
function setShmem(caller: Vcpu, gpaLow: u64, gpaHigh: u64, flags: u64): i64 {
  if (flags != 0) return SBI_INVALID_PARAM;
  if (gpaLow == NO_MEMORY && (gpaHigh == NO_MEMORY || gpaHigh == 0)) {
    dropNaclMemory(caller);
    return 0;
  }
  if ((gpaLow & (PAGE_SIZE - 1)) != 0) return SBI_INVALID_PARAM;
  if (gpaHigh != 0) return SBI_INVALID_ADDRESS;
  const hpa = pinPages(caller.vm, gpaLow, NACL_PAGES);
  if (hpa == 0) return SBI_INVALID_ADDRESS;
  dropNaclMemory(caller);
  caller.naclHpa = hpa;
  caller.naclCsrs = hpa + NACL_CSR_ANCHOR;
  caller.naclGpa = gpaLow;
  return 0;
}

/** Unregisters, if anything is registered: on request, and when the vCPU stops. */
export function dropNaclMemory(caller: Vcpu): void {
  if (caller.naclHpa == 0) return;
  unpinPages(caller.naclHpa, NACL_PAGES);
  caller.naclHpa = 0;
  caller.naclGpa = 0;
}
