import { armTimer, NEVER } from "../lib/interrupts";
import { HUGE_PAGE_SIZE, PAGE_SIZE, thisHart } from "../lib/records";
import { EID_BASE, EID_COVG, EID_COVH, EID_COVI, EID_NACL, EID_RFENCE, EID_TIME, sbi } from "../lib/sbi";
import { ensureNacl } from "../tellus/state";
import { Status } from "./status";

/**
 * Calls without any sense, as a module of a confused or hostile Linux might make them. They leave Linux' own memory and harts alone, which the host may
 * of course ruin: addresses are in a range of the companion's, or where nothing is; no hart is stopped, and the machine is not reset.
 */

const EID_PMU: u64 = 0x504d55;
const EID_STA: u64 = 0x535441;
const KINDS: u64 = 12;
const FUNCTIONS: u64 = 32;
/** Pages of the scratch range beyond the last one that a call begins with: no count is larger. */
const LARGEST_COUNT: u64 = 40;
const SCRATCH_PAGES: u64 = HUGE_PAGE_SIZE / PAGE_SIZE;
/** An address, or anything else, that means nothing. */
const NOWHERE: u64 = 1 << 62;
/** Error codes are from -1 down to this one. */
const LAST_ERROR: i64 = -15;

@unmanaged
export class Storm {
  /** State of the random numbers, not 0. */
  seed: u64;
  /** A 2 MiB range of pages that nobody needs. */
  scratch: u64;

  private random(limit: u64): u64 {
    let x = this.seed;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    this.seed = x;
    return (x >> 11) % limit;
  }

  /** Makes `calls` calls. */
  blow(calls: u64, status: Status): void {
    for (let i: u64 = 0; i < calls; i++) {
      const eid = this.extension();
      const fid = this.random(20) == 0 ? this.argument() : this.random(FUNCTIONS);
      const a0 = this.argument();
      const a1 = this.argument();
      const a2 = this.argument();
      const a3 = this.argument();
      const result = sbi(eid, fid, a0, a1, a2, a3, this.argument(), this.argument());
      if (result >= 0) status.count(offsetof<Status>("successes"), 1);
      else if (result < LAST_ERROR) status.count(offsetof<Status>("failures"), 1);
    }
    status.count(offsetof<Status>("ecalls"), calls);
    armTimer(NEVER);
    // The shared memory may be anywhere now.
    thisHart().nacl = 0;
    if (ensureNacl() < 0) status.count(offsetof<Status>("failures"), 1);
  }

  private extension(): u64 {
    switch (<u32>this.random(KINDS)) {
      case 0:
        return EID_BASE;
      case 1:
        return EID_TIME;
      case 2:
        return EID_RFENCE;
      case 3:
        return EID_COVI;
      case 4:
        return EID_COVG;
      case 5:
        return EID_NACL;
      case 6:
        return EID_PMU;
      case 7:
        return EID_STA;
      case 8:
        return ((<u64>1) << 31) | this.random(1 << 30);
      default:
        return EID_COVH;
    }
  }

  private argument(): u64 {
    switch (<u32>this.random(5)) {
      case 0:
        return this.random(LARGEST_COUNT);
      case 1:
        return NOWHERE | this.random(NOWHERE);
      case 2:
        return 0;
      case 3:
        return this.scratch + this.random(SCRATCH_PAGES * PAGE_SIZE - LARGEST_COUNT * PAGE_SIZE);
      default:
        return this.scratch + this.random(SCRATCH_PAGES - LARGEST_COUNT) * PAGE_SIZE;
    }
  }
}
