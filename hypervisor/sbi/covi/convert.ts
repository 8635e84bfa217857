import { Hart } from "../../hart";
import { lockAcquire, lockRelease } from "../../lib/spinlock";
import { lockOfVm } from "../../memory/claims";
import { currentVersion, minVersion } from "../../memory/fence";
import { gpaRangeValid, walk, walkEntry, walkLevel } from "../../memory/gstage";
import { NO_FILE, fileAt, fileRecord } from "../../memory/interrupt-files";
import { parkBatch, unparkBatch } from "../../memory/page-list";
import { PageState, claimConverted, claimOwned, recordState, setRecord } from "../../memory/page-record";
import { SEPC } from "../../riscv/csr";
import { csrRead, csrWrite, read64 } from "../../riscv/hw";
import { PAGE_SIZE, isLeaf, isParked, pteAddress } from "../../riscv/pte";
import { Vcpu } from "../../vm/vcpu";
import { Vm } from "../../vm/vm";
import { SBI_INVALID_ADDRESS, SBI_PENDING } from "../errors";

/*
 * A host's guest interrupt files, named by the gpa of their pages, change between its own and such that it can bind to vCPUs of TVMs.
 */

const ECALL_LENGTH: u64 = 4;

/** The entry for `gpa` must be this. */
const enum Find {
  Mapped,
  Parked,
}

/**
 * COVI 2, ConvertImsic(gpa): the file's page leaves the caller's address space; after a fence (TsmInitiateFence, and TsmLocalFence on the other
 * harts) the file can be bound. INVALID_ADDRESS: not the page of a guest file that the caller has.
 */
export function convertImsic(hart: Hart, caller: Vcpu, gpa: u64): i64 {
  const vm = caller.vm;
  const record = recordOfFile(hart, vm, gpa, Find.Mapped);
  if (record == 0) return SBI_INVALID_ADDRESS;
  if (!claimOwned(record, vm.slot)) return refused(record);
  lockAcquire(lockOfVm(vm));
  parkBatch(vm, gpa, 1);
  lockRelease(lockOfVm(vm));
  // Read after the entry is gone: whoever enters with a later version cannot have seen it.
  setRecord(record, PageState.Converted, vm.slot, currentVersion(vm));
  return 0;
}

/**
 * COVI 3, ReclaimImsic(gpa): a converted and fenced file that no vCPU is bound to is the caller's own again. INVALID_ADDRESS: it is not.
 */
export function reclaimImsic(hart: Hart, caller: Vcpu, gpa: u64): i64 {
  const vm = caller.vm;
  const record = recordOfFile(hart, vm, gpa, Find.Parked);
  if (record == 0) return SBI_INVALID_ADDRESS;
  if (!claimConverted(record, vm.slot, minVersion(vm))) return refused(record);
  lockAcquire(lockOfVm(vm));
  unparkBatch(vm, gpa, 1);
  lockRelease(lockOfVm(vm));
  setRecord(record, PageState.Owned, vm.slot, 0);
  return 0;
}

/** The file is in nobody's hands for a moment, as its hart is clearing it: the caller's ecall is made again. Else it is not the caller's. */
export function refused(record: usize): i64 {
  if (recordState(read64(record)) != PageState.Claimed) return SBI_INVALID_ADDRESS;
  csrWrite(SEPC, csrRead(SEPC) - ECALL_LENGTH);
  return SBI_PENDING;
}

/** Address of the record of the guest file whose page is at `gpa` of `vm`, 0 if there is none or the entry is not as asked. */
function recordOfFile(hart: Hart, vm: Vm, gpa: u64, find: Find): usize {
  if ((gpa & (PAGE_SIZE - 1)) != 0 || !gpaRangeValid(vm, gpa, PAGE_SIZE)) return 0;
  const found = walk(vm, gpa);
  const entry = read64(walkEntry(found));
  if (walkLevel(found) != 0 || !(find == Find.Mapped ? isLeaf(entry) : isParked(entry))) return 0;
  const file = fileAt(hart.root, pteAddress(entry));
  return file == NO_FILE ? 0 : fileRecord(hart.root.hart(file >> 8), file & 0xff);
}
