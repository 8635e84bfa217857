import { checkPageRange } from "../../memory/claims";
import { minVersion } from "../../memory/fence";
import { NOT_MAPPED, gpaRangeValid, leafSize, parkedPage, walk, walkEntry, walkLevel } from "../../memory/gstage";
import { recordAddress } from "../../memory/page-map";
import { PageState, claimConverted, setRecord } from "../../memory/page-record";
import { RegionType, addRegion, regionTypeAt } from "../../memory/regions";
import { checkPlace } from "../../memory/target-range";
import { zeroPage } from "../../memory/zero";
import { fenceWrites, read64, write64 } from "../../riscv/hw";
import { GSTAGE_LEAF, PAGE_SIZE, pteFromAddress } from "../../riscv/pte";
import { Vcpu } from "../../vm/vcpu";
import { Vm, VmLifecycle } from "../../vm/vm";
import { SBI_INVALID_ADDRESS, SBI_INVALID_PARAM, SBI_INVALID_STATE } from "../errors";
import { beginRange } from "./range-call";
import { RangeKind } from "./range-perform";

/*
 * The calls that give memory to a TVM. All: caller holds the TVM's lock and a reference; `caller.vm` is its parent. An error changes nothing; 0 from
 * a call that moves pages means that it has begun (range-call.ts).
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
export function tvmAddPageTablePages(caller: Vcpu, vm: Vm, gpa: u64, pages: u64): i64 {
  const bad = checkPageRange(caller.vm, gpa, pages);
  if (bad != 0) return bad;
  return beginRange(caller, RangeKind.TablePages, vm, gpa, 0, 0, 0, pages);
}

/**
 * COVH 10, TvmAddMeasuredPages(guest id, source gpa, destination gpa, page type, pages, TVM gpa): converted pages get a copy of the
 * caller's memory, are measured and mapped (CoVE 0.7 §9.4.12). Returns the number of pages.
 *
 * Errors: INVALID_PARAM not initializing, page type, no pages; INVALID_ADDRESS source, destination or target; FAILED table pages.
 */
export function tvmAddMeasuredPages(
  caller: Vcpu,
  vm: Vm,
  source: u64,
  destination: u64,
  type: u64,
  pages: u64,
  gpa: u64,
): i64 {
  if (vm.lifecycle != VmLifecycle.Initializing) return SBI_INVALID_PARAM;
  let bad = checkPlace(vm, gpa, type, pages, RegionType.Confidential, RegionType.Confidential);
  if (bad != 0) return bad;
  const small = pages << (9 * type);
  bad = checkSource(caller.vm, destination, type, small);
  if (bad == 0) bad = checkPageRange(caller.vm, source, small);
  if (bad != 0) return bad;
  return beginRange(caller, RangeKind.MeasuredPages, vm, destination, source, gpa, type, small);
}

/**
 * COVH 11, TvmAddZeroPages(guest id, gpa, page type, pages, TVM gpa): converted pages are zeroed and mapped (CoVE 0.7 §9.4.13).
 * Returns the number of pages.
 *
 * Errors: INVALID_STATE not finalized; INVALID_PARAM page type, no pages; INVALID_ADDRESS pages or target; FAILED table pages.
 */
export function tvmAddZeroPages(caller: Vcpu, vm: Vm, source: u64, type: u64, pages: u64, gpa: u64): i64 {
  const parent = caller.vm;
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  if (type == 0 && pages == 1 && addZeroPage(parent, vm, source, gpa)) return 1;
  let bad = checkPlace(vm, gpa, type, pages, RegionType.Confidential, RegionType.ConfidentialRemovable);
  if (bad != 0) return bad;
  const small = pages << (9 * type);
  bad = checkSource(parent, source, type, small);
  if (bad != 0) return bad;
  return beginRange(caller, RangeKind.ZeroPages, vm, source, 0, gpa, type, small);
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
  vm.insertions++;
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
export function tvmAddSharedPages(caller: Vcpu, vm: Vm, source: u64, type: u64, pages: u64, gpa: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  let bad = checkPlace(vm, gpa, type, pages, RegionType.Shared, RegionType.SharedRemovable);
  if (bad != 0) return bad;
  const small = pages << (9 * type);
  bad = checkSource(caller.vm, source, type, small);
  if (bad != 0) return bad;
  return beginRange(caller, RangeKind.SharedPages, vm, source, source, gpa, type, small);
}

/** The pages named by the caller: aligned to their type and inside its address space. */
function checkSource(parent: Vm, gpa: u64, type: u64, small: u64): i64 {
  if ((gpa & (leafSize(type) - 1)) != 0) return SBI_INVALID_ADDRESS;
  return checkPageRange(parent, gpa, small);
}
