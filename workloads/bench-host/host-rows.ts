import { markEnd, markStart } from "../lib/hw";
import { convertPages, reclaimPages, tsmInitiateFence } from "../lib/covh";
import { allocateHugePages, allocatePagesAligned } from "../lib/heap";
import { HUGE_PAGE_SIZE, PAGE_SIZE, PAGES_PER_HUGE } from "../lib/records";
import { EID_BASE, sbi } from "../lib/sbi";
import { announce, expect } from "./announce";
import { ROUND_TRIPS, WARM_UP } from "./bench-map";

/** What the host does without a TVM: null calls, and memory that becomes confidential and comes back. */

const MANY_PAGES: u64 = 10_000;

export function measureHostRows(): void {
  nullCalls(WARM_UP);
  announce("null-call-host", ROUND_TRIPS);
  markStart();
  nullCalls(ROUND_TRIPS);
  markEnd();

  const small = allocateHugePages(1);
  const large = allocateHugePages(1);
  const many = allocatePagesAligned(MANY_PAGES, HUGE_PAGE_SIZE);
  // The first page of a large leaf splits it: a figure of its own.
  measureConvert("convert-1-of-2m-leaf", small, 1);
  measureConvert("convert-1", small + PAGE_SIZE, 1);
  measureConvert("convert-100", small + 2 * PAGE_SIZE, 100);
  measureConvert("convert-2m", large, PAGES_PER_HUGE);
  measureConvert("convert-10000", many, MANY_PAGES);

  announce("fence", 1);
  markStart();
  const fenced = tsmInitiateFence();
  markEnd();
  expect(fenced, 0);

  expect(reclaimPages(small, 1), 1);
  measureReclaim("reclaim-1", small + PAGE_SIZE, 1);
  measureReclaim("reclaim-100", small + 2 * PAGE_SIZE, 100);
  measureReclaim("reclaim-2m", large, PAGES_PER_HUGE);
  measureReclaim("reclaim-10000", many, MANY_PAGES);
}

function nullCalls(count: u64): void {
  for (let i: u64 = 0; i < count; i++) sbi(EID_BASE, 0);
}

/** The figure is that of the whole call; tools/bench divides where a row is per page. */
function measureConvert(name: string, address: u64, pages: u64): void {
  announce(name, 1);
  markStart();
  const converted = convertPages(address, pages);
  markEnd();
  expect(converted, pages);
}

function measureReclaim(name: string, address: u64, pages: u64): void {
  announce(name, 1);
  markStart();
  const reclaimed = reclaimPages(address, pages);
  markEnd();
  expect(reclaimed, pages);
}
