import { add64, loadAcquire64, pause } from "../lib/hw";
import { addZeroPages, convertPages, cpuRun, PageType, reclaimPages, tvmCreate } from "../lib/covh";
import { PAGE_SIZE, thisHart } from "../lib/records";
import { SBI_INVALID_ADDRESS, SBI_INVALID_STATE } from "../lib/sbi";
import { ensureNacl, parameterBuffer } from "./state";

/** The same calls on the same things from all harts at once: each thing must be had by exactly one of them. */
@unmanaged
export class Race {
  /** RaceKind. */
  kind: u64;
  /** Harts that take part, and those that are at the start (atomic). */
  harts: u64;
  ready: u64;
  /** First page, and number of pages or turns. */
  base: u64;
  count: u64;
  /** For AddZero: the TVM, and where the pages go. For Create: `gpa` is the state pages. */
  tvm: u64;
  gpa: u64;
  /** What the last call that succeeded returned: with Create, the only one's guest id. */
  value: u64;

  readyAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Race>("ready"));
  }
}

export const enum RaceKind {
  /** All convert the same pages, one by one. */
  Convert = 1,
  /** All reclaim the same pages, one by one. */
  Reclaim = 2,
  /** Each adds pages of its own at the same addresses of a TVM. */
  AddZero = 3,
  /** All create a TVM from the same pages. */
  Create = 4,
  /** All run the same vCPU. */
  Run = 5,
}

/** This hart's part: the number of calls that succeeded, or RACE_ERROR if one failed in a way that a race does not explain. */
export function runRace(race: Race): u64 {
  ensureNacl();
  const hart = thisHart().index;
  add64(race.readyAddress(), 1);
  while (loadAcquire64(race.readyAddress()) < race.harts) pause();
  let won: u64 = 0;
  for (let i: u64 = 0; i < race.count; i++) {
    const result = turn(race, hart, i);
    if (result >= 0) {
      won++;
      race.value = <u64>result;
    } else if (result != SBI_INVALID_ADDRESS && result != SBI_INVALID_STATE) return RACE_ERROR;
  }
  return won;
}

export const RACE_ERROR: u64 = 1 << 40;

function turn(race: Race, hart: u64, index: u64): i64 {
  const page = race.base + index * PAGE_SIZE;
  switch (<u32>race.kind) {
    case RaceKind.Convert:
      return convertPages(page, 1);
    case RaceKind.Reclaim:
      return reclaimPages(page, 1);
    case RaceKind.AddZero: {
      const own = race.base + (hart * race.count + index) * PAGE_SIZE;
      return addZeroPages(race.tvm, own, PageType.Page4K, 1, race.gpa + index * PAGE_SIZE);
    }
    case RaceKind.Create:
      return tvmCreate(parameterBuffer(), race.base, race.gpa);
    default:
      return cpuRun(race.tvm, 0);
  }
}
