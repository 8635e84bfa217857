import { convertPages, reclaimPages, TSM_INFO_SIZE, tsmGetInfo, tsmInitiateFence } from "../../lib/covh";
import { allocatePages } from "../../lib/heap";
import { NACL_PAGES, naclSetSharedMemory } from "../../lib/nacl";
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
import { SBI_ALREADY_STARTED, SBI_INVALID_PARAM, SBI_SUCCESS } from "../../lib/sbi";
import { fenceAllHarts, fenceOtherHarts } from "../fences";
import { hasImsic, interruptFile } from "../imsic";
import { ensureNacl, hartCount, naclArea, parameterBuffer } from "../state";
import { reclaimAndVerify } from "../tvm-builder";
import { BEYOND, CONVERTED_PAGES, Fixture, LAST_PAGE, PLAIN_PAGES, refused, UNMAPPED, WRAPPING_COUNT } from "./fixture";

/** Errors of the calls that are about the host's own memory: TsmGetInfo, ConvertPages, ReclaimPages, fences, NACL. */
export function testHostMemoryCalls(fixture: Fixture): void {
  testInfo(fixture);
  testConvert(fixture);
  testReclaim(fixture);
  testFence();
  testNacl(fixture);
}

function testInfo(fixture: Fixture): void {
  beginTest("errors of TsmGetInfo");
  const buffer = parameterBuffer();
  checkResult(tsmGetInfo(buffer, TSM_INFO_SIZE - 1), SBI_INVALID_PARAM, "a buffer one byte too short");
  checkResult(tsmGetInfo(buffer, 0), SBI_INVALID_PARAM, "an empty buffer");
  checkEqual(<u64>tsmGetInfo(buffer, 4096), TSM_INFO_SIZE, "bytes written into a larger buffer");
  refused(tsmGetInfo(UNMAPPED, TSM_INFO_SIZE), "no memory");
  refused(tsmGetInfo(BEYOND, TSM_INFO_SIZE), "beyond the address space");
  refused(tsmGetInfo(LAST_PAGE + PAGE_SIZE - 8, TSM_INFO_SIZE), "a buffer that wraps");
  refused(tsmGetInfo(fixture.converted, TSM_INFO_SIZE), "converted memory");
  refused(tsmGetInfo(fixture.converted - 8, TSM_INFO_SIZE), "a buffer that ends in converted memory");
  endTest();
}

function testConvert(fixture: Fixture): void {
  beginTest("errors of ConvertPages");
  const plain = fixture.plain;
  checkResult(convertPages(plain, 0), SBI_INVALID_PARAM, "no pages");
  refused(convertPages(plain + 8, 1), "a misaligned address");
  refused(convertPages(LAST_PAGE, 2), "a range that wraps");
  refused(convertPages(plain, WRAPPING_COUNT), "a length that wraps to 0");
  refused(convertPages(plain, WRAPPING_COUNT + 1), "a length that wraps to one page");
  refused(convertPages(plain, ~0), "the largest number of pages");
  refused(convertPages(UNMAPPED, 1), "no memory");
  refused(convertPages(BEYOND, 1), "beyond the address space");
  refused(convertPages(fixture.converted, 1), "a converted page");
  refused(convertPages(fixture.unfenced, 1), "a converted page that is not fenced");
  refused(convertPages(plain, PLAIN_PAGES + 1), "a range that ends in a converted page");
  refused(convertPages(fixture.converted - PAGE_SIZE, 2), "two pages, the second converted");
  if (hasImsic()) refused(convertPages(interruptFile(0), 1), "an interrupt file");
  checkSuccess(ensureNacl(), "NACL set_shmem");
  refused(convertPages(naclArea() + PAGE_SIZE, 1), "a page that is pinned");
  endTest();
}

function testReclaim(fixture: Fixture): void {
  beginTest("errors of ReclaimPages");
  const converted = fixture.converted;
  checkResult(reclaimPages(converted, 0), SBI_INVALID_PARAM, "no pages");
  refused(reclaimPages(converted + 8, 1), "a misaligned address");
  refused(reclaimPages(LAST_PAGE, 2), "a range that wraps");
  refused(reclaimPages(converted, WRAPPING_COUNT), "a length that wraps to 0");
  refused(reclaimPages(converted, WRAPPING_COUNT + 1), "a length that wraps to one page");
  refused(reclaimPages(UNMAPPED, 1), "no memory");
  refused(reclaimPages(BEYOND, 1), "beyond the address space");
  refused(reclaimPages(fixture.plain, 1), "an ordinary page");
  refused(reclaimPages(converted - PAGE_SIZE, 2), "two pages, the first ordinary");
  refused(reclaimPages(converted + (CONVERTED_PAGES - 1) * PAGE_SIZE, 2), "two pages, the second ordinary");
  refused(reclaimPages(fixture.unfenced, 1), "a page that is not fenced");
  checkEqual(<u64>reclaimPages(converted, 1), 1, "one converted page");
  refused(reclaimPages(converted, 1), "the same page again");
  checkEqual(<u64>convertPages(converted, 1), 1, "it can be converted again");
  endTest();
}

/** A fence is in progress until every hart has fenced itself. */
function testFence(): void {
  if (hartCount() < 2) {
    skipTest("errors of TsmInitiateFence", "one hart");
    return;
  }
  beginTest("errors of TsmInitiateFence");
  checkSuccess(ensureNacl(), "NACL set_shmem");
  const page = allocatePages(1);
  checkResult(tsmInitiateFence(), SBI_SUCCESS, "TsmInitiateFence");
  checkEqual(<u64>convertPages(page, 1), 1, "ConvertPages while a fence is in progress");
  checkResult(tsmInitiateFence(), SBI_ALREADY_STARTED, "TsmInitiateFence while one is in progress");
  fenceOtherHarts();
  refused(reclaimPages(page, 1), "a page that was converted after the fence began");
  checkResult(tsmInitiateFence(), SBI_SUCCESS, "TsmInitiateFence when the last one is complete");
  refused(reclaimPages(page, 1), "a page whose fence is not complete");
  fenceOtherHarts();
  reclaimAndVerify(page, 1);
  check(fenceAllHarts(), "a fence right after a fence");
  endTest();
}

function testNacl(fixture: Fixture): void {
  beginTest("errors of NACL set_shmem");
  subject("set_shmem");
  checkResult(naclSetSharedMemory(fixture.plain + 8), SBI_INVALID_PARAM, "a misaligned address");
  refused(naclSetSharedMemory(UNMAPPED), "no memory");
  refused(naclSetSharedMemory(BEYOND), "beyond the address space");
  refused(naclSetSharedMemory(LAST_PAGE), "an address that wraps");
  refused(naclSetSharedMemory(fixture.converted), "converted pages");
  refused(naclSetSharedMemory(fixture.converted - 2 * PAGE_SIZE), "three pages, the last converted");
  const pages = allocatePages(NACL_PAGES);
  checkResult(naclSetSharedMemory(pages), SBI_SUCCESS, "ordinary pages");
  refused(convertPages(pages, 1), "ConvertPages of the registered pages");
  checkResult(naclSetSharedMemory(naclArea()), SBI_SUCCESS, "another address replaces the first");
  checkEqual(
    <u64>convertPages(pages, NACL_PAGES),
    NACL_PAGES,
    "ConvertPages of pages that are not registered any more",
  );
  fenceAllHarts();
  reclaimAndVerify(pages, NACL_PAGES);
  endTest();
}
