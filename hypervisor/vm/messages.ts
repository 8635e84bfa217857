import { HVIP, IRQ_VSSI } from "../riscv/csr";
import { and64, csrSet, fenceI, hfenceVvmaAll, loadAcquire32, or64, read64, swap64 } from "../riscv/hw";
import { Vcpu, VcpuMessage, VcpuState } from "./vcpu";

/**
 * Messages to a vCPU from any hart: bits in Vcpu.messages, set atomically and served on the hart that runs the vCPU, before it is
 * entered. The sender of one to a running vCPU also sends a request to its hart (vm/hart-messages.ts).
 *
 * A sender posts first and looks at the vCPU's state then; who runs a vCPU makes its state Running, fences, and looks at its messages then.
 * So a message to a vCPU that is not running needs no request, and none is missed.
 */

/** Fences that somebody may wait for. Serving is set while they are being executed. */
const FENCES: u64 = VcpuMessage.FenceVma | VcpuMessage.FenceI | VcpuMessage.Serving;

/** Adds messages for `vcpu`; everything written before is visible to whoever serves them. */
// @ts-ignore: decorator
@inline
export function postMessage(vcpu: Vcpu, messages: u64): void {
  or64(vcpu.messagesAddress(), messages);
}

/** Whether any message waits for `vcpu`. */
// @ts-ignore: decorator
@inline
export function hasMessages(vcpu: Vcpu): bool {
  return read64(vcpu.messagesAddress()) != 0;
}

/** Does what the messages of the current vCPU ask. */
export function serveMessages(vcpu: Vcpu): void {
  // Serving stays until the fences have been executed, so that nobody takes them for done before.
  const messages = swap64(vcpu.messagesAddress(), VcpuMessage.Serving);
  // The VMID in hgatp is this vCPU's, and nobody else's on this hart.
  if ((messages & VcpuMessage.FenceVma) != 0) hfenceVvmaAll();
  if ((messages & VcpuMessage.FenceI) != 0) fenceI();
  if ((messages & VcpuMessage.SoftwareInterrupt) != 0) csrSet(HVIP, (<u64>1) << IRQ_VSSI);
  and64(vcpu.messagesAddress(), ~(<u64>VcpuMessage.Serving));
}

/** Whether no hart can use anything any more in `vcpu` that a fence posted before this call has retired. */
export function fencesServed(vcpu: Vcpu): bool {
  if (loadAcquire32(vcpu.stateAddress()) != VcpuState.Running) return true;
  return (read64(vcpu.messagesAddress()) & FENCES) == 0;
}
