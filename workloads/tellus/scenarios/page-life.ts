import {
  addZeroPages,
  blockPages,
  convertPages,
  demotePage,
  PageType,
  promotePage,
  removePages,
  tvmInitiateFence,
  unblockPages,
} from "../../lib/covh";
import { allocateHugePages } from "../../lib/heap";
import { beginTest, check, checkEqual, checkResult, checkSuccess, endTest, subject } from "../../lib/protocol";
import { PuppetCommand } from "../../lib/puppet-protocol";
import { HUGE_PAGE_SIZE, PAGE_SIZE, PAGES_PER_HUGE } from "../../lib/records";
import { SBI_FAILED, SBI_INVALID_PARAM, SBI_SUCCESS } from "../../lib/sbi";
import { DEMOTE_PAGE, GuestScenario, PROMOTE_PAGE, SCRATCH_START } from "../../lib/tvm-map";
import { EXC_INST_GUEST_PAGE, EXC_LOAD_GUEST_PAGE, EXC_STORE_GUEST_PAGE } from "../../../hypervisor/riscv/csr";
import { fenceAllHarts } from "../fences";
import {
  checkGuestLoad,
  checkGuestRange,
  checkGuestStore,
  endPuppet,
  expectOutcome,
  guestFill,
  puppetBegin,
  puppetContinue,
  puppetLoad,
  puppetStore,
  startPuppet,
} from "../puppet";
import { giveZeroPage } from "../run-loop";
import { lastExit } from "../state";
import { Outcome, Tvm } from "../tvm";
import { buildGuest, reclaimAndVerify, releaseTvm } from "../tvm-builder";
import { refused } from "../error-cases/fixture";

/** The life of a running guest's page: demanded, blocked, unblocked, promoted, demoted; with the errors on its way. */
export function testPageLife(): void {
  beginTest("a guest for the life of its pages");
  const source = allocateHugePages(2);
  checkSuccess(convertPages(source, 2 * PAGES_PER_HUGE), "ConvertPages");
  const tvm = buildGuest(GuestScenario.Puppet, 0, 1);
  const ready = tvm.id != 0 && startPuppet(tvm);
  endTest();
  if (ready) {
    testDemand(tvm);
    testBlock(tvm);
    testPromoteAndDemote(tvm, source);
    testBrokenPromotion(tvm, source + HUGE_PAGE_SIZE);
    testNoTables(tvm);
  }
  beginTest("the pages come back");
  if (ready) endPuppet(tvm);
  releaseTvm(tvm);
  reclaimAndVerify(source, 2 * PAGES_PER_HUGE);
  endTest();
}

/** The guest's first touch of a page is an exit that shows the page and nothing else. */
function testDemand(tvm: Tvm): void {
  beginTest("pages on demand");
  subject("load");
  demand(tvm, puppetLoad(tvm, SCRATCH_START + 0x128), EXC_LOAD_GUEST_PAGE, SCRATCH_START);
  checkEqual(tvm.puppetValue, 0, "the word that the guest loads");
  subject("store");
  demand(tvm, puppetStore(tvm, SCRATCH_START + PAGE_SIZE + 8, 7), EXC_STORE_GUEST_PAGE, SCRATCH_START + PAGE_SIZE);
  checkGuestLoad(tvm, SCRATCH_START + PAGE_SIZE + 8, 7, "the guest reads what it stored");
  subject("fetch");
  const third = SCRATCH_START + 2 * PAGE_SIZE;
  demand(tvm, puppetBegin(tvm, PuppetCommand.Call, third, 0, 0, 0, 0, 0), EXC_INST_GUEST_PAGE, third);
  checkEqual(tvm.puppetDone, 2, "the zeroes of the new page are an illegal instruction for the guest");
  endTest();
}

/** Serves the fault with a zero page and lets the guest finish its command. */
function demand(tvm: Tvm, outcome: Outcome, cause: u64, page: u64): void {
  if (!expectOutcome(outcome, Outcome.Fault, "the guest exits")) return;
  const exit = lastExit();
  checkEqual(exit.cause, cause, "scause");
  checkEqual(exit.gpa, page, "the page");
  checkEqual(exit.htinst, 0, "htinst");
  giveZeroPage(tvm, page);
  expectOutcome(puppetContinue(tvm), Outcome.PuppetDone, "the guest goes on");
}

function testBlock(tvm: Tvm): void {
  beginTest("blocked pages");
  const page = SCRATCH_START;
  const next = page + PAGE_SIZE;
  checkGuestStore(tvm, page, 0x1111, "the guest writes a word");
  refused(blockPages(tvm.id, page, 4 * PAGE_SIZE), "BlockPages of a range with a gap");
  checkGuestLoad(tvm, page, 0x1111, "nothing is blocked by a refused call");
  checkResult(blockPages(tvm.id, page, PAGE_SIZE), SBI_SUCCESS, "BlockPages");
  refused(blockPages(tvm.id, page, PAGE_SIZE), "BlockPages of a blocked page");
  refused(blockPages(tvm.id, page, 2 * PAGE_SIZE), "BlockPages of a range that begins with a blocked page");
  subject("a page over a blocked one");
  refused(addZeroPages(tvm.id, tvm.poolNext, PageType.Page4K, 1, page), "AddZeroPages");
  checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "TvmInitiateFence");
  refused(addZeroPages(tvm.id, tvm.poolNext, PageType.Page4K, 1, page), "AddZeroPages after a fence");
  subject("the guest");
  if (expectOutcome(puppetLoad(tvm, page), Outcome.Fault, "exits when it touches a blocked page")) {
    checkEqual(lastExit().gpa, page, "the page");
    refused(removePages(tvm.id, page, PAGE_SIZE), "RemovePages of memory that the guest does not give up");
    checkResult(unblockPages(tvm.id, page, PAGE_SIZE), SBI_SUCCESS, "UnblockPages");
    expectOutcome(puppetContinue(tvm), Outcome.PuppetDone, "goes on when it is unblocked");
    checkEqual(tvm.puppetValue, 0x1111, "finds what it wrote");
  }
  subject("");
  refused(unblockPages(tvm.id, page, PAGE_SIZE), "UnblockPages of a page that is not blocked");
  checkResult(blockPages(tvm.id, next, PAGE_SIZE), SBI_SUCCESS, "BlockPages of the second page");
  refused(unblockPages(tvm.id, page, 2 * PAGE_SIZE), "UnblockPages of two pages, the first not blocked");
  checkResult(unblockPages(tvm.id, next, PAGE_SIZE), SBI_SUCCESS, "UnblockPages of the second page");
  checkResult(blockPages(tvm.id, page, 1), SBI_SUCCESS, "a length of one byte blocks its page");
  checkResult(unblockPages(tvm.id, page, 1), SBI_SUCCESS, "and unblocks it");
  checkGuestLoad(tvm, page, 0x1111, "the guest reads its word again");
  endTest();
}

function testPromoteAndDemote(tvm: Tvm, source: u64): void {
  beginTest("promote and demote");
  fenceAllHarts();
  const gpa = PROMOTE_PAGE;
  const added = addZeroPages(tvm.id, source, PageType.Page4K, PAGES_PER_HUGE, gpa);
  checkEqual(<u64>added, PAGES_PER_HUGE, "small pages added");
  check(guestFill(tvm, gpa, HUGE_PAGE_SIZE, 0xabcdef), "the guest fills them");
  subject("PromotePage");
  refused(promotePage(tvm.id, gpa, PageType.Page2M), "of pages that are not blocked");
  checkResult(blockPages(tvm.id, gpa, HUGE_PAGE_SIZE), SBI_SUCCESS, "after BlockPages");
  refused(promotePage(tvm.id, gpa, PageType.Page2M), "of pages that are not fenced");
  checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "after TvmInitiateFence");
  refused(promotePage(tvm.id, gpa, PageType.Page1G), "to 1 GiB");
  checkResult(promotePage(tvm.id, gpa, 4), SBI_INVALID_PARAM, "to an unknown size");
  checkResult(promotePage(tvm.id, gpa, PageType.Page2M), SBI_SUCCESS, "to 2 MiB");
  refused(promotePage(tvm.id, gpa, PageType.Page2M), "again");
  checkGuestRange(tvm, gpa, HUGE_PAGE_SIZE, 0xabcdef, "the guest finds what it wrote");
  subject("the large page");
  refused(blockPages(tvm.id, gpa + PAGE_SIZE, PAGE_SIZE), "BlockPages of a part of it");
  refused(addZeroPages(tvm.id, tvm.poolNext, PageType.Page4K, 1, gpa), "AddZeroPages in it");
  subject("DemotePage");
  refused(demotePage(tvm.id, gpa, PageType.Page4K), "of a page that is not blocked");
  checkResult(blockPages(tvm.id, gpa, HUGE_PAGE_SIZE), SBI_SUCCESS, "after BlockPages");
  refused(demotePage(tvm.id, gpa, PageType.Page4K), "of a page that is not fenced");
  checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "after TvmInitiateFence");
  refused(demotePage(tvm.id, gpa, PageType.Page2M), "to 2 MiB");
  checkResult(demotePage(tvm.id, gpa, 4), SBI_INVALID_PARAM, "to an unknown size");
  checkResult(demotePage(tvm.id, gpa, PageType.Page4K), SBI_SUCCESS, "to 4 KiB");
  refused(demotePage(tvm.id, gpa, PageType.Page4K), "again");
  checkGuestRange(tvm, gpa, HUGE_PAGE_SIZE, 0xabcdef, "the guest finds what it wrote");
  checkResult(blockPages(tvm.id, gpa + PAGE_SIZE, PAGE_SIZE), SBI_SUCCESS, "BlockPages of one small page");
  checkResult(unblockPages(tvm.id, gpa + PAGE_SIZE, PAGE_SIZE), SBI_SUCCESS, "UnblockPages of it");
  endTest();
}

/** 512 small pages of which the first two are swapped do not make a large one. */
function testBrokenPromotion(tvm: Tvm, source: u64): void {
  beginTest("pages that cannot be promoted");
  const gpa = DEMOTE_PAGE;
  checkEqual(<u64>addZeroPages(tvm.id, source + PAGE_SIZE, PageType.Page4K, 1, gpa), 1, "second page first");
  checkEqual(<u64>addZeroPages(tvm.id, source, PageType.Page4K, 1, gpa + PAGE_SIZE), 1, "first page second");
  const rest = PAGES_PER_HUGE - 2;
  const added = addZeroPages(tvm.id, source + 2 * PAGE_SIZE, PageType.Page4K, rest - 1, gpa + 2 * PAGE_SIZE);
  checkEqual(<u64>added, rest - 1, "all others but the last");
  blockPages(tvm.id, gpa, HUGE_PAGE_SIZE - PAGE_SIZE);
  tvmInitiateFence(tvm.id);
  refused(promotePage(tvm.id, gpa, PageType.Page2M), "PromotePage with a gap");
  const last = gpa + HUGE_PAGE_SIZE - PAGE_SIZE;
  const lastSource = source + HUGE_PAGE_SIZE - PAGE_SIZE;
  checkEqual(<u64>addZeroPages(tvm.id, lastSource, PageType.Page4K, 1, last), 1, "the last page");
  refused(promotePage(tvm.id, gpa, PageType.Page2M), "PromotePage with one page that is not blocked");
  blockPages(tvm.id, last, PAGE_SIZE);
  tvmInitiateFence(tvm.id);
  refused(promotePage(tvm.id, gpa, PageType.Page2M), "PromotePage of pages that are not contiguous");
  checkResult(unblockPages(tvm.id, gpa, HUGE_PAGE_SIZE), SBI_SUCCESS, "UnblockPages");
  checkGuestStore(tvm, gpa, 1, "the guest uses the pages");
  checkGuestLoad(tvm, gpa + PAGE_SIZE, 0, "each is its own");
  endTest();
}

/** Makes one large page again of the small ones at PROMOTE_PAGE; its table is back in the pool after the fence. */
function promoteAgain(tvm: Tvm): void {
  checkResult(blockPages(tvm.id, PROMOTE_PAGE, HUGE_PAGE_SIZE), SBI_SUCCESS, "BlockPages");
  checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "TvmInitiateFence");
  checkResult(promotePage(tvm.id, PROMOTE_PAGE, PageType.Page2M), SBI_SUCCESS, "PromotePage");
  checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "TvmInitiateFence after it");
}

/** Pages in 2 MiB ranges of their own need a table each, until there is none. */
function testNoTables(tvm: Tvm): void {
  beginTest("no page-table pages left");
  promoteAgain(tvm);
  let result: i64 = 1;
  let at: u64 = 0;
  const start = SCRATCH_START + (64 << 20);
  while (result == 1 && tvm.poolNext < tvm.poolEnd) {
    result = addZeroPages(tvm.id, tvm.poolNext, PageType.Page4K, 1, start + at * HUGE_PAGE_SIZE);
    if (result == 1) tvm.poolNext += PAGE_SIZE;
    at++;
  }
  checkResult(result, SBI_FAILED, "AddZeroPages");
  check(tvm.poolNext < tvm.poolEnd, "there are zero pages left");
  checkResult(blockPages(tvm.id, PROMOTE_PAGE, HUGE_PAGE_SIZE), SBI_SUCCESS, "BlockPages of a large page");
  checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "TvmInitiateFence");
  checkResult(demotePage(tvm.id, PROMOTE_PAGE, PageType.Page4K), SBI_FAILED, "DemotePage");
  checkResult(unblockPages(tvm.id, PROMOTE_PAGE, HUGE_PAGE_SIZE), SBI_SUCCESS, "UnblockPages");
  checkGuestRange(tvm, PROMOTE_PAGE, HUGE_PAGE_SIZE, 0xabcdef, "the guest still has its large page");
  const sameTable = start + PAGE_SIZE;
  checkResult(addZeroPages(tvm.id, tvm.poolNext, PageType.Page4K, 1, sameTable), 1, "where a table is");
  endTest();
}
