import { csrSet, probeLoad, read64 } from "../../lib/hw";
import {
  addZeroPages,
  blockPages,
  convertPages,
  PageType,
  reclaimPages,
  tvmInitiateFence,
  unblockPages,
} from "../../lib/covh";
import { allocateHugePages, heapLeft } from "../../lib/heap";
import { allowInterrupts, armTimer, maskInterrupts, NEVER, SIE_TIMER } from "../../lib/interrupts";
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
import { HUGE_PAGE_SIZE, PAGE_SIZE, PAGES_PER_HUGE, thisHart } from "../../lib/records";
import { SBI_SUCCESS } from "../../lib/sbi";
import { GuestScenario, SCRATCH_START } from "../../lib/tvm-map";
import { EXC_LOAD_ACCESS, SIE } from "../../../hypervisor/riscv/csr";
import { fenceAllHarts } from "../fences";
import { otherRangePages } from "../host-memory";
import { checkGuestLoad, checkGuestRange, checkGuestStore, endPuppet, guestFill, startPuppet } from "../puppet";
import { buildGuest, reclaimAndVerify, releaseTvm } from "../tvm-builder";
import { refused } from "../error-cases/fixture";
import { countChanged, fillPattern } from "../verify";

/** Large pages that are given to a guest in one call. */
const HUGE_PAGES: u64 = 3;
/** Pages of the call that interrupts break. */
const LONG_CALL_PAGES: u64 = 8192;

/** Calls on many pages, on large pages, and on every range of memory. */
export function testLargeRanges(): void {
  testWholeHugePage();
  testRefusedRange();
  testInterruptedCall();
  testHugePagesForGuest();
  testOtherRange();
}

function testWholeHugePage(): void {
  beginTest("convert and reclaim a whole 2 MiB range");
  const huge = allocateHugePages(1);
  fillPattern(huge, PAGES_PER_HUGE, 1);
  checkEqual(<u64>convertPages(huge, PAGES_PER_HUGE), PAGES_PER_HUGE, "pages converted");
  fenceAllHarts();
  checkEqual(probeLoad(huge, 8), EXC_LOAD_ACCESS, "a load from its first page");
  checkEqual(probeLoad(huge + HUGE_PAGE_SIZE - 8, 8), EXC_LOAD_ACCESS, "a load from its last page");
  subject("page by page");
  checkEqual(<u64>reclaimPages(huge + 7 * PAGE_SIZE, 1), 1, "one page in the middle reclaimed");
  checkEqual(read64(huge + 7 * PAGE_SIZE), 0, "its first word");
  checkEqual(probeLoad(huge + 8 * PAGE_SIZE, 8), EXC_LOAD_ACCESS, "a load from the page after it");
  reclaimAndVerify(huge, 7);
  reclaimAndVerify(huge + 8 * PAGE_SIZE, PAGES_PER_HUGE - 8);
  endTest();
}

/** A range of several batches of which only the last page is wrong: nothing of it may change. */
function testRefusedRange(): void {
  beginTest("a long range with a wrong page at its end");
  const pages = allocateHugePages(3);
  const count = 2 * PAGES_PER_HUGE;
  const last = pages + count * PAGE_SIZE;
  fillPattern(pages, count, 4);
  checkEqual(<u64>convertPages(last, 1), 1, "one page converted");
  fenceAllHarts();
  refused(convertPages(pages, count + 1), "ConvertPages");
  check(countChanged(pages, count, 4) == 0, "all others are the host's as they were");
  checkEqual(<u64>convertPages(pages, count), count, "all others converted");
  fenceAllHarts();
  checkEqual(<u64>reclaimPages(last, 1), 1, "the last page reclaimed");
  refused(reclaimPages(pages, count + 1), "ReclaimPages");
  reclaimAndVerify(pages, count);
  endTest();
}

/** A call of many batches takes interrupts between them and goes on where it was. */
function testInterruptedCall(): void {
  if (heapLeft() < (LONG_CALL_PAGES + PAGES_PER_HUGE) * PAGE_SIZE) {
    skipTest("interrupts during a long call", "too little memory");
    return;
  }
  beginTest("interrupts during a long call");
  const pages = allocateHugePages(LONG_CALL_PAGES / PAGES_PER_HUGE);
  fillPattern(pages, PAGES_PER_HUGE, 2);
  const hart = thisHart();
  const before = hart.interruptsTaken;
  csrSet(SIE, SIE_TIMER);
  armTimer(0);
  allowInterrupts();
  subject("ConvertPages");
  checkEqual(<u64>convertPages(pages, LONG_CALL_PAGES), LONG_CALL_PAGES, "pages converted");
  maskInterrupts();
  check(hart.interruptsTaken > before, "the interrupt was taken");
  checkEqual(probeLoad(pages + LONG_CALL_PAGES * PAGE_SIZE - 8, 8), EXC_LOAD_ACCESS, "a load from the last page");
  armTimer(NEVER);
  fenceAllHarts();
  csrSet(SIE, SIE_TIMER);
  subject("ReclaimPages, with a call in the interrupt handler");
  hart.callInInterrupt = 1;
  armTimer(0);
  allowInterrupts();
  reclaimAndVerify(pages, LONG_CALL_PAGES);
  maskInterrupts();
  hart.callInInterrupt = 0;
  armTimer(NEVER);
  endTest();
}

function testHugePagesForGuest(): void {
  beginTest("several large pages in one call");
  const source = allocateHugePages(HUGE_PAGES);
  const tvm = buildGuest(GuestScenario.Puppet, 0, 1);
  if (tvm.id != 0 && startPuppet(tvm)) {
    checkSuccess(convertPages(source, HUGE_PAGES * PAGES_PER_HUGE), "ConvertPages");
    fenceAllHarts();
    const added = addZeroPages(tvm.id, source, PageType.Page2M, HUGE_PAGES, SCRATCH_START);
    checkEqual(<u64>added, HUGE_PAGES, "large pages added");
    const length = HUGE_PAGES * HUGE_PAGE_SIZE;
    checkGuestRange(tvm, SCRATCH_START, length, 0, "they are zero for the guest");
    check(guestFill(tvm, SCRATCH_START, length, 0x7e57), "the guest fills them");
    checkGuestRange(tvm, SCRATCH_START, length, 0x7e57, "they hold what the guest wrote");
    subject("block and unblock them all");
    checkResult(blockPages(tvm.id, SCRATCH_START, length), SBI_SUCCESS, "BlockPages");
    checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "TvmInitiateFence");
    checkResult(unblockPages(tvm.id, SCRATCH_START, length), SBI_SUCCESS, "UnblockPages");
    checkGuestLoad(tvm, SCRATCH_START + length - 8, 0x7e57, "the guest reads the last word");
    checkGuestStore(tvm, SCRATCH_START, 1, "the guest writes the first word");
    endPuppet(tvm);
  }
  releaseTvm(tvm);
  reclaimAndVerify(source, HUGE_PAGES * PAGES_PER_HUGE);
  endTest();
}

/** Memory of another range of the device tree is as good as that of the first. */
function testOtherRange(): void {
  const source = otherRangePages(2 * PAGES_PER_HUGE);
  if (source == 0) {
    skipTest("memory of another range", "one range");
    return;
  }
  beginTest("memory of another range");
  fillPattern(source, 2 * PAGES_PER_HUGE, 3);
  const tvm = buildGuest(GuestScenario.Puppet, 0, 1);
  if (tvm.id != 0 && startPuppet(tvm)) {
    checkSuccess(convertPages(source, 2 * PAGES_PER_HUGE), "ConvertPages");
    fenceAllHarts();
    checkEqual(<u64>addZeroPages(tvm.id, source, PageType.Page2M, 1, SCRATCH_START), 1, "large page added");
    const small = source + HUGE_PAGE_SIZE;
    const added = addZeroPages(tvm.id, small, PageType.Page4K, 16, SCRATCH_START + HUGE_PAGE_SIZE);
    checkEqual(<u64>added, 16, "small pages added");
    checkGuestRange(tvm, SCRATCH_START, HUGE_PAGE_SIZE + 16 * PAGE_SIZE, 0, "they are zero for the guest");
    check(guestFill(tvm, SCRATCH_START, HUGE_PAGE_SIZE + 16 * PAGE_SIZE, 0x5ec7e7), "the guest fills them");
    endPuppet(tvm);
  }
  releaseTvm(tvm);
  reclaimAndVerify(source, 2 * PAGES_PER_HUGE);
  endTest();
}
