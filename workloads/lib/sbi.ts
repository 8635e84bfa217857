import { ecall } from "./hw";
import { TestHart, thisHart } from "./records";

/**
 * SBI as a client sees it (SBI 3.0): extension ids, error codes, and wrappers of the ordinary extensions. Wrappers return
 * sbiret.error if it is negative, else sbiret.value.
 */

export const EID_LEGACY_PUTCHAR: u64 = 0x01;
export const EID_BASE: u64 = 0x10;
export const EID_TIME: u64 = 0x54494d45;
export const EID_IPI: u64 = 0x735049;
export const EID_RFENCE: u64 = 0x52464e43;
export const EID_HSM: u64 = 0x48534d;
export const EID_SRST: u64 = 0x53525354;
export const EID_DBCN: u64 = 0x4442434e;
export const EID_NACL: u64 = 0x4e41434c;
export const EID_COVH: u64 = 0x434f5648;
export const EID_COVI: u64 = 0x434f5649;
export const EID_COVG: u64 = 0x434f5647;

export const SBI_SUCCESS: i64 = 0;
export const SBI_FAILED: i64 = -1;
export const SBI_NOT_SUPPORTED: i64 = -2;
export const SBI_INVALID_PARAM: i64 = -3;
export const SBI_DENIED: i64 = -4;
export const SBI_INVALID_ADDRESS: i64 = -5;
export const SBI_ALREADY_AVAILABLE: i64 = -6;
export const SBI_ALREADY_STARTED: i64 = -7;
export const SBI_ALREADY_STOPPED: i64 = -8;
export const SBI_NO_SHMEM: i64 = -9;
export const SBI_INVALID_STATE: i64 = -10;

/** SBI call: sbiret.error if negative, else sbiret.value (of which bit 63 must be clear). */
export function sbi(
  eid: u64,
  fid: u64,
  a0: u64 = 0,
  a1: u64 = 0,
  a2: u64 = 0,
  a3: u64 = 0,
  a4: u64 = 0,
  a5: u64 = 0,
): i64 {
  const hart = thisHart();
  const error = ecall(eid, fid, a0, a1, a2, a3, a4, a5, <usize>hart.address(offsetof<TestHart>("sbiValue")));
  return error < 0 ? error : <i64>hart.sbiValue;
}

// ---- Base

export const enum BaseFunction {
  SpecVersion = 0,
  ImplementationId = 1,
  ImplementationVersion = 2,
  Probe = 3,
  VendorId = 4,
  ArchitectureId = 5,
  MachineId = 6,
}

/** Non-zero if extension `eid` is there. */
export function probeExtension(eid: u64): i64 {
  return sbi(EID_BASE, BaseFunction.Probe, eid);
}

// ---- HSM

export const enum HsmFunction {
  Start = 0,
  Stop = 1,
  Status = 2,
  Suspend = 3,
}

export const HSM_STARTED: i64 = 0;
export const HSM_STOPPED: i64 = 1;
export const HSM_START_PENDING: i64 = 2;

export function hartStart(hartId: u64, address: u64, opaque: u64): i64 {
  return sbi(EID_HSM, HsmFunction.Start, hartId, address, opaque);
}

/** Stops the calling hart; returns only on failure. */
export function hartStop(): i64 {
  return sbi(EID_HSM, HsmFunction.Stop);
}

export function hartStatus(hartId: u64): i64 {
  return sbi(EID_HSM, HsmFunction.Status, hartId);
}

// ---- TIME, IPI, RFENCE

export function setTimer(deadline: u64): i64 {
  return sbi(EID_TIME, 0, deadline);
}

/** Software interrupt for harts `base` + bit number of `mask`; `base` of all ones means every hart. */
export function sendIpi(mask: u64, base: u64): i64 {
  return sbi(EID_IPI, 0, mask, base);
}

export const enum RfenceFunction {
  FenceI = 0,
  SfenceVma = 1,
  SfenceVmaAsid = 2,
  HfenceGvmaVmid = 3,
  HfenceGvma = 4,
  HfenceVvmaAsid = 5,
  HfenceVvma = 6,
}

export function remoteFenceI(mask: u64, base: u64): i64 {
  return sbi(EID_RFENCE, RfenceFunction.FenceI, mask, base);
}

/** sfence.vma of [start, start + size) on other harts; start 0 and size ~0 mean everything. */
export function remoteSfenceVma(mask: u64, base: u64, start: u64, size: u64): i64 {
  return sbi(EID_RFENCE, RfenceFunction.SfenceVma, mask, base, start, size);
}

export function remoteSfenceVmaAsid(mask: u64, base: u64, start: u64, size: u64, asid: u64): i64 {
  return sbi(EID_RFENCE, RfenceFunction.SfenceVmaAsid, mask, base, start, size, asid);
}

// ---- DBCN and legacy putchar

export const enum DbcnFunction {
  Write = 0,
  Read = 1,
  WriteByte = 2,
}

/** Bytes written. */
export function debugConsoleWrite(gpa: u64, length: u64): i64 {
  return sbi(EID_DBCN, DbcnFunction.Write, length, gpa, 0);
}

/** Bytes read, without waiting. */
export function debugConsoleRead(gpa: u64, length: u64): i64 {
  return sbi(EID_DBCN, DbcnFunction.Read, length, gpa, 0);
}

export function debugConsoleWriteByte(byte: u32): i64 {
  return sbi(EID_DBCN, DbcnFunction.WriteByte, <u64>byte);
}

export function putchar(character: u32): i64 {
  return ecall(EID_LEGACY_PUTCHAR, 0, <u64>character, 0, 0, 0, 0, 0, 0);
}

// ---- SRST

export const RESET_SHUTDOWN: u64 = 0;
export const RESET_NO_REASON: u64 = 0;
export const RESET_SYSTEM_FAILURE: u64 = 1;

/** System reset; returns only on failure. */
export function systemReset(type: u64, reason: u64): i64 {
  return sbi(EID_SRST, 0, type, reason);
}
