import { csrSet } from "../../lib/hw";
import { deadlineIn, deadlineInMs, hasPassed, PATIENCE } from "../../lib/deadline";
import { armTimer, NEVER, SIE_TIMER } from "../../lib/interrupts";
import { enterAddressSpace, leaveAddressSpace } from "../../lib/paging";
import { beginTest, check, checkEqual, checkSuccess, endTest } from "../../lib/protocol";
import { GuestScenario } from "../../lib/tvm-map";
import { SIE } from "../../../hypervisor/riscv/csr";
import { mapAllRam } from "../host-memory";
import { describeOutcome, serveExit } from "../run-loop";
import { runWithSecrets } from "../secret-run";
import { ensureNacl, lastExit } from "../state";
import { Outcome, Tvm } from "../tvm";
import { buildGuest, releaseTvm } from "../tvm-builder";

/** Milliseconds of a run: the guest has a loop that is longer. */
const TIME_SLICE: u64 = 10;

/**
 * The guest leaves with its registers full of its secret in every kind of exit, the host enters it with its own full of another: neither sees
 * anything of the other. The guest checks that its own survive.
 */
export function testRegisters(): void {
  beginTest("no register passes between host and guest");
  checkSuccess(ensureNacl(), "NACL set_shmem");
  const tvm = buildGuest(GuestScenario.Registers, 0, 2);
  if (tvm.id != 0) {
    // The host translates: its vsatp must not be the guest's either.
    enterAddressSpace(mapAllRam());
    const outcome = runAllWithSecrets(tvm);
    leaveAddressSpace();
    if (check(outcome == Outcome.Shutdown, "the guest shuts down")) {
      checkEqual(tvm.shutdownReason, 0, "failed tests of the guest");
    } else describeOutcome(outcome);
  }
  releaseTvm(tvm);
  endTest();
}

/** vCPU 1 runs while it is started, else vCPU 0. */
function runAllWithSecrets(tvm: Tvm): Outcome {
  const deadline = deadlineIn(4 * PATIENCE);
  csrSet(SIE, SIE_TIMER);
  let outcome: Outcome = Outcome.Continue;
  while (outcome == Outcome.Continue || outcome == Outcome.Stopped) {
    if (hasPassed(deadline)) {
      outcome = Outcome.TimedOut;
      break;
    }
    const vcpu: u64 = tvm.isStarted(1) ? 1 : 0;
    armTimer(deadlineInMs(TIME_SLICE));
    runWithSecrets(tvm.id, vcpu);
    outcome = serveExit(tvm, vcpu, lastExit());
  }
  armTimer(NEVER);
  return outcome;
}
