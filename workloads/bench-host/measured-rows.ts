import { markEnd, markStart } from "../lib/hw";
import {
  addMeasuredPages,
  addMemoryRegion,
  addPageTablePages,
  convertPages,
  PageType,
  tsmInitiateFence,
  tvmCreate,
} from "../lib/covh";
import { allocatePagesAligned } from "../lib/heap";
import { PAGES_PER_HUGE } from "../lib/records";
import { GUEST_RAM_END, GUEST_RAM_START } from "../lib/tvm-map";
import { parameterBuffer } from "../tellus/state";
import { announce, expect } from "./announce";
import { convertedTvm, TABLE_PAGES } from "./bench-tvm";

/** Measured pages by the thousand and of the larger sizes, into a TVM that is still being built. */

const GIB: u64 = 1 << 30;
const HUGE: u64 = 1 << 21;
const PAGES_PER_GIB: u64 = 512 * 512;
const MANY_PAGES: u64 = 10_000;
/** Where they are in the TVM. */
const HUGE_GPA: u64 = 0x9000_0000;
const MANY_GPA: u64 = 0xa000_0000;
const LARGE_GPA: u64 = 0x1_0000_0000;

/** 10,000 small pages and one of 2 MiB. */
export function measureMeasuredRows(): void {
  const id = emptyTvm();
  measure("add-measured-2m", id, PageType.Page2M, 1, PAGES_PER_HUGE, HUGE_GPA);
  measure("add-measured-10000", id, PageType.Page4K, MANY_PAGES, MANY_PAGES, MANY_GPA);
}

/** A page of 1 GiB: many thousand million instructions. */
export function measureMeasuredGibRow(): void {
  measure("add-measured-1g", emptyTvm(), PageType.Page1G, 1, PAGES_PER_GIB, LARGE_GPA);
}

function emptyTvm(): u64 {
  const tvm = convertedTvm();
  const id = <u64>tvmCreate(parameterBuffer(), tvm.directory, tvm.statePages);
  expect(addPageTablePages(id, tvm.tables, TABLE_PAGES), TABLE_PAGES);
  expect(addMemoryRegion(id, GUEST_RAM_START, GUEST_RAM_END - GUEST_RAM_START), 0);
  return id;
}

/** `count` pages of `type`, `small` of the smallest ones, from memory that nobody has written. */
function measure(name: string, id: u64, type: u64, count: u64, small: u64, gpa: u64): void {
  const alignment = small == PAGES_PER_GIB ? GIB : HUGE;
  const source = allocatePagesAligned(small, alignment);
  const pages = allocatePagesAligned(small, alignment);
  expect(convertPages(pages, small), small);
  expect(tsmInitiateFence(), 0);
  announce(name, 1);
  markStart();
  const added = addMeasuredPages(id, source, pages, type, count, gpa);
  markEnd();
  expect(added, count);
}
