import { addMeasuredPages, PageType } from "../../lib/covh";
import { beginTest, checkEqual, checkResult, endTest, subject } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import { SBI_INVALID_PARAM } from "../../lib/sbi";
import { GUEST_RAM_START } from "../../lib/tvm-map";
import { REGION_SIZE } from "./creation";
import { BEYOND, Fixture, LAST_PAGE, refused, UNMAPPED, WRAPPING_COUNT } from "./fixture";

/** Errors of AddMeasuredPages; leaves one measured page, from `data`, at GUEST_RAM_START. */
export function testMeasuredPages(fixture: Fixture, id: u64, data: u64): void {
  beginTest("errors of AddMeasuredPages");
  const gpa = GUEST_RAM_START;
  const source = fixture.plain;
  testShape(id, source, data, gpa);
  subject("source");
  refused(add(id, source + 8, data, 1, gpa), "misaligned");
  refused(add(id, UNMAPPED, data, 1, gpa), "no memory");
  refused(add(id, BEYOND, data, 1, gpa), "beyond the address space");
  refused(add(id, fixture.converted - PAGE_SIZE, data, 2, gpa), "two pages, the second converted");
  refused(add(id, data + PAGE_SIZE, data, 1, gpa), "converted");
  refused(add(id, LAST_PAGE, data, 2, gpa), "that wraps");
  subject("destination");
  refused(add(id, source, data + 8, 1, gpa), "misaligned");
  refused(add(id, source, source + PAGE_SIZE, 1, gpa), "an ordinary page");
  refused(add(id, source, fixture.unfenced, 1, gpa), "not fenced");
  refused(add(id, source, fixture.converted, 1, gpa), "a page that the TVM has");
  refused(add(id, source, UNMAPPED, 1, gpa), "no memory");
  refused(add(id, source, LAST_PAGE, 2, gpa), "that wraps");
  subject("TVM address");
  refused(add(id, source, data, 1, gpa + 8), "misaligned");
  refused(add(id, source, data, 1, gpa - PAGE_SIZE), "outside every region");
  refused(add(id, source, data, 2, gpa + REGION_SIZE - PAGE_SIZE), "across the end of the region");
  refused(add(id, source, data, 1, BEYOND), "beyond the address space");
  refused(add(id, source, data, 2, LAST_PAGE), "that wraps");
  subject("");
  checkEqual(<u64>add(id, source, data, 1, gpa), 1, "pages added when all is right");
  refused(add(id, source, data + PAGE_SIZE, 1, gpa), "an address that has a page");
  refused(add(id, source, data + PAGE_SIZE, 2, gpa - PAGE_SIZE), "two pages from before the region");
  refused(add(id, source, data, 1, gpa + PAGE_SIZE), "a destination that was used");
  endTest();
}

function testShape(id: u64, source: u64, data: u64, gpa: u64): void {
  checkResult(add(id, source, data, 0, gpa), SBI_INVALID_PARAM, "no pages");
  checkResult(addMeasuredPages(id, source, data, 4, 1, gpa), SBI_INVALID_PARAM, "an unknown page type");
  checkResult(addMeasuredPages(id, source, data, ~0, 1, gpa), SBI_INVALID_PARAM, "the largest number as page type");
  refused(add(id, source, data, WRAPPING_COUNT, gpa), "a length that wraps to 0");
  refused(add(id, source, data, WRAPPING_COUNT + 1, gpa), "a length that wraps to one page");
  refused(addMeasuredPages(id, source, data, PageType.Page2M, 1, gpa), "a large page from small ones");
  refused(addMeasuredPages(id, source, data, PageType.Page2M, 1, gpa + PAGE_SIZE), "a large page, misaligned");
  refused(addMeasuredPages(id, source, data, PageType.Page1G, 1, gpa), "a 1 GiB page in a smaller region");
}

function add(id: u64, source: u64, destination: u64, pages: u64, gpa: u64): i64 {
  return addMeasuredPages(id, source, destination, PageType.Page4K, pages, gpa);
}
