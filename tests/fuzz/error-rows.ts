/**
 * The error table of docs/abi.md: each row with the calls by which a fuzzing run must reach it. A name is what the tally calls it.
 * Running out of guest slots takes more memory than these machines have.
 */
export const ERROR_ROWS: Record<string, string[]> = {
  "unknown extension or function": [
    "a call that does not exist: NOT_SUPPORTED",
    "covg.shareMemory of a host: NOT_SUPPORTED",
    "hsm.hartSuspend of a host: NOT_SUPPORTED",
    "covi.bindImsic of a host: NOT_SUPPORTED",
    "covi.convertImsic of a TVM: NOT_SUPPORTED",
    "covg.retrieveSecret of a TVM: NOT_SUPPORTED",
  ],
  "malformed argument": [
    "covh.tsmGetInfo of a host: INVALID_PARAM",
    "covh.convertPages of a host: INVALID_PARAM",
    "covh.tvmCreate of a host: INVALID_PARAM",
    "covh.tvmDestroy of a host: INVALID_PARAM",
    "covh.addPageTablePages of a host: INVALID_PARAM",
    "covh.promotePage of a host: INVALID_PARAM",
    "covh.demotePage of a host: INVALID_PARAM",
    "covh.cpuRun of a TVM: INVALID_PARAM",
    "covi.tvmAiaInit of a host: INVALID_PARAM",
    "covi.bindImsic of a host: INVALID_PARAM",
    "covg.allowExternalInterrupt of a TVM: INVALID_PARAM",
    "ipi.sendIpi of a host: INVALID_PARAM",
    "atst.evidence of a host: INVALID_PARAM",
    "atst.extendMeasurement of a TVM: INVALID_PARAM",
    "covg.evidence of a TVM: INVALID_PARAM",
    "nacl.setShmem of a host: INVALID_PARAM",
    "srst.systemReset of a host: INVALID_PARAM",
  ],
  "TVM not initializing, in a call that builds it": [
    "covh.tvmFinalize of a host: INVALID_PARAM",
    "covh.addMemoryRegion of a host: INVALID_PARAM",
    "covh.addMeasuredPages of a host: INVALID_PARAM",
    "covh.cpuCreate of a host: INVALID_PARAM",
    "covh.cpuRun of a host: INVALID_PARAM",
    "covi.setImsicAddress of a host: INVALID_PARAM",
  ],
  "share or unshare of a range": [
    "covg.shareMemory of a TVM: INVALID_PARAM",
    "covg.unshareMemory of a TVM: INVALID_PARAM",
  ],
  "an interrupt id that the guest did not allow": ["covi.injectExternalInterrupt of a host: DENIED"],
  "an address or range": [
    "covi.convertImsic of a host: INVALID_ADDRESS",
    "covi.reclaimImsic of a host: INVALID_ADDRESS",
    "covi.bindImsic of a host: INVALID_ADDRESS",
    "covi.rebindImsicBegin of a host: INVALID_ADDRESS",
    "covh.tsmGetInfo of a host: INVALID_ADDRESS",
    "covh.convertPages of a host: INVALID_ADDRESS",
    "covh.reclaimPages of a host: INVALID_ADDRESS",
    "covh.tvmCreate of a host: INVALID_ADDRESS",
    "covh.addMemoryRegion of a host: INVALID_ADDRESS",
    "covh.addPageTablePages of a host: INVALID_ADDRESS",
    "covh.addMeasuredPages of a host: INVALID_ADDRESS",
    "covh.addZeroPages of a host: INVALID_ADDRESS",
    "covh.addSharedPages of a host: INVALID_ADDRESS",
    "covh.cpuCreate of a host: INVALID_ADDRESS",
    "covh.cpuRun of a host: INVALID_ADDRESS",
    "covh.blockPages of a host: INVALID_ADDRESS",
    "covh.unblockPages of a host: INVALID_ADDRESS",
    "covh.promotePage of a host: INVALID_ADDRESS",
    "covh.demotePage of a host: INVALID_ADDRESS",
    "covh.removePages of a host: INVALID_ADDRESS",
    "covg.addMmioRegion of a TVM: INVALID_ADDRESS",
    "covg.removeMmioRegion of a TVM: INVALID_ADDRESS",
    "atst.evidence of a TVM: INVALID_ADDRESS",
    "covg.readMeasurement of a TVM: INVALID_ADDRESS",
    "hsm.hartStart of a host: INVALID_ADDRESS",
  ],
  "something that exists already": [
    "covh.cpuCreate of a host: ALREADY_AVAILABLE",
    "hsm.hartStart of a host: ALREADY_AVAILABLE",
    "hsm.hartStart of a TVM: ALREADY_AVAILABLE",
  ],
  "a fence is in progress": [
    "covh.initiateFence of a host: ALREADY_STARTED",
    "covh.tvmInitiateFence of a host: ALREADY_STARTED",
  ],
  "something that is stopped already": ["pmu.counterStop of a host: ALREADY_STOPPED"],
  "shared memory is needed and not registered": [
    "covh.cpuRun of a host: NO_SHMEM",
    "pmu.counterStop of a host: NO_SHMEM",
  ],
  "wrong lifecycle or vCPU state": [
    "covh.tvmFinalize of a host: INVALID_STATE",
    "covh.tvmDestroy of a host: INVALID_STATE",
    "covh.addZeroPages of a host: INVALID_STATE",
    "covh.addSharedPages of a host: INVALID_STATE",
    "covh.cpuRun of a host: INVALID_STATE",
    "covh.tvmInitiateFence of a host: INVALID_STATE",
    "covh.blockPages of a host: INVALID_STATE",
    "covh.unblockPages of a host: INVALID_STATE",
    "covh.promotePage of a host: INVALID_STATE",
    "covh.demotePage of a host: INVALID_STATE",
    "covh.removePages of a host: INVALID_STATE",
    "covi.bindImsic of a host: INVALID_STATE",
    "covi.unbindImsicBegin of a host: INVALID_STATE",
    "covi.unbindImsicEnd of a host: INVALID_STATE",
    "covi.rebindImsicBegin of a host: INVALID_STATE",
    "covi.rebindImsicClone of a host: INVALID_STATE",
    "covi.rebindImsicEnd of a host: INVALID_STATE",
  ],
  "out of table pages, regions, ids or slots": [
    "covh.addMeasuredPages of a host: FAILED",
    "covh.addZeroPages of a host: FAILED",
    "covh.addSharedPages of a host: FAILED",
    "covh.demotePage of a host: FAILED",
    "covh.addMemoryRegion of a host: FAILED",
    "covi.bindImsic of a host: FAILED",
  ],
};

/** Names of `ERROR_ROWS` that a run did not reach. */
export function missingErrors(errors: Readonly<Record<string, number>>): string[] {
  return Object.values(ERROR_ROWS)
    .flat()
    .filter((name) => errors[name] === undefined);
}

/** Rows of the table that a run reached by at least one call. */
export function rowsReached(errors: Readonly<Record<string, number>>): string[] {
  return Object.entries(ERROR_ROWS)
    .filter(([, names]) => names.some((name) => errors[name] !== undefined))
    .map(([row]) => row);
}
