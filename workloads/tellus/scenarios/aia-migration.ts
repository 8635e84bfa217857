import { storeRelease64 } from "../../lib/hw";
import { endLine, print, printDecimal } from "../../lib/console";
import { CoviFunction } from "../../lib/covi";
import { tvmInitiateFence } from "../../lib/covh";
import { deadlineIn, hasPassed, PATIENCE } from "../../lib/deadline";
import { allocateZeroed, heapMark, heapRelease } from "../../lib/heap";
import { awaitIdle, commandResult, post } from "../../lib/mailbox";
import { beginTest, check, checkEqual, checkSuccess, endTest, skipTest } from "../../lib/protocol";
import { SBI_ALREADY_STARTED, SBI_INVALID_ADDRESS } from "../../lib/sbi";
import { GuestScenario } from "../../lib/tvm-map";
import { HartCommand } from "../commands";
import { buildGuestWithFiles, giveFileBack, hasGuestFiles, takeFile } from "../guest-files";
import { coviOn, HostCall } from "../host-call";
import {
  checkAllReceived,
  createInjector,
  injectRound,
  Injector,
  runUntilAllowed,
  sentByGuest,
  stopGuest,
} from "../injector";
import { hartAt, hartCount } from "../state";
import { Outcome, Tvm } from "../tvm";
import { releaseTvm } from "../tvm-builder";
import { runSlice, VcpuRun } from "../vcpu-run";

const MOVES: u64 = 100;
/** Runs of the test, each with a new TVM. */
const RUNS: u64 = 10;
/** Host's files: vCPU 0 goes from one of the first two to the other, vCPU 1 has the third. */
const SENDER_FILE: u64 = 3;

/** A vCPU that moves between harts while its host and another vCPU send it interrupts. */
@unmanaged
class Migration {
  tvm: Tvm;
  injector: Injector;
  call: HostCall;
  /** Runs of vCPU 0 and of vCPU 1. */
  receiver: VcpuRun;
  sender: VcpuRun;
  /** Hart that runs vCPU 1 all the time, 0 if the boot hart runs it in between. */
  senderHart: u64;
  /** Where vCPU 0 is bound: hart and file. */
  hart: u64;
  file: u64;
}

/** vCPU 0 moves between harts 0 and 1, or between two files of the only hart. No interrupt may be lost or doubled. */
export function testAiaMigration(): void {
  if (!hasGuestFiles(SENDER_FILE)) {
    skipTest("a vCPU that moves between harts", "not enough guest interrupt files");
    return;
  }
  const mark = heapMark();
  for (let run: u64 = 1; run <= RUNS; run++) {
    beginTest("a vCPU that moves between harts under interrupts");
    print("  run ");
    printDecimal(run);
    print(" of ");
    printDecimal(RUNS);
    endLine();
    moveOften();
    endTest();
    heapRelease(mark);
  }
}

function moveOften(): void {
  const move = changetype<Migration>(<usize>allocateZeroed(1));
  move.senderHart = hartCount() > 2 ? 2 : 0;
  move.tvm = buildGuestWithFiles(GuestScenario.Interrupts, 2, 2);
  move.call = changetype<HostCall>(<usize>allocateZeroed(1));
  move.receiver = changetype<VcpuRun>(<usize>allocateZeroed(1));
  move.sender = changetype<VcpuRun>(<usize>allocateZeroed(1));
  move.injector = createInjector(move.tvm);
  takeFiles();
  takeFile(move.senderHart, SENDER_FILE);
  if (move.tvm.id != 0 && start(move)) {
    let moves: u64 = 0;
    while (moves < MOVES && step(move)) moves++;
    checkEqual(moves, MOVES, "moves");
    finish(move);
  }
  releaseTvm(move.tvm);
  giveFilesBack();
  giveFileBack(move.senderHart, SENDER_FILE);
}

function movingHarts(): u64 {
  return min<u64>(hartCount(), 2);
}

function takeFiles(): void {
  for (let hart: u64 = 0; hart < movingHarts(); hart++) {
    takeFile(hart, 1);
    takeFile(hart, 2);
  }
}

function giveFilesBack(): void {
  for (let hart: u64 = 0; hart < movingHarts(); hart++) {
    giveFileBack(hart, 1);
    giveFileBack(hart, 2);
  }
}

/** Binds both vCPUs, and lets vCPU 0 come to where it takes interrupts. */
function start(move: Migration): bool {
  const id = move.tvm.id;
  move.file = 1;
  checkSuccess(coviOn(move.call, 0, CoviFunction.BindImsic, id, 0, 1 << 1), "BindImsic of vCPU 0");
  const mask = (<u64>1) << SENDER_FILE;
  checkSuccess(coviOn(move.call, move.senderHart, CoviFunction.BindImsic, id, 1, mask), "BindImsic of vCPU 1");
  if (!runUntilAllowed(move.injector, move.receiver)) return false;
  const deadline = deadlineIn(PATIENCE);
  while (!move.tvm.isStarted(1) && !hasPassed(deadline)) runSlice(move.receiver, move.tvm, 0);
  if (!check(move.tvm.isStarted(1), "vCPU 0 starts vCPU 1")) return false;
  move.sender.tvm = move.tvm;
  move.sender.vcpu = 1;
  if (move.senderHart != 0) post(hartAt(move.senderHart), HartCommand.RunVcpu, changetype<usize>(move.sender));
  return true;
}

/** Moves vCPU 0 to the next hart and file, with interrupts injected in every phase, and runs it there. */
function step(move: Migration): bool {
  const id = move.tvm.id;
  const old = move.hart;
  const target = hartCount() > 1 ? 1 - old : 0;
  const file = target == old || target == 0 ? 3 - move.file : move.file;
  let ok = checkSuccess(covi(move, target, CoviFunction.RebindImsicBegin, (<u64>1) << file), "RebindImsicBegin");
  injectRound(move.injector);
  ok = ok && checkSuccess(fence(id), "TvmInitiateFence");
  injectRound(move.injector);
  ok = ok && checkSuccess(clone(move, old), "RebindImsicClone");
  injectRound(move.injector);
  ok = ok && checkSuccess(covi(move, target, CoviFunction.RebindImsicEnd, 0), "RebindImsicEnd");
  move.hart = target;
  move.file = file;
  return ok && runBoth(move);
}

function covi(move: Migration, hart: u64, fid: u64, mask: u64): i64 {
  return coviOn(move.call, hart, fid, move.tvm.id, 0, mask);
}

/** The fence before this one may be waiting for vCPU 1 still. */
function fence(id: u64): i64 {
  const deadline = deadlineIn(PATIENCE);
  let result = tvmInitiateFence(id);
  while (result == SBI_ALREADY_STARTED && !hasPassed(deadline)) result = tvmInitiateFence(id);
  return result;
}

/** Refused until vCPU 1 has been out of the TVM since the fence. */
function clone(move: Migration, old: u64): i64 {
  const deadline = deadlineIn(PATIENCE);
  let result = covi(move, old, CoviFunction.RebindImsicClone, 0);
  while (result == SBI_INVALID_ADDRESS && !hasPassed(deadline)) {
    injectRound(move.injector);
    result = covi(move, old, CoviFunction.RebindImsicClone, 0);
  }
  return result;
}

/** vCPU 0 runs where it is bound, and vCPU 1 here if no other hart runs it. False if one of them ends. */
function runBoth(move: Migration): bool {
  if (move.hart == 0) {
    if (runSlice(move.receiver, move.tvm, 0) != Outcome.Continue) return false;
    return move.senderHart != 0 || runSlice(move.sender, move.tvm, 1) == Outcome.Continue;
  }
  const other = hartAt(move.hart);
  storeRelease64(move.receiver.stopAddress(), 0);
  post(other, HartCommand.RunVcpu, changetype<usize>(move.receiver));
  for (let rounds = 0; rounds < 20; rounds++) injectRound(move.injector);
  const sent = move.senderHart != 0 || runSlice(move.sender, move.tvm, 1) == Outcome.Continue;
  storeRelease64(move.receiver.stopAddress(), 1);
  if (!check(awaitIdle(other), "the other hart comes back")) return false;
  return sent && commandResult(other) == 0 && move.receiver.outcome == Outcome.Continue;
}

/** Both vCPUs run until the guest has counted everything and shuts down. */
function finish(move: Migration): void {
  const deadline = deadlineIn(PATIENCE);
  stopGuest(move.injector);
  let outcome: u64 = Outcome.Continue;
  while (outcome == Outcome.Continue && !hasPassed(deadline)) {
    if (move.hart == 0) {
      outcome = <u64>runSlice(move.receiver, move.tvm, 0);
    } else {
      post(hartAt(move.hart), HartCommand.RunVcpu, changetype<usize>(move.receiver));
      if (!check(awaitIdle(hartAt(move.hart)), "the other hart comes back")) break;
      outcome = move.receiver.outcome;
    }
    if (outcome == Outcome.Continue && move.senderHart == 0) runSlice(move.sender, move.tvm, 1);
  }
  storeRelease64(move.sender.stopAddress(), 1);
  if (move.senderHart != 0) check(awaitIdle(hartAt(move.senderHart)), "the sender's hart comes back");
  check(outcome == Outcome.Shutdown && move.tvm.shutdownReason == 0, "the guest shuts down");
  checkAllReceived(move.injector);
  print("  interrupts: ");
  printDecimal(move.injector.total);
  print(" injected, ");
  printDecimal(sentByGuest(move.injector));
  print(" sent by the other vCPU");
  endLine();
}
