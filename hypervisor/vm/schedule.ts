import { haltHart } from "../boot/stop";
import { Action, Hart, HartRequest } from "../hart";
import { pendingRequests } from "./hart-messages";
import { mustSettle, settle } from "./wait";

/**
 * What this hart does after a trap has been handled: enter the current vCPU, wait for an interrupt, or stop for good. Returns the
 * Action for the machine layer.
 *
 * A hart runs its host vCPU, or the TVM vCPU that this one has asked for; there is nothing else to choose from, so this only asks
 * whether something stands in the way.
 */
// @ts-ignore: decorator
@inline
export function decideAction(hart: Hart): u32 {
  return mustSettle(hart) ? settleOrHalt(hart) : Action.Enter;
}

function settleOrHalt(hart: Hart): u32 {
  if ((pendingRequests(hart) & HartRequest.Halt) == 0) return settle(hart);
  haltHart(hart);
  return Action.Off;
}
