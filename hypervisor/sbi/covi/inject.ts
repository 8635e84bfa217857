import { guestIdentities } from "../../devices/imsic";
import { sendToFile } from "../../devices/imsic-file";
import { InterruptState } from "../../devices/interrupt-state";
import { Hart } from "../../hart";
import { BindState, bindState, bindingOf, boundFile, boundHart, nextFile, nextHart } from "../../vm/binding";
import { Vcpu } from "../../vm/vcpu";
import { Vm, VmLifecycle } from "../../vm/vm";
import { SBI_DENIED, SBI_INVALID_STATE } from "../errors";

/**
 * COVI 7, InjectExternalInterrupt(guest id, vCPU id, identity): makes an interrupt of the vCPU pending, wherever its interrupt file is now
 * (CoVE 0.7 §9.5.8). It is the host's business to run the vCPU then.
 *
 * Errors: INVALID_STATE not finalized; DENIED an identity that does not exist or that the guest did not allow. Caller holds vm.lock.
 */
export function injectExternalInterrupt(hart: Hart, vm: Vm, vcpu: Vcpu, identity: u64): i64 {
  if (vm.lifecycle != VmLifecycle.Runnable) return SBI_INVALID_STATE;
  const state = changetype<InterruptState>(vcpu.interrupts);
  if (identity == 0 || identity > guestIdentities(hart.root) || !state.allows(identity)) return SBI_DENIED;
  const binding = bindingOf(vcpu);
  switch (bindState(binding)) {
    case BindState.Bound:
      sendToFile(hart.root.hart(boundHart(binding)), boundFile(binding), identity);
      break;
    case BindState.Rebinding:
    case BindState.Cloned:
      sendToFile(hart.root.hart(nextHart(binding)), nextFile(binding), identity);
      break;
    default:
      state.raise(identity);
  }
  return 0;
}
