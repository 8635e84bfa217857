import { loadAcquire64, mmioWrite32, probeLoad, PROBE_OK, storeRelease64 } from "../../lib/hw";
import { endLine, print, printDecimal } from "../../lib/console";
import { convertPages } from "../../lib/covh";
import { CoviFunction, injectExternalInterrupt } from "../../lib/covi";
import { deadlineIn, hasPassed, PATIENCE } from "../../lib/deadline";
import { allocatePages, allocateZeroed, heapMark, heapRelease } from "../../lib/heap";
import { clearSoftwareInterrupt } from "../../lib/interrupts";
import { awaitIdle, commandResult, post } from "../../lib/mailbox";
import { beginTest, check, checkEqual, checkSuccess, endTest, subject } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import { remoteFenceI, SBI_DENIED, SBI_NOT_SUPPORTED, sendIpi } from "../../lib/sbi";
import {
  BOARD_FLOOD,
  BOARD_STOP,
  BOARD_TAKEN,
  BOARD_WORK,
  FloodKind,
  GuestScenario,
  INTERRUPT_BOARD_INDEX,
} from "../../lib/tvm-map";
import { HartCommand } from "../commands";
import { fenceAllHarts } from "../fences";
import { buildGuestWithFiles, giveFileBack, hasGuestFiles, takeFile } from "../guest-files";
import { coviOn, HostCall } from "../host-call";
import { hasImsic, interruptFile } from "../imsic";
import { hartAt, hartCount } from "../state";
import { Outcome, Tvm } from "../tvm";
import { buildGuest, reclaimAndVerify, releaseTvm } from "../tvm-builder";
import { runSlice, VcpuRun } from "../vcpu-run";

/** Steps of a flood by a guest, and rounds of work beside it, that have to be reached. */
const GUEST_STEPS: u64 = 10_000;
const GUEST_ROUNDS: u64 = 500;
/** Steps of a flood by the host, and rounds of work in that time. */
const HOST_STEPS: u64 = 4_000;
const HOST_ROUNDS: u64 = 20;
/** Steps that all harts have to answer: each waits for the slowest. */
const STEPS_FOR_ALL: u64 = 400;
/** Steps of the host after which a guest on the same hart gets its turn. */
const STEPS_PER_SLICE: u64 = 100;
/** An identity that no guest here allows. */
const FORBIDDEN: u64 = 9;

/** A TVM whose vCPUs flood, work, or both, and a hart of the host that has nothing to do with it. */
@unmanaged
class Flood {
  tvm: Tvm;
  /** Runs of vCPU 0 and of vCPU 1. */
  first: VcpuRun;
  second: VcpuRun;
  /** Hart that runs the vCPU that works: 0 if it shares the boot hart. */
  workHart: u64;
  /** Hart that only counts, 0 if there is none. */
  bystander: u64;
  /** Two words for HartCommand.Count. */
  count: u64;
  /** What the host is told when it injects an interrupt that the guest does not allow. */
  forbidden: i64;

  board(offset: u64): u64 {
    return loadAcquire64(this.tvm.window + INTERRUPT_BOARD_INDEX * PAGE_SIZE + offset);
  }

  stop(): void {
    storeRelease64(this.tvm.window + INTERRUPT_BOARD_INDEX * PAGE_SIZE + BOARD_STOP, 1);
  }
}

/** Who floods does so at his own cost: everybody else gets on, and every single step has an end. */
export function testFloods(): void {
  const mark = heapMark();
  floodByGuest("a guest floods another vCPU with software interrupts", FloodKind.Ipi);
  heapRelease(mark);
  if (hasGuestFiles(2)) floodByGuest("a guest floods another vCPU with external interrupts", FloodKind.External);
  heapRelease(mark);
  floodByGuest("a guest floods the hypervisor with faults", FloodKind.Fault);
  heapRelease(mark);
  floodByHost();
  heapRelease(mark);
}

// ---- a guest

function floodByGuest(name: string, kind: u64): void {
  beginTest(name);
  const withFiles = kind == FloodKind.External;
  const flood = newFlood(
    withFiles ? buildGuestWithFiles(GuestScenario.Flood, kind, 2) : buildGuest(GuestScenario.Flood, kind, 2),
  );
  const workFile: u64 = flood.workHart == 0 ? 2 : 1;
  if (withFiles) {
    bindOn(flood, 0, 0, 1);
    bindOn(flood, 1, flood.workHart, workFile);
  }
  if (flood.tvm.id != 0) {
    const deadline = deadlineIn(PATIENCE);
    let outcome: u64 = Outcome.Continue;
    while (outcome == Outcome.Continue && !flood.tvm.isStarted(1) && !hasPassed(deadline)) {
      outcome = <u64>runSlice(flood.first, flood.tvm, 0);
    }
    startOthers(flood, flood.second, 1);
    while (outcome == Outcome.Continue && !hasPassed(deadline)) {
      outcome = <u64>runSlice(flood.first, flood.tvm, 0);
      if (flood.workHart == 0 && outcome == Outcome.Continue) runSlice(flood.second, flood.tvm, 1);
      if (flood.board(BOARD_FLOOD) >= GUEST_STEPS && flood.board(BOARD_WORK) >= GUEST_ROUNDS) flood.stop();
    }
    check(outcome == Outcome.Shutdown && flood.tvm.shutdownReason == 0, "the guest shuts down");
    stopOthers(flood, flood.second);
    check(flood.board(BOARD_FLOOD) >= GUEST_STEPS, "the flood was one");
    check(flood.board(BOARD_WORK) >= GUEST_ROUNDS, "the other vCPU gets on");
    const floodsVcpu = kind != FloodKind.Fault;
    check(!floodsVcpu || flood.board(BOARD_TAKEN) > 0, "interrupts of the flood arrive");
    printCounts(flood.board(BOARD_FLOOD), flood.board(BOARD_WORK));
  }
  releaseTvm(flood.tvm);
  if (withFiles) {
    giveFileBack(0, 1);
    giveFileBack(flood.workHart, workFile);
  }
  endTest();
}

// ---- the host

function floodByHost(): void {
  beginTest("a host floods itself, a guest and the hypervisor");
  const withFiles = hasGuestFiles(1);
  const flood = newFlood(
    withFiles
      ? buildGuestWithFiles(GuestScenario.Flood, FloodKind.None, 1)
      : buildGuest(GuestScenario.Flood, FloodKind.None, 1),
  );
  // Without files there is nothing to inject into.
  flood.forbidden = withFiles ? SBI_DENIED : SBI_NOT_SUPPORTED;
  if (withFiles) bindOn(flood, 0, flood.workHart, 1);
  const page = allocatePages(1);
  checkSuccess(convertPages(page, 1), "ConvertPages");
  fenceAllHarts();
  if (flood.tvm.id != 0) {
    startOthers(flood, flood.first, 0);
    let done: u64 = 0;
    for (let kind: u32 = HostFlood.Ipi; kind <= <u32>HostFlood.Injections; kind++) {
      if (kind == HostFlood.Messages && !hasImsic()) continue;
      done += floodWith(flood, kind, page);
    }
    flood.stop();
    const deadline = deadlineIn(PATIENCE);
    if (flood.workHart == 0) {
      while (runSlice(flood.first, flood.tvm, 0) == Outcome.Continue && !hasPassed(deadline));
    }
    // The guest ends by itself.
    if (flood.workHart != 0) awaitIdle(hartAt(flood.workHart));
    stopOthers(flood, flood.first);
    subject("");
    check(flood.first.outcome == Outcome.Shutdown && flood.tvm.shutdownReason == 0, "the guest shuts down");
    printCounts(done, flood.board(BOARD_WORK));
  }
  clearSoftwareInterrupt();
  releaseTvm(flood.tvm);
  if (withFiles) giveFileBack(flood.workHart, 1);
  reclaimAndVerify(page, 1);
  endTest();
}

/** What a host can do as often as it likes. */
const enum HostFlood {
  /** Software interrupts to all of its harts. */
  Ipi = 0,
  /** Messages to the interrupt file of the hart that runs the guest. */
  Messages = 1,
  /** Loads of a page that it gave away. */
  Faults = 2,
  /** Fences on all of its harts. */
  Fences = 3,
  /** Interrupts that the guest does not allow. */
  Injections = 4,
}

/** Enough steps of one kind; returns how many. The guest works meanwhile. */
function floodWith(flood: Flood, kind: u32, page: u64): u64 {
  subjectOf(kind);
  const before = flood.board(BOARD_WORK);
  const deadline = deadlineIn(PATIENCE);
  let steps: u64 = 0;
  let right = true;
  const forAll = kind == HostFlood.Ipi || kind == HostFlood.Fences;
  const enough = forAll ? STEPS_FOR_ALL : HOST_STEPS;
  while (steps < enough || (flood.board(BOARD_WORK) < before + HOST_ROUNDS && !hasPassed(deadline))) {
    if (!floodStep(flood, kind, page)) right = false;
    if (++steps % STEPS_PER_SLICE == 0 && flood.workHart == 0) runSlice(flood.first, flood.tvm, 0);
  }
  check(right, "every step has the result that it must have");
  check(flood.board(BOARD_WORK) >= before + HOST_ROUNDS, "the guest gets on");
  return steps;
}

function floodStep(flood: Flood, kind: u32, page: u64): bool {
  switch (kind) {
    case HostFlood.Ipi:
      return sendIpi(0, ~0) == 0;
    case HostFlood.Messages:
      mmioWrite32(interruptFile(flood.workHart), 2);
      return true;
    case HostFlood.Faults:
      return probeLoad(page, 8) != PROBE_OK;
    case HostFlood.Fences:
      return remoteFenceI(0, ~0) == 0;
    default:
      return injectExternalInterrupt(flood.tvm.id, 0, FORBIDDEN) == flood.forbidden;
  }
}

function subjectOf(kind: u32): void {
  switch (kind) {
    case HostFlood.Ipi:
      return subject("software interrupts");
    case HostFlood.Messages:
      return subject("messages to an interrupt file");
    case HostFlood.Faults:
      return subject("faults");
    case HostFlood.Fences:
      return subject("remote fences");
    default:
      return subject("forbidden interrupts");
  }
}

// ---- both

/** Binds `vcpu` to guest file `file` of a hart of the host. */
function bindOn(flood: Flood, vcpu: u64, hart: u64, file: u64): void {
  const call = changetype<HostCall>(<usize>allocateZeroed(1));
  takeFile(hart, file);
  checkSuccess(coviOn(call, hart, CoviFunction.BindImsic, flood.tvm.id, vcpu, (<u64>1) << file), "BindImsic");
}

function newFlood(tvm: Tvm): Flood {
  const flood = changetype<Flood>(<usize>allocateZeroed(1));
  flood.tvm = tvm;
  flood.first = changetype<VcpuRun>(<usize>allocateZeroed(1));
  flood.second = changetype<VcpuRun>(<usize>allocateZeroed(1));
  flood.count = allocateZeroed(1);
  flood.workHart = hartCount() > 1 ? 1 : 0;
  flood.bystander = hartCount() > 2 ? 2 : 0;
  return flood;
}

/** Hart 1, if there is one, runs the vCPU that works; hart 2 counts. */
function startOthers(flood: Flood, run: VcpuRun, vcpu: u64): void {
  run.tvm = flood.tvm;
  run.vcpu = vcpu;
  if (flood.workHart != 0) post(hartAt(flood.workHart), HartCommand.RunVcpu, changetype<usize>(run));
  if (flood.bystander != 0) post(hartAt(flood.bystander), HartCommand.Count, flood.count);
}

function stopOthers(flood: Flood, run: VcpuRun): void {
  storeRelease64(run.stopAddress(), 1);
  if (flood.workHart != 0) {
    check(awaitIdle(hartAt(flood.workHart)), "the hart of the work comes back");
    checkEqual(commandResult(hartAt(flood.workHart)), 0, "failed checks there");
  }
  if (flood.bystander == 0) return;
  storeRelease64(flood.count + 8, 1);
  check(awaitIdle(hartAt(flood.bystander)), "the other hart of the host comes back");
  check(commandResult(hartAt(flood.bystander)) > 0, "another hart of the host gets on");
}

function printCounts(steps: u64, rounds: u64): void {
  print("  steps of the flood: ");
  printDecimal(steps);
  print(", rounds of work beside it: ");
  printDecimal(rounds);
  endLine();
}
