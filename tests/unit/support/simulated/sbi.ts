/** SBI numbers that the tests use: extensions, functions, errors (SBI 3.0; CoVE as the original Salus numbers it). */

export const Eid = {
  putchar: 0x01,
  getchar: 0x02,
  base: 0x10,
  time: 0x54494d45,
  ipi: 0x735049,
  rfence: 0x52464e43,
  hsm: 0x48534d,
  srst: 0x53525354,
  dbcn: 0x4442434e,
  pmu: 0x504d55,
  nacl: 0x4e41434c,
  covh: 0x434f5648,
  covi: 0x434f5649,
  covg: 0x434f5647,
  atst: 0x41545354,
} as const;

export const Covh = {
  tsmGetInfo: 0,
  convertPages: 1,
  reclaimPages: 2,
  initiateFence: 3,
  localFence: 4,
  tvmCreate: 5,
  tvmFinalize: 6,
  tvmDestroy: 7,
  addMemoryRegion: 8,
  addPageTablePages: 9,
  addMeasuredPages: 10,
  addZeroPages: 11,
  addSharedPages: 12,
  cpuCreate: 13,
  cpuRun: 14,
  tvmInitiateFence: 15,
  blockPages: 16,
  unblockPages: 17,
  promotePage: 18,
  demotePage: 19,
  removePages: 20,
} as const;

export type CovhName = keyof typeof Covh;

export const Covg = {
  addMmioRegion: 0,
  removeMmioRegion: 1,
  shareMemory: 2,
  unshareMemory: 3,
  allowExternalInterrupt: 4,
  denyExternalInterrupt: 5,
} as const;

export const Covi = {
  tvmAiaInit: 0,
  setImsicAddress: 1,
  convertImsic: 2,
  reclaimImsic: 3,
  bindImsic: 4,
  unbindImsicBegin: 5,
  unbindImsicEnd: 6,
  injectExternalInterrupt: 7,
  rebindImsicBegin: 8,
  rebindImsicClone: 9,
  rebindImsicEnd: 10,
} as const;

export type CoviName = keyof typeof Covi;

/** The rest of COVG: attestation. */
export const CovgAttestation = { capabilities: 6, extend: 7, evidence: 8, secret: 9, read: 10 } as const;

export const Atst = { capabilities: 0, evidence: 1, extend: 2, read: 3 } as const;

export const Rfence = { fenceI: 0, sfenceVma: 1, sfenceVmaAsid: 2 } as const;

export const Pmu = {
  numCounters: 0,
  getInfo: 1,
  configMatching: 2,
  start: 3,
  stop: 4,
  fwRead: 5,
  fwReadHi: 6,
  setShmem: 7,
  eventGetInfo: 8,
} as const;

export const Hsm = { start: 0, stop: 1, status: 2, suspend: 3 } as const;

export const Sbi = {
  success: 0n,
  failed: -1n,
  notSupported: -2n,
  invalidParam: -3n,
  denied: -4n,
  invalidAddress: -5n,
  alreadyAvailable: -6n,
  alreadyStarted: -7n,
  alreadyStopped: -8n,
  noShmem: -9n,
  invalidState: -10n,
} as const;

export type SbiError = keyof typeof Sbi;

const errorNames = new Map<bigint, string>(Object.entries(Sbi).map(([name, code]) => [code, name]));

export function errorName(code: bigint): string {
  return errorNames.get(code) ?? String(code);
}

/** All ones. */
export const EVERY = (1n << 64n) - 1n;
