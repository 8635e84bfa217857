import {
  addMeasuredPages,
  addMemoryRegion,
  addSharedPages,
  addZeroPages,
  blockPages,
  cpuCreate,
  cpuRun,
  demotePage,
  PageType,
  promotePage,
  removePages,
  tvmFinalize,
  unblockPages,
} from "../../lib/covh";
import { naclUnregister } from "../../lib/nacl";
import { beginTest, checkEqual, checkResult, checkSuccess, endTest, subject } from "../../lib/protocol";
import { HUGE_PAGE_SIZE, PAGE_SIZE } from "../../lib/records";
import { SBI_INVALID_PARAM, SBI_NO_SHMEM, SBI_SUCCESS } from "../../lib/sbi";
import { GUEST_RAM_START } from "../../lib/tvm-map";
import { ensureNacl } from "../state";
import { REGION_SIZE } from "./creation";
import { BEYOND, Fixture, LAST_PAGE, refused, UNMAPPED, WRAPPING_COUNT } from "./fixture";

/**
 * Finalizes the TVM and provokes the errors that need no running guest. `data` are unused converted pages, `vcpu` such pages for a vCPU.
 */
export function testFinalized(fixture: Fixture, id: u64, data: u64, vcpu: u64): void {
  beginTest("calls that build a TVM, on a finalized one");
  const gpa = GUEST_RAM_START;
  checkResult(tvmFinalize(id, gpa, 0), SBI_SUCCESS, "TvmFinalize");
  checkResult(tvmFinalize(id, gpa, 0), SBI_INVALID_PARAM, "TvmFinalize again");
  checkResult(addMemoryRegion(id, gpa + REGION_SIZE, PAGE_SIZE), SBI_INVALID_PARAM, "AddMemoryRegion");
  checkResult(cpuCreate(id, 1, vcpu), SBI_INVALID_PARAM, "CpuCreate");
  const measured = addMeasuredPages(id, fixture.plain, data, PageType.Page4K, 1, gpa + PAGE_SIZE);
  checkResult(measured, SBI_INVALID_PARAM, "AddMeasuredPages");
  endTest();
  testZeroPages(fixture, id, data);
  testSharedPages(fixture, id);
  testRun(id);
  testBlocking(id);
}

function testZeroPages(fixture: Fixture, id: u64, data: u64): void {
  beginTest("errors of AddZeroPages");
  const gpa = GUEST_RAM_START + PAGE_SIZE;
  checkResult(addZero(id, data, 0, gpa), SBI_INVALID_PARAM, "no pages");
  checkResult(addZeroPages(id, data, 4, 1, gpa), SBI_INVALID_PARAM, "an unknown page type");
  refused(addZero(id, data, WRAPPING_COUNT, gpa), "a length that wraps to 0");
  refused(addZero(id, data, WRAPPING_COUNT + 1, gpa), "a length that wraps to one page");
  refused(addZeroPages(id, data, PageType.Page2M, 1, gpa), "a large page, misaligned");
  subject("pages");
  refused(addZero(id, data + 8, 1, gpa), "misaligned");
  refused(addZero(id, fixture.plain, 1, gpa), "that are ordinary");
  refused(addZero(id, fixture.unfenced, 1, gpa), "that are not fenced");
  refused(addZero(id, fixture.converted, 1, gpa), "that the TVM has");
  refused(addZero(id, UNMAPPED, 1, gpa), "no memory");
  refused(addZero(id, LAST_PAGE, 2, gpa), "that wrap");
  subject("TVM address");
  refused(addZero(id, data, 1, gpa + 8), "misaligned");
  refused(addZero(id, data, 1, GUEST_RAM_START - PAGE_SIZE), "outside every region");
  refused(addZero(id, data, 2, GUEST_RAM_START + REGION_SIZE - PAGE_SIZE), "across the end of the region");
  refused(addZero(id, data, 1, GUEST_RAM_START), "that has a page");
  refused(addZero(id, data, 2, GUEST_RAM_START), "of which the first has a page");
  refused(addZero(id, data, 1, BEYOND), "beyond the address space");
  refused(addZero(id, data, 2, LAST_PAGE), "that wraps");
  subject("");
  checkEqual(<u64>addZero(id, data, 2, gpa), 2, "pages added when all is right");
  refused(addZero(id, data, 1, gpa + 4 * PAGE_SIZE), "the same page for a second address");
  endTest();
}

function addZero(id: u64, pages: u64, count: u64, gpa: u64): i64 {
  return addZeroPages(id, pages, PageType.Page4K, count, gpa);
}

function testSharedPages(fixture: Fixture, id: u64): void {
  beginTest("errors of AddSharedPages");
  const gpa = GUEST_RAM_START + 16 * PAGE_SIZE;
  checkResult(addSharedPages(id, fixture.plain, PageType.Page4K, 0, gpa), SBI_INVALID_PARAM, "no pages");
  checkResult(addSharedPages(id, fixture.plain, 4, 1, gpa), SBI_INVALID_PARAM, "an unknown page type");
  refused(addSharedPages(id, fixture.plain, PageType.Page4K, 1, gpa), "confidential memory of the TVM");
  endTest();
}

function testRun(id: u64): void {
  beginTest("errors of CpuRun");
  checkSuccess(ensureNacl(), "NACL set_shmem");
  checkResult(cpuRun(id, 1), SBI_INVALID_PARAM, "a vCPU that was not created");
  checkResult(cpuRun(id, 1 << 20), SBI_INVALID_PARAM, "a vCPU id that cannot be");
  checkResult(cpuRun(id, ~0), SBI_INVALID_PARAM, "the largest number as vCPU id");
  checkResult(naclUnregister(), SBI_SUCCESS, "NACL set_shmem of all ones");
  checkResult(cpuRun(id, 0), SBI_NO_SHMEM, "no shared memory");
  checkSuccess(ensureNacl(), "NACL set_shmem");
  endTest();
}

/** Block and what follows it, on pages that are not in the right state. Lengths round up to pages. */
function testBlocking(id: u64): void {
  beginTest("errors of BlockPages, UnblockPages, RemovePages, PromotePage and DemotePage");
  const gpa = GUEST_RAM_START;
  subject("BlockPages");
  refused(blockPages(id, gpa + 8, PAGE_SIZE), "misaligned");
  refused(blockPages(id, gpa + 8 * PAGE_SIZE, PAGE_SIZE), "no page");
  refused(blockPages(id, gpa, 5 * PAGE_SIZE), "a range with a gap");
  refused(blockPages(id, gpa - PAGE_SIZE, 2 * PAGE_SIZE), "from before the region");
  refused(blockPages(id, LAST_PAGE, 2 * PAGE_SIZE), "that wraps");
  refused(blockPages(id, gpa, ~0), "the largest length");
  refused(blockPages(id, BEYOND, PAGE_SIZE), "beyond the address space");
  subject("UnblockPages");
  refused(unblockPages(id, gpa + 8, PAGE_SIZE), "misaligned");
  refused(unblockPages(id, gpa, PAGE_SIZE), "a page that is not blocked");
  refused(unblockPages(id, gpa + 8 * PAGE_SIZE, PAGE_SIZE), "no page");
  refused(unblockPages(id, LAST_PAGE, 2 * PAGE_SIZE), "that wraps");
  subject("RemovePages");
  refused(removePages(id, gpa + 8, PAGE_SIZE), "misaligned");
  refused(removePages(id, gpa, PAGE_SIZE), "memory that the guest does not give up");
  refused(removePages(id, LAST_PAGE, 2 * PAGE_SIZE), "that wraps");
  subject("PromotePage");
  checkResult(promotePage(id, gpa, 4), SBI_INVALID_PARAM, "an unknown page type");
  refused(promotePage(id, gpa, PageType.Page4K), "to a small page");
  refused(promotePage(id, gpa + PAGE_SIZE, PageType.Page2M), "misaligned");
  refused(promotePage(id, gpa, PageType.Page2M), "pages that are not blocked");
  refused(promotePage(id, gpa + HUGE_PAGE_SIZE, PageType.Page2M), "no pages");
  refused(promotePage(id, gpa - HUGE_PAGE_SIZE, PageType.Page2M), "outside every region");
  subject("DemotePage");
  checkResult(demotePage(id, gpa, 4), SBI_INVALID_PARAM, "an unknown page type");
  refused(demotePage(id, gpa, PageType.Page4K), "a small page");
  refused(demotePage(id, gpa + 8 * PAGE_SIZE, PageType.Page4K), "no page");
  refused(demotePage(id, gpa + PAGE_SIZE, PageType.Page4K), "misaligned");
  endTest();
}
