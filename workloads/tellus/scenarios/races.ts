import { codeWriter, encodeJump, WFI } from "../../lib/assembler";
import { convertPages, PAGE_DIRECTORY_PAGES, tvmDestroy } from "../../lib/covh";
import { allocatePages, allocatePagesAligned, allocateZeroed } from "../../lib/heap";
import { awaitIdle, commandResult, post } from "../../lib/mailbox";
import { beginTest, check, checkEqual, checkSuccess, endTest, skipTest } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import { SCRATCH_START } from "../../lib/tvm-map";
import { HartCommand } from "../commands";
import { fenceAllHarts } from "../fences";
import { Race, RaceKind, runRace } from "../race";
import { hartAt, hartCount, state } from "../state";
import { buildCodeTvm, reclaimAndVerify, releaseTvm } from "../tvm-builder";
import { countNonZero, fillPattern } from "../verify";

const PAGES: u64 = 64;
const RUNS: u64 = 200;

/** All harts make the same calls at once; what can be had once is had once. */
export function testRaces(): void {
  if (hartCount() < 2) {
    skipTest("races between harts", "one hart");
    return;
  }
  beginTest("harts race for pages");
  const pages = allocatePages(PAGES);
  fillPattern(pages, PAGES, 5);
  checkEqual(race(RaceKind.Convert, pages, PAGES, 0, 0), PAGES, "pages converted by all harts together");
  fenceAllHarts();
  checkEqual(race(RaceKind.Reclaim, pages, PAGES, 0, 0), PAGES, "pages reclaimed by all harts together");
  check(countNonZero(pages, PAGES) == 0, "reclaimed pages are zero");
  endTest();
  raceForCreation();
  raceForTvm();
}

/** Runs a race on all harts; the sum of their successes. Within a test. */
function race(kind: u64, base: u64, count: u64, tvm: u64, gpa: u64): u64 {
  return raceFor(changetype<Race>(<usize>allocateZeroed(1)), kind, base, count, tvm, gpa);
}

function raceFor(task: Race, kind: u64, base: u64, count: u64, tvm: u64, gpa: u64): u64 {
  task.kind = kind;
  task.harts = hartCount();
  task.base = base;
  task.count = count;
  task.tvm = tvm;
  task.gpa = gpa;
  for (let index: u64 = 1; index < hartCount(); index++) {
    post(hartAt(index), HartCommand.Race, changetype<usize>(task));
  }
  let sum = runRace(task);
  for (let index: u64 = 1; index < hartCount(); index++) {
    check(awaitIdle(hartAt(index)), "the hart comes back");
    sum += commandResult(hartAt(index));
  }
  return sum;
}

function raceForCreation(): void {
  beginTest("harts race to create a TVM");
  const pages = PAGE_DIRECTORY_PAGES + state().tvmStatePages;
  const directory = allocatePagesAligned(pages, PAGE_DIRECTORY_PAGES * PAGE_SIZE);
  checkSuccess(convertPages(directory, pages), "ConvertPages");
  fenceAllHarts();
  const statePages = directory + PAGE_DIRECTORY_PAGES * PAGE_SIZE;
  const task = changetype<Race>(<usize>allocateZeroed(1));
  const created = raceFor(task, RaceKind.Create, directory, 20, 0, statePages);
  checkEqual(created, 1, "TVMs created by all harts together");
  checkSuccess(tvmDestroy(task.value), "TvmDestroy of the winner's");
  reclaimAndVerify(directory, pages);
  endTest();
}

function raceForTvm(): void {
  beginTest("harts race for a TVM");
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  writer.put(WFI);
  writer.put(encodeJump(-4));
  const own = allocatePages(PAGES * hartCount());
  checkSuccess(convertPages(own, PAGES * hartCount()), "ConvertPages");
  const tvm = buildCodeTvm(code, 0);
  if (tvm.id != 0) {
    checkEqual(race(RaceKind.AddZero, own, PAGES, tvm.id, SCRATCH_START), PAGES, "pages added by all harts together");
    const runs = race(RaceKind.Run, 0, RUNS, tvm.id, 0);
    check(runs > 0 && runs <= RUNS * hartCount(), "runs of its vCPU by all harts together");
    checkSuccess(tvmDestroy(tvm.id), "TvmDestroy");
    tvm.id = 0;
  }
  releaseTvm(tvm);
  reclaimAndVerify(own, PAGES * hartCount());
  endTest();
}
