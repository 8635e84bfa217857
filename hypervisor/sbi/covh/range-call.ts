import { Hart } from "../../hart";
import { lockAcquire, lockRelease } from "../../lib/spinlock";
import { contiguousFrom, lockOfVm, splitForBatch } from "../../memory/claims";
import { PATIENCE } from "../../devices/iommu/commands";
import { devicesForgot, hasDevices, minVersion, refreshDevices } from "../../memory/fence";
import { NOT_MAPPED, leafSize, translate } from "../../memory/gstage";
import {
  BATCH,
  Find,
  batchAt,
  batchHpa,
  claimConvertedBatch,
  claimOwnedBatch,
  resolve,
  unclaimConvertedBatch,
  unclaimOwnedBatch,
} from "../../memory/page-list";
import { recordAddress } from "../../memory/page-map";
import { addReference, dropReference } from "../../memory/page-record";
import { availableTablePages } from "../../memory/table-pool";
import { USED, takeNeededTables, unusedPart } from "../../memory/target-range";
import { PAGE_SHIFT, PAGE_SIZE } from "../../riscv/pte";
import { callAgain } from "../../vm/call-again";
import { tearDownPart } from "../../vm/tear-down";
import { Vcpu } from "../../vm/vcpu";
import { Vm } from "../../vm/vm";
import { freeSlot, releaseVm } from "../../vm/vm-table";
import { mustGiveWay } from "../../vm/wait";
import { SBI_FAILED, SBI_INVALID_ADDRESS, SBI_PENDING } from "../errors";
import { Pass, REFUSED, passPart } from "./block-pass";
import { isSameCall, parkCall, takeOwnCall, takeParkedCall } from "./parked-calls";
import { RangeKind, performBatch } from "./range-perform";

/**
 * Calls on ranges of pages, which may be as long as RAM: carried out in steps over batches (memory/page-list.ts), so that no entry into the
 * hypervisor takes longer than one batch while somebody waits.
 *
 *     check -> Target -> Claim -> Pin -> Perform -> Refresh -> the answer
 *                          |       |
 *                          |       +-> Unpin --+
 *                          +-------------------+-> Unclaim -> the error
 *
 * Blocking, unblocking and removing go over the TVM's memory: Claim only checks, Perform does it. Blocking has a third pass, Pin, which looks whether somebody
 * has got hold of a page in between; then Unclaim unblocks all. Destroying has one step (vm/tear-down.ts), and cannot fail.
 *
 * Target looks whether the places in the TVM are empty and its tables suffice (memory/target-range.ts). Claim takes the pages that change hands, Pin holds those that are read or shared; either can fail, and is then undone. Perform cannot fail.
 * Refresh, after pages came back, has the IOMMUs forget that nothing was there, and looks a few times whether they have.
 *
 * Between batches a pending interrupt wins: the call is parked in the vCPU's record (parked-calls.ts), sepc stays at the ecall, and making the call
 * again, on any hart, goes on with it. If the vCPU makes another COVH call instead, this one is carried out first and its answer is lost.
 * Meanwhile the claimed pages are nobody's, and the TVM (inRangeCall) lets no other call change its address space: the checks that were made
 * stay true. A call that claims one batch does it in one go.
 */
export const enum RangeStep {
  None = 0,
  Claim = 1,
  Pin = 2,
  Perform = 3,
  Unpin = 4,
  Unclaim = 5,
  Refresh = 6,
  Target = 7,
}

/** Small pages in a page of the largest type: a shorter range has none inside. */
const LARGEST_PAGE: u64 = 512 * 512;

/**
 * Begins a call that was checked: `pages` small pages at `gpa` of the caller (those that it reads or shares at `from`) go to `target` of `vm` as
 * pages of `type`. With a TVM: caller holds its lock and a reference, which the call keeps. `carryOn` does the work. Returns 0.
 */
export function beginRange(
  caller: Vcpu,
  kind: RangeKind,
  vm: Vm | null,
  gpa: u64,
  from: u64,
  target: u64,
  type: u64,
  pages: u64,
): i64 {
  if (vm != null) vm.inRangeCall = 1;
  caller.rangeKind = kind;
  caller.rangeVm = vm;
  caller.rangeGpa = gpa;
  caller.rangeFrom = from;
  caller.rangeTarget = target;
  caller.rangeType = type;
  caller.rangePages = pages;
  caller.rangeResult = kind >= RangeKind.Block ? 0 : <i64>(pages >> (9 * type));
  caller.rangeA0 = caller.a0;
  caller.rangeA1 = caller.a1;
  caller.rangeA2 = caller.a2;
  caller.rangeA3 = caller.a3;
  caller.rangeA4 = caller.a4;
  caller.rangeA5 = caller.a5;
  caller.rangeA6 = caller.a6;
  goTo(caller, hasTarget(kind) ? RangeStep.Target : firstStep(kind), pages);
  return 0;
}

/** Whether pages get a place in the TVM that has to be empty. */
function hasTarget(kind: u32): bool {
  return kind >= <u32>RangeKind.MeasuredPages && kind <= <u32>RangeKind.SharedPages;
}

/** The step that takes pages, or looks at them. */
function firstStep(kind: u32): RangeStep {
  return kind == RangeKind.SharedPages ? RangeStep.Pin : RangeStep.Claim;
}

/**
 * Goes on with the call of `caller`, which is current and has not parked it, until it is over: returns its answer; or until somebody waits: SBI_PENDING, and it is
 * parked. Takes the locks of the TVM and of the caller's VM for parts of a batch.
 */
export function carryOn(hart: Hart, caller: Vcpu): i64 {
  // Measuring a page is as much work as anything else is for a batch. What is one batch is done in one go, though blocking has up to four passes.
  const unit: u64 = caller.rangeKind == RangeKind.MeasuredPages ? 1 : BATCH;
  const long = caller.rangePages > unit || caller.rangeKind == RangeKind.Destroy;
  while (true) {
    stepOn(hart, caller);
    if (caller.rangeStep == RangeStep.None) break;
    const looked = caller.rangeStep == RangeStep.Refresh && caller.rangeDone != 0;
    if ((long || looked) && mustGiveWay(hart)) {
      parkCall(caller);
      return callAgain();
    }
  }
  const vm = caller.rangeVm;
  if (vm != null) {
    lockAcquire(lockOfVm(vm));
    vm.inRangeCall = 0;
    lockRelease(lockOfVm(vm));
    releaseVm(vm);
    caller.rangeVm = null;
  }
  return caller.rangeResult;
}

/** No answer: no call was parked, or another one than the caller makes, which is over now. */
export const NOTHING_PARKED: i64 = SBI_PENDING + 2;

/**
 * Goes on with a parked call before the caller's own: with the one that its registers hold, whichever vCPU has made it (if `again`: they hold a COVH call), or else
 * with one that the caller has parked itself. Returns what the caller is answered, or NOTHING_PARKED. Locks as `carryOn`.
 */
export function resumeParked(hart: Hart, caller: Vcpu, again: bool): i64 {
  if (!(again ? takeParkedCall(caller) : takeOwnCall(caller))) return NOTHING_PARKED;
  const result = carryOn(hart, caller);
  if (result == SBI_PENDING || (again && isSameCall(caller, caller))) return result;
  // Nobody waits for two calls: the caller's gets an entry of its own.
  return mustGiveWay(hart) ? callAgain() : NOTHING_PARKED;
}

/**
 * Has the caller make its call again when the one on a range that it has to wait for is over. If that may be one that it has parked itself, it is gone on with
 * here: it may be nobody else's any more. Caller holds no lock, and no reference to a TVM.
 */
export function afterRange(hart: Hart, caller: Vcpu): i64 {
  const answer = resumeParked(hart, caller, false);
  return answer == NOTHING_PARKED ? callAgain() : answer;
}

/** One batch of the step that the call is at. */
function stepOn(hart: Hart, caller: Vcpu): void {
  if (caller.rangeStep == RangeStep.Target) return targetOn(caller);
  if (caller.rangeStep == RangeStep.Refresh) return refreshOn(caller);
  if (caller.rangeKind == RangeKind.Destroy) return destroyOn(caller);
  if (caller.rangeKind >= <u32>RangeKind.Block) return passOn(caller);
  const vm = caller.vm;
  const done = caller.rangeDone;
  const offset = done << PAGE_SHIFT;
  let count = batchAt(caller.rangeGpa + offset, caller.rangeEnd - done);
  switch (caller.rangeStep) {
    case RangeStep.Claim:
      if (!claimBatch(hart, caller, caller.rangeGpa + offset, count)) return undo(caller, RangeStep.Unclaim, done);
      break;
    case RangeStep.Pin:
      if (!pinBatch(caller, caller.rangeFrom + offset, count)) return undo(caller, RangeStep.Unpin, done);
      break;
    case RangeStep.Perform:
      count = performBatch(hart, caller, count);
      break;
    case RangeStep.Unpin:
      dropPins(vm, caller.rangeFrom + offset, count);
      break;
    default:
      unclaimBatch(hart, caller, caller.rangeGpa + offset, count);
      break;
  }
  caller.rangeDone = done + count;
  if (caller.rangeDone == caller.rangeEnd) goTo(caller, stepAfter(caller), caller.rangePages);
}

/** A batch of the places in the TVM. Takes its lock. */
function targetOn(caller: Vcpu): void {
  const vm = caller.rangeVm!;
  const start = caller.rangeTarget;
  const end = start + (caller.rangePages << PAGE_SHIFT);
  lockAcquire(lockOfVm(vm));
  const next = unusedPart(vm, start + (caller.rangeDone << PAGE_SHIFT), end, caller.rangeType);
  const enough = next != end || takeNeededTables(vm) <= availableTablePages(vm);
  lockRelease(lockOfVm(vm));
  if (next == USED || !enough) {
    caller.rangeResult = enough ? SBI_INVALID_ADDRESS : SBI_FAILED;
    goTo(caller, RangeStep.None, 0);
  } else if (next == end) {
    goTo(caller, firstStep(caller.rangeKind), caller.rangePages);
  } else {
    caller.rangeDone = (next - start) >> PAGE_SHIFT;
  }
}

/** A batch of a pass over the TVM's own memory. Takes its lock. */
function passOn(caller: Vcpu): void {
  const vm = caller.rangeVm!;
  lockAcquire(lockOfVm(vm));
  const done = passPart(vm, caller.rangeTarget, caller.rangeDone, caller.rangeEnd, passOf(caller));
  lockRelease(lockOfVm(vm));
  if (done == REFUSED) {
    caller.rangeResult = SBI_INVALID_ADDRESS;
    goTo(caller, caller.rangeStep == RangeStep.Pin ? RangeStep.Unclaim : RangeStep.None, caller.rangePages);
    return;
  }
  caller.rangeDone = done;
  if (done != caller.rangeEnd) return;
  let next = RangeStep.None;
  if (caller.rangeStep == RangeStep.Claim) next = RangeStep.Perform;
  else if (caller.rangeStep == RangeStep.Perform && caller.rangeKind == RangeKind.Block) next = RangeStep.Pin;
  goTo(caller, next, caller.rangePages);
}

function passOf(caller: Vcpu): Pass {
  const checking = caller.rangeStep == RangeStep.Claim;
  switch (caller.rangeKind) {
    case RangeKind.Block:
      if (caller.rangeStep == RangeStep.Pin) return Pass.VerifyBlock;
      if (caller.rangeStep == RangeStep.Unclaim) return Pass.Unblock;
      return checking ? Pass.CheckBlock : Pass.Block;
    case RangeKind.Unblock:
      return checking ? Pass.CheckUnblock : Pass.Unblock;
    default:
      return checking ? Pass.CheckRemove : Pass.Remove;
  }
}

/** A device that tried before its page was there again may remember that nothing was: one look at whether it has forgotten. */
function refreshOn(caller: Vcpu): void {
  if (caller.rangeDone == 0) refreshDevices(caller.vm);
  caller.rangeDone++;
  if (devicesForgot() || caller.rangeDone == PATIENCE) goTo(caller, RangeStep.None, 0);
}

/** A part of the destruction of the TVM, which is out of everybody's sight. With the last, its record is gone. */
function destroyOn(caller: Vcpu): void {
  const vm = caller.rangeVm!;
  const slot = vm.slot;
  if (!tearDownPart(vm, caller)) return;
  freeSlot(slot);
  caller.rangeVm = null;
  goTo(caller, RangeStep.None, 0);
}

function stepAfter(caller: Vcpu): RangeStep {
  const measured = caller.rangeKind == RangeKind.MeasuredPages;
  switch (caller.rangeStep) {
    case RangeStep.Claim:
      return measured ? RangeStep.Pin : RangeStep.Perform;
    case RangeStep.Pin:
      return RangeStep.Perform;
    case RangeStep.Unpin:
      return measured ? RangeStep.Unclaim : RangeStep.None;
    case RangeStep.Perform:
      return caller.rangeKind == RangeKind.Reclaim && hasDevices(caller.vm) ? RangeStep.Refresh : RangeStep.None;
    default:
      return RangeStep.None;
  }
}

/** A batch of Claim or Pin failed, with nothing of it done: `step` takes back the `done` pages before it. */
function undo(caller: Vcpu, step: RangeStep, done: u64): void {
  caller.rangeResult = SBI_INVALID_ADDRESS;
  goTo(caller, step, done);
  if (done == 0) goTo(caller, stepAfter(caller), caller.rangePages);
}

function goTo(caller: Vcpu, step: RangeStep, pages: u64): void {
  caller.rangeStep = step;
  caller.rangeEnd = pages;
  caller.rangeDone = 0;
}

/** Takes `count` pages at `gpa` of the caller: its own that it converts, or converted ones. False, and none taken, if one is not that. */
function claimBatch(hart: Hart, caller: Vcpu, gpa: u64, count: u64): bool {
  const vm = caller.vm;
  if (caller.rangePages >= LARGEST_PAGE && caller.rangeKind <= <u32>RangeKind.Reclaim) splitForBatch(vm, gpa);
  if (caller.rangeKind == RangeKind.Convert) {
    return resolve(hart, vm, gpa, count, Find.Mapped) && claimOwnedBatch(hart, count, vm.slot);
  }
  if (!resolve(hart, vm, gpa, count, Find.Parked)) return false;
  const alignment = leafSize(caller.rangeType);
  if (alignment != PAGE_SIZE) {
    // A batch is 2 MiB here: a whole large page, or a part of one.
    if ((gpa & (alignment - 1)) == 0) caller.rangeNext = batchHpa(hart, 0) & ~(alignment - 1);
    if (!contiguousFrom(hart, count, caller.rangeNext)) return false;
    caller.rangeNext += count << PAGE_SHIFT;
  }
  return claimConvertedBatch(hart, count, vm.slot, minVersion(vm));
}

function unclaimBatch(hart: Hart, caller: Vcpu, gpa: u64, count: u64): void {
  const vm = caller.vm;
  const owned = caller.rangeKind == RangeKind.Convert;
  resolve(hart, vm, gpa, count, owned ? Find.Mapped : Find.Parked);
  if (owned) unclaimOwnedBatch(hart, count, vm.slot);
  else unclaimConvertedBatch(hart, count);
}

/** Holds `count` pages at `gpa` of the caller in place. False, and none held, if one is not the caller's, or not beside the last one of a large page. */
function pinBatch(caller: Vcpu, gpa: u64, count: u64): bool {
  const vm = caller.vm;
  // The pages that are measured are copied one by one, wherever they are.
  const alignment = caller.rangeKind == RangeKind.SharedPages ? leafSize(caller.rangeType) : PAGE_SIZE;
  for (let i: u64 = 0; i < count; i++) {
    const at = gpa + (i << PAGE_SHIFT);
    const hpa = translate(vm, at);
    if ((at & (alignment - 1)) == 0) caller.rangeNext = hpa & ~(alignment - 1);
    const record = hpa == NOT_MAPPED || hpa != caller.rangeNext ? 0 : recordAddress(hpa);
    if (record == 0 || !addReference(record, vm.slot)) {
      dropPins(vm, gpa, i);
      return false;
    }
    caller.rangeNext = hpa + PAGE_SIZE;
  }
  return true;
}

function dropPins(vm: Vm, gpa: u64, pages: u64): void {
  for (let i: u64 = 0; i < pages; i++) dropReference(recordAddress(translate(vm, gpa + (i << PAGE_SHIFT))));
}
