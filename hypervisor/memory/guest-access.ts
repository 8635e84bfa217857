import { copyBytes, read64 } from "../riscv/hw";
import { PAGE_SHIFT, PAGE_SIZE } from "../riscv/pte";
import { SBI_INVALID_ADDRESS } from "../sbi/errors";
import { Vm } from "../vm/vm";
import { NOT_MAPPED, gpaRangeValid, translate } from "./gstage";
import { recordAddress } from "./page-map";
import { addReference, dropReference, recordOwner } from "./page-record";

/**
 * Access to a VM's memory through our own map: walk, check, pin, then read or write once.
 * A pin is a reference on the page record: while it is held the page can be neither converted nor given back.
 */

/**
 * Pins the page at `gpa` (any alignment) and returns the hpa of that byte, or NOT_MAPPED if it is not ordinary memory that `vm` reaches
 * now. Undo with `unpinPage`.
 */
export function pinPage(vm: Vm, gpa: u64): u64 {
  const hpa = translate(vm, gpa);
  if (hpa == NOT_MAPPED) return NOT_MAPPED;
  const record = recordAddress(hpa);
  if (record == 0) return NOT_MAPPED;
  // A page that a TVM shares with its parent belongs to the parent; anything else must be the VM's own.
  const owner = recordOwner(read64(record));
  const parent = vm.parent;
  if (owner != vm.slot && (parent == null || owner != parent.slot)) return NOT_MAPPED;
  if (!addReference(record, owner)) return NOT_MAPPED;
  // The page may have moved between the walk and the pin.
  if (translate(vm, gpa) == hpa) return hpa;
  dropReference(record);
  return NOT_MAPPED;
}

/** Releases the pin on the page that holds `hpa`. */
export function unpinPage(hpa: u64): void {
  dropReference(recordAddress(hpa));
}

/**
 * Pins `pages` pages from `gpa` (page aligned) on, which must be physically contiguous and the VM's own. Returns their hpa, or 0 with
 * nothing pinned.
 */
export function pinPages(vm: Vm, gpa: u64, pages: u64): u64 {
  if (pages == 0 || (gpa & (PAGE_SIZE - 1)) != 0 || pages >> 44 != 0) return 0;
  if (!gpaRangeValid(vm, gpa, pages << PAGE_SHIFT)) return 0;
  let first: u64 = 0;
  for (let i: u64 = 0; i < pages; i++) {
    const hpa = pinPage(vm, gpa + (i << PAGE_SHIFT));
    if (hpa != NOT_MAPPED) {
      const own = recordOwner(read64(recordAddress(hpa))) == vm.slot;
      if (i == 0) first = hpa;
      if (own && hpa == first + (i << PAGE_SHIFT)) continue;
      unpinPage(hpa);
    }
    unpinPages(first, i);
    return 0;
  }
  return first;
}

/** Releases `pages` pinned pages. */
export function unpinPages(hpa: u64, pages: u64): void {
  for (let i: u64 = 0; i < pages; i++) unpinPage(hpa + (i << PAGE_SHIFT));
}

/**
 * Copies `length` bytes from `gpa` of `vm` into our memory, each byte read once. SBI_INVALID_ADDRESS (and an undefined part of `to`
 * written) if some page is not the VM's memory.
 */
export function copyFromVm(vm: Vm, gpa: u64, to: usize, length: u64): i64 {
  if (!gpaRangeValid(vm, gpa, length)) return SBI_INVALID_ADDRESS;
  let done: u64 = 0;
  while (done < length) {
    const at = gpa + done;
    const part = min(length - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
    const hpa = pinPage(vm, at);
    if (hpa == NOT_MAPPED) return SBI_INVALID_ADDRESS;
    copyBytes(to + <usize>done, hpa, part);
    unpinPage(hpa);
    done += part;
  }
  return 0;
}

/**
 * Copies `length` <= 4096 bytes of our memory to `gpa` of `vm`. All pages are pinned before the first byte is written, so
 * SBI_INVALID_ADDRESS means that nothing was.
 */
export function copyToVm(vm: Vm, gpa: u64, from: usize, length: u64): i64 {
  assert(length <= PAGE_SIZE, "copyToVm takes one page at the most");
  if (!gpaRangeValid(vm, gpa, length)) return SBI_INVALID_ADDRESS;
  if (length == 0) return 0;
  const head = min(length, PAGE_SIZE - (gpa & (PAGE_SIZE - 1)));
  const first = pinPage(vm, gpa);
  if (first == NOT_MAPPED) return SBI_INVALID_ADDRESS;
  if (head < length) {
    const second = pinPage(vm, gpa + head);
    if (second == NOT_MAPPED) {
      unpinPage(first);
      return SBI_INVALID_ADDRESS;
    }
    copyBytes(second, from + <usize>head, length - head);
    unpinPage(second);
  }
  copyBytes(first, from, head);
  unpinPage(first);
  return 0;
}
