import { Vm } from "../vm/vm";
import { read64, write64 } from "../riscv/hw";
import { PAGE_SHIFT } from "../riscv/pte";
import { PageState, packRecord, recordPayload } from "./page-record";
import { recordAddress } from "./page-map";
import { minVersion } from "./fence";
import { zeroPage } from "./zero";

/**
 * Page-table pages of one VM: given by its parent, or for the host by boot.
 *
 * A free page holds the hpa of the next free one in its first word (as an entry that is invalid to a table walker), the rest is zero.
 * A table that a large leaf replaced may still be cached by walkers, so it rests on the retired list until a fence that
 * started after its removal has completed. All functions: caller holds vm.lock (boot: nobody else runs).
 */

/**
 * Gives a zeroed page to the VM's pool. Every table page of a TVM, in use or not, is also linked through the payload of its
 * record (the PFN of the next, from vm.allTables on), so that destroying the VM finds each exactly once.
 */
export function addTablePage(vm: Vm, hpa: u64): void {
  write64(recordAddress(hpa), packRecord(PageState.TablePool, vm.slot, vm.allTables >> PAGE_SHIFT));
  vm.allTables = hpa;
  pushFree(vm, hpa);
}

/** The table page that follows `hpa` in the list of all of a VM's, or 0. */
export function nextTablePage(hpa: u64): u64 {
  return recordPayload(read64(recordAddress(hpa))) << PAGE_SHIFT;
}

/** Takes a zeroed table page, or returns 0 if there is none. */
export function takeTablePage(vm: Vm): u64 {
  if (vm.freeTables == 0 && hasRested(vm)) recycleRetired(vm);
  const hpa = vm.freeTables;
  if (hpa == 0) return 0;
  vm.freeTables = read64(hpa);
  vm.freeTableCount--;
  write64(hpa, 0);
  return hpa;
}

/** Lays a table aside that was just taken out of the tree. Its 512 entries are invalid. */
export function retireTablePage(vm: Vm, hpa: u64): void {
  // Those that have rested would wait for this one's fence too. As two go for one that comes, they do not pile up.
  if (hasRested(vm)) {
    recycleRetired(vm);
    if (vm.retiredTables != 0) recycleRetired(vm);
  }
  write64(hpa, vm.retiredTables);
  vm.retiredTables = hpa;
  vm.retiredTableCount++;
  vm.retiredStamp = read64(changetype<usize>(vm) + offsetof<Vm>("version"));
}

/** Pages that `takeTablePage` could give now. */
export function availableTablePages(vm: Vm): u64 {
  return vm.freeTableCount + (hasRested(vm) ? vm.retiredTableCount : 0);
}

function pushFree(vm: Vm, hpa: u64): void {
  write64(hpa, vm.freeTables);
  vm.freeTables = hpa;
  vm.freeTableCount++;
}

/** Whether there are retired tables and a fence has passed since the last of them was retired. */
function hasRested(vm: Vm): bool {
  return vm.retiredTables != 0 && vm.retiredStamp < minVersion(vm);
}

/** Moves a retired table, which has rested, to the free list. One at a time: there may be any number. */
function recycleRetired(vm: Vm): void {
  const hpa = vm.retiredTables;
  vm.retiredTables = read64(hpa);
  vm.retiredTableCount--;
  zeroPage(hpa);
  pushFree(vm, hpa);
}
