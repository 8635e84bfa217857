import { mmioRead32, mmioRead64, mmioWrite32, mmioWrite64 } from "../../riscv/hw";

/**
 * Registers of the RISC-V IOMMU (RISC-V IOMMU Architecture Specification, chapter 6), and what lies in memory for it (chapters 3, 4).
 */
export const CAPABILITIES: u64 = 0x00;
export const FCTL: u64 = 0x08;
export const DDTP: u64 = 0x10;
export const CQB: u64 = 0x18;
export const CQH: u64 = 0x20;
export const CQT: u64 = 0x24;
export const FQB: u64 = 0x28;
export const FQH: u64 = 0x30;
export const FQT: u64 = 0x34;
export const CQCSR: u64 = 0x48;
export const FQCSR: u64 = 0x4c;
export const PQCSR: u64 = 0x50;
export const IPSR: u64 = 0x54;
export const ICVEC: u64 = 0x2f8;
/** Where interrupt messages go: 16 entries of address (8), data (4), mask (4). */
export const MSI_TABLE: u64 = 0x300;

export const REGISTERS_SIZE: u64 = 4096;

// capabilities: version 7:0, second-stage modes, IGS 29:28
export const CAP_VERSION_MAJOR_SHIFT: u64 = 4;
/** Sv39x4; Sv48x4 and Sv57x4 are the next bits. */
export const CAP_SV39X4_SHIFT: u64 = 17;
/** MSI page tables exist: device contexts have the extended format. */
export const CAP_MSI_FLAT: u64 = 1 << 22;
export const CAP_IGS_SHIFT: u64 = 28;
export const IGS_WIRED: u64 = 1;

export const FCTL_BIG_ENDIAN: u32 = 1 << 0;
export const FCTL_WIRED: u32 = 1 << 1;
export const FCTL_GXL: u32 = 1 << 2;

// ddtp: mode 3:0, busy 4, PPN 53:10
export const DDTP_OFF: u64 = 0;
/** Mode of a directory of one level; those of two and three follow. */
export const DDTP_ONE_LEVEL: u64 = 2;
export const DDTP_MODE_MASK: u64 = 15;
export const DDTP_BUSY: u64 = 1 << 4;

// cqcsr, fqcsr, pqcsr
export const QUEUE_ENABLE: u32 = 1 << 0;
export const QUEUE_INTERRUPT: u32 = 1 << 1;
/** cqcsr: memory fault, timeout, illegal command. fqcsr: memory fault, overflow. Cleared by ones. */
export const COMMAND_ERRORS: u32 = 7 << 8;
export const FAULT_ERRORS: u32 = 3 << 8;
export const QUEUE_ON: u32 = 1 << 16;
export const QUEUE_BUSY: u32 = 1 << 17;

export const IPSR_FAULT: u32 = 1 << 1;

/** A command is 16 bytes, a fault record 32; a queue of ours has one page. */
export const COMMAND_SHIFT: u64 = 4;
export const COMMANDS: u32 = 256;
export const COMMANDS_LOG2: u64 = 8;
export const FAULT_SHIFT: u64 = 5;
export const FAULTS: u32 = 128;
export const FAULTS_LOG2: u64 = 7;

/** A page's number in ddtp, queue bases and directory entries. */
// @ts-ignore: decorator
@inline
export function ppnField(hpa: u64): u64 {
  return (hpa >> 12) << 10;
}

/*
 * Device context (3.2.1): 32 bytes, or 64 with MSI page tables, which stay off here: the G-stage maps the host's interrupt files.
 *
 *      0  tc        V | EN_ATS | EN_PRI | T2GPA | DTF | PDTV | PRPR | GADE | SADE | ...: only V is ever 1
 *      8  iohgatp   MODE 63:60 | GSCID 59:44 | PPN 43:0
 *     16  ta        0
 *     24  fsc       0: no first stage
 *     32  msiptp    0: off; msi_addr_mask, msi_addr_pattern, reserved: 0
 */
export const CONTEXT_VALID: u64 = 1;
export const CONTEXT_IOHGATP: u64 = 8;
export const IOHGATP_GSCID_SHIFT: u64 = 44;

/** An entry of a directory that leads to the next level: V, PPN 53:10. */
export const DIRECTORY_VALID: u64 = 1;

// Commands (4.1): opcode 6:0, func3 9:7.
/** IOTINVAL.GVMA with GV (bit 33); GSCID is at 44. */
export const IOTINVAL_GVMA: u64 = 1 | (1 << 7);
export const IOTINVAL_GV: u64 = (<u64>1) << 33;
export const IOTINVAL_GSCID_SHIFT: u64 = 44;
/** IOFENCE.C that orders earlier reads (bit 12) and writes (bit 13) of devices. */
export const IOFENCE_ALL: u64 = 2 | (1 << 12) | (1 << 13);
/** IODIR.INVAL_DDT of all devices. */
export const IODIR_INVAL_ALL: u64 = 3;

// @ts-ignore: decorator
@inline
export function readRegister32(registers: u64, offset: u64): u32 {
  return mmioRead32(registers + offset);
}

// @ts-ignore: decorator
@inline
export function writeRegister32(registers: u64, offset: u64, value: u32): void {
  mmioWrite32(registers + offset, value);
}

/** 64-bit registers may be accessed as two halves, the lower one first where it matters (6.1). */
// @ts-ignore: decorator
@inline
export function readRegister64(registers: u64, offset: u64): u64 {
  return mmioRead64(registers + offset);
}

// @ts-ignore: decorator
@inline
export function writeRegister64(registers: u64, offset: u64, value: u64): void {
  mmioWrite64(registers + offset, value);
}

/** Polls of a register before an IOMMU counts as stuck. */
const PATIENCE: u32 = 100_000;

/** Waits until the bits `mask` of a 32-bit register are `wanted`; false if that does not happen. */
export function waitFor32(registers: u64, offset: u64, mask: u32, wanted: u32): bool {
  for (let polls: u32 = 0; polls < PATIENCE; polls++) {
    if ((readRegister32(registers, offset) & mask) == wanted) return true;
  }
  return false;
}

/** Waits until ddtp is not busy; false if that does not happen. */
export function waitForDirectory(registers: u64): bool {
  for (let polls: u32 = 0; polls < PATIENCE; polls++) {
    if ((readRegister64(registers, DDTP) & DDTP_BUSY) == 0) return true;
  }
  return false;
}
