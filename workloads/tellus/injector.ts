import { loadAcquire64, read64, storeRelease64, write64 } from "../lib/hw";
import { injectExternalInterrupt } from "../lib/covi";
import { deadlineIn, hasPassed, PATIENCE } from "../lib/deadline";
import { allocateZeroed } from "../lib/heap";
import { check, checkEqual } from "../lib/protocol";
import { PAGE_SIZE } from "../lib/records";
import { BOARD_SENT, BOARD_STOP, FIRST_GUEST_IDENTITY, INTERRUPT_BOARD_INDEX } from "../lib/tvm-map";
import { Outcome, Tvm } from "./tvm";
import { runSlice, VcpuRun } from "./vcpu-run";

/**
 * Injects interrupts into vCPU 0 of a guest with the scenario Interrupts: an identity again only when the guest has received the last one, so that
 * every interrupt can be counted.
 */
@unmanaged
export class Injector {
  tvm: Tvm;
  total: u64;
  /** Calls that failed. */
  refused: u64;

  /** Address of the number of interrupts injected with `identity`. */
  injected(identity: u64): u64 {
    return <u64>changetype<usize>(this) + 1024 + identity * 8;
  }

  /** Number of interrupts that the guest has received with `identity`. */
  received(identity: u64): u64 {
    return loadAcquire64(this.board() + identity * 8);
  }

  board(): u64 {
    return this.tvm.window + INTERRUPT_BOARD_INDEX * PAGE_SIZE;
  }
}

export function createInjector(tvm: Tvm): Injector {
  const injector = changetype<Injector>(<usize>allocateZeroed(1));
  injector.tvm = tvm;
  return injector;
}

/** Injects `identity` if the guest has received all before. */
export function inject(injector: Injector, identity: u64): bool {
  const at = injector.injected(identity);
  if (injector.received(identity) != read64(at)) return false;
  if (injectExternalInterrupt(injector.tvm.id, 0, identity) < 0) {
    injector.refused++;
    return false;
  }
  write64(at, read64(at) + 1);
  injector.total++;
  return true;
}

/** Injects every identity that can be injected now. */
export function injectRound(injector: Injector): void {
  for (let identity: u64 = 1; identity < FIRST_GUEST_IDENTITY; identity++) inject(injector, identity);
}

/** Runs vCPU 0 on this hart until the guest lets its host inject interrupts. */
export function runUntilAllowed(injector: Injector, run: VcpuRun): bool {
  const tvm = injector.tvm;
  const deadline = deadlineIn(PATIENCE);
  while (injectExternalInterrupt(tvm.id, 0, 1) < 0) {
    if (hasPassed(deadline) || runSlice(run, tvm, 0) != Outcome.Continue)
      return check(false, "the guest allows interrupts");
  }
  write64(injector.injected(1), 1);
  injector.total = 1;
  return true;
}

/** Tells the guest to end; it does when everything has arrived. */
export function stopGuest(injector: Injector): void {
  storeRelease64(injector.board() + BOARD_STOP, 1);
}

/** Runs vCPU 0 on this hart until the guest has received what was injected. */
export function runUntilReceived(injector: Injector, run: VcpuRun): bool {
  const deadline = deadlineIn(PATIENCE);
  while (identitiesOutstanding(injector) != 0) {
    if (hasPassed(deadline) || runSlice(run, injector.tvm, 0) != Outcome.Continue) {
      return check(false, "the guest receives what was injected");
    }
  }
  return true;
}

/** Checks that the guest received each interrupt once. */
export function checkAllReceived(injector: Injector): void {
  checkEqual(identitiesOutstanding(injector), 0, "identities whose interrupts were not all received once");
  checkEqual(injector.refused, 0, "injections refused");
}

/** Interrupts that the guest's vCPUs sent each other: valid when it has shut down. */
export function sentByGuest(injector: Injector): u64 {
  return read64(injector.board() + BOARD_SENT);
}

function identitiesOutstanding(injector: Injector): u64 {
  let count: u64 = 0;
  for (let identity: u64 = 1; identity < FIRST_GUEST_IDENTITY; identity++) {
    if (injector.received(identity) != read64(injector.injected(identity))) count++;
  }
  return count;
}
