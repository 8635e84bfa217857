import { Action, Hart, HartRequest, NOBODY_ENTERED } from "../hart";
import { enterAddressSpace, leaveAddressSpace } from "../memory/fence";
import { HIE, HIP, IRQ_SSI, IRQ_STI, IRQ_VSSI, SEPC, SIE, SIP, VSIE, VSIP } from "../riscv/csr";
import { csrClear, csrRead, csrWrite, fence, read32, read64, swap64, write32 } from "../riscv/hw";
import { exitInterrupt } from "./exit";
import { isOffered, renewOffer, watchedFileRaised, withdrawOffer } from "./guest-external";
import {
  pendingRequests,
  sendRequest,
  sendRequestToRunner,
  serveRequests,
  takeHostSoftwareInterrupt,
} from "./hart-messages";
import { NO_TARGET, nextTarget } from "./hart-mask";
import { fencesServed, hasMessages, postMessage, serveMessages } from "./messages";
import { Vcpu, VcpuMessage, VcpuState } from "./vcpu";
import { resetVcpu } from "./vcpu-init";
import { startHost } from "./world-switch";

/**
 * Waiting is a state of a hart (Hart.waitReason), not a loop: `trap` ends with `settle`, which looks whether the reason is over, and otherwise
 * has the machine layer wait for an interrupt and call `trap` again. A waiting hart so goes on serving what other harts ask of it, and two
 * harts that wait for each other both get their answer.
 */
export const enum WaitReason {
  None = 0,
  /** The current vCPU made an RFENCE call: its sepc is at the ecall; waitMask and waitValue (base) name the vCPUs. */
  RemoteFence = 1,
  /** The host vCPU of this hart is off (HSM): there is nothing to run, and nothing of it in the machine. */
  HostStopped = 2,
  /** The host vCPU is in HSM retentive suspend: its state is in the machine. */
  HostSuspended = 3,
  /** The user-mode helper works for the current vCPU, which is in an ecall; of it, sepc, sstatus and hstatus are not in the machine (helper/run.ts). */
  Helper = 4,
}

const ECALL_LENGTH: u64 = 4;
const SIE_STIE: u64 = 1 << IRQ_STI;
const VSIE_SSIE: u64 = 1 << IRQ_SSI;
const HVIP_VSSIP: u64 = 1 << IRQ_VSSI;

/** Whether `settle` has anything to do: false at the end of nearly every trap. */
// @ts-ignore: decorator
@inline
export function mustSettle(hart: Hart): bool {
  return hart.waitReason != WaitReason.None || pendingRequests(hart) != 0;
}

/**
 * The end of a trap: serves the requests of other harts, ends the wait if its reason is over, and says whether a vCPU can be entered.
 * HartRequest.Halt is the caller's (vm/schedule.ts).
 */
export function settle(hart: Hart): u32 {
  serveRequests(hart);
  if (hart.waitReason == WaitReason.Helper) return Action.Helper;
  if (hart.vcpu != hart.hostVcpu) preemptForSoftwareInterrupt(hart);
  switch (hart.waitReason) {
    case WaitReason.None:
      if (isOffered(hart)) renewOffer(hart);
      return Action.Enter;
    case WaitReason.RemoteFence:
      return settleRemoteFence(hart);
    case WaitReason.HostStopped:
      return settleStopped(hart);
    default:
      return settleSuspended(hart);
  }
}

/** The vCPU of a host's other hart sends an interrupt while a TVM runs here: the host is run if it takes software interrupts. */
function preemptForSoftwareInterrupt(hart: Hart): void {
  if (!takeHostSoftwareInterrupt(hart)) return;
  const host = hart.hostVcpu;
  host.hvip |= HVIP_VSSIP;
  if ((host.vsie & VSIE_SSIE) != 0) exitInterrupt(hart, hart.vcpu, IRQ_SSI);
}

/**
 * Posts `messages` (fences) to the vCPUs of the caller's VM that `mask` and `base` name (they exist), and executes the caller's own. Returns
 * true when all are done; false if some run elsewhere: then the hart waits, and the caller's ecall is answered by `settle`. If the
 * caller is preempted meanwhile it makes the call again, from the start.
 */
export function fenceAndWait(hart: Hart, caller: Vcpu, mask: u64, base: u64, messages: u64): bool {
  const vm = caller.vm;
  hart.waitMask = mask;
  hart.waitValue = base;
  write32(hart.waitReasonAddress(), WaitReason.RemoteFence);
  // Whoever serves a fence looks for waiting harts afterwards, so the reason has to be visible first.
  fence();
  for (let id = nextTarget(vm, mask, base, 0); id != NO_TARGET; id = nextTarget(vm, mask, base, id + 1)) {
    postMessage(changetype<Vcpu>(vm.vcpu(id)), messages);
  }
  if (hasMessages(caller)) serveMessages(caller);
  if (!allServed(hart)) return false;
  write32(hart.waitReasonAddress(), WaitReason.None);
  return true;
}

/**
 * Whether all fences that this hart waits for are served. If not, the harts that are behind have been asked to say when they are: a vCPU that serves its messages
 * for another reason (it is being entered, or its own hart's fence is among them) tells nobody.
 */
function allServed(hart: Hart): bool {
  let served = true;
  const vm = hart.vcpu.vm;
  const mask = hart.waitMask;
  const base = hart.waitValue;
  for (let id = nextTarget(vm, mask, base, 0); id != NO_TARGET; id = nextTarget(vm, mask, base, id + 1)) {
    const target = changetype<Vcpu>(vm.vcpu(id));
    if (target == hart.vcpu || fencesServed(target)) continue;
    askForFence(hart, target);
    served = false;
  }
  return served;
}

/**
 * The hart that runs `target` answers when it has served its fences; all do as long as it has not said that it runs it. That the last one to do so was this
 * hart says as little as that there was none: `target` runs, so another hart is entering it, and a request to ourselves would wake nobody.
 */
function askForFence(hart: Hart, target: Vcpu): void {
  const ranHere = read32(changetype<usize>(target) + offsetof<Vcpu>("hartIndex")) == hart.index;
  if (!ranHere && sendRequestToRunner(hart.root, target, HartRequest.Fence)) return;
  for (let i: u64 = 0; i < <u64>hart.root.hartCount; i++) {
    const other = hart.root.hart(i);
    if (other != hart) sendRequest(other, HartRequest.Fence);
  }
}

function settleRemoteFence(hart: Hart): u32 {
  if (!allServed(hart)) return Action.Wait;
  const vcpu = hart.vcpu;
  csrWrite(SEPC, csrRead(SEPC) + ECALL_LENGTH);
  vcpu.a0 = 0;
  vcpu.a1 = 0;
  write32(hart.waitReasonAddress(), WaitReason.None);
  return Action.Enter;
}

/** This hart has nothing to run until its host vCPU is started. At boot for all but one, and when the vCPU stops. */
export function parkHostVcpu(hart: Hart): void {
  const host = hart.hostVcpu;
  hart.vcpu = host;
  hart.current = changetype<usize>(host);
  withdrawOffer(hart);
  // Nothing but another hart may wake it: an interrupt of a vCPU that is off would stay pending for ever.
  csrWrite(HIE, 0);
  csrClear(SIE, SIE_STIE);
  leaveAddressSpace(hart);
  write32(hart.waitReasonAddress(), WaitReason.HostStopped);
  write32(host.stateAddress(), VcpuState.Stopped);
}

function settleStopped(hart: Hart): u32 {
  const host = hart.hostVcpu;
  if ((read64(host.messagesAddress()) & VcpuMessage.Start) == 0) return Action.Wait;
  // Fences and interrupts that were meant for its last life end with it.
  swap64(host.messagesAddress(), 0);
  startHostVcpu(hart, host.startAddress, host.startOpaque);
  return Action.Enter;
}

/** Runs the host vCPU of this hart from its reset state. At boot for one hart; after HSM hart_start. */
export function startHostVcpu(hart: Hart, pc: u64, opaque: u64): void {
  const host = hart.hostVcpu;
  resetVcpu(host, pc, opaque);
  // What is in the machine are callee-saved registers of its last life.
  hart.entered = NOBODY_ENTERED;
  write32(hart.waitReasonAddress(), WaitReason.None);
  startHost(hart, host);
}

/** HSM hart_suspend of the host vCPU, which has its result: it goes on when one of the interrupts that it enables is pending. */
export function suspendHostVcpu(hart: Hart): void {
  // What is offered must wake the hart: it arrives as SGEI again.
  withdrawOffer(hart);
  if (interruptPending(hart)) return;
  write32(hart.waitReasonAddress(), WaitReason.HostSuspended);
  write32(hart.hostVcpu.stateAddress(), VcpuState.Suspended);
  leaveAddressSpace(hart);
}

function settleSuspended(hart: Hart): u32 {
  if (!interruptPending(hart)) return Action.Wait;
  const host = hart.hostVcpu;
  write32(hart.waitReasonAddress(), WaitReason.None);
  write32(host.stateAddress(), VcpuState.Running);
  enterAddressSpace(hart, host);
  if (hasMessages(host)) serveMessages(host);
  return Action.Enter;
}

/** Whether a call of the current vCPU, a host's, that could go on for long should make way: for what other harts ask, or for an interrupt. */
export function mustGiveWay(hart: Hart): bool {
  if (pendingRequests(hart) != 0 || (csrRead(SIP) & csrRead(SIE)) != 0) return true;
  return (csrRead(HIP) & csrRead(HIE)) != 0 || (csrRead(VSIP) & csrRead(VSIE)) != 0;
}

/** Whether the current vCPU, a host's, has an interrupt pending that it enables, whatever its SIE says. */
function interruptPending(hart: Hart): bool {
  return (csrRead(VSIP) & csrRead(VSIE)) != 0 || watchedFileRaised(hart);
}
