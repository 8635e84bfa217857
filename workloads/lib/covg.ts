import { EID_COVG, sbi } from "./sbi";

/** COVG: the CoVE calls of a confidential guest. Each returns the error if negative, else the value. */

export const enum CovgFunction {
  AddMmioRegion = 0,
  RemoveMmioRegion = 1,
  ShareMemory = 2,
  UnshareMemory = 3,
  AllowExternalInterrupt = 4,
  DenyExternalInterrupt = 5,
  /** 6 to 10 are attestation (attestation.ts); of these, RetrieveSecret is not offered. */
  RetrieveSecret = 9,
  /** The first number that means nothing. */
  End = 11,
}

export const ALL_INTERRUPTS: u64 = ~0;

export function addMmioRegion(gpa: u64, length: u64): i64 {
  return sbi(EID_COVG, CovgFunction.AddMmioRegion, gpa, length);
}

export function removeMmioRegion(gpa: u64, length: u64): i64 {
  return sbi(EID_COVG, CovgFunction.RemoveMmioRegion, gpa, length);
}

export function shareMemory(gpa: u64, length: u64): i64 {
  return sbi(EID_COVG, CovgFunction.ShareMemory, gpa, length);
}

export function unshareMemory(gpa: u64, length: u64): i64 {
  return sbi(EID_COVG, CovgFunction.UnshareMemory, gpa, length);
}

export function allowExternalInterrupt(id: u64): i64 {
  return sbi(EID_COVG, CovgFunction.AllowExternalInterrupt, id);
}

export function denyExternalInterrupt(id: u64): i64 {
  return sbi(EID_COVG, CovgFunction.DenyExternalInterrupt, id);
}
