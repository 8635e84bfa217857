import { read32, write32 } from "../riscv/hw";

/**
 * Big-endian numbers in memory, as device trees and hashes have them. Addresses are 4-byte aligned.
 */

/** Reverses the bytes of a 32-bit value. */
// @ts-ignore: decorator
@inline
export function swapBytes32(value: u32): u32 {
  return (rotl<u32>(value, 8) & 0x00ff00ff) | (rotr<u32>(value, 8) & 0xff00ff00);
}

export function readBig32(address: usize): u32 {
  return swapBytes32(read32(<u64>address));
}

export function readBig64(address: usize): u64 {
  return ((<u64>readBig32(address)) << 32) | (<u64>readBig32(address + 4));
}

export function writeBig32(address: usize, value: u32): void {
  write32(<u64>address, swapBytes32(value));
}
