import { beginLine, endLine, putText } from "../devices/console";
import { Hart, thisHart } from "../hart";
import { firmwareReset, RESET_SHUTDOWN, RESET_SYSTEM_FAILURE } from "./firmware";
import { scrubSecrets } from "./scrub";
import { claimEnd, haltHere, stopOtherHarts } from "./stop";

/** What the test finisher (`sifive,test0`) takes for a failure, with the exit status above it. */
const FINISHER_FAIL: u32 = 0x3333;
const FINISHER_CODE_SHIFT: u32 = 16;

/**
 * Ends or restarts the machine as SBI System Reset says (`type`, `reason`: SBI 3.0, 10.1; the caller has checked them):
 * stops the other harts, scrubs what guests left, and tells the firmware. Never returns.
 */
export function resetMachine(type: u32, reason: u32): void {
  const hart = thisHart();
  if (!claimEnd(hart)) haltHere(hart);
  const alone = stopOtherHarts(hart);
  if (!alone) reportRunningHart();
  scrubSecrets(hart, alone);
  endMachine(hart, <u64>type, <u64>reason);
}

/** Says that the mark stays: a hart that still runs may write secrets again. */
export function reportRunningHart(): void {
  beginLine();
  putText("salus: a hart does not stop; the next boot will scrub all memory");
  endLine();
}

/**
 * The last step: beyond this hart's own stacks and registers (endHart), nothing is cleaned up. Never returns.
 *
 * A failure goes to the test finisher first where there is one: firmware need not pass the reason on, and the finisher of QEMU
 * makes it the exit status of the emulator.
 */
export function endMachine(hart: Hart, type: u64, reason: u64): void {
  const root = hart.root;
  const finisher = changetype<usize>(root) != 0 ? root.testFinisher : hart.earlyFinisher;
  const failed = type == RESET_SHUTDOWN && reason == RESET_SYSTEM_FAILURE;
  firmwareReset(type, reason, failed ? finisher : 0, FINISHER_FAIL | (1 << FINISHER_CODE_SHIFT));
}
