import { mmioRead8, mmioWrite8 } from "../riscv/hw";

/**
 * The ns16550a UART, polled: byte-wide registers at consecutive addresses (reg-shift 0).
 * The firmware has set the line parameters; they are left alone until a panic, for which the UART is taken back from the host.
 */
const RECEIVE: u64 = 0;
const TRANSMIT: u64 = 0;
const LINE_CONTROL: u64 = 3;
const MODEM_CONTROL: u64 = 4;
const LINE_STATUS: u64 = 5;

/** line control: 8 bits, no parity, one stop bit; without bit 7, which puts the divisor in the place of the data. */
const EIGHT_BITS: u32 = 3;
/** modem control: ready, request to send; without bit 4, which sends everything back. */
const READY_TO_SEND: u32 = 3;

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

/** Undoes what a driver of the host may have done to the UART in the middle of which it was stopped: what is sent goes out again. */
export function uartReclaim(base: u64): void {
  mmioWrite8(base + LINE_CONTROL, EIGHT_BITS);
  mmioWrite8(base + MODEM_CONTROL, READY_TO_SEND);
}

/** A received byte, or -1 if there is none. */
export function uartRead(base: u64): i32 {
  if ((mmioRead8(base + LINE_STATUS) & LINE_STATUS_DATA_READY) == 0) return -1;
  return <i32>(mmioRead8(base + RECEIVE) & 0xff);
}
