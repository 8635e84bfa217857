/** What the benchmark's host and its guest agree on. */

/** Repetitions of everything that happens between host and guest, and of the null calls. */
export const ROUND_TRIPS: u64 = 1000;

/** Round trips before each measured series, so that it finds the steady state. */
export const WARM_UP: u64 = 8;

/** Pages that the guest touches first in ZERO_PAGES_START, one after the other. */
export const FAULTING_PAGES: u64 = 48;
/** Pages that it touches before, unmeasured. */
export const FAULTS_BEFORE: u64 = 2;

/** Emulated registers of the guest: loads and stores exit. */
export const DEVICE_PAGE: u64 = 0x1000_8000;
