import { csrRead, csrSet, pause, read8, wfi, write8 } from "../../lib/hw";
import { deadlineIn, deadlineInMs, hasPassed, PATIENCE } from "../../lib/deadline";
import { allowInterrupts, armTimer, maskInterrupts, NEVER, SIE_TIMER } from "../../lib/interrupts";
import { beginTest, check, checkEqual, checkResult, checkSuccess, endTest, subject } from "../../lib/protocol";
import { debugConsoleWrite, setTimer } from "../../lib/sbi";
import { thisHart, thisVm } from "../../lib/records";
import { BINARY_TEXT, BINARY_TEXT_BYTES } from "../../lib/tvm-map";
import { IRQ_STI, SCAUSE_INTERRUPT, SIE, SIP, TIME } from "../../../hypervisor/riscv/csr";

/** The guest's own clock and timer, WFI, and console output that is not text. */
export function runTime(): void {
  testClock();
  testTimerInterrupt();
  testTimerThroughWfi();
  testBinaryOutput();
}

function testClock(): void {
  beginTest("the guest's clock goes on across exits");
  let last = csrRead(TIME);
  for (let i = 0; i < 5; i++) {
    wfi();
    const now = csrRead(TIME);
    check(now > last, "time after an exit is later than before");
    last = now;
  }
  endTest();
}

function testTimerInterrupt(): void {
  beginTest("the guest's timer interrupts it");
  if (thisVm().hasStimecmp != 0) {
    subject("stimecmp");
    armTimer(deadlineInMs(2));
    takeTimerInterrupt();
  }
  subject("SBI set_timer");
  checkSuccess(setTimer(deadlineInMs(2)), "set_timer");
  takeTimerInterrupt();
  endTest();
}

/** Waits with interrupts on until one came. */
function takeTimerInterrupt(): void {
  const hart = thisHart();
  const before = hart.interruptsTaken;
  csrSet(SIE, SIE_TIMER);
  const deadline = deadlineIn(PATIENCE);
  allowInterrupts();
  while (hart.interruptsTaken == before && !hasPassed(deadline)) pause();
  maskInterrupts();
  checkEqual(hart.interruptsTaken - before, 1, "interrupts taken");
  checkEqual(hart.lastInterrupt, SCAUSE_INTERRUPT | IRQ_STI, "scause");
  armTimer(NEVER);
}

function testTimerThroughWfi(): void {
  beginTest("the guest's timer ends its WFI");
  csrSet(SIE, SIE_TIMER);
  armTimer(deadlineInMs(5));
  const deadline = deadlineIn(PATIENCE);
  while ((csrRead(SIP) & SIE_TIMER) == 0 && !hasPassed(deadline)) wfi();
  check((csrRead(SIP) & SIE_TIMER) != 0, "the timer is pending");
  armTimer(NEVER);
  check((csrRead(SIP) & SIE_TIMER) == 0, "and not any more after stimecmp is moved");
  endTest();
}

/** The host compares what it gets with the same bytes. */
function testBinaryOutput(): void {
  beginTest("console output that is not text");
  const buffer = thisHart().lineBuffer;
  for (let i: u64 = 0; i < BINARY_TEXT_BYTES; i++) write8(buffer + i, (<u32>(BINARY_TEXT >> (i * 8))) & 0xff);
  checkResult(debugConsoleWrite(buffer, BINARY_TEXT_BYTES), <i64>BINARY_TEXT_BYTES, "bytes written");
  checkEqual(<u64>read8(buffer), BINARY_TEXT & 0xff, "the buffer is not changed");
  endTest();
}
