import { convertPages, reclaimPages } from "../../lib/covh";
import { allocatePages, allocatePagesAligned } from "../../lib/heap";
import { check, checkResult, checkSuccess } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import { SBI_INVALID_ADDRESS } from "../../lib/sbi";
import { fenceAllHarts } from "../fences";
import { reclaimAndVerify } from "../tvm-builder";
import { countChanged, fillPattern } from "../verify";

/** Host memory in the states that the error cases need, and addresses that are wrong in themselves. */
@unmanaged
export class Fixture {
  /** PLAIN_PAGES ordinary pages, 16 KiB aligned, holding a pattern. The page after them is `converted`. */
  plain: u64;
  /** CONVERTED_PAGES converted and fenced pages right behind `plain`, 16 KiB aligned. */
  converted: u64;
  /** One page that is converted and not fenced since. */
  unfenced: u64;
}

export const PLAIN_PAGES: u64 = 8;
export const CONVERTED_PAGES: u64 = 56;

/** No memory is there. */
export const UNMAPPED: u64 = 0x1000;
/** Beyond every address space. */
export const BEYOND: u64 = 1 << 60;
/** The last page of all: two pages from here wrap. */
export const LAST_PAGE: u64 = 0xffff_ffff_ffff_f000;
/** A number of pages whose size in bytes is 0 modulo 2^64. */
export const WRAPPING_COUNT: u64 = 1 << 52;

const PATTERN: u64 = 0x0f0e_0d0c_0b0a_0908;

/** Makes a fixture; its record is in the heap. Within a test. */
export function makeFixture(): Fixture {
  const fixture = changetype<Fixture>(<usize>allocatePages(1));
  fixture.plain = allocatePagesAligned(PLAIN_PAGES + CONVERTED_PAGES, 4 * PAGE_SIZE);
  fixture.converted = fixture.plain + PLAIN_PAGES * PAGE_SIZE;
  fixture.unfenced = allocatePages(1);
  fillPattern(fixture.plain, PLAIN_PAGES, PATTERN);
  checkSuccess(convertPages(fixture.converted, CONVERTED_PAGES), "ConvertPages of the fixture");
  fenceAllHarts();
  checkSuccess(convertPages(fixture.unfenced, 1), "ConvertPages without a fence");
  return fixture;
}

/** Makes the `unfenced` page unfenced again, after a fence. Within a test. */
export function renewUnfenced(fixture: Fixture): void {
  checkSuccess(reclaimPages(fixture.unfenced, 1), "ReclaimPages");
  checkSuccess(convertPages(fixture.unfenced, 1), "ConvertPages without a fence");
}

/** Checks that no error touched the ordinary pages, and takes the others back. Within a test. */
export function releaseFixture(fixture: Fixture): void {
  checkPlainUntouched(fixture);
  fenceAllHarts();
  reclaimAndVerify(fixture.converted, CONVERTED_PAGES);
  reclaimAndVerify(fixture.unfenced, 1);
}

/** The ordinary pages are accessible and hold what they held. */
export function checkPlainUntouched(fixture: Fixture): void {
  check(countChanged(fixture.plain, PLAIN_PAGES, PATTERN) == 0, "ordinary pages are untouched");
}

/** Checks for an INVALID_ADDRESS. */
export function refused(result: i64, what: string): void {
  checkResult(result, SBI_INVALID_ADDRESS, what);
}
