import { Hart, HartRequest } from "../hart";
import { loadAcquire32 } from "../riscv/hw";
import { exitNotification } from "../vm/exit";
import { NO_TARGET, maskIsValid, nextTarget } from "../vm/hart-mask";
import { sendRequest, sendRequestToRunner } from "../vm/hart-messages";
import { postMessage, serveMessages } from "../vm/messages";
import { Vcpu, VcpuMessage, VcpuState } from "../vm/vcpu";
import { VmKind } from "../vm/vm";
import { SBI_INVALID_PARAM, SBI_NOT_SUPPORTED } from "./errors";

const SEND_IPI: u64 = 0;

/**
 * IPI extension, EID 0x735049 (SBI 3.0 chapter 7): send_ipi(hart mask, base) makes a supervisor software interrupt pending.
 * INVALID_PARAM if a hart does not exist.
 *
 * A TVM's vCPU that does not run now finds its interrupt when its host runs it; the host, which may have put it to sleep, is told by an exit
 * that shows the call.
 */
export function ipiCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  if (fid != SEND_IPI) return SBI_NOT_SUPPORTED;
  const vm = caller.vm;
  const mask = caller.a0;
  const base = caller.a1;
  if (!maskIsValid(vm, mask, base)) return SBI_INVALID_PARAM;

  let sleeping = false;
  for (let id = nextTarget(vm, mask, base, 0); id != NO_TARGET; id = nextTarget(vm, mask, base, id + 1)) {
    const target = changetype<Vcpu>(vm.vcpu(id));
    const state = loadAcquire32(target.stateAddress());
    // An interrupt to a hart that is off would greet it in its next life.
    if (state == VcpuState.Stopped) continue;
    postMessage(target, VcpuMessage.SoftwareInterrupt);
    if (target == caller) serveMessages(caller);
    else if (vm.kind == VmKind.Host) sendRequest(hart.root.hart(id), HartRequest.Reschedule);
    else if (loadAcquire32(target.stateAddress()) == VcpuState.Running) {
      sendRequestToRunner(hart.root, target, HartRequest.Reschedule);
    } else sleeping = true;
  }
  if (sleeping) exitNotification(hart, caller);
  return 0;
}
