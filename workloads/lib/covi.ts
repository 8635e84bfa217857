import { write32, write64 } from "./hw";
import { EID_COVI, sbi } from "./sbi";

/** COVI: the CoVE calls of a host that give its guest interrupt files to TVMs. Each returns the error if negative, else the value. */

export const enum CoviFunction {
  TvmAiaInit = 0,
  SetImsicAddress = 1,
  ConvertImsic = 2,
  ReclaimImsic = 3,
  BindImsic = 4,
  UnbindImsicBegin = 5,
  UnbindImsicEnd = 6,
  InjectExternalInterrupt = 7,
  RebindImsicBegin = 8,
  RebindImsicClone = 9,
  RebindImsicEnd = 10,
  /** The first number that means nothing. */
  End = 11,
}

/** Bytes of the parameters of TvmAiaInit. */
export const TVM_AIA_PARAMS_SIZE: u64 = 32;

/** Fills the parameters of TvmAiaInit at `at`, 32 bytes of own memory. */
export function writeAiaParams(
  at: u64,
  base: u64,
  groupBits: u32,
  groupShift: u32,
  hartBits: u32,
  guestBits: u32,
): void {
  write64(at, base);
  write32(at + 8, groupBits);
  write32(at + 12, groupShift);
  write32(at + 16, hartBits);
  write32(at + 20, guestBits);
  write32(at + 24, 0);
  write32(at + 28, 0);
}

export function tvmAiaInit(id: u64, params: u64, length: u64): i64 {
  return sbi(EID_COVI, CoviFunction.TvmAiaInit, id, params, length);
}

export function setImsicAddress(id: u64, vcpu: u64, gpa: u64): i64 {
  return sbi(EID_COVI, CoviFunction.SetImsicAddress, id, vcpu, gpa);
}

export function convertImsic(address: u64): i64 {
  return sbi(EID_COVI, CoviFunction.ConvertImsic, address);
}

export function reclaimImsic(address: u64): i64 {
  return sbi(EID_COVI, CoviFunction.ReclaimImsic, address);
}

/** `mask` is as in hgeie: bit k is this hart's guest file k. */
export function bindImsic(id: u64, vcpu: u64, mask: u64): i64 {
  return sbi(EID_COVI, CoviFunction.BindImsic, id, vcpu, mask);
}

export function unbindImsicBegin(id: u64, vcpu: u64): i64 {
  return sbi(EID_COVI, CoviFunction.UnbindImsicBegin, id, vcpu);
}

export function unbindImsicEnd(id: u64, vcpu: u64): i64 {
  return sbi(EID_COVI, CoviFunction.UnbindImsicEnd, id, vcpu);
}

export function injectExternalInterrupt(id: u64, vcpu: u64, identity: u64): i64 {
  return sbi(EID_COVI, CoviFunction.InjectExternalInterrupt, id, vcpu, identity);
}

export function rebindImsicBegin(id: u64, vcpu: u64, mask: u64): i64 {
  return sbi(EID_COVI, CoviFunction.RebindImsicBegin, id, vcpu, mask);
}

export function rebindImsicClone(id: u64, vcpu: u64): i64 {
  return sbi(EID_COVI, CoviFunction.RebindImsicClone, id, vcpu);
}

export function rebindImsicEnd(id: u64, vcpu: u64): i64 {
  return sbi(EID_COVI, CoviFunction.RebindImsicEnd, id, vcpu);
}
