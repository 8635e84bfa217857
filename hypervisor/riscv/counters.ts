import {
  CYCLE,
  INSTRET,
  HPMCOUNTER3,
  HPMCOUNTER4,
  HPMCOUNTER5,
  HPMCOUNTER6,
  HPMCOUNTER7,
  HPMCOUNTER8,
  HPMCOUNTER9,
  HPMCOUNTER10,
  HPMCOUNTER11,
  HPMCOUNTER12,
  HPMCOUNTER13,
  HPMCOUNTER14,
  HPMCOUNTER15,
  HPMCOUNTER16,
  HPMCOUNTER17,
  HPMCOUNTER18,
  HPMCOUNTER19,
  HPMCOUNTER20,
  HPMCOUNTER21,
  HPMCOUNTER22,
  HPMCOUNTER23,
  HPMCOUNTER24,
  HPMCOUNTER25,
  HPMCOUNTER26,
  HPMCOUNTER27,
  HPMCOUNTER28,
  HPMCOUNTER29,
  HPMCOUNTER30,
  HPMCOUNTER31,
} from "./csr";
import { csrExists, csrRead } from "./hw";

/**
 * Hardware performance counters by number, as in mcounteren, hcounteren and scountovf: 0 cycle, 2 instret, 3 to 31 the programmable
 * ones. A CSR number is part of the instruction, so each counter has its own.
 */

/** Number of counters, of which 1 is `time`, no counter of events. */
export const COUNTER_COUNT: u32 = 32;
/** CSR of counter 0; the others follow. */
export const FIRST_COUNTER_CSR: u32 = CYCLE;

/** Value of counter `index`, which this hart has (`counterExists`); not 1. */
export function readCounter(index: u32): u64 {
  switch (index) {
    case 0:
      return csrRead(CYCLE);
    case 2:
      return csrRead(INSTRET);
    case 3:
      return csrRead(HPMCOUNTER3);
    case 4:
      return csrRead(HPMCOUNTER4);
    case 5:
      return csrRead(HPMCOUNTER5);
    case 6:
      return csrRead(HPMCOUNTER6);
    case 7:
      return csrRead(HPMCOUNTER7);
    case 8:
      return csrRead(HPMCOUNTER8);
    case 9:
      return csrRead(HPMCOUNTER9);
    case 10:
      return csrRead(HPMCOUNTER10);
    case 11:
      return csrRead(HPMCOUNTER11);
    case 12:
      return csrRead(HPMCOUNTER12);
    case 13:
      return csrRead(HPMCOUNTER13);
    case 14:
      return csrRead(HPMCOUNTER14);
    case 15:
      return csrRead(HPMCOUNTER15);
    case 16:
      return csrRead(HPMCOUNTER16);
    case 17:
      return csrRead(HPMCOUNTER17);
    case 18:
      return csrRead(HPMCOUNTER18);
    case 19:
      return csrRead(HPMCOUNTER19);
    case 20:
      return csrRead(HPMCOUNTER20);
    case 21:
      return csrRead(HPMCOUNTER21);
    case 22:
      return csrRead(HPMCOUNTER22);
    case 23:
      return csrRead(HPMCOUNTER23);
    case 24:
      return csrRead(HPMCOUNTER24);
    case 25:
      return csrRead(HPMCOUNTER25);
    case 26:
      return csrRead(HPMCOUNTER26);
    case 27:
      return csrRead(HPMCOUNTER27);
    case 28:
      return csrRead(HPMCOUNTER28);
    case 29:
      return csrRead(HPMCOUNTER29);
    case 30:
      return csrRead(HPMCOUNTER30);
    default:
      return csrRead(HPMCOUNTER31);
  }
}

/** Whether HS-mode of this hart can read counter `index`; false for 1. */
export function counterExists(index: u32): bool {
  switch (index) {
    case 0:
      return csrExists(CYCLE);
    case 2:
      return csrExists(INSTRET);
    case 3:
      return csrExists(HPMCOUNTER3);
    case 4:
      return csrExists(HPMCOUNTER4);
    case 5:
      return csrExists(HPMCOUNTER5);
    case 6:
      return csrExists(HPMCOUNTER6);
    case 7:
      return csrExists(HPMCOUNTER7);
    case 8:
      return csrExists(HPMCOUNTER8);
    case 9:
      return csrExists(HPMCOUNTER9);
    case 10:
      return csrExists(HPMCOUNTER10);
    case 11:
      return csrExists(HPMCOUNTER11);
    case 12:
      return csrExists(HPMCOUNTER12);
    case 13:
      return csrExists(HPMCOUNTER13);
    case 14:
      return csrExists(HPMCOUNTER14);
    case 15:
      return csrExists(HPMCOUNTER15);
    case 16:
      return csrExists(HPMCOUNTER16);
    case 17:
      return csrExists(HPMCOUNTER17);
    case 18:
      return csrExists(HPMCOUNTER18);
    case 19:
      return csrExists(HPMCOUNTER19);
    case 20:
      return csrExists(HPMCOUNTER20);
    case 21:
      return csrExists(HPMCOUNTER21);
    case 22:
      return csrExists(HPMCOUNTER22);
    case 23:
      return csrExists(HPMCOUNTER23);
    case 24:
      return csrExists(HPMCOUNTER24);
    case 25:
      return csrExists(HPMCOUNTER25);
    case 26:
      return csrExists(HPMCOUNTER26);
    case 27:
      return csrExists(HPMCOUNTER27);
    case 28:
      return csrExists(HPMCOUNTER28);
    case 29:
      return csrExists(HPMCOUNTER29);
    case 30:
      return csrExists(HPMCOUNTER30);
    case 31:
      return csrExists(HPMCOUNTER31);
    default:
      return false;
  }
}
