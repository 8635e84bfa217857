/**
 * Encodings of the instructions that guests execute: what the hypervisor reads when it fetches the instruction that trapped, and
 * what htinst shows.
 */

export type Width = 1 | 2 | 4 | 8;

/** Loads and stores of integer registers come in three encodings. */
export type Encoding = "wide" | "compressed" | "compressed-sp";

export interface Instruction {
  /** 16 or 32 bits. */
  bits: number;
  length: 2 | 4;
}

const OPCODE_LOAD = 0x03;
const OPCODE_STORE = 0x23;
const OPCODE_SYSTEM = 0x73;

export const WFI: Instruction = { bits: 0x1050_0073, length: 4 };
export const ECALL: Instruction = { bits: 0x73, length: 4 };
export const SFENCE_VMA: Instruction = { bits: 0x1200_0073, length: 4 };

function wide(bits: number): Instruction {
  return { bits: bits >>> 0, length: 4 };
}

function compressed(bits: number): Instruction {
  return { bits, length: 2 };
}

/** Load of `width` bytes into x`rd` from 0(x`rs1`). */
export function loadInstruction(
  width: Width,
  signed: boolean,
  rd: number,
  rs1: number,
  encoding: Encoding = "wide",
): Instruction {
  if (encoding === "compressed-sp") {
    // c.lwsp, c.ldsp
    return compressed((width === 8 ? 0x6002 : 0x4002) | (rd << 7));
  }
  if (encoding === "compressed") {
    const registers = ((rs1 - 8) << 7) | ((rd - 8) << 2);
    if (width === 8) return compressed(0x6000 | registers);
    if (width === 4) return compressed(0x4000 | registers);
    if (width === 2) return compressed(0x8400 | registers | (signed ? 0x40 : 0));
    return compressed(0x8000 | registers);
  }
  const funct3 = Math.log2(width) | (signed || width === 8 ? 0 : 4);
  return wide(OPCODE_LOAD | (rd << 7) | (funct3 << 12) | (rs1 << 15));
}

/** Store of the low `width` bytes of x`rs2` to 0(x`rs1`). */
export function storeInstruction(width: Width, rs2: number, rs1: number, encoding: Encoding = "wide"): Instruction {
  if (encoding === "compressed-sp") {
    // c.swsp, c.sdsp
    return compressed((width === 8 ? 0xe002 : 0xc002) | (rs2 << 2));
  }
  if (encoding === "compressed") {
    const registers = ((rs1 - 8) << 7) | ((rs2 - 8) << 2);
    if (width === 8) return compressed(0xe000 | registers);
    if (width === 4) return compressed(0xc000 | registers);
    if (width === 2) return compressed(0x8c00 | registers);
    return compressed(0x8800 | registers);
  }
  return wide(OPCODE_STORE | (Math.log2(width) << 12) | (rs1 << 15) | (rs2 << 20));
}

/** csrrs x`rd`, csr, x0; or csrrw, csrrs, csrrc with x`rs1`. */
export function csrInstruction(csr: number, action: CsrAction, rd: number, rs1: number): Instruction {
  const funct3 = action === "write" ? 1 : action === "clear" ? 3 : 2;
  return wide(OPCODE_SYSTEM | (rd << 7) | (funct3 << 12) | ((action === "read" ? 0 : rs1) << 15) | (csr << 20));
}

export type CsrAction = "read" | "write" | "set" | "clear";

/**
 * What htinst holds for a load or store that took a guest page fault (Privileged 21.6.3): the 32-bit form without offset and base register;
 * bit 1 is 0 if the instruction was compressed.
 */
export function transformed(
  instruction: Instruction,
  store: boolean,
  width: Width,
  signed: boolean,
  register: number,
): number {
  const form = store ? storeInstruction(width, register, 0) : loadInstruction(width, signed, register, 0);
  return instruction.length === 4 ? form.bits : (form.bits & ~2) >>> 0;
}

/** htinst of a guest page fault while the guest's page tables were read. */
export const PSEUDO_INSTRUCTION_READ = 0x3000;
