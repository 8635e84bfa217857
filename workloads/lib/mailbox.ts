import { csrSet, loadAcquire64, pause, read64, storeRelease64, wfi, write64 } from "./hw";
import { SIE } from "../../hypervisor/riscv/csr";
import { deadlineIn, hasPassed, PATIENCE } from "./deadline";
import { clearSoftwareInterrupt, SIE_SOFTWARE } from "./interrupts";
import { TestHart, thisHart } from "./records";
import { sendIpi } from "./sbi";

/**
 * Work for secondary harts: the boot hart leaves a command in the other hart's record and wakes it with a software interrupt;
 * the other hart sleeps in wfi between commands. The word `command` alone says whether a hart is idle: with a second one (a count of
 * completed commands, say) the boot hart could see the first, post again, and take the second, when it comes, for the new command's.
 */

/** Gives `target` a command. It must be idle. */
export function post(target: TestHart, command: u64, argument: u64): void {
  write64(target.address(offsetof<TestHart>("commandArgument")), argument);
  storeRelease64(target.address(offsetof<TestHart>("command")), command);
  sendIpi(1, target.id);
}

/** Waits until `target` has no command any more. False if it takes too long. */
export function awaitIdle(target: TestHart): bool {
  const deadline = deadlineIn(PATIENCE);
  while (loadAcquire64(target.address(offsetof<TestHart>("command"))) != 0) {
    if (hasPassed(deadline)) return false;
    pause();
  }
  return true;
}

/** Result of the last command that `target` completed. */
export function commandResult(target: TestHart): u64 {
  return read64(target.address(offsetof<TestHart>("commandResult")));
}

/** Gives `target` a command and waits for its end. Returns false if it does not answer in time. */
export function runOn(target: TestHart, command: u64, argument: u64): bool {
  post(target, command, argument);
  return awaitIdle(target);
}

/** On a secondary hart: waits for the next command and returns it. */
export function nextCommand(): u64 {
  const hart = thisHart();
  csrSet(SIE, SIE_SOFTWARE);
  storeRelease64(hart.address(offsetof<TestHart>("online")), 1);
  while (true) {
    // The interrupt is taken back before the command is looked at: a post in between makes wfi return.
    clearSoftwareInterrupt();
    const command = loadAcquire64(hart.address(offsetof<TestHart>("command")));
    if (command != 0) return command;
    wfi();
  }
}

/** Argument of the command that `nextCommand` returned. */
export function commandArgument(): u64 {
  return read64(thisHart().address(offsetof<TestHart>("commandArgument")));
}

/** On a secondary hart: reports the command as completed. */
export function completeCommand(result: u64): void {
  const hart = thisHart();
  write64(hart.address(offsetof<TestHart>("commandResult")), result);
  storeRelease64(hart.address(offsetof<TestHart>("command")), 0);
}
