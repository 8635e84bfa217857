import { sbiCall } from "../riscv/hw";

/**
 * The firmware's console: SBI DBCN (SBI 3.0 chapter 12), or the legacy calls (chapter 5) of an older firmware.
 * Nothing here keeps state: who calls it decides which of the two is used.
 */
const EID_BASE: u64 = 0x10;
const BASE_PROBE_EXTENSION: u64 = 3;

const EID_DBCN: u64 = 0x4442434e;
const DBCN_WRITE: u64 = 0;
const DBCN_READ: u64 = 1;
const DBCN_WRITE_BYTE: u64 = 2;

const EID_LEGACY_PUTCHAR: u64 = 1;
const EID_LEGACY_GETCHAR: u64 = 2;

/** Whether the firmware has DBCN. `result` is 8 bytes of our own memory for the answer. */
export function firmwareHasDebugConsole(result: usize): bool {
  if (sbiCall(EID_BASE, BASE_PROBE_EXTENSION, EID_DBCN, 0, 0, 0, 0, result) != 0) return false;
  return changetype<FirmwareResult>(result).value != 0;
}

/**
 * Offers `length` bytes at `hpa` to DBCN; returns how many it took (it may take fewer, even none), or -1 if it failed.
 * `result` is 8 bytes of our own memory.
 */
export function debugConsoleWrite(hpa: u64, length: u64, result: usize): i64 {
  if (sbiCall(EID_DBCN, DBCN_WRITE, length, hpa, 0, 0, 0, result) != 0) return -1;
  const written = changetype<FirmwareResult>(result).value;
  return written <= length ? <i64>written : -1;
}

/** Reads up to `length` bytes to `hpa`; returns how many came, or -1 if it failed. */
export function debugConsoleRead(hpa: u64, length: u64, result: usize): i64 {
  if (sbiCall(EID_DBCN, DBCN_READ, length, hpa, 0, 0, 0, result) != 0) return -1;
  const count = changetype<FirmwareResult>(result).value;
  return count <= length ? <i64>count : -1;
}

/** Writes one byte through whatever console the firmware has; needs no memory at all. */
export function firmwareWriteByte(byte: u32): void {
  if (sbiCall(EID_DBCN, DBCN_WRITE_BYTE, <u64>byte, 0, 0, 0, 0, 0) != 0) legacyWriteByte(byte);
}

/** The putchar of SBI 0.1. */
export function legacyWriteByte(byte: u32): void {
  sbiCall(EID_LEGACY_PUTCHAR, 0, <u64>byte, 0, 0, 0, 0, 0);
}

/** The getchar of SBI 0.1, which answers in the error register: a byte, or -1. */
export function legacyReadByte(): i32 {
  const answer = sbiCall(EID_LEGACY_GETCHAR, 0, 0, 0, 0, 0, 0, 0);
  return answer >= 0 && answer <= 0xff ? <i32>answer : -1;
}

/** Where `sbiCall` leaves the second return value. */
@unmanaged
class FirmwareResult {
  value: u64;
}
