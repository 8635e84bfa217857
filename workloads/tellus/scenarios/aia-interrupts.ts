import { csrRead, csrWrite, loadAcquire64, storeRelease64 } from "../../lib/hw";
import { endLine, print, printDecimal } from "../../lib/console";
import { bindImsic, injectExternalInterrupt, unbindImsicBegin, unbindImsicEnd } from "../../lib/covi";
import { tvmInitiateFence } from "../../lib/covh";
import { deadlineIn, deadlineInMs, hasPassed, PATIENCE } from "../../lib/deadline";
import { allocateZeroed } from "../../lib/heap";
import { allowInterrupts, maskInterrupts } from "../../lib/interrupts";
import { awaitIdle, commandResult, post } from "../../lib/mailbox";
import { setGuestCsr } from "../../lib/nacl";
import {
  beginTest,
  check,
  checkEqual,
  checkResult,
  checkSuccess,
  endTest,
  skipTest,
  subject,
} from "../../lib/protocol";
import { TestHart, thisHart } from "../../lib/records";
import { SBI_DENIED, SBI_INVALID_STATE } from "../../lib/sbi";
import { FIRST_GUEST_IDENTITY, GuestScenario } from "../../lib/tvm-map";
import { HGEIE, HGEIP, HIE, HIP, HVIP, IRQ_SGEI, IRQ_VSEI, SCAUSE_INTERRUPT } from "../../../hypervisor/riscv/csr";
import { HartCommand } from "../commands";
import { bindFile, buildGuestWithFiles, giveFileBack, hasGuestFiles, takeFile } from "../guest-files";
import {
  checkAllReceived,
  createInjector,
  inject,
  injectRound,
  Injector,
  runUntilAllowed,
  runUntilReceived,
  stopGuest,
} from "../injector";
import { coviOn, HostCall } from "../host-call";
import { CoviFunction } from "../../lib/covi";
import { runOnce, runToShutdown } from "../run-loop";
import { ensureNacl, hartAt, hartCount } from "../state";
import { Outcome } from "../tvm";
import { buildGuest, releaseTvm } from "../tvm-builder";
import { runSlice, VcpuRun } from "../vcpu-run";

const FILE_1: u64 = 1 << 1;
const FILE_2: u64 = 1 << 2;
const SGEI: u64 = 1 << IRQ_SGEI;
/** Interrupts of a storm; those that go from hart to hart take an emulator ten times as long. */
const STORM: u64 = 100_000;
const STORM_BETWEEN_HARTS: u64 = 10_000;

/** Interrupts that a host injects into a guest. */
export function testAiaInterrupts(): void {
  testExternalLine();
  if (!hasGuestFiles(2)) {
    skipTest("interrupts injected into a guest", "no guest interrupt files");
    return;
  }
  testInjection();
  testStorm("a storm of injected interrupts", 0, STORM);
  if (hartCount() > 1) testStorm("a storm of interrupts from another hart", 1, STORM_BETWEEN_HARTS);
}

/** A TVM without interrupt files: through hvip, as far as the guest allows it. */
function testExternalLine(): void {
  beginTest("an external interrupt through hvip");
  const tvm = buildGuest(GuestScenario.ExternalLine, 0, 1);
  ensureNacl();
  setGuestCsr(HVIP, 1 << IRQ_VSEI);
  if (tvm.id != 0) runToShutdown(tvm);
  setGuestCsr(HVIP, 0);
  releaseTvm(tvm);
  endTest();
}

function testInjection(): void {
  beginTest("interrupts injected into a guest");
  const tvm = buildGuestWithFiles(GuestScenario.Interrupts, 1, 1);
  const run = changetype<VcpuRun>(<usize>allocateZeroed(1));
  const injector = createInjector(tvm);
  takeFile(0, 1);
  if (tvm.id != 0 && bindFile(tvm, 0, 0, 2) && runUntilAllowed(injector, run)) {
    runUntilReceived(injector, run);
    testForbidden(injector);
    runUntilReceived(injector, run);
    testHostSees(injector, run);
    testEveryState(injector, run);
    stopGuest(injector);
    check(runToShutdown(tvm), "the guest shuts down");
    checkAllReceived(injector);
  }
  releaseTvm(tvm);
  giveFileBack(0, 1);
  giveFileBack(0, 2);
  endTest();
}

function testForbidden(injector: Injector): void {
  const tvm = injector.tvm;
  subject("an interrupt that the guest denied");
  checkResult(injectExternalInterrupt(tvm.id, 0, FIRST_GUEST_IDENTITY), SBI_DENIED, "after it had allowed all");
  checkResult(injectExternalInterrupt(tvm.id, 0, 0), SBI_DENIED, "0");
  checkResult(injectExternalInterrupt(tvm.id, 0, 2048), SBI_DENIED, "2048");
  check(inject(injector, FIRST_GUEST_IDENTITY - 1), "its neighbour is allowed");
}

/** The host watches the file: hgeip, hip, interrupt 12 now and later, and an exit with it. The vCPU is bound to file 2. */
function testHostSees(injector: Injector, run: VcpuRun): void {
  subject("the file that the host watches");
  csrWrite(HGEIE, FILE_2);
  checkEqual(csrRead(HGEIP), 0, "hgeip before");
  checkEqual(csrRead(HIP) & SGEI, 0, "hip before");
  check(inject(injector, 7), "the guest has received what was injected before");
  checkEqual(csrRead(HGEIP), FILE_2, "hgeip");
  checkEqual(csrRead(HIP) & SGEI, SGEI, "hip.SGEIP");
  csrWrite(HGEIE, FILE_1);
  checkEqual(csrRead(HIP) & SGEI, 0, "hip.SGEIP when another file is watched");
  csrWrite(HGEIE, FILE_2);

  subject("interrupt 12 of the host");
  let before = interruptsTaken();
  allowInterrupts();
  csrWrite(HIE, SGEI);
  awaitTaken(before + 1, "at once");
  maskInterrupts();
  // The handler has taken the enable away.
  checkEqual(csrRead(HIE), 0, "hie afterwards");
  before = interruptsTaken();
  csrWrite(HIE, SGEI);
  const later = deadlineInMs(2);
  while (!hasPassed(later));
  checkEqual(interruptsTaken(), before, "not while interrupts are off");
  allowInterrupts();
  awaitTaken(before + 1, "when they are on again");
  maskInterrupts();

  subject("a run of the guest");
  csrWrite(HIE, SGEI);
  const exit = runOnce(injector.tvm, 0);
  checkEqual(exit.error, 0, "CpuRun");
  checkEqual(exit.cause, SCAUSE_INTERRUPT | IRQ_SGEI, "scause");
  csrWrite(HIE, 0);
  runUntilReceived(injector, run);
  checkEqual(csrRead(HGEIP), 0, "hgeip after the guest has claimed it");
  csrWrite(HGEIE, 0);
}

function interruptsTaken(): u64 {
  return loadAcquire64(thisHart().address(offsetof<TestHart>("interruptsTaken")));
}

/** Waits until this hart has taken `expected` interrupts in all. */
function awaitTaken(expected: u64, what: string): void {
  const deadline = deadlineIn(PATIENCE);
  while (interruptsTaken() < expected && !hasPassed(deadline));
  checkEqual(interruptsTaken(), expected, what);
  checkEqual(thisHart().lastInterrupt, SCAUSE_INTERRUPT | IRQ_SGEI, "scause");
}

/** Injected while the file is bound, leaving, gone, and coming back. */
function testEveryState(injector: Injector, run: VcpuRun): void {
  const id = injector.tvm.id;
  subject("interrupts while the file moves");
  check(inject(injector, 1), "bound");
  checkSuccess(unbindImsicBegin(id, 0), "UnbindImsicBegin");
  check(inject(injector, 2), "unbinding");
  checkSuccess(tvmInitiateFence(id), "TvmInitiateFence");
  check(inject(injector, 3), "fenced");
  checkSuccess(unbindImsicEnd(id, 0), "UnbindImsicEnd");
  check(inject(injector, 4), "unbound");
  checkResult(runOnce(injector.tvm, 0).error, SBI_INVALID_STATE, "CpuRun");
  checkSuccess(bindImsic(id, 0, FILE_1), "BindImsic");
  check(inject(injector, 6), "bound again");
  runUntilReceived(injector, run);
}

/** `count` interrupts, as fast as the guest, which hart `index` runs, takes them. */
function testStorm(name: string, index: u64, count: u64): void {
  beginTest(name);
  const tvm = buildGuestWithFiles(GuestScenario.Interrupts, 1, 1);
  const call = changetype<HostCall>(<usize>allocateZeroed(1));
  const run = changetype<VcpuRun>(<usize>allocateZeroed(1));
  const injector = createInjector(tvm);
  takeFile(index, 1);
  if (tvm.id != 0 && checkSuccess(coviOn(call, index, CoviFunction.BindImsic, tvm.id, 0, FILE_1), "BindImsic")) {
    run.tvm = tvm;
    if (index != 0) post(hartAt(index), HartCommand.RunVcpu, changetype<usize>(run));
    awaitAllowed(injector, run, index);
    const deadline = deadlineIn(2 * PATIENCE);
    while (injector.total < count && !hasPassed(deadline)) {
      injectRound(injector);
      if (index == 0 && runSlice(run, tvm, 0) != Outcome.Continue) break;
    }
    stopGuest(injector);
    if (index != 0) {
      if (check(awaitIdle(hartAt(index)), "the guest ends"))
        checkEqual(commandResult(hartAt(index)), 0, "failed checks");
    } else {
      while (runSlice(run, tvm, 0) == Outcome.Continue && !hasPassed(deadline));
    }
    storeRelease64(run.stopAddress(), 1);
    check(run.outcome == Outcome.Shutdown && tvm.shutdownReason == 0, "the guest shuts down");
    check(injector.total >= count, "all were injected");
    checkAllReceived(injector);
    print("  interrupts: ");
    printDecimal(injector.total);
    endLine();
  }
  releaseTvm(tvm);
  giveFileBack(index, 1);
  endTest();
}

/** Waits until the guest, on this hart or another, lets its host inject. */
function awaitAllowed(injector: Injector, run: VcpuRun, index: u64): void {
  const deadline = deadlineIn(PATIENCE);
  while (!inject(injector, 1) && !hasPassed(deadline)) {
    if (index == 0) runSlice(run, injector.tvm, 0);
  }
  injector.refused = 0;
}
