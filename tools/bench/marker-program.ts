/**
 * Programs for Linux on riscv64 that execute one mark of the counting plugin (bench/plugin.c) and end: an ELF file of one segment and four instructions.
 */

/** slti x0, x0, 0x5a1 and 0x5a2: hints that do nothing. */
export const OPEN_MARK = 0x5a1;
export const CLOSE_MARK = 0x5a2;

const LOAD_ADDRESS = 0x1_0000n;
const HEADER_BYTES = 64;
const SEGMENT_HEADER_BYTES = 56;
const RISCV = 243;
/** The double-float ABI, which Debian's programs have too. */
const FLAGS = 5;
const EXIT_CALL = 93;

/** The program as a file. */
export function markerProgram(mark: number): Buffer {
  const code = [
    (mark << 20) | 0x2013, // slti x0, x0, mark
    0x0000_0513, // li a0, 0
    (EXIT_CALL << 20) | 0x0893, // li a7, exit
    0x0000_0073, // ecall
  ];
  const start = HEADER_BYTES + SEGMENT_HEADER_BYTES;
  const size = start + 4 * code.length;
  const file = Buffer.alloc(size);
  // e_ident: 64 bits, little-endian, version 1
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(2, 16); // executable
  file.writeUInt16LE(RISCV, 18);
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(LOAD_ADDRESS + BigInt(start), 24); // entry
  file.writeBigUInt64LE(BigInt(HEADER_BYTES), 32); // segments
  file.writeUInt32LE(FLAGS, 48);
  file.writeUInt16LE(HEADER_BYTES, 52);
  file.writeUInt16LE(SEGMENT_HEADER_BYTES, 54);
  file.writeUInt16LE(1, 56); // one segment
  file.writeUInt32LE(1, HEADER_BYTES); // loaded
  file.writeUInt32LE(5, HEADER_BYTES + 4); // readable, executable
  file.writeBigUInt64LE(LOAD_ADDRESS, HEADER_BYTES + 16);
  file.writeBigUInt64LE(LOAD_ADDRESS, HEADER_BYTES + 24);
  file.writeBigUInt64LE(BigInt(size), HEADER_BYTES + 32);
  file.writeBigUInt64LE(BigInt(size), HEADER_BYTES + 40);
  file.writeBigUInt64LE(0x1000n, HEADER_BYTES + 48);
  code.forEach((word, index) => file.writeUInt32LE(word >>> 0, start + 4 * index));
  return file;
}
