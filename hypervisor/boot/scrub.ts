import { wipePlatform } from "../attestation/platform";
import { Hart, HartState } from "../hart";
import { MemoryRange } from "../memory/page-map";
import { PageState, recordOwner, recordState } from "../memory/page-record";
import { zeroPages } from "../memory/zero";
import { PAGE_SHIFT } from "../riscv/pte";
import { fence, loadAcquire32, read64, zeroBytes } from "../riscv/hw";
import { Root } from "../root";
import { IntervalList } from "./interval-list";
import { WORK_PAGES } from "./own-memory";
import { clearSecretMark } from "./secret-mark";

/**
 * Zeroing what must not outlive this run of the hypervisor, because a reset keeps RAM.
 */

/** Owner slot of the host in page records. */
const HOST_SLOT: u32 = 0;

/**
 * Zeroes every page that is not plain host memory, and the work pages of all harts that stand still; they have zeroed their stacks
 * themselves (endHart), as this one will. If all other harts stand still (`alone`), the mark is taken away.
 */
export function scrubSecrets(hart: Hart, alone: bool): void {
  const root = hart.root;
  scrubGuestPages(root);
  wipePlatform(root);
  scrubWorkPages(hart);
  fence();
  if (alone) clearSecretMark();
}

/** Zeroes all pages of guests: what the page records do not call the host's own, ours, or reserved. */
function scrubGuestPages(root: Root): void {
  let range = changetype<MemoryRange>(root.ranges);
  for (let i: u64 = 0; i < root.rangeCount; i++) {
    const pages = range.size >> PAGE_SHIFT;
    let first: u64 = 0;
    while (first < pages) {
      if (isPlain(range, first)) {
        first++;
        continue;
      }
      let last = first + 1;
      while (last < pages && !isPlain(range, last)) last++;
      zeroPages(range.base + (first << PAGE_SHIFT), last - first);
      first = last;
    }
    range = changetype<MemoryRange>(changetype<usize>(range) + offsetof<MemoryRange>());
  }
}

/**
 * Whether nothing of a guest can be in the page. A converted page counts as a guest's: it may have just come back from one.
 * So does a page that a call holds: the hart that made the call will not finish it.
 */
// @ts-ignore: decorator
@inline
function isPlain(range: MemoryRange, page: u64): bool {
  const record = read64(range.records + <usize>(page << 3));
  const state = recordState(record);
  if (state == PageState.Reserved || state == PageState.Hypervisor) return true;
  if (recordOwner(record) != HOST_SLOT) return false;
  return state == PageState.Owned || state == PageState.Shared || state == PageState.TablePool;
}

/** Values of guests pass over the harts' work pages. */
function scrubWorkPages(hart: Hart): void {
  const root = hart.root;
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const other = root.hart(i);
    if (other == hart || isHalted(other)) zeroPages(other.workPages, WORK_PAGES);
  }
}

function isHalted(hart: Hart): bool {
  return loadAcquire32(changetype<usize>(hart) + offsetof<Hart>("state")) == HartState.Halted;
}

/** Zeroes every byte of the list: at a boot that found the mark, all RAM that holds nothing this boot needs. */
export function scrubList(list: IntervalList): void {
  for (let i: u64 = 0; i < list.count; i++) zeroBytes(list.start(i), list.end(i) - list.start(i));
  fence();
}
