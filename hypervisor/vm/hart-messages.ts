import { claimAll, sendIpi, setupHartImsic } from "../devices/imsic";
import { reportFaults } from "../devices/iommu/faults";
import { Hart, HartRequest, thisHart } from "../hart";
import { Root } from "../root";
import { IRQ_SSI, SIE, SIP } from "../riscv/csr";
import { and64, csrClear, csrSet, or64, read32, read64, sbiCall } from "../riscv/hw";
import { clearReturnedFiles } from "./binding";
import { hasMessages, serveMessages } from "./messages";
import { Vcpu, VcpuMessage } from "./vcpu";
import { WaitReason } from "./wait";

/**
 * Requests from hart to hart: bits in Hart.requests, and an interrupt so that they are seen soon. The interrupt is an MSI to the other hart's
 * supervisor IMSIC file, or the firmware's IPI on machines without one; it carries nothing, and a hart serves its requests at the end of
 * every trap whether the interrupt has arrived or not.
 */

const EID_IPI: u64 = 0x735049;
const IPI_SEND: u64 = 0;
const SIP_SSIP: u64 = 1 << IRQ_SSI;

/** Requests that `serveRequests` answers. Halt stays for vm/schedule.ts, GuestExternal for vm/wait.ts. */
const SERVED: u64 = HartRequest.Reschedule | HartRequest.Fence | HartRequest.ClearFiles;

/** Lets this hart be interrupted by others (and sets up its interrupt files). Boot, on every hart, after setupHartCsrs. */
export function setupHartInterrupts(hart: Hart): void {
  if (hart.root.imsic != 0) {
    setupHartImsic(hart);
    return;
  }
  csrClear(SIP, SIP_SSIP);
  csrSet(SIE, SIP_SSIP);
}

/** Asks `hart` for `requests`; everything written before is visible to it when it serves them. Any hart, also this one. */
export function sendRequest(hart: Hart, requests: u64): void {
  or64(hart.requestsAddress(), requests);
  if (hart == thisHart()) return;
  if (hart.root.imsic != 0) sendIpi(hart);
  else sbiCall(EID_IPI, IPI_SEND, 1, hart.id, 0, 0, 0, 0);
}

/**
 * Asks the hart that runs `vcpu`, or that was the last to do so; false if none ever did. Only sensible if its state was Running after a message was posted to it: a hart that is just entering it
 * may not have said so yet, but sees the message then.
 */
export function sendRequestToRunner(root: Root, vcpu: Vcpu, requests: u64): bool {
  const index = read32(changetype<usize>(vcpu) + offsetof<Vcpu>("hartIndex"));
  if (index >= root.hartCount) return false;
  sendRequest(root.hart(index), requests);
  return true;
}

/** This hart has taken the interrupt of another one, or of a device of ours; `serveRequests` follows. */
export function acknowledgeInterrupt(hart: Hart): void {
  if (hart.root.imsic != 0) hart.strayInterrupts += claimAll();
  else csrClear(SIP, SIP_SSIP);
  if (hart.root.iommuCount != 0) reportFaults(hart.root);
}

/** Requests that wait for this hart. */
// @ts-ignore: decorator
@inline
export function pendingRequests(hart: Hart): u64 {
  return read64(hart.requestsAddress());
}

/**
 * Serves Fence, Reschedule and ClearFiles: does what other harts asked of the current vCPU, and tells harts that wait for it. What Reschedule is about
 * (start, suspend, preemption) is looked at by the callers, vm/wait.ts and vm/trap.ts.
 */
export function serveRequests(hart: Hart): void {
  const requests = and64(hart.requestsAddress(), ~SERVED);
  const vcpu = hart.vcpu;
  // A stopped host vCPU is started by vm/wait.ts, which takes its messages then.
  if (hart.waitReason != WaitReason.HostStopped && hasMessages(vcpu)) serveMessages(vcpu);
  if ((requests & HartRequest.Fence) != 0) wakeFenceWaiters(hart);
  if ((requests & HartRequest.ClearFiles) != 0) clearReturnedFiles(hart);
}

/** Software interrupts for the host vCPU of a hart that runs a TVM; true if there were any. */
export function takeHostSoftwareInterrupt(hart: Hart): bool {
  const host = hart.hostVcpu;
  if ((read64(host.messagesAddress()) & VcpuMessage.SoftwareInterrupt) == 0) return false;
  and64(host.messagesAddress(), ~(<u64>VcpuMessage.SoftwareInterrupt));
  return true;
}

/** A fence request was served: whoever waits for fences looks again. Few harts wait at a time, and they find out for themselves. */
function wakeFenceWaiters(hart: Hart): void {
  const root = hart.root;
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const other = root.hart(i);
    if (other != hart && read32(other.waitReasonAddress()) == WaitReason.RemoteFence) {
      sendRequest(other, HartRequest.Reschedule);
    }
  }
}
