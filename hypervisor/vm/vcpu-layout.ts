import { INTERRUPT_STATE_BYTES } from "../devices/interrupt-state";
import { COUNTER_STATE_BYTES } from "./counter-state";
import { Vcpu } from "./vcpu";

/**
 * What lies in the state pages of a vCPU, each part 64-byte aligned:
 *
 *     Vcpu record | f0-f31, fcsr | software interrupt file, allow list | performance counters | vstart, vl, vtype, vcsr, v0-v31
 *
 * The last part exists only on harts with vectors, and its size depends on their VLEN.
 */

/** f0-f31 and fcsr, as fpSave stores them. */
const FP_BYTES: usize = 33 * 8;
/** vstart, vl, vtype and vcsr, as vectorSave stores them before the registers. */
const VECTOR_CONTROL_BYTES: u64 = 4 * 8;
const VECTOR_REGISTERS: u64 = 32;
const ALIGNMENT: usize = 64;

// @ts-ignore: decorator
@inline
function aligned(bytes: usize): usize {
  return (bytes + (ALIGNMENT - 1)) & ~(ALIGNMENT - 1);
}

/** Offset of the floating-point area from the record. */
export function fpAreaOffset(): usize {
  return aligned(offsetof<Vcpu>());
}

/** Offset of the interrupt state from the record. */
export function interruptStateOffset(): usize {
  return fpAreaOffset() + fpAreaBytes();
}

/** Offset of the performance counters from the record. */
// @ts-ignore: decorator
@inline
export function counterStateOffset(): usize {
  return interruptStateOffset() + aligned(INTERRUPT_STATE_BYTES);
}

/** Offset of the vector area from the record. */
export function vectorAreaOffset(): usize {
  return counterStateOffset() + aligned(COUNTER_STATE_BYTES);
}

/** Bytes of the floating-point area. */
export function fpAreaBytes(): usize {
  return aligned(FP_BYTES);
}

/** Bytes of the vector area where a vector register has `vlenb` bytes; 0 without vectors (`vlenb` 0). */
export function vectorAreaBytes(vlenb: u64): u64 {
  return vlenb == 0 ? 0 : <u64>aligned(<usize>(VECTOR_CONTROL_BYTES + VECTOR_REGISTERS * vlenb));
}

/** Bytes of a vCPU, its record and its areas, where a vector register has `vlenb` bytes (0 without vectors). */
export function vcpuRecordBytes(vlenb: u64): u64 {
  return <u64>vectorAreaOffset() + vectorAreaBytes(vlenb);
}
