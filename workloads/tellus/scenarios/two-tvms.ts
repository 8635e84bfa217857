import { read64, write64 } from "../../lib/hw";
import { addSharedPages, convertPages, PageType, tvmDestroy } from "../../lib/covh";
import { heapMark, heapRelease, allocatePages } from "../../lib/heap";
import { awaitIdle, commandResult, post } from "../../lib/mailbox";
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
import { PAGE_SIZE } from "../../lib/records";
import { EID_COVG, SBI_SUCCESS } from "../../lib/sbi";
import { GuestScenario, SHARED_WINDOW } from "../../lib/tvm-map";
import { HartCommand } from "../commands";
import { fenceAllHarts } from "../fences";
import { checkGuestLoad, checkGuestStore, puppetCall, puppetContinue, startPuppet } from "../puppet";
import { answer, describeOutcome, runUntilWfi } from "../run-loop";
import { hartAt, hartCount } from "../state";
import { Outcome, Tvm } from "../tvm";
import { buildGuest, reclaimAndVerify, releaseTvm } from "../tvm-builder";
import { CovgFunction } from "../../lib/covg";
import { refused } from "../error-cases/fixture";

/** Rounds after which a counting guest must be done. */
const MAX_ROUNDS: u64 = 200;

/** Two TVMs at once: on one hart in turns, on all harts in turns, and with one page of the host between them. */
export function testTwoTvms(): void {
  const mark = heapMark();
  runPair("two TVMs in turns on one hart", 1);
  heapRelease(mark);
  if (hartCount() > 1) runPair("two TVMs at the same time, moving between harts", hartCount());
  else skipTest("two TVMs at the same time, moving between harts", "one hart");
  heapRelease(mark);
  testCommonPage();
  heapRelease(mark);
}

function runPair(name: string, harts: u64): void {
  beginTest(name);
  const first = buildGuest(GuestScenario.Counter, 0xaaaa, 1);
  const second = buildGuest(GuestScenario.Counter, 0xbbbb, 1);
  if (first.id != 0 && second.id != 0) {
    check(first.id != second.id, "they have different guest ids");
    if (harts == 1) runInTurns(first, second);
    else runMoving(first, second, harts);
    checkEqual(first.shutdownReason, 0, "failed tests of the first");
    checkEqual(second.shutdownReason, 0, "failed tests of the second");
    check(first.shutdown != 0 && second.shutdown != 0, "both shut down");
  }
  releaseTvm(first);
  releaseTvm(second);
  endTest();
}

function runInTurns(first: Tvm, second: Tvm): void {
  for (let round: u64 = 0; round < MAX_ROUNDS && (first.shutdown == 0 || second.shutdown == 0); round++) {
    if (!runTurn(first) || !runTurn(second)) return;
  }
}

function runTurn(tvm: Tvm): bool {
  if (tvm.shutdown != 0) return true;
  const outcome = runUntilWfi(tvm);
  if (outcome == Outcome.Continue || outcome == Outcome.Shutdown) return true;
  check(false, "the vCPU goes on to its next WFI");
  describeOutcome(outcome);
  return false;
}

/** In each round the two run on two neighbouring harts, one hart further than before. */
function runMoving(first: Tvm, second: Tvm, harts: u64): void {
  for (let round: u64 = 0; round < MAX_ROUNDS && (first.shutdown == 0 || second.shutdown == 0); round++) {
    const hartOfFirst = round % harts;
    const hartOfSecond = (round + 1) % harts;
    startOn(hartOfFirst, first);
    startOn(hartOfSecond, second);
    let ok: bool = true;
    if (hartOfFirst == 0) ok = runTurn(first);
    if (hartOfSecond == 0) ok = runTurn(second);
    if (!finishOn(hartOfFirst, first) || !finishOn(hartOfSecond, second) || !ok) return;
  }
}

function startOn(index: u64, tvm: Tvm): void {
  if (index != 0 && tvm.shutdown == 0) post(hartAt(index), HartCommand.RunUntilWfi, changetype<usize>(tvm));
}

function finishOn(index: u64, tvm: Tvm): bool {
  if (index == 0) return true;
  const hart = hartAt(index);
  if (!check(awaitIdle(hart), "the hart comes back")) return false;
  const result = commandResult(hart);
  return check(
    tvm.shutdown != 0 || result == <u64>Outcome.Continue || result == <u64>Outcome.Shutdown,
    "the vCPU goes on to its next WFI on another hart",
  );
}

/** One page of the host is shared with two TVMs; it is the host's alone again when both have let it go. */
function testCommonPage(): void {
  beginTest("a page that two TVMs share with the host");
  const page = allocatePages(1);
  const first = buildGuest(GuestScenario.Puppet, 0, 1);
  const second = buildGuest(GuestScenario.Puppet, 0, 1);
  if (first.id != 0 && second.id != 0 && shareCommon(first, page) && shareCommon(second, page)) {
    write64(page, 0x1234);
    checkGuestLoad(first, SHARED_WINDOW, 0x1234, "the first reads the host's word");
    checkGuestStore(first, SHARED_WINDOW, 0x5678, "the first writes a word");
    checkGuestLoad(second, SHARED_WINDOW, 0x5678, "the second reads the first's word");
    checkEqual(read64(page), 0x5678, "the host reads it too");
    subject("ConvertPages of the page");
    refused(convertPages(page, 1), "while both have it");
    checkResult(tvmDestroy(first.id), SBI_SUCCESS, "TvmDestroy of the first");
    first.id = 0;
    refused(convertPages(page, 1), "while the second has it");
    checkGuestLoad(second, SHARED_WINDOW, 0x5678, "the second still reads it");
    checkResult(tvmDestroy(second.id), SBI_SUCCESS, "TvmDestroy of the second");
    second.id = 0;
    checkEqual(read64(page), 0x5678, "the host's word is still there");
    checkSuccess(convertPages(page, 1), "when nobody has it");
    fenceAllHarts();
    reclaimAndVerify(page, 1);
  }
  releaseTvm(first);
  releaseTvm(second);
  endTest();
}

/** Makes the guest share the first page of its window and puts `page` there. */
function shareCommon(tvm: Tvm, page: u64): bool {
  if (!startPuppet(tvm)) return false;
  const outcome = puppetCall(tvm, EID_COVG, CovgFunction.ShareMemory, SHARED_WINDOW, PAGE_SIZE);
  if (!check(outcome == Outcome.Sharing, "ShareMemory is the host's to answer")) return false;
  answer(0, 0);
  check(puppetContinue(tvm) == Outcome.PuppetDone, "the guest goes on");
  checkResult(<i64>tvm.puppetDone, SBI_SUCCESS, "ShareMemory");
  return checkSuccess(addSharedPages(tvm.id, page, PageType.Page4K, 1, SHARED_WINDOW), "AddSharedPages");
}
