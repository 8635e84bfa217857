/**
 * Control and status registers by number, as the specifications give them (Privileged, AIA, Sstc, Smstateen). Written down
 * independently of hypervisor/riscv/csr.ts; tests/unit/simulated/csr.test.ts compares the two.
 */
export const Csr = {
  fflags: 0x001,
  frm: 0x002,
  fcsr: 0x003,
  vstart: 0x008,
  vcsr: 0x00f,
  sstatus: 0x100,
  sie: 0x104,
  stvec: 0x105,
  scounteren: 0x106,
  senvcfg: 0x10a,
  sstateen0: 0x10c,
  sstateen1: 0x10d,
  sstateen2: 0x10e,
  sstateen3: 0x10f,
  sscratch: 0x140,
  sepc: 0x141,
  scause: 0x142,
  stval: 0x143,
  sip: 0x144,
  stimecmp: 0x14d,
  siselect: 0x150,
  sireg: 0x151,
  stopei: 0x15c,
  satp: 0x180,
  vsstatus: 0x200,
  vsie: 0x204,
  vstvec: 0x205,
  vsscratch: 0x240,
  vsepc: 0x241,
  vscause: 0x242,
  vstval: 0x243,
  vsip: 0x244,
  vstimecmp: 0x24d,
  vsctrctl: 0x24e,
  vsiselect: 0x250,
  vsireg: 0x251,
  vstopei: 0x25c,
  vsatp: 0x280,
  scontext: 0x5a8,
  hstatus: 0x600,
  hedeleg: 0x602,
  hideleg: 0x603,
  hie: 0x604,
  htimedelta: 0x605,
  hcounteren: 0x606,
  hgeie: 0x607,
  hvien: 0x608,
  hvictl: 0x609,
  henvcfg: 0x60a,
  hstateen0: 0x60c,
  hstateen1: 0x60d,
  hstateen2: 0x60e,
  hstateen3: 0x60f,
  htval: 0x643,
  hip: 0x644,
  hvip: 0x645,
  hviprio1: 0x646,
  hviprio2: 0x647,
  htinst: 0x64a,
  hgatp: 0x680,
  hcontext: 0x6a8,
  cycle: 0xc00,
  time: 0xc01,
  instret: 0xc02,
  hpmcounter3: 0xc03,
  hpmcounter4: 0xc04,
  hpmcounter5: 0xc05,
  hpmcounter6: 0xc06,
  hpmcounter7: 0xc07,
  hpmcounter8: 0xc08,
  hpmcounter9: 0xc09,
  hpmcounter10: 0xc0a,
  hpmcounter11: 0xc0b,
  hpmcounter12: 0xc0c,
  hpmcounter13: 0xc0d,
  hpmcounter14: 0xc0e,
  hpmcounter15: 0xc0f,
  hpmcounter16: 0xc10,
  hpmcounter17: 0xc11,
  hpmcounter18: 0xc12,
  hpmcounter19: 0xc13,
  hpmcounter20: 0xc14,
  hpmcounter21: 0xc15,
  hpmcounter22: 0xc16,
  hpmcounter23: 0xc17,
  hpmcounter24: 0xc18,
  hpmcounter25: 0xc19,
  hpmcounter26: 0xc1a,
  hpmcounter27: 0xc1b,
  hpmcounter28: 0xc1c,
  hpmcounter29: 0xc1d,
  hpmcounter30: 0xc1e,
  hpmcounter31: 0xc1f,
  vlenb: 0xc22,
  scountovf: 0xda0,
  stopi: 0xdb0,
  hgeip: 0xe12,
} as const;

export type CsrName = keyof typeof Csr;

const names = new Map<number, string>(Object.entries(Csr).map(([name, number]) => [number, name]));

/** Name of a CSR, or its number in hex. */
export function csrName(csr: number): string {
  return names.get(csr) ?? `0x${csr.toString(16)}`;
}

/** Interrupts: bit numbers of sip, hip and their likes, and the low bits of scause. */
export const Irq = {
  supervisorSoftware: 1,
  virtualSoftware: 2,
  supervisorTimer: 5,
  virtualTimer: 6,
  supervisorExternal: 9,
  virtualExternal: 10,
  guestExternal: 12,
  counterOverflow: 13,
} as const;

/** Exceptions: scause. */
export const Cause = {
  instructionMisaligned: 0,
  instructionAccess: 1,
  illegalInstruction: 2,
  breakpoint: 3,
  loadMisaligned: 4,
  loadAccess: 5,
  storeMisaligned: 6,
  storeAccess: 7,
  ecallFromUser: 8,
  ecallFromGuest: 10,
  instructionPage: 12,
  loadPage: 13,
  storePage: 15,
  instructionGuestPage: 20,
  loadGuestPage: 21,
  virtualInstruction: 22,
  storeGuestPage: 23,
} as const;

/** scause of an interrupt. */
export const INTERRUPT = 1n << 63n;

/** Fields of sstatus and hstatus. */
export const Status = {
  sie: 1n << 1n,
  spie: 1n << 5n,
  spp: 1n << 8n,
  vs: 3n << 9n,
  fs: 3n << 13n,
  sum: 1n << 18n,
  mxr: 1n << 19n,
  uxl64: 2n << 32n,
  sd: 1n << 63n,
} as const;

export const HypervisorStatus = {
  gva: 1n << 6n,
  spv: 1n << 7n,
  spvp: 1n << 8n,
  hu: 1n << 9n,
  vgein: 0x3fn << 12n,
  vtvm: 1n << 20n,
  vtw: 1n << 21n,
  vtsr: 1n << 22n,
  vsxl64: 2n << 32n,
} as const;

export function bit(number: number): bigint {
  return 1n << BigInt(number);
}
