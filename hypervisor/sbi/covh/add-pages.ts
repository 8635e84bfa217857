import { Hart } from "../../hart";
import { checkPageRange, claimConvertedRange, unclaimConvertedRange } from "../../memory/claims";
import { minVersion } from "../../memory/fence";
import {
  NOT_MAPPED,
  gpaRangeValid,
  leafSize,
  parkedPage,
  translate,
  walk,
  walkEntry,
  walkLevel,
  walkMaking,
} from "../../memory/gstage";
import {
  Find,
  batchAt,
  batchHpa,
  batchRecord,
  resolve,
  setBatch,
  workBytes,
  writeLeaves,
  zeroBatch,
} from "../../memory/page-list";
import { recordAddress } from "../../memory/page-map";
import { PageState, addReference, claimConverted, dropReference, setRecord } from "../../memory/page-record";
import { RegionType, addRegion, regionTypeAt } from "../../memory/regions";
import { addTablePage } from "../../memory/table-pool";
import { checkTarget, insertLeaf } from "../../memory/target-range";
import { copyPage, zeroPage } from "../../memory/zero";
import { fence, fenceWrites, read64, write64 } from "../../riscv/hw";
import { GSTAGE_LEAF, PAGE_SHIFT, PAGE_SIZE, pteFromAddress } from "../../riscv/pte";
import { measurePage } from "../../vm/measurement";
import { Vcpu } from "../../vm/vcpu";
import { Vm, VmLifecycle } from "../../vm/vm";
import { SBI_INVALID_ADDRESS, SBI_INVALID_PARAM, SBI_INVALID_STATE } from "../errors";

/*
 * The calls that give memory to a TVM. All: caller holds the TVM's lock and a reference; `caller.vm` is its parent. An error changes nothing.
 */

/**
 * COVH 8, TvmAddMemoryRegion(guest id, gpa, length): a range of the TVM's address space becomes confidential memory (CoVE 0.7 §9.4.10).
 *
 * Errors: INVALID_PARAM not initializing, length 0 or not in pages; INVALID_ADDRESS misaligned, outside the address space, overlapping;
 * FAILED too many regions.
 */
export function tvmAddMemoryRegion(vm: Vm, gpa: u64, length: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Initializing) return SBI_INVALID_PARAM;
  if (length == 0 || (length & (PAGE_SIZE - 1)) != 0) return SBI_INVALID_PARAM;
  if ((gpa & (PAGE_SIZE - 1)) != 0 || !gpaRangeValid(vm, gpa, length)) return SBI_INVALID_ADDRESS;
  return addRegion(vm, gpa, length, RegionType.Confidential);
}

/**
 * COVH 9, TvmAddPageTablePages(guest id, gpa, pages): converted pages for the TVM's G-stage tables, at any time (CoVE 0.7 §9.4.11).
 *
 * Errors: INVALID_PARAM no pages; INVALID_ADDRESS the pages.
 */
export function tvmAddPageTablePages(hart: Hart, caller: Vcpu, vm: Vm, gpa: u64, pages: u64): i64 {
  const parent = caller.vm;
  let bad = checkPageRange(parent, gpa, pages);
  if (bad == 0) bad = claimConvertedRange(hart, parent, gpa, pages, PAGE_SIZE);
  if (bad != 0) return bad;

  let done: u64 = 0;
  while (done < pages) {
    const at = gpa + (done << PAGE_SHIFT);
    const count = batchAt(at, pages - done);
    if (count != pages) resolve(hart, parent, at, count, Find.Parked);
    for (let i: u64 = 0; i < count; i++) {
      const hpa = batchHpa(hart, i);
      zeroPage(hpa);
      addTablePage(vm, hpa);
    }
    done += count;
  }
  return <i64>pages;
}

/**
 * COVH 10, TvmAddMeasuredPages(guest id, source gpa, destination gpa, page type, pages, TVM gpa): converted pages get a copy of the
 * caller's memory, are measured and mapped (CoVE 0.7 §9.4.12). Returns the number of pages.
 *
 * Errors: INVALID_PARAM not initializing, page type, no pages; INVALID_ADDRESS source, destination or target; FAILED table pages.
 */
export function tvmAddMeasuredPages(
  hart: Hart,
  caller: Vcpu,
  vm: Vm,
  source: u64,
  destination: u64,
  type: u64,
  pages: u64,
  gpa: u64,
): i64 {
  const parent = caller.vm;
  if (vm.lifecycle != VmLifecycle.Initializing) return SBI_INVALID_PARAM;
  let bad = checkTarget(vm, gpa, type, pages, RegionType.Confidential, RegionType.Confidential);
  if (bad != 0) return bad;
  const small = pages << (9 * type);
  bad = checkSource(parent, destination, type, small);
  if (bad == 0) bad = checkPageRange(parent, source, small);
  if (bad == 0) bad = claimConvertedRange(hart, parent, destination, small, leafSize(type));
  if (bad != 0) return bad;
  const pinned = pinSources(parent, source, small);
  if (pinned != 0) {
    unclaimConvertedRange(hart, parent, destination, small);
    return pinned;
  }

  let done: u64 = 0;
  let leaf: u64 = 0;
  while (done < small) {
    const at = destination + (done << PAGE_SHIFT);
    const count = batchAt(at, small - done);
    if (count != small) resolve(hart, parent, at, count, Find.Parked);
    for (let i: u64 = 0; i < count; i++) {
      const offset = (done + i) << PAGE_SHIFT;
      const hpa = batchHpa(hart, i);
      const from = translate(parent, source + offset);
      // Measured is the copy, which nobody else can change any more.
      copyPage(hpa, from);
      dropReference(recordAddress(from));
      measurePage(vm, hpa, gpa + offset, workBytes(hart));
      setRecord(batchRecord(hart, i), PageState.Owned, vm.slot, 0);
      if ((offset & (leafSize(type) - 1)) == 0) leaf = hpa;
      if (((offset + PAGE_SIZE) & (leafSize(type) - 1)) == 0) {
        insertLeaf(vm, gpa + offset + PAGE_SIZE - leafSize(type), leaf, type);
      }
    }
    done += count;
  }
  return <i64>pages;
}

/** Holds every source page in place until it is copied. 0, or SBI_INVALID_ADDRESS with none held. */
function pinSources(parent: Vm, gpa: u64, pages: u64): i64 {
  for (let i: u64 = 0; i < pages; i++) {
    const hpa = translate(parent, gpa + (i << PAGE_SHIFT));
    const record = hpa == NOT_MAPPED ? 0 : recordAddress(hpa);
    if (record != 0 && addReference(record, parent.slot)) continue;
    dropSources(parent, gpa, i);
    return SBI_INVALID_ADDRESS;
  }
  return 0;
}

function dropSources(parent: Vm, gpa: u64, pages: u64): void {
  for (let i: u64 = 0; i < pages; i++) dropReference(recordAddress(translate(parent, gpa + (i << PAGE_SHIFT))));
}

/**
 * COVH 11, TvmAddZeroPages(guest id, gpa, page type, pages, TVM gpa): converted pages are zeroed and mapped (CoVE 0.7 §9.4.13).
 * Returns the number of pages.
 *
 * Errors: INVALID_STATE not finalized; INVALID_PARAM page type, no pages; INVALID_ADDRESS pages or target; FAILED table pages.
 */
export function tvmAddZeroPages(hart: Hart, caller: Vcpu, vm: Vm, source: u64, type: u64, pages: u64, gpa: u64): i64 {
  const parent = caller.vm;
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  if (type == 0 && pages == 1 && addZeroPage(parent, vm, source, gpa)) return 1;
  let bad = checkTarget(vm, gpa, type, pages, RegionType.Confidential, RegionType.ConfidentialRemovable);
  if (bad != 0) return bad;
  const small = pages << (9 * type);
  bad = checkSource(parent, source, type, small);
  if (bad == 0) bad = claimConvertedRange(hart, parent, source, small, leafSize(type));
  if (bad != 0) return bad;

  let done: u64 = 0;
  while (done < small) {
    const at = source + (done << PAGE_SHIFT);
    const count = batchAt(at, small - done);
    if (count != small) resolve(hart, parent, at, count, Find.Parked);
    zeroBatch(hart, count);
    setBatch(hart, count, PageState.Owned, vm.slot, 0);
    if (type == 0) insertSmall(hart, vm, gpa + (done << PAGE_SHIFT), count);
    else finishLarge(hart, vm, gpa, done, count, type);
    done += count;
  }
  return <i64>pages;
}

/**
 * The answer to a demand-zero fault, the call that a TVM makes its host do most: one small page, converted as such, whose place in the TVM's tables is
 * there and empty. False, and nothing changed, if something is not as simple or not right: then the general way decides.
 */
function addZeroPage(parent: Vm, vm: Vm, source: u64, gpa: u64): bool {
  if (((source | gpa) & (PAGE_SIZE - 1)) != 0) return false;
  if (!gpaRangeValid(vm, gpa, PAGE_SIZE) || !gpaRangeValid(parent, source, PAGE_SIZE)) return false;
  const region = regionTypeAt(vm, gpa);
  if (region != RegionType.Confidential && region != RegionType.ConfidentialRemovable) return false;
  const target = walk(vm, gpa);
  if (walkLevel(target) != 0 || read64(walkEntry(target)) != 0) return false;
  const hpa = parkedPage(parent, source);
  const record = hpa == NOT_MAPPED ? 0 : recordAddress(hpa);
  if (record == 0 || !claimConverted(record, parent.slot, minVersion(parent))) return false;

  zeroPage(hpa);
  setRecord(record, PageState.Owned, vm.slot, 0);
  fenceWrites();
  write64(walkEntry(target), pteFromAddress(hpa) | GSTAGE_LEAF);
  return true;
}

/**
 * COVH 12, TvmAddSharedPages(guest id, gpa, page type, pages, TVM gpa): the caller's own memory appears in the TVM as well (CoVE 0.7 §9.4.14).
 * Returns the number of pages.
 *
 * Errors: INVALID_STATE not finalized; INVALID_PARAM page type, no pages; INVALID_ADDRESS pages or target; FAILED table pages.
 */
export function tvmAddSharedPages(hart: Hart, caller: Vcpu, vm: Vm, source: u64, type: u64, pages: u64, gpa: u64): i64 {
  const parent = caller.vm;
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  let bad = checkTarget(vm, gpa, type, pages, RegionType.Shared, RegionType.SharedRemovable);
  if (bad != 0) return bad;
  const small = pages << (9 * type);
  bad = checkSource(parent, source, type, small);
  if (bad == 0) bad = referenceRange(hart, parent, source, small, leafSize(type));
  if (bad != 0) return bad;

  let done: u64 = 0;
  while (done < small) {
    const at = source + (done << PAGE_SHIFT);
    const count = batchAt(at, small - done);
    if (count != small) resolve(hart, parent, at, count, Find.Mapped);
    if (type == 0) insertSmall(hart, vm, gpa + (done << PAGE_SHIFT), count);
    else finishLarge(hart, vm, gpa, done, count, type);
    done += count;
  }
  return <i64>pages;
}

/** The pages named by the caller: aligned to their type and inside its address space. */
function checkSource(parent: Vm, gpa: u64, type: u64, small: u64): i64 {
  if ((gpa & (leafSize(type) - 1)) != 0) return SBI_INVALID_ADDRESS;
  return checkPageRange(parent, gpa, small);
}

/** Takes a reference on each of the parent's pages; large pages must be contiguous and aligned. 0, or INVALID_ADDRESS with none taken. */
function referenceRange(hart: Hart, parent: Vm, gpa: u64, small: u64, alignment: u64): i64 {
  let expected: u64 = 0;
  for (let i: u64 = 0; i < small; i++) {
    const offset = i << PAGE_SHIFT;
    const hpa = translate(parent, gpa + offset);
    if ((offset & (alignment - 1)) == 0) expected = hpa & ~(alignment - 1);
    const record = hpa == NOT_MAPPED || hpa != expected ? 0 : recordAddress(hpa);
    if (record == 0 || !addReference(record, parent.slot)) {
      dropSources(parent, gpa, i);
      return SBI_INVALID_ADDRESS;
    }
    expected += PAGE_SIZE;
  }
  // The list that the insertion of a single batch relies on.
  resolve(hart, parent, gpa, batchAt(gpa, small), Find.Mapped);
  return 0;
}

/** Maps the batch's pages at `gpa` on, following the TVM's tables once for each of them. */
function insertSmall(hart: Hart, vm: Vm, gpa: u64, count: u64): void {
  fence();
  let i: u64 = 0;
  while (i < count) {
    const at = walkMaking(vm, gpa + (i << PAGE_SHIFT), 0);
    assert(at != 0, "a target that was checked has no table");
    const inTable = ((at | (PAGE_SIZE - 1)) + 1 - at) >> 3;
    const part = min(count - i, inTable);
    writeLeaves(hart, i, part, at);
    i += part;
  }
}

/** Maps the large page that the batch of pages [done, done + count) completes, if it does. Batches are 2 MiB here. */
function finishLarge(hart: Hart, vm: Vm, gpa: u64, done: u64, count: u64, type: u64): void {
  const end = (done + count) << PAGE_SHIFT;
  if ((end & (leafSize(type) - 1)) != 0) return;
  fenceWrites();
  const last = batchHpa(hart, count - 1) + PAGE_SIZE;
  insertLeaf(vm, gpa + end - leafSize(type), last - leafSize(type), type);
}
