import { beginLine, endLine, putDecimal, putText } from "../devices/console";
import { Action, Hart, HartRequest, HartState, NO_VM } from "../hart";
import {
  IRQ_STI,
  SIE,
  SSTATUS,
  SSTATUS_FS,
  SSTATUS_SIE,
  SSTATUS_SUM,
  SSTATUS_MXR,
  SSTATUS_VS,
  TIME,
  VLENB,
} from "../riscv/csr";
import {
  and64,
  cas32,
  csrClear,
  csrExists,
  csrRead,
  csrSet,
  fenceI,
  ImageSymbol,
  imageAddress,
  loadAcquire32,
} from "../riscv/hw";
import { FILE_RECORDS } from "../memory/interrupt-files";
import { PAGE_SIZE } from "../riscv/pte";
import { Root } from "../root";
import { setupHartCsrs } from "../vm/csr-policy";
import { acknowledgeInterrupt, sendRequest, setupHartInterrupts } from "../vm/hart-messages";
import { firmwareSetTimer, firmwareStartHart } from "./firmware";
import { enterKernelMap } from "./kernel-map";
import { MachineDescription } from "./machine-description";
import { HART_STACK_SIZE, HART_STACK_STRIDE, OwnMemory, WORK_PAGES, hartRecordStride } from "./own-memory";

/**
 * The harts: their records, and bringing the secondary ones up.
 *
 * All secondaries are started at once. The boot hart sleeps until each has changed its state from Starting to Online, or its time is
 * up; then it changes what is left from Starting to Absent. Both are compare-and-swaps, so a hart that comes too late knows it.
 */

/** How long secondaries have, in seconds of machine time. Emulated harts share few real ones, so this is generous. */
const PATIENCE_SECONDS: u64 = 10;

const NEVER: u64 = ~0;

/** Makes a record for every hart of the description, and points `root.harts` at them. None is running yet. */
export function createHarts(root: Root, description: MachineDescription, own: OwnMemory, bootHartId: u64): void {
  root.harts = own.hartTable;
  root.hartCount = <u32>description.hartCount;
  for (let i: u64 = 0; i < description.hartCount; i++) {
    const found = description.hart(i);
    const hart = changetype<Hart>(own.hartRecords + <usize>(i * hartRecordStride()));
    root.setHart(i, hart);
    hart.root = root;
    hart.id = found.id;
    hart.index = <u32>i;
    hart.state = HartState.Absent;
    hart.interruptPhandle = found.interruptPhandle;
    hart.numaNode = found.numaNode;
    hart.imsicPage = description.hasImsic != 0 ? found.imsicPage : 0;
    hart.enteredVm = NO_VM;
    hart.fileRecords = own.fileRecords + <usize>(i * FILE_RECORDS * 8);
    hart.workPages = own.workPages + <usize>(i * WORK_PAGES * PAGE_SIZE);
    if (found.id == bootHartId) {
      // The boot hart stays on its stack in the image; the page below it becomes its guard.
      hart.stackBottom = <usize>imageAddress(ImageSymbol.BootStackBottom);
      hart.stackTop = <usize>imageAddress(ImageSymbol.BootStackTop);
    } else {
      hart.stackBottom = own.stacks + <usize>(i * HART_STACK_STRIDE + PAGE_SIZE);
      hart.stackTop = hart.stackBottom + <usize>HART_STACK_SIZE;
    }
  }
}

/** Nothing of what the firmware left in sstatus is wanted: interrupts off, no access to user pages, no FP, no vectors. */
export function resetHartStatus(): void {
  csrClear(SSTATUS, SSTATUS_SIE | SSTATUS_SUM | SSTATUS_MXR | SSTATUS_FS | SSTATUS_VS);
}

/** Bytes of one vector register of this hart, 0 without vectors. Leaves vectors off. */
export function vectorBytes(): u64 {
  csrSet(SSTATUS, SSTATUS_VS);
  const bytes = (csrRead(SSTATUS) & SSTATUS_VS) != 0 && csrExists(VLENB) ? csrRead(VLENB) : 0;
  csrClear(SSTATUS, SSTATUS_VS);
  return bytes;
}

/** Asks the firmware to start every hart but this one; those that it refuses are left out. */
export function startSecondaries(root: Root, self: Hart): void {
  const entry = imageAddress(ImageSymbol.SecondaryEntry);
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const hart = root.hart(i);
    if (hart == self) continue;
    hart.state = HartState.Starting;
    const error = firmwareStartHart(hart.id, entry, changetype<usize>(hart));
    if (error == 0) continue;
    hart.state = HartState.Absent;
    beginLine();
    putText("salus: the firmware does not start hart ");
    putDecimal(hart.id);
    putText(" (error -");
    putDecimal(<u64>-error);
    putText("): left out");
    endLine();
  }
}

/** A secondary hart's own part of boot, on its own stack with satp = 0. Returns the Action of hart.ts. */
export function secondaryMain(hart: Hart): u32 {
  const root = hart.root;
  resetHartStatus();
  if (!enterKernelMap(root.satp)) return leaveOut(hart, "does not have the address-space mode of the boot hart");
  if (vectorBytes() != root.vlenb) return leaveOut(hart, "has other vector registers than the boot hart");
  setupHartCsrs(hart);
  setupHartInterrupts(hart);
  fenceI();
  reportTest("TEST: secondary init ", hart);
  if (cas32(stateAddress(hart), HartState.Starting, HartState.Online) != HartState.Starting) return Action.Off;
  reportTest("PASS: secondary init ", hart);
  sendRequest(root.bootHart, HartRequest.Reschedule);
  return Action.Wait;
}

function leaveOut(hart: Hart, reason: string): u32 {
  beginLine();
  putText("salus: hart ");
  putDecimal(hart.id);
  putText(" ");
  putText(reason);
  putText(": left out");
  endLine();
  cas32(stateAddress(hart), HartState.Starting, HartState.Absent);
  sendRequest(hart.root.bootHart, HartRequest.Reschedule);
  return Action.Off;
}

/** One protocol line of the test runners, with the hart id. */
export function reportTest(text: string, hart: Hart): void {
  beginLine();
  putText(text);
  putDecimal(hart.id);
  endLine();
}

// @ts-ignore: decorator
@inline
function stateAddress(hart: Hart): u64 {
  return <u64>(changetype<usize>(hart) + offsetof<Hart>("state"));
}

/** Starts the clock for `secondariesSettled`: the boot hart is woken when time is up. Returns the deadline. */
export function armBootTimer(root: Root): u64 {
  const deadline = csrRead(TIME) + root.timebaseFrequency * PATIENCE_SECONDS;
  firmwareSetTimer(deadline);
  csrSet(SIE, (<u64>1) << IRQ_STI);
  return deadline;
}

/**
 * Whether all secondaries have come, or it is later than `deadline`, in which case the missing ones are given up. While it is
 * false the boot hart waits for an interrupt: each secondary sends one.
 */
export function secondariesSettled(root: Root, deadline: u64): bool {
  const self = root.bootHart;
  // First the interrupt, then the states: what comes after this look interrupts again.
  and64(self.requestsAddress(), ~(<u64>HartRequest.Reschedule));
  acknowledgeInterrupt(self);
  const late = csrRead(TIME) >= deadline;
  let settled = true;
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const hart = root.hart(i);
    if (loadAcquire32(stateAddress(hart)) != HartState.Starting || hart == self) continue;
    if (!late) {
      settled = false;
    } else if (cas32(stateAddress(hart), HartState.Starting, HartState.Absent) == HartState.Starting) {
      beginLine();
      putText("salus: hart ");
      putDecimal(hart.id);
      putText(" does not come up: left out");
      endLine();
    }
  }
  if (!settled) return false;
  csrClear(SIE, (<u64>1) << IRQ_STI);
  firmwareSetTimer(NEVER);
  return true;
}

/** Drops absent harts from root.harts and numbers the others: hart index = id of the host vCPU that lives on it. */
export function dropAbsentHarts(root: Root): void {
  let count: u64 = 0;
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const hart = root.hart(i);
    if (hart.state == HartState.Absent) continue;
    hart.index = <u32>count;
    root.setHart(count, hart);
    count++;
  }
  root.hartCount = <u32>count;
}
