import { read64, write64, zeroBytes } from "./hw";
import { PAGE_SIZE, thisHart } from "./records";
import { EID_NACL, sbi } from "./sbi";

/**
 * The nested-acceleration shared memory (SBI 3.0, chapter 15) as CoVE uses it: registers of an exited vCPU. Three pages:
 * general registers at 0 (part of the scratch area), CSRs as an array of u64 at 0x1000.
 */

export const NACL_PAGES: u64 = 3;
export const NACL_SCRATCH_BYTES: u64 = 2048;
const NACL_CSRS: u64 = 0x1000;

const enum NaclFunction {
  ProbeFeature = 0,
  SetSharedMemory = 1,
}

/** Registers the three pages at `gpa` for this hart. */
export function naclSetSharedMemory(gpa: u64): i64 {
  return sbi(EID_NACL, NaclFunction.SetSharedMemory, gpa, 0, 0);
}

/** Unregisters this hart's shared memory. */
export function naclUnregister(): i64 {
  thisHart().nacl = 0;
  return sbi(EID_NACL, NaclFunction.SetSharedMemory, ~0, ~0, 0);
}

export function naclProbeFeature(feature: u64): i64 {
  return sbi(EID_NACL, NaclFunction.ProbeFeature, feature);
}

/** Registers three zeroed pages at `gpa` as this hart's shared memory and remembers them. */
export function naclRegister(gpa: u64): i64 {
  zeroBytes(gpa, NACL_PAGES * PAGE_SIZE);
  const result = naclSetSharedMemory(gpa);
  if (result >= 0) thisHart().nacl = gpa;
  return result;
}

/** General register `number` of the exited vCPU, as far as the exit shows it. */
export function guestRegister(number: u32): u64 {
  return read64(thisHart().nacl + ((<u64>number) << 3));
}

export function setGuestRegister(number: u32, value: u64): void {
  write64(thisHart().nacl + ((<u64>number) << 3), value);
}

/** CSR of the exited vCPU, by its CSR number. */
export function guestCsr(csr: u32): u64 {
  return read64(guestCsrAddress(csr));
}

export function setGuestCsr(csr: u32, value: u64): void {
  write64(guestCsrAddress(csr), value);
}

function guestCsrAddress(csr: u32): u64 {
  const index = ((csr & 0xc00) >> 2) | (csr & 0xff);
  return thisHart().nacl + NACL_CSRS + ((<u64>index) << 3);
}
