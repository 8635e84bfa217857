import { Hart } from "../hart";
import { pinPages } from "../memory/guest-access";
import { PAGE_SIZE } from "../riscv/pte";
import { read64, write64 } from "../riscv/hw";
import {
  CONFIG_AUTO_START,
  CONFIG_CLEAR_VALUE,
  CONFIG_SKIP_MATCH,
  configureCounter,
  counterInfo,
  countersOf,
  dropSnapshot,
  startCounter,
  stopCounters,
} from "../vm/counters";
import { Vcpu } from "../vm/vcpu";
import {
  SBI_ALREADY_STARTED,
  SBI_ALREADY_STOPPED,
  SBI_INVALID_ADDRESS,
  SBI_INVALID_PARAM,
  SBI_NO_SHMEM,
  SBI_NOT_SUPPORTED,
} from "./errors";

/** Function numbers of PMU. */
const enum Pmu {
  NumCounters = 0,
  CounterGetInfo = 1,
  CounterConfigMatching = 2,
  CounterStart = 3,
  CounterStop = 4,
  CounterFwRead = 5,
  CounterFwReadHi = 6,
  SnapshotSetShmem = 7,
}

/** Flags of counter_config_matching: vm/counters.ts. */
const CONFIG_FLAGS: u64 = 0xff;
const START_INIT_VALUE: u64 = 1 << 0;
const START_INIT_SNAPSHOT: u64 = 1 << 1;
const STOP_RESET: u64 = 1 << 0;
const STOP_TAKE_SNAPSHOT: u64 = 1 << 1;

/**
 * event_idx: type in 19:16, code in 15:0. The data of a raw event are bits of the hart's own event selector below those that
 * choose privilege modes.
 */
const EVENT_TYPE_SHIFT: u64 = 16;
const EVENT_BITS: u64 = 20;
const enum EventType {
  Hardware = 0,
  Cache = 1,
  Raw = 2,
  RawV2 = 3,
}
const RAW_DATA_BITS: u64 = 48;
const RAW_V2_DATA_BITS: u64 = 56;

/**
 * Memory for snapshots, one page: counter_overflow_bitmap, then counter_values[64]. Both are relative to counter_idx_base.
 */
const SNAPSHOT_OVERFLOWS: u64 = 0;
const SNAPSHOT_VALUES: u64 = 8;
const NO_MEMORY: u64 = ~0;

/** `selected`: the set names a counter beyond the last. */
const NO_SUCH_COUNTERS: u64 = ~0;

/** Whether VMs have performance counters. */
export function hasPmu(hart: Hart): bool {
  return hart.root.counters != 0;
}

/**
 * Performance monitoring, EID 0x504D55 (SBI 3.0 chapter 11): the hardware counters of the hart, by the numbers of their CSRs, for host and TVMs. A
 * vCPU's counters count its own VS- and VU-mode (vm/counters.ts). There are no firmware counters, and event_get_info belongs to SBI 3.0.
 */
export function pmuCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  if (fid > <u64>Pmu.SnapshotSetShmem || !hasPmu(hart)) return SBI_NOT_SUPPORTED;
  switch (<u32>fid) {
    case Pmu.NumCounters:
      return <i64>counterNumbers(hart);
    case Pmu.CounterGetInfo:
      return getInfo(hart, caller.a0);
    case Pmu.CounterConfigMatching:
      return configMatching(hart, caller, caller.a0, caller.a1, caller.a2, caller.a3, caller.a4);
    case Pmu.CounterStart:
      return start(hart, caller, caller.a0, caller.a1, caller.a2, caller.a3);
    case Pmu.CounterStop:
      return stop(hart, caller, caller.a0, caller.a1, caller.a2);
    case Pmu.SnapshotSetShmem:
      return setSnapshotMemory(caller, caller.a0, caller.a1, caller.a2);
    default:
      // fw_read, fw_read_hi: no counter is a firmware counter.
      return SBI_INVALID_PARAM;
  }
}

/** One more than the highest counter number: numbers below it need not exist. */
function counterNumbers(hart: Hart): u64 {
  return 64 - clz<u64>(hart.root.counters);
}

function getInfo(hart: Hart, index: u64): i64 {
  if (index >= 64 || ((hart.root.counters >> index) & 1) == 0) return SBI_INVALID_PARAM;
  return <i64>counterInfo(hart, index);
}

/** The counters of base and mask, as far as they exist: NO_SUCH_COUNTERS if the set goes beyond the last number. */
function selected(hart: Hart, base: u64, mask: u64): u64 {
  if (mask == 0) return 0;
  const numbers = counterNumbers(hart);
  if (base >= numbers || 64 - clz<u64>(mask) > numbers - base) return NO_SUCH_COUNTERS;
  return (mask << base) & hart.root.counters;
}

/**
 * counter_config_matching(base, mask, flags, event, data): gives one of the counters that are free an event; with SKIP_MATCH, the first of the set, also
 * if it has one. Returns its number. INVALID_PARAM: flags, counters, or an event that is none; NOT_SUPPORTED: no free counter of the
 * set counts it.
 */
function configMatching(hart: Hart, caller: Vcpu, base: u64, mask: u64, flags: u64, event: u64, data: u64): i64 {
  const counters = selected(hart, base, mask);
  if ((flags & ~CONFIG_FLAGS) != 0 || counters == NO_SUCH_COUNTERS || mask == 0) return SBI_INVALID_PARAM;
  const refused = checkEvent(event, data);
  if (refused != 0) return refused;
  const state = countersOf(caller);
  let candidates = counters & ~state.configured;
  let value: u64 = 0;
  if ((flags & CONFIG_SKIP_MATCH) != 0) {
    const first = ctz<u64>(mask) + base;
    candidates = counters & ((<u64>1) << first);
    const again = candidates & state.configured;
    // It keeps its value, unless that is to be cleared.
    if (again != 0) {
      stopCounters(hart, caller, again, false);
      value = state.value(first);
      stopCounters(hart, caller, again, true);
    }
  }
  if (candidates == 0) return SBI_NOT_SUPPORTED;
  const found = configureCounter(hart, caller, candidates, flags, event, data);
  if (found < 0) return found == SBI_INVALID_PARAM ? SBI_INVALID_PARAM : SBI_NOT_SUPPORTED;
  if ((flags & CONFIG_CLEAR_VALUE) == 0) state.setValue(<u64>found, value);
  if ((flags & CONFIG_AUTO_START) != 0) startCounter(hart, caller, <u64>found);
  return found;
}

/** 0, or the error for an event that no hardware counter counts. */
function checkEvent(event: u64, data: u64): i64 {
  if (event >> EVENT_BITS != 0) return SBI_INVALID_PARAM;
  switch (<u32>(event >> EVENT_TYPE_SHIFT)) {
    case EventType.Hardware:
    case EventType.Cache:
      return 0;
    case EventType.Raw:
      return data >> RAW_DATA_BITS != 0 ? SBI_INVALID_PARAM : 0;
    case EventType.RawV2:
      return data >> RAW_V2_DATA_BITS != 0 ? SBI_INVALID_PARAM : 0;
    default:
      return SBI_NOT_SUPPORTED;
  }
}

/**
 * counter_start(base, mask, flags, value): starts counters that have an event. INVALID_PARAM: flags, or a counter without event; NO_SHMEM: values
 * from a snapshot without memory for it. ALREADY_STARTED: at least one ran already and goes on as it was; the others were started, as the SBI has it.
 */
function start(hart: Hart, caller: Vcpu, base: u64, mask: u64, flags: u64, initial: u64): i64 {
  const counters = selected(hart, base, mask);
  if (counters == NO_SUCH_COUNTERS || flags > START_INIT_SNAPSHOT) return SBI_INVALID_PARAM;
  const state = countersOf(caller);
  if (counters != mask << base || (counters & ~state.configured) != 0) return SBI_INVALID_PARAM;
  if (flags == START_INIT_SNAPSHOT && caller.snapshotHpa == 0) return SBI_NO_SHMEM;
  const running = counters & state.started;
  let failed: i64 = running != 0 ? SBI_ALREADY_STARTED : 0;
  const wanted = counters & ~running;
  for (let index = base; index < 64 && wanted >> index != 0; index++) {
    if (((wanted >> index) & 1) == 0) continue;
    if (flags == START_INIT_VALUE) state.setValue(index, initial);
    else if (flags == START_INIT_SNAPSHOT) {
      state.setValue(index, read64(caller.snapshotHpa + SNAPSHOT_VALUES + ((index - base) << 3)));
    }
    // The counter was this one's a moment ago: only a broken firmware takes it away.
    if (!startCounter(hart, caller, index)) failed = SBI_NOT_SUPPORTED;
  }
  return failed;
}

/**
 * counter_stop(base, mask, flags): stops counters, and takes their events away (RESET) or their values down (TAKE_SNAPSHOT). INVALID_PARAM: flags, or a number
 * beyond the last; NO_SHMEM: a snapshot without memory for it. ALREADY_STOPPED: at least one did not run; the others were stopped.
 */
function stop(hart: Hart, caller: Vcpu, base: u64, mask: u64, flags: u64): i64 {
  const counters = selected(hart, base, mask);
  if (counters == NO_SUCH_COUNTERS || flags > (STOP_RESET | STOP_TAKE_SNAPSHOT)) return SBI_INVALID_PARAM;
  const state = countersOf(caller);
  if ((flags & STOP_TAKE_SNAPSHOT) != 0 && caller.snapshotHpa == 0) return SBI_NO_SHMEM;
  const running = counters & state.started;
  stopCounters(hart, caller, counters, false);
  if ((flags & STOP_TAKE_SNAPSHOT) != 0) takeSnapshot(caller, base, counters);
  if ((flags & STOP_RESET) != 0) stopCounters(hart, caller, counters, true);
  return running != mask << base ? SBI_ALREADY_STOPPED : 0;
}

function takeSnapshot(caller: Vcpu, base: u64, counters: u64): void {
  const state = countersOf(caller);
  const taken = counters & state.configured;
  write64(caller.snapshotHpa + SNAPSHOT_OVERFLOWS, (state.overflowed & taken) >> base);
  for (let index = base; index < 64 && taken >> index != 0; index++) {
    if (((taken >> index) & 1) != 0) {
      write64(caller.snapshotHpa + SNAPSHOT_VALUES + ((index - base) << 3), state.value(index));
    }
  }
}

/**
 * snapshot_set_shmem(gpa low, gpa high, flags) for the calling vCPU: one page, which stays pinned; all ones in both halves unregister. An error leaves
 * an earlier one. INVALID_PARAM: flags, misaligned; INVALID_ADDRESS: not memory of the caller.
 */
function setSnapshotMemory(caller: Vcpu, gpaLow: u64, gpaHigh: u64, flags: u64): i64 {
  if (flags != 0) return SBI_INVALID_PARAM;
  if (gpaLow == NO_MEMORY && gpaHigh == NO_MEMORY) {
    dropSnapshot(caller);
    return 0;
  }
  if ((gpaLow & (PAGE_SIZE - 1)) != 0) return SBI_INVALID_PARAM;
  const hpa = gpaHigh != 0 ? 0 : pinPages(caller.vm, gpaLow, 1);
  if (hpa == 0) return SBI_INVALID_ADDRESS;
  dropSnapshot(caller);
  caller.snapshotHpa = hpa;
  return 0;
}
