import { endHart, sbiCall } from "../riscv/hw";

/**
 * What we ask of the firmware for ourselves (SBI 3.0): harts, a timer during boot, and the end of the machine. What returns, returns the SBI
 * error.
 */
const EID_TIME: u64 = 0x54494d45;
const EID_HSM: u64 = 0x48534d;
const EID_SRST: u64 = 0x53525354;

/** System Reset (chapter 10): types and reasons. */
export const RESET_SHUTDOWN: u64 = 0;
export const RESET_COLD_REBOOT: u64 = 1;
export const RESET_WARM_REBOOT: u64 = 2;
export const RESET_NO_REASON: u64 = 0;
export const RESET_SYSTEM_FAILURE: u64 = 1;

/** Starts a stopped hart (9.1) at `entry` (hpa) with `opaque` in a1. */
export function firmwareStartHart(hartId: u64, entry: u64, opaque: u64): i64 {
  return sbiCall(EID_HSM, 0, hartId, entry, opaque, 0, 0, 0);
}

/** Stops the hart that calls (9.2). Never returns. */
export function firmwareStopHart(): void {
  endHart(EID_HSM, 1, 0, 0, 0, 0);
}

/** Raises this hart's timer interrupt when `time` has reached `deadline`, and takes an earlier one back (6.1). */
export function firmwareSetTimer(deadline: u64): i64 {
  return sbiCall(EID_TIME, 0, deadline, 0, 0, 0, 0, 0);
}

/**
 * Ends or restarts the machine (10.1). Right before that, the device register at `device` gets `value`, unless `device` is 0. Never
 * returns.
 */
export function firmwareReset(type: u64, reason: u64, device: u64, value: u32): void {
  endHart(EID_SRST, 0, type, reason, device, value);
}
