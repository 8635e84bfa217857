import { add64, write64, zeroBytes } from "../lib/hw";
import { PAGE_SIZE } from "../lib/records";

/** A page of the companion's that Linux can read (tests/linux/companion.test.ts): what happens beside it. Written by the kept hart, a word each. */
@unmanaged
export class Status {
  /** STATUS_MAGIC. */
  magic: u64;
  /** TVMs that were made, ran to their end and were destroyed. */
  lives: u64;
  /** Page faults, calls and interrupts that ended runs. */
  exits: u64;
  /** Ecalls of the storm, and those that succeeded. */
  ecalls: u64;
  successes: u64;
  /** What was not as it should be. */
  failures: u64;

  /** Adds to the word at `offset`; Linux may read it at any time. */
  count(offset: usize, amount: u64): void {
    add64(<u64>(changetype<usize>(this) + offset), amount);
  }
}

const STATUS_MAGIC: u64 = 0x6e6f_6961_706d_6f63;

/** Makes the status in the page at `page`. */
export function makeStatus(page: u64): Status {
  zeroBytes(page, PAGE_SIZE);
  write64(page, STATUS_MAGIC);
  return changetype<Status>(<usize>page);
}
