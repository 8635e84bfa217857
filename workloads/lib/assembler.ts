import { fenceI, write16, write64 } from "./hw";
import { PAGE_SIZE } from "./records";

/**
 * A few RISC-V instructions, written into memory at run time: code that must use particular registers or encodings, which no
 * compiler can be asked for. Numbers and fields: The RISC-V Instruction Set Manual, volume I, chapters 2, 27 and 35.
 */

/** Registers by number. */
export const enum Reg {
  Zero = 0,
  Ra = 1,
  Sp = 2,
  Gp = 3,
  Tp = 4,
  T0 = 5,
  T1 = 6,
  T2 = 7,
  S0 = 8,
  S1 = 9,
  A0 = 10,
  A1 = 11,
  A2 = 12,
  A3 = 13,
  A4 = 14,
  A5 = 15,
  A6 = 16,
  A7 = 17,
  S2 = 18,
  T3 = 28,
  T4 = 29,
  T5 = 30,
  T6 = 31,
}

/** funct3 of a load; the low two bits are log2 of the width, bit 2 means zero-extended. */
export const enum LoadForm {
  Lb = 0,
  Lh = 1,
  Lw = 2,
  Ld = 3,
  Lbu = 4,
  Lhu = 5,
  Lwu = 6,
}

/** funct3 of a store: log2 of the width. */
export const enum StoreForm {
  Sb = 0,
  Sh = 1,
  Sw = 2,
  Sd = 3,
}

export const ECALL: u32 = 0x00000073;
export const EBREAK: u32 = 0x00100073;
export const SRET: u32 = 0x10200073;
export const WFI: u32 = 0x10500073;
export const RET: u32 = 0x00008067;
export const NOP: u32 = 0x00000013;
/** A 32-bit encoding that is reserved for ever to be illegal. */
export const ILLEGAL: u32 = 0x00000000;
/** hfence.gvma x0, x0: a virtual-instruction exception in VS-mode. */
export const HFENCE_GVMA: u32 = 0x62000073;

export function encodeLoad(form: u32, rd: u32, base: u32, offset: i32): u32 {
  return 0x03 | (rd << 7) | (form << 12) | (base << 15) | (((<u32>offset) & 0xfff) << 20);
}

export function encodeStore(form: u32, source: u32, base: u32, offset: i32): u32 {
  const imm = (<u32>offset) & 0xfff;
  return 0x23 | ((imm & 0x1f) << 7) | (form << 12) | (base << 15) | (source << 20) | ((imm >> 5) << 25);
}

/** flw (form Lw) or fld (form Ld) */
export function encodeFpLoad(form: u32, frd: u32, base: u32, offset: i32): u32 {
  return encodeLoad(form, frd, base, offset) | 0x04;
}

/** fsw (form Sw) or fsd (form Sd) */
export function encodeFpStore(form: u32, source: u32, base: u32, offset: i32): u32 {
  return encodeStore(form, source, base, offset) | 0x04;
}

export function encodeAddi(rd: u32, rs1: u32, immediate: i32): u32 {
  return 0x13 | (rd << 7) | (rs1 << 15) | (((<u32>immediate) & 0xfff) << 20);
}

export function encodeAndi(rd: u32, rs1: u32, immediate: i32): u32 {
  return encodeAddi(rd, rs1, immediate) | 0x7000;
}

/** or rd, rs1, rs2 */
export function encodeOr(rd: u32, rs1: u32, rs2: u32): u32 {
  return 0x6033 | (rd << 7) | (rs1 << 15) | (rs2 << 20);
}

/** auipc rd, 0: the address of the instruction itself. */
export function encodeAuipc(rd: u32): u32 {
  return 0x17 | (rd << 7);
}

/** jal x0, offset (bytes, a multiple of 2, within 1 MiB). */
export function encodeJump(offset: i32): u32 {
  const imm = <u32>offset;
  return 0x6f | (imm & 0xff000) | (((imm >> 11) & 1) << 20) | (((imm >> 1) & 0x3ff) << 21) | (((imm >> 20) & 1) << 31);
}

/** jr rs1 */
export function encodeJumpRegister(rs1: u32): u32 {
  return 0x67 | (rs1 << 15);
}

export function encodeCsrWrite(csr: u32, source: u32): u32 {
  return 0x1073 | (source << 15) | (csr << 20);
}

/** csrs csr, source */
export function encodeCsrSet(csr: u32, source: u32): u32 {
  return 0x2073 | (source << 15) | (csr << 20);
}

export function encodeCsrRead(rd: u32, csr: u32): u32 {
  return 0x2073 | (rd << 7) | (csr << 20);
}

/** csrsi csr, mask (mask < 32). */
export function encodeCsrSetImmediate(csr: u32, mask: u32): u32 {
  return 0x6073 | (mask << 15) | (csr << 20);
}

/** csrrw register, csr, register: swaps them. */
export function encodeCsrSwap(csr: u32, register: u32): u32 {
  return 0x1073 | (register << 7) | (register << 15) | (csr << 20);
}

/** csrci csr, mask (mask < 32). */
export function encodeCsrClearImmediate(csr: u32, mask: u32): u32 {
  return 0x7073 | (mask << 15) | (csr << 20);
}

/** amoadd.d rd, source, (base) */
export function encodeAmoAddD(rd: u32, source: u32, base: u32): u32 {
  return 0x302f | (rd << 7) | (base << 15) | (source << 20);
}

/** lr.d rd, (base) */
export function encodeLrD(rd: u32, base: u32): u32 {
  return 0x1000302f | (rd << 7) | (base << 15);
}

/** Whether it is one of 16 bits. */
export function isCompressed(instruction: u32): bool {
  return (instruction & 3) != 3;
}

/** Writes instructions one after the other. */
@unmanaged
export class CodeWriter {
  next: u64;

  put(instruction: u32): void {
    // Two halves: after a compressed instruction the next one is only 2-byte aligned.
    write16(this.next, instruction & 0xffff);
    write16(this.next + 2, instruction >>> 16);
    this.next += 4;
  }

  /** A compressed instruction. */
  putHalf(instruction: u32): void {
    write16(this.next, instruction);
    this.next += 2;
  }

  /** rd := value, through a literal beside the code. The writer must be 4-byte aligned. */
  putLoadConstant(rd: u32, value: u64): void {
    // auipc rd,0; ld rd,16(rd); j over; [nop]; .dword value   with the value 8-byte aligned
    const aligned = (this.next & 7) == 0;
    const literal: i32 = aligned ? 16 : 12;
    const start = this.next;
    this.put(encodeAuipc(rd));
    this.put(encodeLoad(LoadForm.Ld, rd, rd, literal));
    this.put(encodeJump(literal));
    if (aligned) this.put(NOP);
    write64(start + <u64>literal, value);
    this.next = start + <u64>literal + 8;
  }

  /** Makes what was written visible to instruction fetch of this hart. */
  finish(): void {
    fenceI();
  }
}

/** A writer that begins at `page`. Its own record is the last word of that page. */
export function codeWriter(page: u64): CodeWriter {
  const writer = changetype<CodeWriter>(<usize>(page + PAGE_SIZE - 8));
  writer.next = page;
  return writer;
}
