import { csrRead, loadAcquire64, pause } from "./hw";
import { thisVm } from "./records";
import { TIME } from "../../hypervisor/riscv/csr";

/** Seconds after which something that should have happened counts as failed. Emulators are slow: be generous. */
export const PATIENCE: u64 = 30;

/** The time CSR `seconds` from now. */
export function deadlineIn(seconds: u64): u64 {
  return csrRead(TIME) + seconds * thisVm().timebase;
}

/** The time CSR `milliseconds` from now. */
export function deadlineInMs(milliseconds: u64): u64 {
  return csrRead(TIME) + (milliseconds * thisVm().timebase) / 1000;
}

export function hasPassed(deadline: u64): bool {
  return csrRead(TIME) >= deadline;
}

/** Waits until the word at `address` is at least `value`. False if that takes longer than PATIENCE. */
export function waitUntilAtLeast(address: u64, value: u64): bool {
  const deadline = deadlineIn(PATIENCE);
  while (loadAcquire64(address) < value) {
    if (hasPassed(deadline)) return false;
    pause();
  }
  return true;
}
