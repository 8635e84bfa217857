import { Hart } from "../hart";
import {
  EXC_ILLEGAL,
  EXC_LOAD_ACCESS,
  EXC_LOAD_MISALIGNED,
  EXC_STORE_ACCESS,
  EXC_STORE_GUEST_PAGE,
  EXC_STORE_MISALIGNED,
  HTINST,
  SEPC,
  STVAL,
} from "../riscv/csr";
import { csrRead } from "../riscv/hw";
import { readFpRegister, writeFpRegister } from "./extension-state";
import { exitMmio } from "./exit";
import { FETCH_FAULTED, fetchInstruction } from "./fetch";
import { injectException } from "./inject";
import {
  FP_REGISTERS,
  NO_ACCESS,
  accessIsStore,
  accessRegister,
  accessWidth,
  decodeAccess,
  instructionLength,
  loadedValue,
  shownInstruction,
  storedValue,
} from "./mmio-decode";
import { PendingExit, Vcpu } from "./vcpu";

/**
 * Accesses of a TVM to memory that its host emulates (COVG AddMmioRegion): the instruction is decoded here, its host does the access with a0 and
 * never sees the guest's registers.
 */

// htinst (Privileged 21.6.3): 0 = nothing said; bit 0 set = the instruction, as a 32-bit one, with bit 1 clear if it was a
// 16-bit one and the offset of the faulting part in rs1; else the access of a page-table walk.
const HTINST_INSTRUCTION: u32 = 1 << 0;
const HTINST_WIDE: u32 = 1 << 1;
const RS1_FIELD: u32 = 31 << 15;

/** `trappedAccess`: the guest has its exception, or tries again. */
export const TRAPPED_NOTHING: u64 = 0;

const LENGTH_SHIFT: u64 = 32;

/** Bytes of the instruction of a `trappedAccess`. */
// @ts-ignore: decorator
@inline
export function trappedLength(trapped: u64): u32 {
  return <u32>(trapped >> LENGTH_SHIFT);
}

/**
 * The load or store of the current guest that took guest page fault `cause` at `gpa`: the access (mmio-decode.ts) in the low half, and the length of
 * its instruction. TRAPPED_NOTHING if it is none that can be emulated: then the guest got an exception, which is an access fault (its page
 * table lies there), illegal instruction (no plain load or store, as atomics) or misaligned address; or its instruction is gone meanwhile.
 */
export function trappedAccess(cause: u64, gpa: u64): u64 {
  const store = cause == EXC_STORE_GUEST_PAGE;
  const transformed = <u32>csrRead(HTINST);
  let instruction = transformed | HTINST_WIDE;
  let length: u32 = (transformed & HTINST_WIDE) != 0 ? 4 : 2;
  if (transformed == 0) {
    const fetched = fetchInstruction(csrRead(SEPC));
    // Its own fetch will fault too, and the guest gets that fault.
    if (fetched == FETCH_FAULTED) return TRAPPED_NOTHING;
    instruction = <u32>fetched;
    length = instructionLength(instruction);
  } else if ((transformed & HTINST_INSTRUCTION) == 0) {
    injectException(store ? EXC_STORE_ACCESS : EXC_LOAD_ACCESS, csrRead(STVAL));
    return TRAPPED_NOTHING;
  }

  const access = decodeAccess(instruction);
  if (access == NO_ACCESS || accessIsStore(access) != store) {
    injectException(EXC_ILLEGAL, 0);
    return TRAPPED_NOTHING;
  }
  const split = transformed != 0 && (transformed & RS1_FIELD) != 0;
  if (split || (gpa & (<u64>(accessWidth(access) - 1))) != 0) {
    injectException(store ? EXC_STORE_MISALIGNED : EXC_LOAD_MISALIGNED, csrRead(STVAL));
    return TRAPPED_NOTHING;
  }
  return (<u64>access) | ((<u64>length) << LENGTH_SHIFT);
}

/**
 * The current vCPU accessed `gpa`, in a region of emulated memory, and took guest page fault `cause` (load or store). Ends in an exit to its
 * host, or as `trappedAccess` says.
 */
export function accessMmio(hart: Hart, vcpu: Vcpu, cause: u64, gpa: u64): void {
  const trapped = trappedAccess(cause, gpa);
  if (trapped == TRAPPED_NOTHING) return;
  const access = <u32>trapped;
  const store = accessIsStore(access);
  vcpu.pending = store ? PendingExit.MmioStore : PendingExit.MmioLoad;
  vcpu.mmioAccess = access;
  vcpu.mmioInstructionLength = trappedLength(trapped);
  const value = store ? storedValue(access, dataRegister(vcpu, access)) : 0;
  exitMmio(hart, vcpu, cause, gpa, <u64>shownInstruction(access), value);
}

/** What is in the data register of the access. */
export function dataRegister(vcpu: Vcpu, access: u32): u64 {
  const register = accessRegister(access);
  return register < FP_REGISTERS ? vcpu.gpr(register) : readFpRegister(vcpu, register - FP_REGISTERS);
}

/** Puts the result of a load into the data register of the access. */
export function putDataRegister(vcpu: Vcpu, access: u32, value: u64): void {
  const register = accessRegister(access);
  if (register < FP_REGISTERS) vcpu.setGpr(register, value);
  else writeFpRegister(vcpu, register - FP_REGISTERS, value);
}

/** The host of a vCPU that waits for an access (and is not current) has answered `value`: the instruction is done. */
export function completeMmio(vcpu: Vcpu, value: u64): void {
  if (vcpu.pending == PendingExit.MmioLoad) {
    putDataRegister(vcpu, vcpu.mmioAccess, loadedValue(vcpu.mmioAccess, value));
  }
  vcpu.sepc += <u64>vcpu.mmioInstructionLength;
}
