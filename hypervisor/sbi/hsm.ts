import { Hart, HartRequest } from "../hart";
import { NOT_MAPPED, translate } from "../memory/gstage";
import { cas32, csrClear, csrRead, csrWrite, loadAcquire32 } from "../riscv/hw";
import { HVIP, SEPC, SSTATUS_SIE, VSATP, VSIE, VSSTATUS } from "../riscv/csr";
import { releaseCounters } from "../vm/counters";
import { exitByFinalCall, exitNotification, exitWfi, pendingInterrupts } from "../vm/exit";
import { sendRequest } from "../vm/hart-messages";
import { postMessage } from "../vm/messages";
import { Vcpu, VcpuMessage, VcpuState } from "../vm/vcpu";
import { powerOnVcpu } from "../vm/vcpu-init";
import { Vm, VmKind } from "../vm/vm";
import { parkHostVcpu, suspendHostVcpu } from "../vm/wait";
import {
  SBI_ALREADY_AVAILABLE,
  SBI_INVALID_ADDRESS,
  SBI_INVALID_PARAM,
  SBI_NOT_SUPPORTED,
  SBI_PENDING,
} from "./errors";
import { NOTHING_PARKED, resumeParked } from "./covh/range-call";
import { dropNaclMemory } from "./nacl";

/** Function numbers of HSM. */
const enum Hsm {
  HartStart = 0,
  HartStop = 1,
  HartGetStatus = 2,
  HartSuspend = 3,
}

/** States that hart_get_status answers. */
const enum HartStatus {
  Started = 0,
  Stopped = 1,
  StartPending = 2,
  Suspended = 4,
}

// hart_suspend types (SBI 3.0, table 9.2).
const SUSPEND_RETENTIVE: u64 = 0;
const SUSPEND_PLATFORM_RETENTIVE: u64 = 0x1000_0000;
const SUSPEND_NON_RETENTIVE: u64 = 0x8000_0000;
const SUSPEND_PLATFORM_NON_RETENTIVE: u64 = 0x9000_0000;
const SUSPEND_TYPE_END: u64 = 0x1_0000_0000;

/** What a suspended TVM vCPU is shown as: one that waits for an interrupt. */
const WFI: u64 = 0x10500073;

/**
 * Hart state management, EID 0x48534D (SBI 3.0 chapter 9). Hart ids are vCPU ids.
 *
 * A host vCPU lives on its own hart: starting it is a request to that hart. A TVM's vCPU is made runnable here, and its host is told by an exit;
 * stopping one is an exit that says that it is off.
 */
export function hsmCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  if (fid > <u64>Hsm.HartSuspend) return SBI_NOT_SUPPORTED;
  switch (<u32>fid) {
    case Hsm.HartStart:
      return hartStart(hart, caller, caller.a0, caller.a1, caller.a2);
    case Hsm.HartStop:
      return hartStop(hart, caller);
    case Hsm.HartGetStatus:
      return hartGetStatus(caller.vm, caller.a0);
    default:
      return hartSuspend(hart, caller, caller.a0, caller.a1, caller.a2);
  }
}

/**
 * hart_start(id, address, opaque). INVALID_PARAM no such vCPU; INVALID_ADDRESS odd, or not memory of the host (a TVM's may not be populated yet);
 * ALREADY_AVAILABLE it is not stopped.
 */
function hartStart(hart: Hart, caller: Vcpu, id: u64, address: u64, opaque: u64): i64 {
  const vm = caller.vm;
  const target = vm.vcpu(id);
  if (target == null) return SBI_INVALID_PARAM;
  const host = vm.kind == VmKind.Host;
  if (!canStartAt(vm, address)) return SBI_INVALID_ADDRESS;
  // From here on the vCPU is ours: nobody else starts it, and nobody runs it yet.
  if (cas32(target.stateAddress(), VcpuState.Stopped, VcpuState.Starting) != VcpuState.Stopped) {
    return SBI_ALREADY_AVAILABLE;
  }
  if (host) {
    target.startAddress = address;
    target.startOpaque = opaque;
    postMessage(target, VcpuMessage.Start);
    sendRequest(hart.root.hart(id), HartRequest.Reschedule);
  } else {
    powerOnVcpu(target, address, opaque);
    // Where the guest starts its vCPU, and with what, is its own business.
    exitNotification(hart, caller, 1);
  }
  return 0;
}

/** Whether a vCPU can begin there: even, and memory of a host (a TVM's may not be populated yet). */
function canStartAt(vm: Vm, address: u64): bool {
  return (address & 1) == 0 && (vm.kind == VmKind.Tvm || translate(vm, address) != NOT_MAPPED);
}

/** hart_stop(): never returns to the caller. A call on a range that a host's vCPU has parked (covh/parked-calls.ts) is carried out first: it may be nobody's any more. */
function hartStop(hart: Hart, caller: Vcpu): i64 {
  if (caller.vm.kind == VmKind.Host) {
    if (resumeParked(hart, caller, false) != NOTHING_PARKED) return SBI_PENDING;
    // Its next life may have another use for the memory.
    dropNaclMemory(caller);
    releaseCounters(hart, caller);
    parkHostVcpu(hart);
  } else exitByFinalCall(hart, caller, 0);
  return SBI_PENDING;
}

/** hart_get_status(id). INVALID_PARAM no such vCPU. */
function hartGetStatus(vm: Vm, id: u64): i64 {
  const vcpu = vm.vcpu(id);
  if (vcpu == null) return SBI_INVALID_PARAM;
  switch (loadAcquire32(vcpu.stateAddress())) {
    case VcpuState.Stopped:
      return HartStatus.Stopped;
    case VcpuState.Starting:
      return HartStatus.StartPending;
    case VcpuState.Suspended:
      return HartStatus.Suspended;
    default:
      return HartStatus.Started;
  }
}

/**
 * hart_suspend(type, resume address, opaque): waits for an interrupt that vsie enables. The default retentive suspend then goes on behind the call;
 * the default non-retentive one at the resume address with a0 = its id, a1 = opaque, satp = 0 and interrupts off, and keeps the rest of
 * its state, as it may. Platform-specific suspends have no use in a VM: NOT_SUPPORTED; reserved types INVALID_PARAM; a resume address as
 * hart_start does not take it INVALID_ADDRESS.
 */
function hartSuspend(hart: Hart, caller: Vcpu, type: u64, address: u64, opaque: u64): i64 {
  const retentive = type == SUSPEND_RETENTIVE;
  if (!retentive && type != SUSPEND_NON_RETENTIVE) {
    const platform =
      (type >= SUSPEND_PLATFORM_RETENTIVE && type < SUSPEND_NON_RETENTIVE) ||
      (type >= SUSPEND_PLATFORM_NON_RETENTIVE && type < SUSPEND_TYPE_END);
    return platform ? SBI_NOT_SUPPORTED : SBI_INVALID_PARAM;
  }
  if (!retentive && !canStartAt(caller.vm, address)) return SBI_INVALID_ADDRESS;
  caller.a0 = retentive ? 0 : <u64>caller.id;
  caller.a1 = retentive ? 0 : opaque;
  if (!retentive) {
    csrWrite(SEPC, address);
    csrWrite(VSATP, 0);
    csrClear(VSSTATUS, SSTATUS_SIE);
  }
  if (caller.vm.kind == VmKind.Host) suspendHostVcpu(hart);
  else if (pendingInterrupts(csrRead(VSIE), csrRead(HVIP)) == 0) exitWfi(hart, caller, WFI);
  return SBI_PENDING;
}
