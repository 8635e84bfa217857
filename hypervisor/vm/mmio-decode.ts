/**
 * Decoding of the loads and stores that a compiler emits, for the emulation of device memory. Pure: no state, no machine.
 *
 * A 16-bit instruction is first turned into the 32-bit one that it stands for, as far as that matters here: the opcode, the width and the data
 * register. The base register and the offset are not needed, the hardware has computed the address.
 */

// Opcodes of 32-bit instructions (bits 6:0) and the places of their fields.
const LOAD: u32 = 0x03;
const LOAD_FP: u32 = 0x07;
const STORE: u32 = 0x23;
const STORE_FP: u32 = 0x27;
const RD_SHIFT: u32 = 7;
const FUNCT3_SHIFT: u32 = 12;
const RS2_SHIFT: u32 = 20;

// funct3 of loads and stores: log2 of the width, bit 2 = zero-extended.
const FUNCT3_UNSIGNED: u32 = 4;
const WIDTH_BYTE: u32 = 0;
const WIDTH_HALF: u32 = 1;
const WIDTH_WORD: u32 = 2;
const WIDTH_DOUBLE: u32 = 3;

const REGISTER_A0: u32 = 10;

/** Register numbers of an access from here on are f0-f31. */
export const FP_REGISTERS: u32 = 32;

/** Not a load or store that can be emulated. */
export const NO_ACCESS: u32 = 0;

// An access, packed: bit 0 set, bit 1 store, bit 2 sign-extended load, bits 4-5 log2 of the width, bits 8-13 register.
const ACCESS_VALID: u32 = 1;
const ACCESS_STORE: u32 = 2;
const ACCESS_SIGNED: u32 = 4;
const ACCESS_WIDTH_SHIFT: u32 = 4;
const ACCESS_REGISTER_SHIFT: u32 = 8;

// @ts-ignore: decorator
@inline
export function accessIsStore(access: u32): bool {
  return (access & ACCESS_STORE) != 0;
}

/** Whether a narrow value is sign-extended into its register. */
// @ts-ignore: decorator
@inline
export function accessIsSigned(access: u32): bool {
  return (access & ACCESS_SIGNED) != 0;
}

/** Bytes: 1, 2, 4 or 8. */
// @ts-ignore: decorator
@inline
export function accessWidth(access: u32): u32 {
  return 1 << ((access >> ACCESS_WIDTH_SHIFT) & 3);
}

/** Where the data comes from or goes to: x0-x31, or FP_REGISTERS + f0-f31. */
// @ts-ignore: decorator
@inline
export function accessRegister(access: u32): u32 {
  return (access >> ACCESS_REGISTER_SHIFT) & 63;
}

/** Bytes of the instruction that begins with the half word `half`. */
// @ts-ignore: decorator
@inline
export function instructionLength(half: u32): u32 {
  return (half & 3) == 3 ? 4 : 2;
}

/** The access of a 16- or 32-bit instruction, or NO_ACCESS. */
export function decodeAccess(instruction: u32): u32 {
  return (instruction & 3) == 3 ? decodeWide(instruction) : decodeWide(expand(instruction & 0xffff));
}

/** The access of a 32-bit instruction, or NO_ACCESS. */
function decodeWide(instruction: u32): u32 {
  const opcode = instruction & 0x7f;
  const funct3 = (instruction >> FUNCT3_SHIFT) & 7;
  const rd = (instruction >> RD_SHIFT) & 31;
  const rs2 = (instruction >> RS2_SHIFT) & 31;
  const width = funct3 & 3;
  switch (opcode) {
    case LOAD:
      // There is no zero-extended double word.
      if (funct3 == (FUNCT3_UNSIGNED | WIDTH_DOUBLE)) return NO_ACCESS;
      return access(width, rd, funct3 < FUNCT3_UNSIGNED ? ACCESS_SIGNED : 0);
    case STORE:
      return funct3 < FUNCT3_UNSIGNED ? access(width, rs2, ACCESS_STORE) : NO_ACCESS;
    case LOAD_FP:
      // funct3 0, 5, 6 and 7 are vector loads, 4 is quad precision.
      return isFpWidth(funct3) ? access(width, FP_REGISTERS + rd, 0) : NO_ACCESS;
    case STORE_FP:
      return isFpWidth(funct3) ? access(width, FP_REGISTERS + rs2, ACCESS_STORE) : NO_ACCESS;
    default:
      return NO_ACCESS;
  }
}

function isFpWidth(funct3: u32): bool {
  return funct3 >= WIDTH_HALF && funct3 <= WIDTH_DOUBLE;
}

function access(width: u32, register: u32, flags: u32): u32 {
  return ACCESS_VALID | flags | (width << ACCESS_WIDTH_SHIFT) | (register << ACCESS_REGISTER_SHIFT);
}

/** The 32-bit form of a 16-bit load or store, or 0. */
function expand(instruction: u32): u32 {
  const funct3 = (instruction >> 13) & 7;
  const rdShort = 8 + ((instruction >> 2) & 7);
  const rd = (instruction >> 7) & 31;
  const rs2 = (instruction >> 2) & 31;
  if ((instruction & 3) == 0) {
    switch (funct3) {
      case 1: // c.fld
        return load32(LOAD_FP, WIDTH_DOUBLE, rdShort);
      case 2: // c.lw
        return load32(LOAD, WIDTH_WORD, rdShort);
      case 3: // c.ld
        return load32(LOAD, WIDTH_DOUBLE, rdShort);
      case 4:
        return expandNarrow(instruction, rdShort);
      case 5: // c.fsd
        return store32(STORE_FP, WIDTH_DOUBLE, rdShort);
      case 6: // c.sw
        return store32(STORE, WIDTH_WORD, rdShort);
      case 7: // c.sd
        return store32(STORE, WIDTH_DOUBLE, rdShort);
      default: // c.addi4spn
        return 0;
    }
  }
  if ((instruction & 3) == 2) {
    switch (funct3) {
      case 1: // c.fldsp
        return load32(LOAD_FP, WIDTH_DOUBLE, rd);
      case 2: // c.lwsp; x0 is reserved
        return rd != 0 ? load32(LOAD, WIDTH_WORD, rd) : 0;
      case 3: // c.ldsp; x0 is reserved
        return rd != 0 ? load32(LOAD, WIDTH_DOUBLE, rd) : 0;
      case 5: // c.fsdsp
        return store32(STORE_FP, WIDTH_DOUBLE, rs2);
      case 6: // c.swsp
        return store32(STORE, WIDTH_WORD, rs2);
      case 7: // c.sdsp
        return store32(STORE, WIDTH_DOUBLE, rs2);
      default:
        return 0;
    }
  }
  return 0;
}

/** Zcb: c.lbu, c.lhu, c.lh, c.sb, c.sh, told apart by bits 12:10 and, for half words, bit 6. */
function expandNarrow(instruction: u32, register: u32): u32 {
  const bit6 = (instruction >> 6) & 1;
  switch ((instruction >> 10) & 7) {
    case 0:
      return load32(LOAD, FUNCT3_UNSIGNED | WIDTH_BYTE, register);
    case 1:
      return load32(LOAD, bit6 != 0 ? WIDTH_HALF : FUNCT3_UNSIGNED | WIDTH_HALF, register);
    case 2:
      return store32(STORE, WIDTH_BYTE, register);
    case 3:
      return bit6 == 0 ? store32(STORE, WIDTH_HALF, register) : 0;
    default:
      return 0;
  }
}

function load32(opcode: u32, funct3: u32, rd: u32): u32 {
  return opcode | (funct3 << FUNCT3_SHIFT) | (rd << RD_SHIFT);
}

function store32(opcode: u32, funct3: u32, rs2: u32): u32 {
  return opcode | (funct3 << FUNCT3_SHIFT) | (rs2 << RS2_SHIFT);
}

/**
 * The instruction that the host is shown: the same access in its 32-bit integer form with a0 as the data register, all other fields 0. So
 * the host learns no register number, and needs no knowledge of compressed or floating-point encodings.
 */
export function shownInstruction(access: u32): u32 {
  const width = (access >> ACCESS_WIDTH_SHIFT) & 3;
  if (accessIsStore(access)) return store32(STORE, width, REGISTER_A0);
  // A floating-point load takes the bits as they are; there is no zero-extended double word.
  const unsigned = accessIsSigned(access) || width == WIDTH_DOUBLE ? 0 : FUNCT3_UNSIGNED;
  return load32(LOAD, width | unsigned, REGISTER_A0);
}

/** The low bytes of `value` that a store of this width writes, zero-extended. */
export function storedValue(access: u32, value: u64): u64 {
  const unused = 64 - 8 * <u64>accessWidth(access);
  return (value << unused) >> unused;
}

/** What a load of this access puts into its register when the device answers `value`: extended, or boxed (all ones above) for f0-f31. */
export function loadedValue(access: u32, value: u64): u64 {
  const unused = 64 - 8 * <u64>accessWidth(access);
  if (accessRegister(access) >= FP_REGISTERS) {
    return unused == 0 ? value : ((value << unused) >> unused) | (~(<u64>0) << (64 - unused));
  }
  return accessIsSigned(access) ? <u64>((<i64>(value << unused)) >> (<i64>unused)) : (value << unused) >> unused;
}
