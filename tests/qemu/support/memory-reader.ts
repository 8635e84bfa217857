/**
 * A program for Linux on RISC-V that maps one page of physical memory through /dev/mem and writes its first bytes to the standard output: an ELF file of a few
 * hundred bytes, made here because the small system has no compiler and its busybox no devmem.
 *
 * It ends with 0; with 7 if the page cannot be mapped; or by a signal, if touching the page is a fault.
 */

export const CANNOT_MAP = 7;
/** Bytes that it writes. */
export const READ_BYTES = 48;

const BASE = 0x1_0000;
const HEADERS = 64 + 56;
const Reg = { zero: 0, t0: 5, s0: 8, a0: 10, a1: 11, a2: 12, a3: 13, a4: 14, a5: 15, a7: 17 } as const;
const Syscall = { openat: 56, write: 64, exit: 93, mmap: 222 } as const;
const ECALL = 0x73;

const addi = (rd: number, rs1: number, immediate: number): number =>
  ((immediate & 0xfff) << 20) | (rs1 << 15) | (rd << 7) | 0x13;
const auipc = (rd: number): number => (rd << 7) | 0x17;
const ld = (rd: number, rs1: number, offset: number): number =>
  ((offset & 0xfff) << 20) | (rs1 << 15) | (3 << 12) | (rd << 7) | 0x03;
/** bltz rs1, offset: a multiple of 2 below 2 KiB, forwards. */
const bltz = (rs1: number, offset: number): number =>
  (((offset >> 5) & 0x3f) << 25) | (rs1 << 15) | (4 << 12) | (((offset >> 1) & 15) << 8) | 0x63;

/** The program for the page at `address`. */
export function memoryReader(address: bigint): Buffer {
  const call = (number: number): number[] => [addi(Reg.a7, Reg.zero, number), ECALL];
  const end = (status: number): number[] => [addi(Reg.a0, Reg.zero, status), ...call(Syscall.exit)];
  const print = [
    ld(Reg.t0, Reg.s0, 0),
    addi(Reg.a0, Reg.zero, 1),
    addi(Reg.a1, Reg.s0, 0),
    addi(Reg.a2, Reg.zero, READ_BYTES),
    ...call(Syscall.write),
    ...end(0),
  ];
  const code = (data: number): number[] => [
    // The data lies `data` bytes behind this instruction: the address, then the file's name.
    auipc(Reg.s0),
    addi(Reg.a0, Reg.zero, -100),
    addi(Reg.a1, Reg.s0, data + 8),
    addi(Reg.a2, Reg.zero, 0),
    ...call(Syscall.openat),
    addi(Reg.a4, Reg.a0, 0),
    ld(Reg.a5, Reg.s0, data),
    addi(Reg.a0, Reg.zero, 0),
    addi(Reg.a1, Reg.zero, 2047),
    addi(Reg.a2, Reg.zero, 1),
    addi(Reg.a3, Reg.zero, 1),
    ...call(Syscall.mmap),
    addi(Reg.s0, Reg.a0, 0),
    bltz(Reg.a0, 4 * (print.length + 1)),
    ...print,
    ...end(CANNOT_MAP),
  ];
  const bytes = (4 * code(0).length + 7) & ~7;
  const text = Buffer.alloc(bytes);
  code(bytes).forEach((instruction, index) => text.writeInt32LE(instruction | 0, 4 * index));
  const constant = Buffer.alloc(8);
  constant.writeBigUInt64LE(address);
  const body = Buffer.concat([text, constant, Buffer.from("/dev/mem\0")]);
  return Buffer.concat([elfHeaders(HEADERS + body.length), body]);
}

/** An executable that is one segment from its first byte to its last, whose code follows the headers. */
function elfHeaders(size: number): Buffer {
  const header = Buffer.alloc(HEADERS);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  // Executable, RISC-V, version 1; entry, program headers.
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(243, 18);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(BigInt(BASE + HEADERS), 24);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  // PT_LOAD, readable and executable, from the file's beginning, at BASE, aligned to pages.
  header.writeUInt32LE(1, 64);
  header.writeUInt32LE(5, 68);
  header.writeBigUInt64LE(BigInt(BASE), 80);
  header.writeBigUInt64LE(BigInt(BASE), 88);
  header.writeBigUInt64LE(BigInt(size), 96);
  header.writeBigUInt64LE(BigInt(size), 104);
  header.writeBigUInt64LE(4096n, 112);
  return header;
}
