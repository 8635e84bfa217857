import { Hart } from "../../hart";
import { checkPageRange, splitForBatches } from "../../memory/claims";
import { PATIENCE } from "../../devices/iommu/commands";
import { devicesForgot, hasDevices, initiateFence, refreshAddressSpace, refreshOldDevices } from "../../memory/fence";
import { callAgain } from "../../vm/call-again";
import { Vcpu } from "../../vm/vcpu";
import { Vm, VmKind } from "../../vm/vm";
import { mustGiveWay } from "../../vm/wait";
import { SBI_INVALID_ADDRESS } from "../errors";
import { beginRange } from "./range-call";
import { RangeKind } from "./range-perform";

/**
 * COVH 1, TsmConvertPages(base gpa, pages): the caller's ordinary memory becomes confidential memory that it can give to TVMs
 * (CoVE 0.7 §9.4.2). The pages must be mapped and owned by the caller alone (not shared, not pinned). They are out of its reach
 * at once, and usable after a fence. Returns the number of pages.
 *
 * Errors: INVALID_PARAM no pages; INVALID_ADDRESS misaligned, wrapping, or some page is not the caller's; a VM that cannot have
 * TVMs gets INVALID_ADDRESS. Nothing is changed by an error.
 */
export function convertPages(caller: Vcpu, gpa: u64, pages: u64): i64 {
  return begin(caller, RangeKind.Convert, gpa, pages);
}

/**
 * COVH 2, TsmReclaimPages(base gpa, pages): converted pages that no TVM has become ordinary memory of the caller again, zeroed
 * (CoVE 0.7 §9.4.3). Pages that were never given away must have been fenced. Returns the number of pages.
 *
 * Errors as convertPages.
 */
export function reclaimPages(caller: Vcpu, gpa: u64, pages: u64): i64 {
  return begin(caller, RangeKind.Reclaim, gpa, pages);
}

/** Checks the range and begins the call: 0, and range-call.ts does the work, or the error. */
function begin(caller: Vcpu, kind: RangeKind, gpa: u64, pages: u64): i64 {
  const vm = caller.vm;
  const bad = checkPageRange(vm, gpa, pages);
  if (bad != 0) return bad;
  if (!canHaveTvms(vm)) return SBI_INVALID_ADDRESS;
  const split = splitForBatches(vm, gpa, pages);
  if (split != 0) return split;
  return beginRange(caller, kind, null, gpa, 0, 0, 0, pages);
}

/**
 * COVH 3, TsmInitiateFence(): starts retiring translations of pages converted so far (CoVE 0.7 §9.4.4). This hart has caught up on return;
 * others do by TsmLocalFence or by running a TVM. ALREADY_STARTED while an earlier fence is not complete.
 */
export function tsmInitiateFence(hart: Hart, caller: Vcpu): i64 {
  const devices = hasDevices(caller.vm);
  // Of an earlier fence.
  if (devices && !awaitDevices(hart, caller.vm)) return callAgain();
  const started = initiateFence(caller.vm);
  if (started != 0) return started;
  refreshAddressSpace(hart, caller);
  // The fence is begun, so the call cannot be made again: what IOMMUs owe, TsmLocalFence waits for.
  if (devices) awaitDevices(hart, caller.vm);
  return 0;
}

/** COVH 4, TsmLocalFence(): this hart, and the IOMMUs, catch up with the fences of the VM (CoVE 0.7 §9.4.5). */
export function tsmLocalFence(hart: Hart, caller: Vcpu): i64 {
  refreshAddressSpace(hart, caller);
  return !hasDevices(caller.vm) || awaitDevices(hart, caller.vm) ? 0 : callAgain();
}

/**
 * Has the IOMMUs forget what is older than the version of `vm`, which has devices, and gives them time for it. False if an interrupt waits and they are not done. One that takes
 * very long is not waited for: as it has announced nothing, no page is given away that it may remember.
 */
function awaitDevices(hart: Hart, vm: Vm): bool {
  if (refreshOldDevices(vm)) return true;
  for (let looks: u32 = 0; looks < PATIENCE; looks++) {
    if (devicesForgot()) return true;
    if (mustGiveWay(hart)) return false;
  }
  return true;
}

/** Only the host has TVMs: a TVM's own children need a third level of ownership that the ABI table of a nested VM would bring. */
function canHaveTvms(vm: Vm): bool {
  return vm.kind == VmKind.Host;
}
