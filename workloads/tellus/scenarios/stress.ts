import {
  addZeroPages,
  blockPages,
  convertPages,
  demotePage,
  PageType,
  promotePage,
  tvmInitiateFence,
  unblockPages,
} from "../../lib/covh";
import { endLine, print, printDecimal } from "../../lib/console";
import { deadlineIn, hasPassed, PATIENCE } from "../../lib/deadline";
import { allocateHugePages, allocateZeroed } from "../../lib/heap";
import { awaitIdle, commandResult, post } from "../../lib/mailbox";
import { beginTest, check, checkEqual, checkSuccess, endTest } from "../../lib/protocol";
import { HUGE_PAGE_SIZE, PAGE_SIZE, PAGES_PER_HUGE } from "../../lib/records";
import { SBI_ALREADY_STARTED } from "../../lib/sbi";
import { GuestScenario, STRESS_START } from "../../lib/tvm-map";
import { HartCommand } from "../commands";
import { fenceAllHarts } from "../fences";
import { hartAt, hartCount } from "../state";
import { prepareStressHart, runStressSlice, Stress, stressIsOver } from "../stress-run";
import { Outcome, Tvm } from "../tvm";
import { buildGuest, reclaimAndVerify, releaseTvm } from "../tvm-builder";

/** Rounds of the guest over its 4 MiB. */
const ROUNDS: u64 = 60;

/** Page type of the two stress ranges at the moment. */
@unmanaged
class Ranges {
  firstIsLarge: u32;
  secondIsLarge: u32;
  random: u64;
  changes: u64;
  blocks: u64;
}

/**
 * The host blocks, unblocks, promotes and demotes the pages of a guest that uses them all the time: on another hart if there is one, else
 * between short runs. The guest loses no word.
 */
export function testStress(): void {
  beginTest("a guest keeps its memory while the host changes its pages");
  const source = allocateHugePages(2);
  const ranges = changetype<Ranges>(<usize>allocateZeroed(1));
  const stress = changetype<Stress>(<usize>allocateZeroed(1));
  checkSuccess(convertPages(source, 2 * PAGES_PER_HUGE), "ConvertPages");
  const tvm = buildGuest(GuestScenario.Stress, ROUNDS, 1);
  if (tvm.id != 0) {
    fenceAllHarts();
    ranges.random = 88172645463325252;
    ranges.secondIsLarge = 1;
    const small = addZeroPages(tvm.id, source, PageType.Page4K, PAGES_PER_HUGE, STRESS_START);
    checkEqual(<u64>small, PAGES_PER_HUGE, "small pages added");
    const large = addZeroPages(tvm.id, source + HUGE_PAGE_SIZE, PageType.Page2M, 1, STRESS_START + HUGE_PAGE_SIZE);
    checkEqual(<u64>large, 1, "large pages added");
    stress.tvm = tvm;
    if (hartCount() > 1) stressFromHere(stress, ranges);
    else stressBetweenRuns(stress, ranges);
    check(tvm.shutdown != 0, "the guest shuts down");
    checkEqual(tvm.shutdownReason, 0, "failed tests of the guest");
    print("  page sizes changed ");
    printDecimal(ranges.changes);
    print(" times, pages blocked ");
    printDecimal(ranges.blocks);
    print(" times");
    endLine();
  }
  releaseTvm(tvm);
  reclaimAndVerify(source, 2 * PAGES_PER_HUGE);
  endTest();
}

function stressFromHere(stress: Stress, ranges: Ranges): void {
  const hart = hartAt(1);
  post(hart, HartCommand.RunStress, changetype<usize>(stress));
  while (!stressIsOver(stress)) changeSomething(stress.tvm, ranges, stress);
  if (check(awaitIdle(hart), "the hart comes back")) {
    checkEqual(commandResult(hart), Outcome.Shutdown, "outcome on the other hart");
  }
}

function stressBetweenRuns(stress: Stress, ranges: Ranges): void {
  const deadline = deadlineIn(2 * PATIENCE);
  prepareStressHart();
  let outcome: Outcome = Outcome.Continue;
  while (outcome == Outcome.Continue && !hasPassed(deadline)) {
    outcome = runStressSlice(stress.tvm);
    if (outcome == Outcome.Continue) changeSomething(stress.tvm, ranges, stress);
  }
  checkEqual(<u64>outcome, Outcome.Shutdown, "outcome");
}

/** A number that looks random (xorshift64). */
function nextRandom(ranges: Ranges): u64 {
  let x = ranges.random;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  ranges.random = x;
  return x;
}

function changeSomething(tvm: Tvm, ranges: Ranges, stress: Stress): void {
  const random = nextRandom(ranges);
  const second = (random & 1) != 0;
  const gpa = second ? STRESS_START + HUGE_PAGE_SIZE : STRESS_START;
  const large = second ? ranges.secondIsLarge != 0 : ranges.firstIsLarge != 0;
  if ((random & 6) == 0) {
    changeSize(tvm, ranges, stress, gpa, second, large);
    return;
  }
  // A large page is blocked whole, of small ones a few.
  const first = large ? 0 : (random >> 8) % (PAGES_PER_HUGE - 8);
  const length = large ? HUGE_PAGE_SIZE : (1 + ((random >> 32) & 7)) * PAGE_SIZE;
  const start = gpa + first * PAGE_SIZE;
  checkSuccess(blockPages(tvm.id, start, length), "BlockPages");
  if ((random & 8) != 0) fence(tvm);
  checkSuccess(unblockPages(tvm.id, start, length), "UnblockPages");
  ranges.blocks++;
}

/** Starts a fence; one that is still in progress is as good. */
function fence(tvm: Tvm): void {
  const result = tvmInitiateFence(tvm.id);
  check(result == 0 || result == SBI_ALREADY_STARTED, "TvmInitiateFence");
}

/** Makes small pages of a large one, or the reverse; waits until the fence lets it. */
function changeSize(tvm: Tvm, ranges: Ranges, stress: Stress, gpa: u64, second: bool, large: bool): void {
  checkSuccess(blockPages(tvm.id, gpa, HUGE_PAGE_SIZE), "BlockPages");
  const deadline = deadlineIn(PATIENCE);
  let result: i64 = -1;
  while (result != 0 && !hasPassed(deadline)) {
    fence(tvm);
    result = large ? demotePage(tvm.id, gpa, PageType.Page4K) : promotePage(tvm.id, gpa, PageType.Page2M);
    if (stressIsOver(stress)) break;
  }
  if (result != 0) {
    checkSuccess(unblockPages(tvm.id, gpa, HUGE_PAGE_SIZE), "UnblockPages");
    check(stressIsOver(stress), "the page changes its size");
    return;
  }
  ranges.changes++;
  if (second) ranges.secondIsLarge = large ? 0 : 1;
  else ranges.firstIsLarge = large ? 0 : 1;
}
