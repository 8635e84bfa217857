import { Reg } from "../lib/assembler";
import { guestRegister, setGuestRegister } from "../lib/nacl";
import { check } from "../lib/protocol";
import { PUPPET_OK, PuppetCommand, PuppetRegister } from "../lib/puppet-protocol";
import { describeOutcome, runUntilOutcome } from "./run-loop";
import { Outcome, Tvm } from "./tvm";

/** The host's end of the puppet device: makes vCPU 0 of a TVM do single things. */

/** A load of the puppet device: an argument, or the wait for a command. */
export function servePuppetLoad(tvm: Tvm, offset: u64): Outcome {
  if (offset == PuppetRegister.Command) {
    tvm.puppetWaiting = 1;
    return Outcome.PuppetIdle;
  }
  setGuestRegister(Reg.A0, argument(tvm, (offset - PuppetRegister.Argument) / 8));
  return Outcome.Continue;
}

function argument(tvm: Tvm, index: u64): u64 {
  const values = tvm.puppetArguments!;
  switch (<u32>index) {
    case 0:
      return values.a0;
    case 1:
      return values.a1;
    case 2:
      return values.a2;
    case 3:
      return values.a3;
    case 4:
      return values.a4;
    default:
      return values.a5;
  }
}

/** A store to the puppet device: the result of a command. */
export function servePuppetStore(tvm: Tvm, offset: u64): Outcome {
  const value = guestRegister(Reg.A0);
  if (offset == PuppetRegister.Value) {
    tvm.puppetValue = value;
    return Outcome.Continue;
  }
  tvm.puppetDone = value;
  return Outcome.PuppetDone;
}

/** Runs the TVM until its puppet waits for the first command. From then on the test serves faults and sharing itself. */
export function startPuppet(tvm: Tvm): bool {
  const outcome = runUntilOutcome(tvm, 0);
  tvm.manualFaults = 1;
  tvm.manualSharing = 1;
  return expectOutcome(outcome, Outcome.PuppetIdle, "the puppet waits for a command");
}

/** Checks an outcome and says what happened instead. */
export function expectOutcome(outcome: Outcome, expected: Outcome, what: string): bool {
  if (check(outcome == expected, what)) return true;
  describeOutcome(outcome);
  return false;
}

/** Gives the waiting puppet a command and runs it until it is done or its exit needs the test. */
export function puppetBegin(tvm: Tvm, command: u64, a0: u64, a1: u64, a2: u64, a3: u64, a4: u64, a5: u64): Outcome {
  if (tvm.puppetWaiting == 0) return Outcome.Unknown;
  const values = tvm.puppetArguments!;
  values.a0 = a0;
  values.a1 = a1;
  values.a2 = a2;
  values.a3 = a3;
  values.a4 = a4;
  values.a5 = a5;
  tvm.puppetWaiting = 0;
  setGuestRegister(Reg.A0, command);
  return puppetContinue(tvm);
}

/** Goes on after an exit that the test served; when the command is done, lets the puppet come back for the next. */
export function puppetContinue(tvm: Tvm): Outcome {
  const outcome = runUntilOutcome(tvm, 0);
  if (outcome != Outcome.PuppetDone) return outcome;
  const idle = runUntilOutcome(tvm, 0);
  return idle == Outcome.PuppetIdle ? Outcome.PuppetDone : idle;
}

/** Loads a 64-bit word in the guest; the value is in tvm.puppetValue. */
export function puppetLoad(tvm: Tvm, gpa: u64): Outcome {
  return puppetBegin(tvm, PuppetCommand.Load, gpa, 0, 0, 0, 0, 0);
}

export function puppetStore(tvm: Tvm, gpa: u64, value: u64): Outcome {
  return puppetBegin(tvm, PuppetCommand.Store, gpa, value, 0, 0, 0, 0);
}

/** Makes the guest do an SBI call; error and value are in tvm.puppetDone and tvm.puppetValue. */
export function puppetCall(tvm: Tvm, eid: u64, fid: u64, a0: u64, a1: u64): Outcome {
  return puppetBegin(tvm, PuppetCommand.Sbi, eid, fid, a0, a1, 0, 0);
}

/** Checks that the guest reads `expected` at `gpa` without an exit. */
export function checkGuestLoad(tvm: Tvm, gpa: u64, expected: u64, what: string): bool {
  const outcome = puppetLoad(tvm, gpa);
  return check(outcome == Outcome.PuppetDone && tvm.puppetDone == PUPPET_OK && tvm.puppetValue == expected, what);
}

/** Checks that the guest can write `value` at `gpa` without an exit. */
export function checkGuestStore(tvm: Tvm, gpa: u64, value: u64, what: string): bool {
  const outcome = puppetStore(tvm, gpa, value);
  return check(outcome == Outcome.PuppetDone && tvm.puppetDone == PUPPET_OK, what);
}

/** Checks that every 64-bit word of [gpa, gpa + length) is `expected` for the guest. */
export function checkGuestRange(tvm: Tvm, gpa: u64, length: u64, expected: u64, what: string): bool {
  const outcome = puppetBegin(tvm, PuppetCommand.CountDifferent, gpa, length, expected, 0, 0, 0);
  return check(outcome == Outcome.PuppetDone && tvm.puppetValue == 0, what);
}

/** Makes the guest write `value` into every 64-bit word of [gpa, gpa + length). */
export function guestFill(tvm: Tvm, gpa: u64, length: u64, value: u64): bool {
  return puppetBegin(tvm, PuppetCommand.Fill, gpa, length, value, 0, 0, 0) == Outcome.PuppetDone;
}

/** Ends the guest. */
export function endPuppet(tvm: Tvm): void {
  tvm.manualFaults = 0;
  tvm.manualSharing = 0;
  expectOutcome(puppetBegin(tvm, PuppetCommand.Exit, 0, 0, 0, 0, 0, 0), Outcome.Shutdown, "the puppet shuts down");
}
