import { markEnd, markStart } from "../lib/hw";
import {
  addMeasuredPages,
  addMemoryRegion,
  addPageTablePages,
  addZeroPages,
  cpuCreate,
  PageType,
  tvmCreate,
  tvmDestroy,
  tvmFinalize,
} from "../lib/covh";
import { PAGE_SIZE, PAGES_PER_HUGE } from "../lib/records";
import { GUEST_DATA_PAGES, GUEST_RAM_END, GUEST_RAM_START, PROMOTE_PAGE } from "../lib/tvm-map";
import { parameterBuffer } from "../tellus/state";
import { guestImage } from "../tellus/tvm-builder";
import { announce, expect } from "./announce";
import { BenchTvm, convertedTvm, TABLE_PAGES } from "./bench-tvm";
import { measureGuestRows } from "./guest-rows";

/** The life of a TVM, call by call. */

/** Where the host's zero pages go: in the 2 MiB range of the guest's image, so that they need no new table. */
const ZERO_PAGES_GPA: u64 = 0x8030_0000;

export function measureTvmRows(): void {
  const tvm = convertedTvm();
  measureCreation(tvm);
  measureAddedPages(tvm);
  measureGuestRows(tvm);

  announce("destroy", 1);
  markStart();
  const destroyed = tvmDestroy(tvm.id);
  markEnd();
  expect(destroyed, 0);

  const whole = convertedTvm();
  announce("create-to-finalize", 1);
  markStart();
  createAndFinalize(whole);
  markEnd();
  expect(tvmDestroy(whole.id), 0);
}

function measureCreation(tvm: BenchTvm): void {
  const parameters = parameterBuffer();
  announce("create", 1);
  markStart();
  const id = tvmCreate(parameters, tvm.directory, tvm.statePages);
  markEnd();
  assert(id > 0, "TvmCreate");
  tvm.id = <u64>id;

  announce("add-30-table-pages", 1);
  markStart();
  const tables = addPageTablePages(tvm.id, tvm.tables, TABLE_PAGES);
  markEnd();
  assert(tables >= 0, "AddPageTablePages");

  announce("add-region", 1);
  markStart();
  const region = addMemoryRegion(tvm.id, GUEST_RAM_START, GUEST_RAM_END - GUEST_RAM_START);
  markEnd();
  expect(region, 0);

  announce("add-vcpu", 1);
  markStart();
  const vcpu = cpuCreate(tvm.id, 0, tvm.vcpuPages);
  markEnd();
  expect(vcpu, 0);
}

function measureAddedPages(tvm: BenchTvm): void {
  // The first page of a range takes a table from the pool.
  addMeasured(tvm, 0, 1);
  announce("add-measured-1", 1);
  markStart();
  addMeasured(tvm, 1, 1);
  markEnd();
  announce("add-measured-100", 1);
  markStart();
  addMeasured(tvm, 2, 100);
  markEnd();
  addMeasured(tvm, 102, GUEST_DATA_PAGES - 102);

  announce("finalize", 1);
  markStart();
  const finalized = tvmFinalize(tvm.id, GUEST_RAM_START, 0);
  markEnd();
  expect(finalized, 0);

  addZero(tvm, 0, 1);
  announce("add-zero-1", 1);
  markStart();
  addZero(tvm, 1, 1);
  markEnd();
  announce("add-zero-100", 1);
  markStart();
  addZero(tvm, 2, 100);
  markEnd();
  announce("add-zero-2m", 1);
  markStart();
  const huge = addZeroPages(tvm.id, tvm.huge, PageType.Page2M, 1, PROMOTE_PAGE);
  markEnd();
  assert(huge == 1 || huge == <i64>PAGES_PER_HUGE, "AddZeroPages of a large page");
}

/** Adds `count` pages of the guest's image from page `first` on. */
function addMeasured(tvm: BenchTvm, first: u64, count: u64): void {
  const offset = first * PAGE_SIZE;
  expect(
    addMeasuredPages(
      tvm.id,
      guestImage() + offset,
      tvm.data + offset,
      PageType.Page4K,
      count,
      GUEST_RAM_START + offset,
    ),
    count,
  );
}

function addZero(tvm: BenchTvm, first: u64, count: u64): void {
  const offset = first * PAGE_SIZE;
  expect(addZeroPages(tvm.id, tvm.zeroPages + offset, PageType.Page4K, count, ZERO_PAGES_GPA + offset), count);
}

/** Makes `tvm` a TVM with all measured pages of the guest, that can be run. */
export function createAndFinalize(tvm: BenchTvm): void {
  tvm.id = <u64>tvmCreate(parameterBuffer(), tvm.directory, tvm.statePages);
  addPageTablePages(tvm.id, tvm.tables, TABLE_PAGES);
  expect(addMemoryRegion(tvm.id, GUEST_RAM_START, GUEST_RAM_END - GUEST_RAM_START), 0);
  expect(cpuCreate(tvm.id, 0, tvm.vcpuPages), 0);
  addMeasured(tvm, 0, GUEST_DATA_PAGES);
  expect(tvmFinalize(tvm.id, GUEST_RAM_START, 0), 0);
}
