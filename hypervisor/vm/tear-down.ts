import { thisHart } from "../hart";
import { leafSize, walk, walkEntry, walkLevel } from "../memory/gstage";
import { recordAddress } from "../memory/page-map";
import { PageState, dropReference, recordOwner, setRecord } from "../memory/page-record";
import { RegionType, region } from "../memory/regions";
import { nextTablePage } from "../memory/table-pool";
import { read64, write64 } from "../riscv/hw";
import { PAGE_SHIFT, PAGE_SIZE, isLeaf, isParked, isTable, pteAddress } from "../riscv/pte";
import { returnFiles } from "./binding";
import { forgetCounters } from "./counters";
import { Vcpu } from "./vcpu";
import { Vm } from "./vm";

/** Stamp of a page that its new owner's address space has not held since its last fence: usable at once. */
const LONG_FENCED: u64 = 0;

/**
 * Gives every page of a VM that nobody can reach any more (retired, no vCPU running) back to its parent: leaves and blocked pages, table pages,
 * vCPU state, its own state. Confidential pages become converted pages of the parent; shared ones lose a reference. Stale
 * translations of the VM cannot be used again: its VMIDs are flushed before they are given out anew.
 */
export function tearDown(vm: Vm): void {
  const parent = vm.parent!;
  releaseLeaves(vm, parent);

  let table = vm.allTables;
  while (table != 0) {
    const next = nextTablePage(table);
    giveBack(parent, table, 1);
    table = next;
  }
  for (let id: u32 = 0; id < vm.maxVcpus; id++) {
    const vcpu = vm.vcpu(id);
    if (vcpu != null) releaseVcpu(vcpu, parent);
  }
  giveBack(parent, vm.rootTable, 4);
  // The record itself goes last: nothing of it is read after this.
  giveBack(parent, vm.statePage, vm.statePages);
}

/** A page that left the address space of `vm`: converted again if it was the VM's own, one reference less if it is its parent's. */
export function releasePage(vm: Vm, parent: Vm, hpa: u64): void {
  const record = recordAddress(hpa);
  if (recordOwner(read64(record)) == vm.slot) setRecord(record, PageState.Converted, parent.slot, LONG_FENCED);
  else dropReference(record);
}

/** Every leaf lies in a region, so only the regions are searched. */
function releaseLeaves(vm: Vm, parent: Vm): void {
  for (let i: u32 = 0; i < vm.regionCount; i++) {
    // Interrupt files go back with the vCPU that they are bound to.
    if (<u32>region(vm, i).type != RegionType.Imsic) releaseRange(vm, parent, region(vm, i).start, region(vm, i).end);
  }
}

function releaseRange(vm: Vm, parent: Vm, start: u64, end: u64): void {
  let gpa = start;
  while (gpa < end) {
    const found = walk(vm, gpa);
    const size = leafSize(walkLevel(found));
    let at = walkEntry(found);
    // Regions begin and end anywhere inside an entry, also inside a large leaf of which the guest has begun to give up a part: that one is
    // visited by each of its regions.
    gpa &= ~(size - 1);
    const tableEnd = walkLevel(found) == <u64>vm.levels - 1 ? ~(<u64>0) : (at | (PAGE_SIZE - 1)) + 1;
    while (gpa < end && at < tableEnd) {
      const entry = read64(at);
      if (isTable(entry)) break;
      if (isLeaf(entry) || isParked(entry)) {
        const hpa = pteAddress(entry);
        write64(at, 0);
        for (let offset: u64 = 0; offset < size; offset += PAGE_SIZE) releasePage(vm, parent, hpa + offset);
      }
      at += 8;
      gpa += size;
    }
  }
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
