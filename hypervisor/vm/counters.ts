import { Hart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { unpinPage } from "../memory/guest-access";
import { COUNTER_COUNT, FIRST_COUNTER_CSR, counterExists, readCounter } from "../riscv/counters";
import { COUNTEREN_TM, HCOUNTEREN, HVIP, IRQ_LCOFI, SCOUNTEREN, SCOUNTOVF, SEPC, SIP } from "../riscv/csr";
import { and64, csrClear, csrRead, csrSet, csrWrite, or64, read64, sbiCall } from "../riscv/hw";
import { Root } from "../root";
import { CounterState } from "./counter-state";
import { OptionalState } from "./csr-policy";
import { Vcpu } from "./vcpu";
import { counterStateOffset } from "./vcpu-layout";

/**
 * Performance counters of VMs, on top of the firmware's PMU (SBI 3.0 chapter 11). They count VS- and VU-mode of the vCPU that has them and
 * nothing else where the hart can tell (Sscofpmf); where it cannot, they also count what we do for that vCPU. They are taken out of the
 * hart before another vCPU is entered, so none ever counts, shows, or interrupts for, another VM.
 *
 * OptionalState.Counters is set while any vCPU of the machine has a counter configured: only then a world switch looks for some.
 */

const EID_PMU: u64 = 0x504d55;
const FIRMWARE_BASE: u64 = 0x10;
const PROBE: u64 = 3;
const NUM_COUNTERS: u64 = 0;
const COUNTER_GET_INFO: u64 = 1;
const COUNTER_CONFIG_MATCHING: u64 = 2;
const COUNTER_START: u64 = 3;
const COUNTER_STOP: u64 = 4;

const ERROR_ALREADY_STARTED: i64 = -7;
const START_INIT_VALUE: u64 = 1;
const STOP_RESET: u64 = 1;

/** counter_get_info: a counter of the firmware itself. */
const INFO_FIRMWARE: u64 = 1 << 63;
const INFO_CSR: u64 = 0xfff;

/** Flags of counter_config_matching. */
export const CONFIG_SKIP_MATCH: u64 = 1 << 0;
export const CONFIG_CLEAR_VALUE: u64 = 1 << 1;
export const CONFIG_AUTO_START: u64 = 1 << 2;
export const CONFIG_SET_VUINH: u64 = 1 << 3;
export const CONFIG_SET_VSINH: u64 = 1 << 4;
export const CONFIG_SET_UINH: u64 = 1 << 5;
export const CONFIG_SET_SINH: u64 = 1 << 6;
export const CONFIG_SET_MINH: u64 = 1 << 7;

/** Bit of the overflow interrupt in sip, hvip, hvien and vsie. */
export const LCOFI: u64 = 1 << IRQ_LCOFI;

/** The counters of `vcpu`. */
// @ts-ignore: decorator
@inline
export function countersOf(vcpu: Vcpu): CounterState {
  return changetype<CounterState>(changetype<usize>(vcpu) + counterStateOffset());
}

/** Whether overflows interrupt: the hart says which counter overflowed, and we can pass the interrupt on. */
// @ts-ignore: decorator
@inline
export function hasOverflow(root: Root): bool {
  return (root.optionalState & OptionalState.Overflow) != 0 && root.counters != 0;
}

/** Finds the hardware counters that the firmware manages and whose number is that of their CSR. Boot hart, after setupHartCsrs. */
export function findCounters(root: Root): void {
  root.counters = 0;
  const out = changetype<usize>(root) + offsetof<Root>("counters");
  sbiCall(FIRMWARE_BASE, PROBE, EID_PMU, 0, 0, 0, 0, out);
  const present = read64(out) != 0;
  root.counters = 0;
  if (!present) return;
  let counters: u64 = 0;
  const failed = sbiCall(EID_PMU, NUM_COUNTERS, 0, 0, 0, 0, 0, out);
  const count = failed == 0 ? min<u64>(read64(out), COUNTER_COUNT) : 0;
  for (let index: u64 = 0; index < count; index++) {
    if (sbiCall(EID_PMU, COUNTER_GET_INFO, index, 0, 0, 0, 0, out) != 0) continue;
    const info = read64(out);
    if ((info & INFO_FIRMWARE) != 0 || (info & INFO_CSR) != <u64>FIRST_COUNTER_CSR + index) continue;
    if (counterExists(<u32>index)) counters |= (<u64>1) << index;
  }
  root.counters = counters;
}

/** What the firmware says of counter `index` (width and CSR), one of root.counters. */
export function counterInfo(hart: Hart, index: u64): u64 {
  const out = changetype<usize>(hart) + offsetof<Hart>("firmwareValue");
  sbiCall(EID_PMU, COUNTER_GET_INFO, index, 0, 0, 0, 0, out);
  return read64(out);
}

/**
 * Gives one of `candidates` (counters that the current vCPU has not configured, not empty) an event. Returns its number, or the firmware's
 * error, with nothing changed.
 */
export function configureCounter(hart: Hart, vcpu: Vcpu, candidates: u64, flags: u64, event: u64, data: u64): i64 {
  const state = countersOf(vcpu);
  const own = firmwareFlags(flags);
  const failed = firmwareConfigure(hart, candidates, own, event, data);
  if (failed < 0) return failed;
  const index = <u64>failed;
  const bit = (<u64>1) << (index & 63);
  if (index >= <u64>COUNTER_COUNT || (candidates & bit) == 0) {
    // Fixed counters come whether they were asked for or not; one that is in use keeps its event.
    if (index < <u64>COUNTER_COUNT && (state.loaded & bit) == 0) firmwareStop(bit);
    return -2;
  }
  if (state.configured == 0) addUser(hart.root);
  state.configured |= bit;
  state.loaded |= bit;
  state.overflowed &= ~bit;
  state.setEvent(index, event, own, data);
  state.setValue(index, 0);
  return <i64>index;
}

/** The VM's modes are the virtual ones; nothing else is ever counted. */
function firmwareFlags(flags: u64): u64 {
  let own = CONFIG_CLEAR_VALUE | CONFIG_SET_UINH | CONFIG_SET_SINH | CONFIG_SET_MINH;
  if ((flags & CONFIG_SET_UINH) != 0) own |= CONFIG_SET_VUINH;
  if ((flags & CONFIG_SET_SINH) != 0) own |= CONFIG_SET_VSINH;
  return own;
}

/** Starts a configured counter of the current vCPU with the value that its record has. False, and it stays stopped, if the firmware refuses. */
export function startCounter(hart: Hart, vcpu: Vcpu, index: u64): bool {
  const state = countersOf(vcpu);
  const bit = (<u64>1) << index;
  if ((state.loaded & bit) == 0) {
    const found = firmwareConfigure(hart, bit, state.flags(index), state.event(index), state.data(index));
    if (found != <i64>index) return false;
    state.loaded |= bit;
  }
  const value = state.value(index);
  let failed = firmwareStart(bit, value);
  if (failed == ERROR_ALREADY_STARTED) {
    // cycle and instret run from reset on.
    sbiCall(EID_PMU, COUNTER_STOP, 0, bit, 0, 0, 0, 0);
    failed = firmwareStart(bit, value);
  }
  if (failed != 0) return false;
  state.started |= bit;
  state.readable |= bit;
  state.overflowed &= ~bit;
  showCounters(state);
  return true;
}

/** Stops `counters` of the current vCPU, keeping their values; with `reset` it gives them up. */
export function stopCounters(hart: Hart, vcpu: Vcpu, counters: u64, reset: bool): void {
  const state = countersOf(vcpu);
  collect(hart, state, counters);
  const loaded = state.loaded & counters;
  if (loaded != 0) sbiCall(EID_PMU, COUNTER_STOP, 0, loaded, reset ? STOP_RESET : 0, 0, 0, 0);
  state.started &= ~counters;
  if (!reset) return;
  state.loaded &= ~counters;
  state.readable &= ~counters;
  showCounters(state);
  const had = state.configured;
  state.configured &= ~counters;
  if (had != 0 && state.configured == 0) dropUser(hart.root);
}

/** A world switch with OptionalState.Counters: the counters of `from` leave the hart, those of `to` that run come. hvip is that of `to`. */
export function switchCounters(hart: Hart, from: Vcpu, to: Vcpu): void {
  if (from != to) unload(hart, from);
  const started = countersOf(to).started;
  if (started == 0) return;
  for (let index: u64 = 0; started >> index != 0; index++) {
    if (((started >> index) & 1) == 0) continue;
    const overflowed = countersOf(to).overflowed;
    if (!startCounter(hart, to, index)) countersOf(to).started &= ~((<u64>1) << index);
    countersOf(to).overflowed = overflowed;
  }
}

function unload(hart: Hart, vcpu: Vcpu): void {
  const state = countersOf(vcpu);
  const loaded = state.loaded;
  if (loaded == 0) return;
  collect(hart, state, loaded);
  firmwareStop(loaded);
  state.loaded = 0;
  state.readable = 0;
  showCounters(state);
  if ((csrRead(SIP) & LCOFI) == 0) return;
  csrClear(SIP, LCOFI);
  vcpu.hvip |= LCOFI;
}

/** Takes values and overflows of those of `counters` that are in the hardware into the record. */
function collect(hart: Hart, state: CounterState, counters: u64): void {
  const present = state.readable & counters & state.started;
  if (present == 0) return;
  if (hasOverflow(hart.root)) state.overflowed |= csrRead(SCOUNTOVF) & present;
  for (let index: u64 = 0; present >> index != 0; index++) {
    if (((present >> index) & 1) != 0) state.setValue(index, readCounter(<u32>index));
  }
}

/** LCOFI: a counter of the current vCPU overflowed. */
export function counterOverflowed(hart: Hart): void {
  csrClear(SIP, LCOFI);
  if (countersOf(hart.vcpu).loaded != 0) csrSet(HVIP, LCOFI);
  else hart.strayInterrupts++;
}

/** The current vCPU ends: it has no counters any more. */
export function releaseCounters(hart: Hart, vcpu: Vcpu): void {
  const state = countersOf(vcpu);
  if (state.configured != 0) stopCounters(hart, vcpu, state.configured, true);
  dropSnapshot(vcpu);
}

/** The vCPU, which is in no hart, goes away with its VM (and the pages that it pinned). */
export function forgetCounters(root: Root, vcpu: Vcpu): void {
  if (countersOf(vcpu).configured != 0) dropUser(root);
}

/** The vCPU has no memory for snapshots any more. */
export function dropSnapshot(vcpu: Vcpu): void {
  if (vcpu.snapshotHpa != 0) unpinPage(vcpu.snapshotHpa);
  vcpu.snapshotHpa = 0;
}

const FUNCT3_READ_SET: u64 = 2;
const FUNCT3_READ_CLEAR: u64 = 3;
const OPCODE_SYSTEM: u64 = 0x73;
const INSTRUCTION_LENGTH: u64 = 4;

/**
 * Does the read of a counter's CSR that the current vCPU trapped with: a counter that it has configured, but whose value is in the record. False, and
 * nothing done, if it is none.
 */
export function emulateCounterRead(vcpu: Vcpu, instruction: u64, fromSupervisor: bool): bool {
  const funct3 = (instruction >> 12) & 3;
  if ((instruction & 0x7f) != OPCODE_SYSTEM || ((instruction >> 15) & 31) != 0) return false;
  if (funct3 != FUNCT3_READ_SET && funct3 != FUNCT3_READ_CLEAR) return false;
  const index = ((instruction >> 20) & 0xfff) - <u64>FIRST_COUNTER_CSR;
  if (index >= <u64>COUNTER_COUNT) return false;
  const bit = (<u64>1) << index;
  if (!fromSupervisor && (csrRead(SCOUNTEREN) & bit) == 0) return false;
  const state = countersOf(vcpu);
  if ((state.configured & ~state.readable & bit) == 0) return false;
  vcpu.setGpr(<u32>((instruction >> 7) & 31), state.value(index));
  csrWrite(SEPC, csrRead(SEPC) + INSTRUCTION_LENGTH);
  return true;
}

/** Lets the current vCPU read the counters that are its own. */
function showCounters(state: CounterState): void {
  csrWrite(HCOUNTEREN, COUNTEREN_TM | state.readable);
}

function firmwareConfigure(hart: Hart, counters: u64, flags: u64, event: u64, data: u64): i64 {
  const out = changetype<usize>(hart) + offsetof<Hart>("firmwareValue");
  const failed = sbiCall(EID_PMU, COUNTER_CONFIG_MATCHING, 0, counters, flags, event, data, out);
  return failed != 0 ? failed : <i64>read64(out);
}

function firmwareStart(counters: u64, value: u64): i64 {
  return sbiCall(EID_PMU, COUNTER_START, 0, counters, START_INIT_VALUE, value, 0, 0);
}

function firmwareStop(counters: u64): void {
  sbiCall(EID_PMU, COUNTER_STOP, 0, counters, STOP_RESET, 0, 0, 0);
}

/** One vCPU more, or less, that has counters. */
function addUser(root: Root): void {
  const lock = changetype<usize>(root) + offsetof<Root>("counterLock");
  lockAcquire(lock);
  if (root.counterUsers++ == 0) or64(optionalStateOf(root), OptionalState.Counters);
  lockRelease(lock);
}

function dropUser(root: Root): void {
  const lock = changetype<usize>(root) + offsetof<Root>("counterLock");
  lockAcquire(lock);
  if (--root.counterUsers == 0) and64(optionalStateOf(root), ~(<u64>OptionalState.Counters));
  lockRelease(lock);
}

function optionalStateOf(root: Root): u64 {
  return <u64>(changetype<usize>(root) + offsetof<Root>("optionalState"));
}
