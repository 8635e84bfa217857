import { currentVersion, minVersion } from "../../memory/fence";
import { leafSize, walk, walkEntry, walkLevel, walkTableEnd } from "../../memory/gstage";
import { BATCH } from "../../memory/page-list";
import { recordAddress } from "../../memory/page-map";
import { PageState, recordOwner, recordState } from "../../memory/page-record";
import { fence, read64, write64 } from "../../riscv/hw";
import {
  GSTAGE_LEAF,
  PAGE_SHIFT,
  isParked,
  isTable,
  isLeaf,
  parkedEntry,
  parkedLongEnough,
  pteAddress,
  pteFromAddress,
} from "../../riscv/pte";
import { releasePage } from "../../vm/tear-down";
import { Vm } from "../../vm/vm";

/** The passes over a range of a TVM's memory of which blocking, unblocking and removing consist (block.ts). */
export const enum Pass {
  CheckBlock,
  Block,
  /** After Block: nobody pinned a page before its entry was out of reach. */
  VerifyBlock,
  CheckUnblock,
  Unblock,
  CheckRemove,
  Remove,
}

/** Result of `passPart`: a page is not what the pass needs. */
export const REFUSED: u64 = ~0;

/**
 * Goes on with `pass` over the `pages` small pages at `start` of `vm`, of which `done` are behind it, for a batch at most: that many entries, or pages
 * of a large page where each of them counts. Returns how many are done then, or REFUSED. Caller holds the lock of `vm`.
 */
export function passPart(vm: Vm, start: u64, done: u64, pages: u64, pass: Pass): u64 {
  const version = pass == Pass.CheckRemove ? minVersion(vm) : currentVersion(vm);
  const gaps = pass == Pass.CheckRemove || pass == Pass.Remove;
  const each = pass == Pass.CheckBlock || pass == Pass.VerifyBlock || pass == Pass.Remove;
  const end = start + (pages << PAGE_SHIFT);
  let gpa = start + (done << PAGE_SHIFT);
  let work: u64 = 0;
  while (gpa < end && work < BATCH) {
    const found = walk(vm, gpa);
    const size = leafSize(walkLevel(found));
    let at = walkEntry(found);
    const tableEnd = walkTableEnd(vm, found);
    while (gpa < end && at < tableEnd && work < BATCH) {
      const entry = read64(at);
      if (isTable(entry)) break;
      const first = gpa & ~(size - 1);
      if (entry == 0) {
        if (!gaps) return REFUSED;
        gpa = first + size;
      } else {
        // Never a part of a large page only.
        if (first < start || end - first < size) return REFUSED;
        let part = (first + size - gpa) >> PAGE_SHIFT;
        if (each && part > 1) {
          // A large page begins a batch of its own, or several.
          if (work != 0) return (gpa - start) >> PAGE_SHIFT;
          part = min(part, BATCH);
          work = part - 1;
        }
        if (!applyTo(vm, at, entry, gpa - first, part, pass, version)) return REFUSED;
        gpa += part << PAGE_SHIFT;
        if (pass == Pass.Remove && gpa == first + size) write64(at, 0);
      }
      at += 8;
      work++;
    }
  }
  fence();
  return min(gpa - start, end - start) >> PAGE_SHIFT;
}

/** Applies `pass` to `pages` pages, from `offset` on, of the page whose entry is `entry`, at `at`. */
function applyTo(vm: Vm, at: u64, entry: u64, offset: u64, pages: u64, pass: Pass, version: u64): bool {
  const hpa = pteAddress(entry);
  switch (pass) {
    case Pass.CheckBlock:
      return isLeaf(entry) && blockable(vm, hpa + offset, pages);
    case Pass.Block:
      write64(at, parkedEntry(hpa, version));
      return true;
    case Pass.VerifyBlock:
      return blockable(vm, hpa + offset, pages);
    case Pass.CheckUnblock:
      return isParked(entry) && recordAddress(hpa) != 0;
    case Pass.Unblock:
      write64(at, pteFromAddress(hpa) | GSTAGE_LEAF);
      return true;
    case Pass.CheckRemove:
      return isParked(entry) && parkedLongEnough(entry, version);
    default:
      for (let i: u64 = 0; i < pages; i++) releasePage(vm, vm.parent!, hpa + offset + (i << PAGE_SHIFT));
      return true;
  }
}

/** RAM, the TVM's own and nobody holds it, or its parent's. An interrupt file is taken away by COVI calls only. */
function blockable(vm: Vm, hpa: u64, pages: u64): bool {
  if (recordAddress(hpa) == 0) return false;
  for (let i: u64 = 0; i < pages; i++) {
    const record = read64(recordAddress(hpa + (i << PAGE_SHIFT)));
    const wanted: u32 = recordOwner(record) == vm.slot ? PageState.Owned : PageState.Shared;
    if (recordState(record) != wanted) return false;
  }
  return true;
}
