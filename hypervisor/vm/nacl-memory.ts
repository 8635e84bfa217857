/**
 * The NACL shared memory of a host vCPU, through which it sees its TVM (CoVE 0.7 §9.2; SBI 3.0 chapter 15). 12 KiB:
 *
 *     0x0000  scratch: general registers of the TVM (x0-x31), rest reserved
 *     0x0800  hypervisor fences (unused)
 *     0x0f80  bitmap of changed CSRs (unused)
 *     0x1000  1024 CSRs, index = (number bits 11:10) : (number bits 7:0)
 *
 * The host can write to it at any time: each value is read once, and nothing in it is trusted. A TVM only runs while its host's vCPU has
 * such memory registered (Vcpu.naclHpa; CpuRun checks), and that vCPU cannot unregister it meanwhile.
 */
export const NACL_PAGES: u64 = 3;

const CSR_AREA: u64 = 0x1000;
/** Where Vcpu.naclCsrs points: all CSRs in use are near enough for the offset of one instruction. */
export const NACL_CSR_ANCHOR: u64 = CSR_AREA + 0x800;
/** Offsets, from the anchor, of the CSRs that a host reads after an exit. */
export const NACL_VSIE: u64 = 8 * 0x004 - 0x800;
export const NACL_VSTIMECMP: u64 = 8 * 0x04d - 0x800;
export const NACL_HTIMEDELTA: u64 = 8 * 0x105 - 0x800;
export const NACL_HTVAL: u64 = 8 * 0x143 - 0x800;
export const NACL_HTINST: u64 = 8 * 0x14a - 0x800;
/** The one that a host writes: interrupts that it injects into a TVM without interrupt files (vm/external-line.ts). */
export const NACL_HVIP: u64 = 8 * 0x145 - 0x800;

/** Offset of a0 from the start; the other argument registers follow. */
export const NACL_A0: u64 = 8 * 10;
export const NACL_A1: u64 = 8 * 11;
