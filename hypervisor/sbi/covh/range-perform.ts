import { Hart } from "../../hart";
import { lockAcquire, lockRelease } from "../../lib/spinlock";
import { lockOfVm } from "../../memory/claims";
import { currentVersion } from "../../memory/fence";
import { leafSize, parkedPage, translate, walkMaking } from "../../memory/gstage";
import {
  Find,
  batchHpa,
  parkBatch,
  resolve,
  setBatch,
  unparkBatch,
  workBytes,
  writeLeaves,
  zeroBatch,
} from "../../memory/page-list";
import { recordAddress } from "../../memory/page-map";
import { PageState, dropReference, setRecord } from "../../memory/page-record";
import { addTablePage } from "../../memory/table-pool";
import { insertLeaf } from "../../memory/target-range";
import { copyPage } from "../../memory/zero";
import { fence, fenceWrites } from "../../riscv/hw";
import { PAGE_SHIFT, PAGE_SIZE } from "../../riscv/pte";
import { measurePage } from "../../vm/measurement";
import { Vcpu } from "../../vm/vcpu";
import { Vm } from "../../vm/vm";

/** The calls on ranges of pages (range-call.ts). */
export const enum RangeKind {
  Convert = 0,
  Reclaim = 1,
  TablePages = 2,
  MeasuredPages = 3,
  ZeroPages = 4,
  SharedPages = 5,
  /** From here on the range is the TVM's own memory (block-pass.ts), at rangeTarget; nothing of the caller's is claimed. */
  Block = 6,
  Unblock = 7,
  Remove = 8,
  /** All memory of a TVM that nobody can reach any more (vm/tear-down.ts). */
  Destroy = 9,
}

/**
 * What the caller's call does to the next `count` pages, which are claimed (or pinned, if shared); the target is checked. Returns how many of
 * them are done. Cannot fail. Takes the locks that it needs.
 */
export function performBatch(hart: Hart, caller: Vcpu, count: u64): u64 {
  const parent = caller.vm;
  const gpa = caller.rangeGpa + (caller.rangeDone << PAGE_SHIFT);
  if (caller.rangeKind == RangeKind.MeasuredPages) return measureOne(hart, caller, parent, caller.rangeVm!);
  // The list of a call on one batch is still that of its claim; whoever shared has none.
  const listed = count == caller.rangePages && caller.rangeKind != RangeKind.SharedPages;
  if (!listed) resolve(hart, parent, gpa, count, hasLeaves(caller) ? Find.Mapped : Find.Parked);
  switch (caller.rangeKind) {
    case RangeKind.Convert:
      lockAcquire(lockOfVm(parent));
      parkBatch(parent, gpa, count);
      lockRelease(lockOfVm(parent));
      // Read after the entries are gone: whoever enters with a later version cannot have seen them.
      setBatch(hart, count, PageState.Converted, parent.slot, currentVersion(parent));
      break;
    case RangeKind.Reclaim:
      zeroBatch(hart, count);
      lockAcquire(lockOfVm(parent));
      unparkBatch(parent, gpa, count);
      lockRelease(lockOfVm(parent));
      setBatch(hart, count, PageState.Owned, parent.slot, 0);
      break;
    case RangeKind.TablePages:
      zeroBatch(hart, count);
      addTables(hart, caller.rangeVm!, count);
      break;
    case RangeKind.ZeroPages:
      zeroBatch(hart, count);
      setBatch(hart, count, PageState.Owned, caller.rangeVm!.slot, 0);
      insertBatch(hart, caller, caller.rangeVm!, count);
      break;
    default:
      insertBatch(hart, caller, caller.rangeVm!, count);
      break;
  }
  return count;
}

/** Whether the caller can still reach the pages at rangeGpa. */
function hasLeaves(caller: Vcpu): bool {
  return caller.rangeKind == RangeKind.Convert || caller.rangeKind == RangeKind.SharedPages;
}

/** Copies, measures and maps one page. Measured is the copy, which nobody else can change any more. */
function measureOne(hart: Hart, caller: Vcpu, parent: Vm, vm: Vm): u64 {
  const offset = caller.rangeDone << PAGE_SHIFT;
  const hpa = parkedPage(parent, caller.rangeGpa + offset);
  const from = translate(parent, caller.rangeFrom + offset);
  copyPage(hpa, from);
  dropReference(recordAddress(from));
  measurePage(vm, hpa, caller.rangeTarget + offset, workBytes(hart));
  setRecord(recordAddress(hpa), PageState.Owned, vm.slot, 0);
  const end = offset + PAGE_SIZE;
  const size = leafSize(caller.rangeType);
  if ((end & (size - 1)) == 0) {
    fenceWrites();
    lockAcquire(lockOfVm(vm));
    insertLeaf(vm, caller.rangeTarget + end - size, hpa + PAGE_SIZE - size, caller.rangeType);
    lockRelease(lockOfVm(vm));
  }
  return 1;
}

function addTables(hart: Hart, vm: Vm, count: u64): void {
  lockAcquire(lockOfVm(vm));
  for (let i: u64 = 0; i < count; i++) addTablePage(vm, batchHpa(hart, i));
  lockRelease(lockOfVm(vm));
}

function insertBatch(hart: Hart, caller: Vcpu, vm: Vm, count: u64): void {
  const target = caller.rangeTarget + (caller.rangeDone << PAGE_SHIFT);
  lockAcquire(lockOfVm(vm));
  vm.insertions++;
  if (caller.rangeType == 0) insertSmall(hart, vm, target, count);
  else finishLarge(hart, vm, target + (count << PAGE_SHIFT), count, caller.rangeType);
  lockRelease(lockOfVm(vm));
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

/** Maps the large page that the batch, which ends at `end`, completes, if it does. Batches are 2 MiB here. */
function finishLarge(hart: Hart, vm: Vm, end: u64, count: u64, type: u64): void {
  if ((end & (leafSize(type) - 1)) != 0) return;
  fenceWrites();
  const last = batchHpa(hart, count - 1) + PAGE_SIZE;
  insertLeaf(vm, end - leafSize(type), last - leafSize(type), type);
}
