import { thisHart } from "../hart";
import { leafSize, walk, walkEntry, walkLevel, walkTableEnd } from "../memory/gstage";
import { BATCH } from "../memory/page-list";
import { recordAddress } from "../memory/page-map";
import { PageState, dropReference, recordOwner, setRecord } from "../memory/page-record";
import { RegionType, region } from "../memory/regions";
import { nextTablePage } from "../memory/table-pool";
import { read64, write64 } from "../riscv/hw";
import { PAGE_SHIFT, PAGE_SIZE, isTable, pteAddress } from "../riscv/pte";
import { returnFiles } from "./binding";
import { forgetCounters } from "./counters";
import { Vcpu } from "./vcpu";
import { Vm } from "./vm";

/** Stamp of a page that its new owner's address space has not held since its last fence: usable at once. */
const LONG_FENCED: u64 = 0;

/** What of the VM is given back: Vcpu.rangeType of the call that destroys it. */
const enum Stage {
  /** Region rangeFrom is at gpa rangeTarget, and goes on to rangeEnd. */
  Leaves = 0,
  /** The tables that are left are those of vm.allTables. The tree is not followed any more. */
  Tables = 1,
  /** vCPU rangeFrom is next. */
  Vcpus = 2,
}

/** Value of rangeTarget before a region is begun. */
const NOT_BEGUN: u64 = ~0;

/** The destruction of a VM by the call of `caller` begins: `tearDownPart` does it. */
export function beginTearDown(caller: Vcpu): void {
  caller.rangeType = Stage.Leaves;
  caller.rangeFrom = 0;
  caller.rangeTarget = NOT_BEGUN;
}

/**
 * Gives pages of a VM that nobody can reach any more (retired, no vCPU running) back to its parent, a batch of them or of empty entries in one call: leaves and
 * blocked pages, table pages, vCPU state, its own state. Confidential pages become converted pages of the parent; shared ones lose a reference. Stale
 * translations of the VM cannot be used again: its VMIDs are flushed before they are given out anew.
 *
 * Returns true when nothing is left, also not the record of the VM.
 */
export function tearDownPart(vm: Vm, caller: Vcpu): bool {
  const parent = vm.parent!;
  let work: u64 = 0;
  if (caller.rangeType == Stage.Leaves) {
    work = releaseLeaves(vm, parent, caller);
    if (caller.rangeFrom < <u64>vm.regionCount) return false;
    caller.rangeType = Stage.Tables;
  }
  if (caller.rangeType == Stage.Tables) {
    while (vm.allTables != 0) {
      if (work >= BATCH) return false;
      const table = vm.allTables;
      vm.allTables = nextTablePage(table);
      giveBack(parent, table, 1);
      work++;
    }
    caller.rangeType = Stage.Vcpus;
    caller.rangeFrom = 0;
  }
  for (; caller.rangeFrom < <u64>vm.maxVcpus; caller.rangeFrom++) {
    const vcpu = vm.vcpu(caller.rangeFrom);
    if (vcpu == null) continue;
    if (work >= BATCH) return false;
    work += vcpu.statePages;
    vm.setVcpu(caller.rangeFrom, null);
    releaseVcpu(vcpu, parent);
  }
  giveBack(parent, vm.rootTable, 4);
  // The record itself goes last: nothing of it is read after this.
  giveBack(parent, vm.statePage, vm.statePages);
  return true;
}

/** A page that left the address space of `vm`: converted again if it was the VM's own, one reference less if it is its parent's. */
export function releasePage(vm: Vm, parent: Vm, hpa: u64): void {
  const record = recordAddress(hpa);
  if (recordOwner(read64(record)) == vm.slot) setRecord(record, PageState.Converted, parent.slot, LONG_FENCED);
  else dropReference(record);
}

/** Every leaf lies in a region, so only the regions are searched. Returns the work that it was, at most a batch. */
function releaseLeaves(vm: Vm, parent: Vm, caller: Vcpu): u64 {
  let work: u64 = 0;
  while (caller.rangeFrom < <u64>vm.regionCount) {
    const each = region(vm, <u32>caller.rangeFrom);
    // Interrupt files go back with the vCPU that they are bound to.
    if (<u32>each.type != RegionType.Imsic) {
      if (caller.rangeTarget == NOT_BEGUN) {
        caller.rangeTarget = entryStart(vm, each.start);
        caller.rangeEnd = each.end;
      }
      work = releaseRange(vm, parent, caller, work);
      if (caller.rangeTarget < caller.rangeEnd) return work;
    }
    caller.rangeFrom++;
    caller.rangeTarget = NOT_BEGUN;
  }
  return work;
}

/**
 * Regions begin and end anywhere inside an entry, also inside a large leaf of which the guest has begun to give up a part: that one goes as a whole
 * with the first of its regions.
 */
function entryStart(vm: Vm, gpa: u64): u64 {
  const found = walk(vm, gpa);
  return gpa & ~(leafSize(walkLevel(found)) - 1);
}

/** Goes on with the region from rangeTarget to rangeEnd until that is done or `work` comes to a batch; returns it. */
function releaseRange(vm: Vm, parent: Vm, caller: Vcpu, before: u64): u64 {
  let work = before;
  let gpa = caller.rangeTarget;
  const end = caller.rangeEnd;
  while (gpa < end && work < BATCH) {
    const found = walk(vm, gpa);
    const size = leafSize(walkLevel(found));
    let at = walkEntry(found);
    const tableEnd = walkTableEnd(vm, found);
    while (gpa < end && at < tableEnd && work < BATCH) {
      const entry = read64(at);
      work++;
      if (entry == 0) {
        gpa = (gpa | (size - 1)) + 1;
      } else if (isTable(entry)) {
        break;
      } else if (size == PAGE_SIZE) {
        write64(at, 0);
        releasePage(vm, parent, pteAddress(entry));
        gpa += PAGE_SIZE;
      } else {
        // A large page begins a batch of its own, or several.
        if (work != 1) {
          caller.rangeTarget = gpa;
          return BATCH;
        }
        const offset = gpa & (size - 1);
        const pages = min((size - offset) >> PAGE_SHIFT, BATCH);
        const hpa = pteAddress(entry) + offset;
        for (let i: u64 = 0; i < pages; i++) releasePage(vm, parent, hpa + (i << PAGE_SHIFT));
        gpa += pages << PAGE_SHIFT;
        work = BATCH;
        if ((gpa & (size - 1)) == 0) write64(at, 0);
        else caller.rangeEnd = max(end, gpa + 1);
      }
      at += 8;
    }
  }
  caller.rangeTarget = gpa;
  return work;
}

function releaseVcpu(vcpu: Vcpu, parent: Vm): void {
  returnFiles(vcpu, parent);
  forgetCounters(thisHart().root, vcpu);
  giveBack(parent, changetype<usize>(vcpu), vcpu.statePages);
}

function giveBack(parent: Vm, hpa: u64, pages: u64): void {
  for (let i: u64 = 0; i < pages; i++) {
    setRecord(recordAddress(hpa + (i << PAGE_SHIFT)), PageState.Converted, parent.slot, LONG_FENCED);
  }
}
