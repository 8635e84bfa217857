import { convertPages, PAGE_DIRECTORY_PAGES, tsmInitiateFence } from "../lib/covh";
import { allocateHugePages, allocatePagesAligned, allocateZeroed } from "../lib/heap";
import { PAGE_SIZE, PAGES_PER_HUGE } from "../lib/records";
import { GUEST_DATA_PAGES } from "../lib/tvm-map";
import { state } from "../tellus/state";
import { expect } from "./announce";
import { FAULTING_PAGES, FAULTS_BEFORE } from "./bench-map";

/** Pages for page tables: as many as the original test host gives. */
export const TABLE_PAGES: u64 = 30;
/** Zero pages that the host adds before the guest runs. */
export const ADDED_ZERO_PAGES: u64 = 1 + 1 + 100;
const POOL_PAGES: u64 = FAULTING_PAGES + FAULTS_BEFORE;

/** A TVM of the benchmark and the host memory that is its. */
@unmanaged
export class BenchTvm {
  /** Guest id, 0 until it is created. */
  id: u64;
  directory: u64;
  statePages: u64;
  vcpuPages: u64;
  tables: u64;
  data: u64;
  zeroPages: u64;
  /** Next page for a demand-zero fault. */
  poolNext: u64;
  /** A 2 MiB page. */
  huge: u64;
}

/** Lays out, converts and fences the pages of a TVM. */
export function convertedTvm(): BenchTvm {
  const machine = state();
  const tvm = changetype<BenchTvm>(<usize>allocateZeroed(1));
  const pages =
    PAGE_DIRECTORY_PAGES +
    machine.tvmStatePages +
    machine.vcpuStatePages +
    TABLE_PAGES +
    GUEST_DATA_PAGES +
    ADDED_ZERO_PAGES +
    POOL_PAGES;
  tvm.directory = allocatePagesAligned(pages, PAGE_DIRECTORY_PAGES * PAGE_SIZE);
  tvm.statePages = tvm.directory + PAGE_DIRECTORY_PAGES * PAGE_SIZE;
  tvm.vcpuPages = tvm.statePages + machine.tvmStatePages * PAGE_SIZE;
  tvm.tables = tvm.vcpuPages + machine.vcpuStatePages * PAGE_SIZE;
  tvm.data = tvm.tables + TABLE_PAGES * PAGE_SIZE;
  tvm.zeroPages = tvm.data + GUEST_DATA_PAGES * PAGE_SIZE;
  tvm.poolNext = tvm.zeroPages + ADDED_ZERO_PAGES * PAGE_SIZE;
  tvm.huge = allocateHugePages(1);
  expect(convertPages(tvm.directory, pages), pages);
  expect(convertPages(tvm.huge, PAGES_PER_HUGE), PAGES_PER_HUGE);
  expect(tsmInitiateFence(), 0);
  return tvm;
}
