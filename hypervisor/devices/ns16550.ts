import { mmioRead8, mmioWrite8 } from "../riscv/hw";

/**
 * The ns16550a UART, polled: byte-wide registers at consecutive addresses (reg-shift 0).
 * The firmware has set the line parameters; they are left alone.
 */
const RECEIVE: u64 = 0;
const TRANSMIT: u64 = 0;
const LINE_STATUS: u64 = 5;

const LINE_STATUS_DATA_READY: u32 = 1 << 0;
const LINE_STATUS_TRANSMIT_EMPTY: u32 = 1 << 5;

/**
 * Polls before a byte is given up: a dead or absent UART must not stop the machine (115200 baud: about 90 us a byte). What follows such a
 * byte gets only one until the UART takes something again.
 */
export const PATIENT: u32 = 1_000_000;
export const IMPATIENT: u32 = 1;

/** Sends one byte; waits for up to `patience` polls until the transmitter takes it. Returns false if it did not. */
export function uartWrite(base: u64, byte: u32, patience: u32): bool {
  let polls: u32 = 0;
  while ((mmioRead8(base + LINE_STATUS) & LINE_STATUS_TRANSMIT_EMPTY) == 0) {
    if (++polls >= patience) return false;
  }
  mmioWrite8(base + TRANSMIT, byte & 0xff);
  return true;
}

/** A received byte, or -1 if there is none. */
export function uartRead(base: u64): i32 {
  if ((mmioRead8(base + LINE_STATUS) & LINE_STATUS_DATA_READY) == 0) return -1;
  return <i32>(mmioRead8(base + RECEIVE) & 0xff);
}
