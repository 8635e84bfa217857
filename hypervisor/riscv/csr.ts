/**
 * Control and status registers by number, and their fields (Privileged, AIA, Sstc, Smstateen).
 * One table: no other file writes a CSR number.
 */

// Supervisor (HS-mode when V = 0).
export const SSTATUS: u32 = 0x100;
export const SIE: u32 = 0x104;
export const STVEC: u32 = 0x105;
export const SCOUNTEREN: u32 = 0x106;
export const SENVCFG: u32 = 0x10a;
export const SSTATEEN0: u32 = 0x10c;
export const SSTATEEN1: u32 = 0x10d;
export const SSTATEEN2: u32 = 0x10e;
export const SSTATEEN3: u32 = 0x10f;
export const SSCRATCH: u32 = 0x140;
export const SEPC: u32 = 0x141;
export const SCAUSE: u32 = 0x142;
export const STVAL: u32 = 0x143;
export const SIP: u32 = 0x144;
export const STIMECMP: u32 = 0x14d;
export const SISELECT: u32 = 0x150;
export const SIREG: u32 = 0x151;
export const STOPEI: u32 = 0x15c;
export const SATP: u32 = 0x180;
/** Sscofpmf: bit n set if counter n overflowed. */
export const SCOUNTOVF: u32 = 0xda0;
export const STOPI: u32 = 0xdb0;

// Hypervisor.
export const HSTATUS: u32 = 0x600;
export const HEDELEG: u32 = 0x602;
export const HIDELEG: u32 = 0x603;
export const HIE: u32 = 0x604;
export const HTIMEDELTA: u32 = 0x605;
export const HCOUNTEREN: u32 = 0x606;
export const HGEIE: u32 = 0x607;
export const HVIEN: u32 = 0x608;
export const HVICTL: u32 = 0x609;
export const HENVCFG: u32 = 0x60a;
export const HSTATEEN0: u32 = 0x60c;
export const HSTATEEN1: u32 = 0x60d;
export const HSTATEEN2: u32 = 0x60e;
export const HSTATEEN3: u32 = 0x60f;
export const HTVAL: u32 = 0x643;
export const HIP: u32 = 0x644;
export const HVIP: u32 = 0x645;
export const HVIPRIO1: u32 = 0x646;
export const HVIPRIO2: u32 = 0x647;
export const HTINST: u32 = 0x64a;
export const HGATP: u32 = 0x680;
export const HCONTEXT: u32 = 0x6a8;
export const HGEIP: u32 = 0xe12;

// Virtual supervisor.
export const VSSTATUS: u32 = 0x200;
export const VSIE: u32 = 0x204;
export const VSTVEC: u32 = 0x205;
export const VSSCRATCH: u32 = 0x240;
export const VSEPC: u32 = 0x241;
export const VSCAUSE: u32 = 0x242;
export const VSTVAL: u32 = 0x243;
export const VSIP: u32 = 0x244;
export const VSTIMECMP: u32 = 0x24d;
export const VSISELECT: u32 = 0x250;
export const VSIREG: u32 = 0x251;
export const VSTOPEI: u32 = 0x25c;
export const VSATP: u32 = 0x280;

// Unprivileged.
export const CYCLE: u32 = 0xc00;
export const TIME: u32 = 0xc01;
export const INSTRET: u32 = 0xc02;
/** The first of 29: hpmcounter3 to hpmcounter31 (riscv/counters.ts). */
export const HPMCOUNTER3: u32 = 0xc03;
export const HPMCOUNTER4: u32 = 0xc04;
export const HPMCOUNTER5: u32 = 0xc05;
export const HPMCOUNTER6: u32 = 0xc06;
export const HPMCOUNTER7: u32 = 0xc07;
export const HPMCOUNTER8: u32 = 0xc08;
export const HPMCOUNTER9: u32 = 0xc09;
export const HPMCOUNTER10: u32 = 0xc0a;
export const HPMCOUNTER11: u32 = 0xc0b;
export const HPMCOUNTER12: u32 = 0xc0c;
export const HPMCOUNTER13: u32 = 0xc0d;
export const HPMCOUNTER14: u32 = 0xc0e;
export const HPMCOUNTER15: u32 = 0xc0f;
export const HPMCOUNTER16: u32 = 0xc10;
export const HPMCOUNTER17: u32 = 0xc11;
export const HPMCOUNTER18: u32 = 0xc12;
export const HPMCOUNTER19: u32 = 0xc13;
export const HPMCOUNTER20: u32 = 0xc14;
export const HPMCOUNTER21: u32 = 0xc15;
export const HPMCOUNTER22: u32 = 0xc16;
export const HPMCOUNTER23: u32 = 0xc17;
export const HPMCOUNTER24: u32 = 0xc18;
export const HPMCOUNTER25: u32 = 0xc19;
export const HPMCOUNTER26: u32 = 0xc1a;
export const HPMCOUNTER27: u32 = 0xc1b;
export const HPMCOUNTER28: u32 = 0xc1c;
export const HPMCOUNTER29: u32 = 0xc1d;
export const HPMCOUNTER30: u32 = 0xc1e;
export const HPMCOUNTER31: u32 = 0xc1f;
export const VLENB: u32 = 0xc22;

// sstatus and vsstatus (Privileged 12.1.1).
export const SSTATUS_SIE: u64 = 1 << 1;
export const SSTATUS_SPIE: u64 = 1 << 5;
export const SSTATUS_SPP: u64 = 1 << 8;
export const SSTATUS_VS_SHIFT: u64 = 9;
export const SSTATUS_VS: u64 = 3 << 9;
export const SSTATUS_FS_SHIFT: u64 = 13;
export const SSTATUS_FS: u64 = 3 << 13;
export const SSTATUS_SUM: u64 = 1 << 18;
export const SSTATUS_MXR: u64 = 1 << 19;
/** Values of the FS and VS fields. */
export const EXT_OFF: u64 = 0;
export const EXT_INITIAL: u64 = 1;
export const EXT_CLEAN: u64 = 2;
export const EXT_DIRTY: u64 = 3;

// hstatus (Privileged 21.2.1).
export const HSTATUS_GVA: u64 = 1 << 6;
export const HSTATUS_SPV: u64 = 1 << 7;
export const HSTATUS_SPVP: u64 = 1 << 8;
export const HSTATUS_HU: u64 = 1 << 9;
export const HSTATUS_VGEIN_SHIFT: u64 = 12;
export const HSTATUS_VGEIN: u64 = 0x3f << 12;
export const HSTATUS_VTVM: u64 = 1 << 20;
export const HSTATUS_VTW: u64 = 1 << 21;
export const HSTATUS_VTSR: u64 = 1 << 22;

// Interrupts: bit numbers of sie/hie/hvip/vsie and low bits of scause.
export const IRQ_VSSI: u64 = 2;
export const IRQ_STI: u64 = 5;
export const IRQ_VSTI: u64 = 6;
export const IRQ_SSI: u64 = 1;
export const IRQ_SEI: u64 = 9;
export const IRQ_VSEI: u64 = 10;
export const IRQ_SGEI: u64 = 12;
export const IRQ_LCOFI: u64 = 13;
export const SCAUSE_INTERRUPT: u64 = 1 << 63;

// Exceptions (Privileged 12.1.8 and 21.6.1).
export const EXC_INST_MISALIGNED: u64 = 0;
export const EXC_INST_ACCESS: u64 = 1;
export const EXC_ILLEGAL: u64 = 2;
export const EXC_BREAKPOINT: u64 = 3;
export const EXC_LOAD_MISALIGNED: u64 = 4;
export const EXC_LOAD_ACCESS: u64 = 5;
export const EXC_STORE_MISALIGNED: u64 = 6;
export const EXC_STORE_ACCESS: u64 = 7;
export const EXC_ECALL_U: u64 = 8;
export const EXC_ECALL_HS: u64 = 9;
export const EXC_ECALL_VS: u64 = 10;
export const EXC_INST_PAGE: u64 = 12;
export const EXC_LOAD_PAGE: u64 = 13;
export const EXC_STORE_PAGE: u64 = 15;
export const EXC_SOFTWARE_CHECK: u64 = 18;
export const EXC_HARDWARE_ERROR: u64 = 19;
export const EXC_INST_GUEST_PAGE: u64 = 20;
export const EXC_LOAD_GUEST_PAGE: u64 = 21;
export const EXC_VIRTUAL_INST: u64 = 22;
export const EXC_STORE_GUEST_PAGE: u64 = 23;

// henvcfg (Privileged 21.2.5).
export const ENVCFG_FIOM: u64 = 1 << 0;
/** CBIE = 01: a guest's cbo.inval does a flush; 11 would let it undo our zeroing. */
export const ENVCFG_CBIE_FLUSH: u64 = 1 << 4;
export const ENVCFG_CBCFE: u64 = 1 << 6;
export const ENVCFG_CBZE: u64 = 1 << 7;
export const ENVCFG_ADUE: u64 = 1 << 61;
export const ENVCFG_PBMTE: u64 = 1 << 62;
export const ENVCFG_STCE: u64 = 1 << 63;

// hstateen0 (Smstateen).
export const STATEEN0_FCSR: u64 = 1 << 1;
export const STATEEN0_IMSIC: u64 = 1 << 58;
export const STATEEN0_AIA: u64 = 1 << 59;
export const STATEEN0_CSRIND: u64 = 1 << 60;
export const STATEEN0_ENVCFG: u64 = 1 << 62;
export const STATEEN0_SE0: u64 = 1 << 63;

// Address translation: MODE in the top 4 bits of satp, vsatp and hgatp.
export const ATP_MODE_SHIFT: u64 = 60;
export const ATP_MODE_BARE: u64 = 0;
export const ATP_MODE_39: u64 = 8;
export const ATP_MODE_48: u64 = 9;
export const ATP_MODE_57: u64 = 10;
export const HGATP_VMID_SHIFT: u64 = 44;
export const HGATP_VMID_MASK: u64 = 0x3fff;

// Supervisor extensions whose registers no VM gets (vm/csr-policy.ts).
export const SCONTEXT: u32 = 0x5a8;
export const VSCTRCTL: u32 = 0x24e;

/** UXL and VSXL = 2: 64-bit VU- and VS-mode. */
export const SSTATUS_UXL64: u64 = 2 << 32;
export const HSTATUS_VSXL64: u64 = 2 << 32;

// hvictl (AIA 6.3.2).
/** An interrupt of our choice is pending for VS-mode; its accesses to sie, sip and stimecmp trap. */
export const HVICTL_VTI: u64 = 1 << 30;
export const HVICTL_IID_SHIFT: u64 = 16;
/** IPRIOM: the priority is that of IPRIO; 0 in IPRIO means that of its kind by default. */
export const HVICTL_IPRIOM: u64 = 1 << 8;

/** hcounteren and scounteren: the VM may read `time`. */
export const COUNTEREN_TM: u64 = 1 << 1;
