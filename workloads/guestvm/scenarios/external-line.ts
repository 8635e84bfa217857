import { csrRead, csrSet, pause, wfi } from "../../lib/hw";
import { ALL_INTERRUPTS, allowExternalInterrupt, denyExternalInterrupt } from "../../lib/covg";
import { deadlineIn, hasPassed, PATIENCE } from "../../lib/deadline";
import { allowInterrupts, maskInterrupts, SIE_EXTERNAL } from "../../lib/interrupts";
import { beginTest, check, checkEqual, checkResult, checkSuccess, endTest } from "../../lib/protocol";
import { thisHart } from "../../lib/records";
import { SBI_INVALID_PARAM } from "../../lib/sbi";
import { IRQ_SEI, SCAUSE_INTERRUPT, SIE, SIP } from "../../../hypervisor/riscv/csr";

/** The host holds the external interrupt of this vCPU, which has no interrupt file, up all the time: it is seen only while it is allowed. */
export function runExternalLine(): void {
  beginTest("the external interrupt of a vCPU without a file");
  wfi();
  check(!pending(), "not before it is allowed");
  checkResult(allowExternalInterrupt(3), SBI_INVALID_PARAM, "another identity than 9");
  wfi();
  check(!pending(), "and that allows nothing");
  checkSuccess(allowExternalInterrupt(IRQ_SEI), "AllowExternalInterrupt");
  check(pending(), "pending once it is allowed");
  takeInterrupt();
  checkSuccess(denyExternalInterrupt(IRQ_SEI), "DenyExternalInterrupt");
  check(!pending(), "withdrawn when it is denied");
  wfi();
  check(!pending(), "and stays so");
  checkSuccess(allowExternalInterrupt(ALL_INTERRUPTS), "AllowExternalInterrupt of all");
  check(pending(), "pending when all are allowed");
  checkSuccess(denyExternalInterrupt(ALL_INTERRUPTS), "DenyExternalInterrupt of all");
  check(!pending(), "withdrawn when all are denied");
  endTest();
}

function pending(): bool {
  return (csrRead(SIP) & SIE_EXTERNAL) != 0;
}

function takeInterrupt(): void {
  const hart = thisHart();
  const before = hart.interruptsTaken;
  csrSet(SIE, SIE_EXTERNAL);
  const deadline = deadlineIn(PATIENCE);
  allowInterrupts();
  while (hart.interruptsTaken == before && !hasPassed(deadline)) pause();
  maskInterrupts();
  checkEqual(hart.interruptsTaken - before, 1, "interrupts taken");
  checkEqual(hart.lastInterrupt, SCAUSE_INTERRUPT | IRQ_SEI, "scause");
}
