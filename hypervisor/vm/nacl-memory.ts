import { read64, write64 } from "../riscv/hw";

/**
 * The NACL shared memory of a host vCPU, through which it sees its TVM (CoVE 0.7 §9.2; SBI 3.0 chapter 15). 12 KiB:
 *
 *     0x0000  scratch: general registers of the TVM (x0-x31), rest reserved
 *     0x0800  hypervisor fences (unused)
 *     0x0f80  bitmap of changed CSRs (unused)
 *     0x1000  1024 CSRs, index = (number bits 11:10) : (number bits 7:0)
 *
 * The host can write to it at any time: each value is read once, and nothing in it is trusted. `memory` is Vcpu.naclHpa; 0 means that
 * none is registered: then writes are dropped and everything reads 0.
 */
export const NACL_PAGES: u64 = 3;

const CSR_AREA: u64 = 0x1000;
/** Offsets of the CSRs that a host reads after an exit. */
export const NACL_VSIE: u64 = CSR_AREA + 8 * 0x004;
export const NACL_VSTIMECMP: u64 = CSR_AREA + 8 * 0x04d;
export const NACL_HTIMEDELTA: u64 = CSR_AREA + 8 * 0x105;
export const NACL_HTVAL: u64 = CSR_AREA + 8 * 0x143;
export const NACL_HTINST: u64 = CSR_AREA + 8 * 0x14a;

/** Offsets of the argument registers; a2-a7 follow. */
export const NACL_A0: u64 = 8 * 10;
export const NACL_A1: u64 = 8 * 11;
export const NACL_A7: u64 = 8 * 17;

// @ts-ignore: decorator
@inline
export function naclWrite(memory: u64, offset: u64, value: u64): void {
  if (memory != 0) write64(memory + offset, value);
}

// @ts-ignore: decorator
@inline
export function naclRead(memory: u64, offset: u64): u64 {
  return memory != 0 ? read64(memory + offset) : 0;
}
