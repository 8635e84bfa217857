import { markEnd, markStart } from "../lib/hw";
import {
  addZeroPages,
  blockPages,
  convertPages,
  PageType,
  reclaimPages,
  tsmInitiateFence,
  tvmDestroy,
} from "../lib/covh";
import { allocatePagesAligned } from "../lib/heap";
import { SCRATCH_START } from "../lib/tvm-map";
import { announce, expect } from "./announce";
import { convertedTvm } from "./bench-tvm";
import { createAndFinalize } from "./tvm-rows";

/** A page of 1 GiB and 10,000 small ones through their whole life, on a machine that has them to give away. */

const GIB: u64 = 1 << 30;
const PAGES_PER_GIB: u64 = 512 * 512;
const MANY_PAGES: u64 = 10_000;
/** Where they are in the TVM. */
const LARGE_GPA: u64 = 0x1_0000_0000;
const MANY_GPA: u64 = SCRATCH_START;

export function measureLargeRows(): void {
  const large = allocatePagesAligned(PAGES_PER_GIB, GIB);
  const many = allocatePagesAligned(MANY_PAGES, GIB);
  const tvm = convertedTvm();
  createAndFinalize(tvm);

  announce("convert-1g", 1);
  markStart();
  const converted = convertPages(large, PAGES_PER_GIB);
  markEnd();
  expect(converted, PAGES_PER_GIB);
  expect(convertPages(many, MANY_PAGES), MANY_PAGES);
  expect(tsmInitiateFence(), 0);

  announce("add-zero-1g", 1);
  markStart();
  const one = addZeroPages(tvm.id, large, PageType.Page1G, 1, LARGE_GPA);
  markEnd();
  expect(one, 1);

  announce("add-zero-10000", 1);
  markStart();
  const added = addZeroPages(tvm.id, many, PageType.Page4K, MANY_PAGES, MANY_GPA);
  markEnd();
  expect(added, MANY_PAGES);

  announce("block-1g", 1);
  markStart();
  const blocked = blockPages(tvm.id, LARGE_GPA, GIB);
  markEnd();
  expect(blocked, 0);

  announce("destroy-large", 1);
  markStart();
  const destroyed = tvmDestroy(tvm.id);
  markEnd();
  expect(destroyed, 0);

  announce("reclaim-1g", 1);
  markStart();
  const reclaimed = reclaimPages(large, PAGES_PER_GIB);
  markEnd();
  expect(reclaimed, PAGES_PER_GIB);
}
