import { read64, write64 } from "../../lib/hw";
import {
  addSharedPages,
  addZeroPages,
  blockPages,
  convertPages,
  PageType,
  reclaimPages,
  removePages,
  tvmInitiateFence,
} from "../../lib/covh";
import { CovgFunction } from "../../lib/covg";
import { allocatePages } from "../../lib/heap";
import { beginTest, check, checkEqual, checkResult, checkSuccess, endTest, subject } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import { EID_COVG, SBI_DENIED, SBI_INVALID_ADDRESS, SBI_INVALID_PARAM, SBI_SUCCESS } from "../../lib/sbi";
import { GuestScenario, SHARED_WINDOW } from "../../lib/tvm-map";
import { fenceAllHarts } from "../fences";
import {
  checkGuestLoad,
  checkGuestStore,
  endPuppet,
  expectOutcome,
  puppetCall,
  puppetContinue,
  puppetLoad,
  startPuppet,
} from "../puppet";
import { answer, giveZeroPage, runOnce } from "../run-loop";
import { Outcome, Tvm } from "../tvm";
import { buildGuest, reclaimAndVerify, releaseTvm } from "../tvm-builder";
import { countNonZero } from "../verify";
import { BEYOND, LAST_PAGE, refused, UNMAPPED, WRAPPING_COUNT } from "../error-cases/fixture";

/** Pages of the window that nothing else uses. */
const PAGE: u64 = SHARED_WINDOW + 4 * PAGE_SIZE;
/** The guest shares this much from PAGE on; the second page stays empty. */
const LENGTH: u64 = 2 * PAGE_SIZE;

/** Memory that a guest shares and takes back, with a host that does it right and one that does not. */
export function testSharing(): void {
  beginTest("a guest for shared memory");
  const tvm = buildGuest(GuestScenario.Puppet, 0, 1);
  const hostPage = allocatePages(3);
  const ready = tvm.id != 0 && startPuppet(tvm);
  checkSuccess(convertPages(hostPage + 2 * PAGE_SIZE, 1), "ConvertPages of one page");
  endTest();
  if (ready) {
    testRejectedShare(tvm);
    testShare(tvm);
    testSharedPage(tvm, hostPage);
    testUnshare(tvm, hostPage);
    testDestroyWithBlockedPage(tvm, hostPage);
  }
  beginTest("shared pages are the host's alone again");
  releaseTvm(tvm);
  checkSuccess(convertPages(hostPage, 2), "ConvertPages");
  fenceAllHarts();
  reclaimAndVerify(hostPage, 3);
  endTest();
}

/** Makes the guest call COVG for PAGE; the call must be the host's to answer. */
function begin(tvm: Tvm, fid: u64): bool {
  return expectOutcome(puppetCall(tvm, EID_COVG, fid, PAGE, LENGTH), Outcome.Sharing, "the host is asked");
}

/** Answers and checks what the guest gets. */
function finish(tvm: Tvm, error: i64): void {
  answer(error, 0);
  expectOutcome(puppetContinue(tvm), Outcome.PuppetDone, "the guest goes on");
  checkResult(<i64>tvm.puppetDone, error, "what the guest gets");
}

function testRejectedShare(tvm: Tvm): void {
  beginTest("the host rejects a ShareMemory");
  expectOutcome(puppetLoad(tvm, PAGE), Outcome.Fault, "the guest touches the page");
  giveZeroPage(tvm, PAGE);
  puppetContinue(tvm);
  checkGuestStore(tvm, PAGE, 0x5ec7e7, "the guest writes a word");
  if (begin(tvm, CovgFunction.ShareMemory)) {
    refused(addSharedPages(tvm.id, tvm.window, PageType.Page4K, 1, PAGE), "AddSharedPages before the answer");
    finish(tvm, SBI_DENIED);
  }
  checkGuestLoad(tvm, PAGE, 0x5ec7e7, "the page is as it was");
  refused(addSharedPages(tvm.id, tvm.window, PageType.Page4K, 1, PAGE + PAGE_SIZE), "AddSharedPages");
  endTest();
}

/** The confidential page under the range must be gone before the guest goes on; its content is lost. */
function testShare(tvm: Tvm): void {
  beginTest("the host accepts a ShareMemory");
  if (begin(tvm, CovgFunction.ShareMemory)) {
    subject("with the page still there");
    answer(0, 0);
    checkResult(runOnce(tvm, 0).error, SBI_INVALID_ADDRESS, "CpuRun");
    refused(removePages(tvm.id, PAGE, PAGE_SIZE), "RemovePages of a page that is not blocked");
    checkResult(blockPages(tvm.id, PAGE, PAGE_SIZE), SBI_SUCCESS, "BlockPages");
    checkResult(runOnce(tvm, 0).error, SBI_INVALID_ADDRESS, "CpuRun with a blocked page");
    refused(removePages(tvm.id, PAGE, PAGE_SIZE), "RemovePages of a page that is not fenced");
    checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "TvmInitiateFence");
    refused(removePages(tvm.id, PAGE, LENGTH + PAGE_SIZE), "RemovePages beyond what the guest gives up");
    checkResult(removePages(tvm.id, PAGE, LENGTH), SBI_SUCCESS, "RemovePages");
    checkResult(removePages(tvm.id, PAGE, LENGTH), SBI_SUCCESS, "RemovePages where nothing is");
    subject("with the page gone");
    finish(tvm, SBI_SUCCESS);
  }
  const removed = tvm.poolNext - PAGE_SIZE;
  checkEqual(<u64>reclaimPages(removed, 1), 1, "the page can be reclaimed");
  check(countNonZero(removed, 1) == 0, "nothing of the guest is in it");
  checkSuccess(convertPages(removed, 1), "ConvertPages of it");
  fenceAllHarts();
  endTest();
}

function testSharedPage(tvm: Tvm, hostPage: u64): void {
  beginTest("errors of AddSharedPages for shared memory");
  write64(hostPage, 0x1234);
  subject("pages of the host");
  refused(addShared(tvm, hostPage + 8, 1, PAGE), "misaligned");
  refused(addShared(tvm, UNMAPPED, 1, PAGE), "no memory");
  refused(addShared(tvm, BEYOND, 1, PAGE), "beyond the address space");
  refused(addShared(tvm, LAST_PAGE, 2, PAGE), "that wrap");
  refused(addShared(tvm, tvm.poolNext, 1, PAGE), "converted");
  refused(addShared(tvm, hostPage + PAGE_SIZE, 2, PAGE), "of which the second is converted");
  checkSuccess(convertPages(hostPage + PAGE_SIZE, 1), "ConvertPages of the first of these");
  fenceAllHarts();
  reclaimAndVerify(hostPage + PAGE_SIZE, 1);
  subject("TVM address");
  refused(addShared(tvm, hostPage, 1, PAGE + 8), "misaligned");
  refused(addShared(tvm, hostPage, 2, PAGE + PAGE_SIZE), "across the end of the shared memory");
  refused(addShared(tvm, hostPage, 1, BEYOND), "beyond the address space");
  subject("");
  checkResult(addShared(tvm, hostPage, 0, PAGE), SBI_INVALID_PARAM, "no pages");
  refused(addShared(tvm, hostPage, WRAPPING_COUNT + 1, PAGE), "a length that wraps");
  refused(addZeroPages(tvm.id, tvm.poolNext, PageType.Page4K, 1, PAGE), "AddZeroPages in shared memory");
  checkEqual(<u64>addShared(tvm, hostPage, 1, PAGE), 1, "pages added when all is right");
  refused(addShared(tvm, hostPage + PAGE_SIZE, 1, PAGE), "an address that has a page");
  endTest();

  beginTest("a page that host and guest share");
  checkGuestLoad(tvm, PAGE, 0x1234, "the guest reads the host's word");
  checkGuestStore(tvm, PAGE, 0x9876, "the guest writes a word");
  checkEqual(read64(hostPage), 0x9876, "the host reads the guest's word");
  refused(convertPages(hostPage, 1), "ConvertPages of the shared page");
  refused(convertPages(hostPage, 2), "ConvertPages of a range with it");
  endTest();
}

function addShared(tvm: Tvm, page: u64, count: u64, gpa: u64): i64 {
  return addSharedPages(tvm.id, page, PageType.Page4K, count, gpa);
}

function testUnshare(tvm: Tvm, hostPage: u64): void {
  beginTest("the guest takes shared memory back");
  if (begin(tvm, CovgFunction.UnshareMemory)) {
    answer(0, 0);
    checkResult(runOnce(tvm, 0).error, SBI_INVALID_ADDRESS, "CpuRun with the page still there");
    checkResult(blockPages(tvm.id, PAGE, PAGE_SIZE), SBI_SUCCESS, "BlockPages");
    checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "TvmInitiateFence");
    checkResult(removePages(tvm.id, PAGE, LENGTH), SBI_SUCCESS, "RemovePages");
    finish(tvm, SBI_SUCCESS);
  }
  checkEqual(read64(hostPage), 0x9876, "the host keeps its page");
  expectOutcome(puppetLoad(tvm, PAGE), Outcome.Fault, "the guest's range is empty");
  giveZeroPage(tvm, PAGE);
  puppetContinue(tvm);
  checkEqual(tvm.puppetValue, 0, "the new confidential page is zero");
  endTest();
}

/** A TVM may end with a shared page that is blocked. */
function testDestroyWithBlockedPage(tvm: Tvm, hostPage: u64): void {
  beginTest("a TVM ends with a blocked shared page");
  if (begin(tvm, CovgFunction.ShareMemory)) {
    checkResult(blockPages(tvm.id, PAGE, PAGE_SIZE), SBI_SUCCESS, "BlockPages");
    checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "TvmInitiateFence");
    checkResult(removePages(tvm.id, PAGE, LENGTH), SBI_SUCCESS, "RemovePages");
    finish(tvm, SBI_SUCCESS);
    checkSuccess(addShared(tvm, hostPage, 1, PAGE), "AddSharedPages");
    checkResult(blockPages(tvm.id, PAGE, PAGE_SIZE), SBI_SUCCESS, "BlockPages of the shared page");
  }
  endPuppet(tvm);
  endTest();
}
