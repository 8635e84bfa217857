import { csrClear, csrRead, csrSet } from "../../lib/hw";
import { codeWriter, ECALL, encodeAddi, encodeJump, Reg } from "../../lib/assembler";
import { endLine, print, printDecimal } from "../../lib/console";
import { deadlineIn, hasPassed, PATIENCE, waitUntilAtLeast } from "../../lib/deadline";
import { allocateZeroed, heapMark, heapRelease } from "../../lib/heap";
import { armTimer, NEVER, SIE_EXTERNAL, SIE_TIMER } from "../../lib/interrupts";
import { awaitIdle, commandResult, post, runOn } from "../../lib/mailbox";
import { guestRegister, setGuestRegister } from "../../lib/nacl";
import { beginTest, check, checkEqual, checkSuccess, endTest, subject } from "../../lib/protocol";
import { thisVm } from "../../lib/records";
import { EID_SRST } from "../../lib/sbi";
import { HOST_SECRET } from "../../lib/tvm-map";
import { EXC_ECALL_VS, IRQ_SEI, IRQ_STI, SCAUSE_INTERRUPT, SIE, SIP, TIME } from "../../../hypervisor/riscv/csr";
import { HartCommand } from "../commands";
import {
  claimInterrupt,
  hasImsic,
  openInterruptFile,
  raiseOwnInterrupt,
  sendImsicInterrupt,
  TEST_INTERRUPT,
} from "../imsic";
import { runOnce } from "../run-loop";
import { ensureNacl, hartAt, hartCount } from "../state";
import { Tvm } from "../tvm";
import { buildCodeTvm, releaseTvm } from "../tvm-builder";

/** Runs that the host's timer ends, in which it is measured how late that is. */
const TIMED_RUNS: u64 = 100;
/** Later than this the host has not got its timer interrupt at once, on the slowest emulator. */
const LATE_MS: u64 = 500;
/** Interrupts from another hart of the host to one that runs a TVM. */
const SENT: u64 = 50;
/** Turns of the loop that is stepped through: two instructions each. */
const LOOP_TURNS: u64 = 400_000;
/** Runs that are over before they begin. */
const EMPTY_RUNS: u64 = 500;
const BNEZ_T0_BACK: u32 = 0xfe029ee3;

/** A host that runs a TVM gets its own interrupts all the same, at once; what it learns of the TVM by them is where it ends. */
export function testHostInterrupts(): void {
  const mark = heapMark();
  checkSuccess(ensureNacl(), "NACL set_shmem");
  testTimer();
  heapRelease(mark);
  if (hasImsic()) testExternal();
  heapRelease(mark);
  testSingleSteps();
  heapRelease(mark);
}

/** A TVM that never exits by itself. */
function endlessTvm(): Tvm {
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  writer.put(encodeJump(0));
  return buildCodeTvm(code, 0);
}

function testTimer(): void {
  beginTest("the host's timer ends the run of a TVM at once");
  const tvm = endlessTvm();
  const timebase = thisVm().timebase;
  let worst: u64 = 0;
  let wrong: u64 = 0;
  csrSet(SIE, SIE_TIMER);
  for (let run: u64 = 0; run < TIMED_RUNS && tvm.id != 0; run++) {
    const deadline = csrRead(TIME) + timebase / 2000;
    armTimer(deadline);
    const exit = runOnce(tvm, 0);
    const now = csrRead(TIME);
    if (exit.error != 0 || exit.cause != (SCAUSE_INTERRUPT | IRQ_STI) || now < deadline) wrong++;
    worst = max(worst, now - deadline);
  }
  armTimer(NEVER);
  csrClear(SIE, SIE_TIMER);
  checkEqual(wrong, 0, "runs that ended otherwise, or too early");
  check((worst * 1000) / timebase < LATE_MS, "no timer interrupt was late");
  print("  the latest came after ");
  printDecimal((worst * 1_000_000) / timebase);
  print(" us");
  endLine();
  releaseTvm(tvm);
  endTest();
}

function testExternal(): void {
  beginTest("the host's external interrupts end the run of a TVM at once");
  const tvm = endlessTvm();
  if (tvm.id != 0) {
    openInterruptFile();
    csrSet(SIE, SIE_TIMER | SIE_EXTERNAL);
    subject("with the timer's at the same time");
    raiseOwnInterrupt();
    armTimer(0);
    // Whichever ends the run, the host finds both.
    const cause = runOnce(tvm, 0).cause;
    check(cause == (SCAUSE_INTERRUPT | IRQ_SEI) || cause == (SCAUSE_INTERRUPT | IRQ_STI), "scause");
    checkEqual(csrRead(SIP) & (SIE_TIMER | SIE_EXTERNAL), SIE_TIMER | SIE_EXTERNAL, "sip");
    armTimer(NEVER);
    checkEqual(runOnce(tvm, 0).cause, SCAUSE_INTERRUPT | IRQ_SEI, "scause without the timer's");
    checkEqual(claimInterrupt(), TEST_INTERRUPT, "its identity");
    armTimer(0);
    checkEqual(runOnce(tvm, 0).cause, SCAUSE_INTERRUPT | IRQ_STI, "scause without the external one");
    armTimer(NEVER);
    csrClear(SIE, SIE_TIMER | SIE_EXTERNAL);
    if (hartCount() > 1) testFromAnotherHart(tvm);
    subject("");
  }
  releaseTvm(tvm);
  endTest();
}

/** Hart 1 runs the TVM until a message to its file ends that, again and again. */
function testFromAnotherHart(tvm: Tvm): void {
  subject("from another hart");
  const hart = hartAt(1);
  check(runOn(hart, HartCommand.OpenImsic, 0), "the hart opens its file");
  let wrong: u64 = 0;
  for (let sent: u64 = 0; sent < SENT; sent++) {
    tvm.running = 0;
    post(hart, HartCommand.RunUntilExternal, changetype<usize>(tvm));
    if (!check(waitUntilAtLeast(tvm.runningAddress(), 1), "it runs the TVM")) return;
    // The first arrive before the TVM is entered, the later ones when it runs.
    const later = csrRead(TIME) + sent * (thisVm().timebase / 100_000);
    while (!hasPassed(later));
    sendImsicInterrupt(1);
    if (!check(awaitIdle(hart), "the interrupt ends the run")) return;
    if (commandResult(hart) != (SCAUSE_INTERRUPT | IRQ_SEI)) wrong++;
  }
  checkEqual(wrong, 0, "runs that ended otherwise");
}

/**
 * The host's timer interrupts the TVM as often as it can. The host may do that: it has a right to its timer, and the time of its guests is its own to give. It
 * learns how long the guest runs until its next exit of its own; no register, no address and no counter of the guest.
 */
function testSingleSteps(): void {
  beginTest("a host steps through a TVM with its timer");
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  writer.putLoadConstant(Reg.T0, LOOP_TURNS);
  writer.put(encodeAddi(Reg.T0, Reg.T0, -1));
  writer.put(BNEZ_T0_BACK);
  writer.putLoadConstant(Reg.A7, EID_SRST);
  writer.put(encodeAddi(Reg.A6, Reg.Zero, 0));
  writer.put(encodeAddi(Reg.A0, Reg.Zero, 0));
  writer.put(encodeAddi(Reg.A1, Reg.T0, 0));
  writer.put(ECALL);
  const tvm = buildCodeTvm(code, 0);
  csrSet(SIE, SIE_TIMER);
  if (tvm.id != 0) {
    for (let n: u32 = 1; n < 32; n++) setGuestRegister(n, HOST_SECRET + n);
    subject("whose deadline has passed already");
    let seen: u64 = 0;
    armTimer(0);
    for (let run: u64 = 0; run < EMPTY_RUNS; run++) {
      if (runOnce(tvm, 0).cause != (SCAUSE_INTERRUPT | IRQ_STI) || registersShown() != 0) seen++;
    }
    checkEqual(seen, 0, "runs that end otherwise, or show a register");
    subject("whose deadline is next");
    stepToTheEnd(tvm);
  }
  armTimer(NEVER);
  csrClear(SIE, SIE_TIMER);
  releaseTvm(tvm);
  endTest();
}

/** Runs of as little time as lets the guest get on. */
function stepToTheEnd(tvm: Tvm): void {
  const deadline = deadlineIn(PATIENCE);
  let steps: u64 = 0;
  let shown: u64 = 0;
  let exit = runOnce(tvm, 0);
  while (exit.cause == (SCAUSE_INTERRUPT | IRQ_STI) && !hasPassed(deadline)) {
    shown += registersShown();
    // More time from time to time: an emulator may need more for a run than a step is long.
    armTimer(csrRead(TIME) + 1 + (++steps >> 6));
    exit = runOnce(tvm, 0);
  }
  checkEqual(exit.cause, EXC_ECALL_VS, "the guest comes to its call");
  checkEqual(guestRegister(Reg.A1), 0, "what its loop came to");
  checkEqual(shown, 0, "registers that an interrupt showed");
  print("  steps: ");
  printDecimal(steps);
  print(" for instructions of the guest: ");
  printDecimal(2 * LOOP_TURNS);
  endLine();
}

/** Registers in the shared memory that are not what the host left there. */
function registersShown(): u64 {
  let count: u64 = 0;
  for (let n: u32 = 1; n < 32; n++) if (guestRegister(n) != HOST_SECRET + n) count++;
  return count;
}
