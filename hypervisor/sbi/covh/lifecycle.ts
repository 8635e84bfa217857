import { markSecrets } from "../../boot/secret-mark";
import { platformRegisters } from "../../attestation/platform";
import { Hart } from "../../hart";
import { checkPageRange, claimContiguous, unclaimContiguous } from "../../memory/claims";
import { copyFromVm } from "../../memory/guest-access";
import { Find, batchHpa, batchRecord, resolve, workBytes } from "../../memory/page-list";
import { PageState, setRecord } from "../../memory/page-record";
import { zeroPages } from "../../memory/zero";
import { ATP_MODE_39, ATP_MODE_SHIFT } from "../../riscv/csr";
import { storeRelease32 } from "../../riscv/hw";
import { PAGE_SHIFT, PAGE_SIZE } from "../../riscv/pte";
import { beginMeasurements, measureLayout, measureWord } from "../../vm/measurement";
import { beginTearDown } from "../../vm/tear-down";
import { TVM_STATE_PAGES, layOutTvm } from "../../vm/tvm-layout";
import { Vcpu, VcpuState } from "../../vm/vcpu";
import { initVcpu } from "../../vm/vcpu-init";
import { fpAreaOffset, vectorAreaOffset } from "../../vm/vcpu-layout";
import { Vm, VmKind, VmLifecycle } from "../../vm/vm";
import { checkImsicAddresses, measureImsic } from "../covi/geometry";
import { freeSlot, publishVm, releaseVm, reserveSlot, retireVm } from "../../vm/vm-table";
import { beginRange } from "./range-call";
import { RangeKind } from "./range-perform";
import {
  SBI_ALREADY_AVAILABLE,
  SBI_FAILED,
  SBI_INVALID_ADDRESS,
  SBI_INVALID_PARAM,
  SBI_INVALID_STATE,
} from "../errors";

/** What TvmCreate reads (16 bytes): gpas in the caller. */
@unmanaged
class TvmCreateParams {
  /** Four pages, 16 KiB aligned: the root of the TVM's G-stage table. */
  pageDirectory: u64;
  /** tvmStatePages of TsmGetInfo. */
  state: u64;
}

const PAGE_DIRECTORY_PAGES: u64 = 4;

/**
 * COVH 5, TvmCreate(params gpa, length): makes a TVM out of converted, fenced pages; returns its guest id (CoVE 0.7 §9.4.6).
 *
 * Errors: INVALID_PARAM params too short, or a caller that cannot have TVMs; INVALID_ADDRESS params or pages; FAILED no slot left.
 */
export function tvmCreate(hart: Hart, caller: Vcpu, gpa: u64, length: u64): i64 {
  const parent = caller.vm;
  const params = changetype<TvmCreateParams>(workBytes(hart));
  if (length < <u64>offsetof<TvmCreateParams>() || parent.kind != VmKind.Host) return SBI_INVALID_PARAM;
  const copied = copyFromVm(parent, gpa, changetype<usize>(params), offsetof<TvmCreateParams>());
  if (copied != 0) return copied;
  const directory = params.pageDirectory;
  const stateGpa = params.state;
  const rootSize = PAGE_DIRECTORY_PAGES * PAGE_SIZE;
  if ((directory & (rootSize - 1)) != 0) return SBI_INVALID_ADDRESS;
  let bad = checkPageRange(parent, directory, PAGE_DIRECTORY_PAGES);
  if (bad == 0) bad = checkPageRange(parent, stateGpa, TVM_STATE_PAGES);
  if (bad != 0) return bad;

  const slot = reserveSlot();
  if (slot == 0) return SBI_FAILED;
  bad = claimContiguous(hart, parent, directory, PAGE_DIRECTORY_PAGES, rootSize);
  if (bad == 0) {
    bad = claimContiguous(hart, parent, stateGpa, TVM_STATE_PAGES, PAGE_SIZE);
    if (bad != 0) unclaimContiguous(hart, parent, directory, PAGE_DIRECTORY_PAGES);
  }
  if (bad != 0) {
    freeSlot(slot);
    return bad;
  }

  markSecrets(hart.root);
  const rootTable = assignState(hart, parent, directory, PAGE_DIRECTORY_PAGES, <u32>slot);
  const vm = layOutTvm(assignState(hart, parent, stateGpa, TVM_STATE_PAGES, <u32>slot));
  beginMeasurements(vm, platformRegisters(hart.root));
  vm.slot = <u32>slot;
  vm.kind = VmKind.Tvm;
  vm.lifecycle = VmLifecycle.Initializing;
  vm.parent = parent;
  vm.rootTable = rootTable;
  vm.levels = hart.root.tvmLevels;
  vm.hgatp = ((ATP_MODE_39 + <u64>vm.levels - 3) << ATP_MODE_SHIFT) | (rootTable >> PAGE_SHIFT);
  // 0 would look like "never flushed" and "flushed for version 0" at once.
  vm.version = 1;
  return <i64>publishVm(vm);
}

/**
 * COVH 6, TvmFinalize(guest id, entry pc, argument): the TVM's initial state is complete; its vCPU 0 may run (CoVE 0.7 §9.4.7).
 *
 * Errors: INVALID_PARAM not initializing; INVALID_STATE no vCPU 0 yet, or (TvmAiaInit) a vCPU without an interrupt file of its own. An error
 * changes nothing: what is missing can be added. Caller holds vm.lock.
 */
export function tvmFinalize(hart: Hart, vm: Vm, entryPc: u64, argument: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Initializing) return SBI_INVALID_PARAM;
  const boot = vm.vcpu(0);
  if (boot == null) return SBI_INVALID_STATE;
  const files = checkImsicAddresses(vm);
  if (files != 0) return files;

  vm.entryPc = entryPc;
  vm.entryArgument = argument;
  measureWord(vm, entryPc, workBytes(hart));
  measureWord(vm, argument, workBytes(hart));
  measureImsic(vm, workBytes(hart));
  measureLayout(vm, workBytes(hart));
  boot.sepc = entryPc;
  boot.a0 = 0;
  boot.a1 = argument;
  // Other harts look at both without the lock: whoever sees them sees what was written above.
  storeRelease32(boot.stateAddress(), VcpuState.Runnable);
  storeRelease32(changetype<usize>(vm) + offsetof<Vm>("lifecycle"), VmLifecycle.Runnable);
  return 0;
}

/**
 * COVH 7, TvmDestroy(guest id): every page of the TVM goes back to its parent as converted memory (zeroed when it is next used), and its id
 * is never valid again (CoVE 0.7 §9.4.9). The caller's reference ends here, whatever the result.
 *
 * Errors: INVALID_STATE while one of its vCPUs runs or another call works on it.
 */
export function tvmDestroy(caller: Vcpu, vm: Vm): i64 {
  if (!retireVm(vm)) {
    releaseVm(vm);
    return SBI_INVALID_STATE;
  }
  beginRange(caller, RangeKind.Destroy, vm, 0, 0, 0, 0, 0);
  beginTearDown(caller);
  return 0;
}

/**
 * COVH 13, TvmCpuCreate(guest id, vCPU id, state gpa): adds a vCPU (CoVE 0.7 §9.4.15).
 *
 * Errors: INVALID_PARAM not initializing, or id >= tvmMaxVcpus; ALREADY_AVAILABLE the vCPU exists; INVALID_ADDRESS the pages.
 * Caller holds vm.lock.
 */
export function tvmCpuCreate(hart: Hart, caller: Vcpu, vm: Vm, id: u64, stateGpa: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Initializing || id >= <u64>vm.maxVcpus) return SBI_INVALID_PARAM;
  const pages = hart.root.vcpuStatePages;
  const bad = checkPageRange(caller.vm, stateGpa, pages);
  if (bad != 0) return bad;
  if (vm.vcpu(id) != null) return SBI_ALREADY_AVAILABLE;
  const claimed = claimContiguous(hart, caller.vm, stateGpa, pages, PAGE_SIZE);
  if (claimed != 0) return claimed;

  const base = <usize>assignState(hart, caller.vm, stateGpa, pages, vm.slot);
  const vcpu = changetype<Vcpu>(base);
  initVcpu(vcpu, vm, <u32>id, base + fpAreaOffset(), base + vectorAreaOffset());
  vcpu.statePages = pages;
  vm.setVcpu(id, vcpu);
  vm.vcpuCount++;
  return 0;
}

/** Zeroes pages that `claimContiguous` has claimed, and makes them state of the VM in `slot`; returns their hpa. */
function assignState(hart: Hart, parent: Vm, gpa: u64, pages: u64, slot: u32): u64 {
  resolve(hart, parent, gpa, pages, Find.Parked);
  const first = batchHpa(hart, 0);
  for (let i: u64 = 0; i < pages; i++) setRecord(batchRecord(hart, i), PageState.VmState, slot, 0);
  zeroPages(first, pages);
  return first;
}
