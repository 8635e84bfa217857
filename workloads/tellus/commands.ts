import { csrClear, csrSet, loadAcquire64, probeLoad, probeStore, storeRelease64 } from "../lib/hw";
import { tsmLocalFence } from "../lib/covh";
import { clearSoftwareInterrupt, SIE_EXTERNAL, SIE_SOFTWARE, SIE_TIMER } from "../lib/interrupts";
import { commandArgument, completeCommand, nextCommand } from "../lib/mailbox";
import { naclRegister, naclUnregister } from "../lib/nacl";
import { thisHart } from "../lib/records";
import { hartStop } from "../lib/sbi";
import { adoptSecondary } from "../lib/start";
import { SIE } from "../../hypervisor/riscv/csr";
import { HostCall, makeHostCall } from "./host-call";
import { runVcpu, VcpuRun } from "./vcpu-run";
import { Race, runRace } from "./race";
import { runStressGuest, Stress } from "./stress-run";
import { runOnce, runUntilWfi } from "./run-loop";
import { runSchedule, Schedule } from "./schedule";
import { ensureNacl } from "./state";
import { Tvm } from "./tvm";
import { awaitInterrupt, claimInterrupt, openInterruptFile, TEST_INTERRUPT } from "./imsic";

/** What the boot hart can ask the other harts of tellus to do. */
export const enum HartCommand {
  /** TsmLocalFence. The result is its SBI result. */
  LocalFence = 1,
  /** Runs its share of the vCPUs of the Schedule at the argument. */
  RunSchedule = 2,
  /**
   * Stays out of the hypervisor until told to stop. The argument is the address of two words: the first is set to 1 at the start,
   * the second set to 1 by the caller to stop.
   */
  Spin = 3,
  /** Loads the byte at the argument; the result is that of the probe. */
  ProbeLoad = 4,
  /** Stores a zero byte at the argument; the result is that of the probe. */
  ProbeStore = 5,
  /** Registers NACL shared memory at the argument. */
  RegisterNacl = 6,
  UnregisterNacl = 7,
  /** Opens the hart's interrupt file. */
  OpenImsic = 8,
  /** Waits for an IMSIC interrupt; the result is its identity. */
  AwaitImsic = 9,
  /** Stops the hart. */
  Stop = 10,
  /** Runs vCPU 0 of the Tvm at the argument up to its next WFI. The result is the Outcome, and 256 for each failed check. */
  RunUntilWfi = 11,
  /** Runs the vCPU that the Tvm at the argument has until an interrupt ends the run. The result is scause. */
  RunUntilInterrupt = 12,
  /** Takes part in the Race at the argument. */
  Race = 13,
  /** Runs the Stress at the argument to its end. */
  RunStress = 14,
  /** Makes the HostCall at the argument. */
  HostCall = 15,
  /** Runs the VcpuRun at the argument. */
  RunVcpu = 16,
  /** Counts in the first of the two words at the argument until the second is set. The result is how far it came. */
  Count = 17,
  /** As RunUntilInterrupt, but with external interrupts, one of which it claims. */
  RunUntilExternal = 18,
}

/** A hart of tellus other than the boot hart: serves its mailbox for ever. */
export function serveSecondaryHart(hartId: u64, stackTop: u64): void {
  const hart = adoptSecondary(stackTop);
  assert(hart.id == hartId, "a hart got another one's stack");
  // A hart that starts has nothing registered.
  hart.nacl = 0;
  while (true) {
    const command = nextCommand();
    if (command == HartCommand.Stop) {
      completeCommand(0);
      hartStop();
    }
    completeCommand(obey(<u32>command, commandArgument()));
  }
}

function obey(command: u32, argument: u64): u64 {
  switch (command) {
    case HartCommand.LocalFence:
      return <u64>tsmLocalFence();
    case HartCommand.RunSchedule:
      csrClear(SIE, SIE_SOFTWARE | SIE_EXTERNAL);
      csrSet(SIE, SIE_TIMER);
      clearSoftwareInterrupt();
      return runSchedule(changetype<Schedule>(<usize>argument));
    case HartCommand.Spin:
      storeRelease64(argument, 1);
      // No pause here: it may be trapped. The loop must not leave the VM.
      while (loadAcquire64(argument + 8) == 0);
      return 1;
    case HartCommand.ProbeLoad:
      return probeLoad(argument, 1);
    case HartCommand.ProbeStore:
      return probeStore(argument, 1, 0);
    case HartCommand.RegisterNacl:
      return <u64>naclRegister(argument);
    case HartCommand.UnregisterNacl:
      return <u64>naclUnregister();
    case HartCommand.OpenImsic:
      openInterruptFile();
      return 1;
    case HartCommand.AwaitImsic:
      return awaitInterrupt();
    case HartCommand.RunUntilWfi:
      return runUntilWfiHere(changetype<Tvm>(<usize>argument));
    case HartCommand.RunUntilInterrupt:
      return runUntilInterrupt(changetype<Tvm>(<usize>argument));
    case HartCommand.Race:
      return runRace(changetype<Race>(<usize>argument));
    case HartCommand.RunStress:
      return runStressGuest(changetype<Stress>(<usize>argument));
    case HartCommand.HostCall:
      return makeHostCall(changetype<HostCall>(<usize>argument));
    case HartCommand.RunVcpu:
      return runVcpu(changetype<VcpuRun>(<usize>argument));
    case HartCommand.RunUntilExternal:
      return runUntilExternal(changetype<Tvm>(<usize>argument));
    case HartCommand.Count:
      return count(argument);
    default:
      return ~0;
  }
}

function count(words: u64): u64 {
  let turns: u64 = 0;
  while (loadAcquire64(words + 8) == 0) storeRelease64(words, ++turns);
  return turns;
}

function runUntilWfiHere(tvm: Tvm): u64 {
  const hart = thisHart();
  const failuresBefore = hart.testFailures;
  ensureNacl();
  csrClear(SIE, SIE_SOFTWARE | SIE_EXTERNAL);
  clearSoftwareInterrupt();
  const outcome = runUntilWfi(tvm);
  return <u64>outcome + ((<u64>(hart.testFailures - failuresBefore)) << 8);
}

/** The guest never exits by itself: a message to this hart's file, which is open, ends the run. */
function runUntilExternal(tvm: Tvm): u64 {
  ensureNacl();
  clearSoftwareInterrupt();
  csrClear(SIE, SIE_SOFTWARE);
  csrSet(SIE, SIE_EXTERNAL);
  storeRelease64(tvm.runningAddress(), 1);
  const exit = runOnce(tvm, 0);
  csrClear(SIE, SIE_EXTERNAL);
  if (exit.error != 0) return <u64>exit.error;
  return claimInterrupt() == TEST_INTERRUPT ? exit.cause : 0;
}

/** The guest never exits by itself: the boot hart ends the run with a software interrupt. */
function runUntilInterrupt(tvm: Tvm): u64 {
  ensureNacl();
  clearSoftwareInterrupt();
  csrSet(SIE, SIE_SOFTWARE);
  storeRelease64(tvm.runningAddress(), 1);
  const exit = runOnce(tvm, 0);
  clearSoftwareInterrupt();
  return exit.error != 0 ? <u64>exit.error : exit.cause;
}
