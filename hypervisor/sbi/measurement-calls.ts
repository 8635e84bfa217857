import { Hart, thisHart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { lockOfVm } from "../memory/claims";
import { copyFromVm, copyToVm } from "../memory/guest-access";
import { workBytes } from "../memory/page-list";
import { EXC_LOAD_GUEST_PAGE, EXC_STORE_GUEST_PAGE } from "../riscv/csr";
import { zeroBytes } from "../riscv/hw";
import { MEASUREMENT_REGISTERS, STATIC_REGISTERS, extendMeasurement, registerAddress } from "../vm/measurement";
import { unlessMissing } from "../vm/missing-pages";
import { MEASUREMENT_SIZE } from "../vm/tvm-layout";
import { Vcpu } from "../vm/vcpu";
import { SBI_INVALID_PARAM } from "./errors";

/** Reading and extending measurement registers, which ATST and COVG number differently. */

/** Raised when a fault is fixed that evidence of older versions must not hide. */
export const SECURITY_VERSION: u64 = 1;

/** Runtime registers are PCRs from this one on. */
export const FIRST_RUNTIME_PCR: u32 = 17;

/** PCR that register `index` stands for. */
export function pcrOfRegister(index: u32): u32 {
  return index < STATIC_REGISTERS ? index : index - STATIC_REGISTERS + FIRST_RUNTIME_PCR;
}

/** Where the digest lies in the work page; the hash state is before it. */
const DIGEST_OFFSET: usize = 2048;

/**
 * Extends runtime register `index` by the digest of `length` bytes (48) at `gpa`, followed by zeros up to `hashed` bytes.
 * INVALID_PARAM: another length, no such register, or a static one. INVALID_ADDRESS: the digest.
 */
export function extendRegister(hart: Hart, caller: Vcpu, gpa: u64, length: u64, index: u32, hashed: u64): i64 {
  if (length != <u64>MEASUREMENT_SIZE || index >= MEASUREMENT_REGISTERS || index < STATIC_REGISTERS) {
    return SBI_INVALID_PARAM;
  }
  const vm = caller.vm;
  const work = workBytes(hart);
  const digest = work + DIGEST_OFFSET;
  zeroBytes(digest, hashed);
  const copied = copyFromVm(vm, gpa, digest, length);
  if (copied != 0) return unlessMissing(hart, caller, copied, gpa, length, EXC_LOAD_GUEST_PAGE);
  lockAcquire(lockOfVm(vm));
  extendMeasurement(vm, index, digest, hashed, work);
  lockRelease(lockOfVm(vm));
  return 0;
}

/** Writes register `index` to the buffer of `length` >= 48 bytes at `gpa`, the call's a0; returns 48. INVALID_PARAM, INVALID_ADDRESS as above. */
export function readRegister(caller: Vcpu, gpa: u64, length: u64, index: u32): i64 {
  if (length < <u64>MEASUREMENT_SIZE || index >= MEASUREMENT_REGISTERS) return SBI_INVALID_PARAM;
  const copied = copyToVm(caller.vm, gpa, registerAddress(caller.vm, index), MEASUREMENT_SIZE);
  return copied == 0 ? <i64>MEASUREMENT_SIZE : bufferMissing(copied);
}

/** The rare end of `readRegister`, which keeps nothing for it. */
function bufferMissing(result: i64): i64 {
  const hart = thisHart();
  const caller = hart.vcpu;
  return unlessMissing(hart, caller, result, caller.a0, MEASUREMENT_SIZE, EXC_STORE_GUEST_PAGE);
}
