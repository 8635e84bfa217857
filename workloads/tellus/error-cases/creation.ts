import { write64 } from "../../lib/hw";
import {
  addMeasuredPages,
  addMemoryRegion,
  addPageTablePages,
  addZeroPages,
  addSharedPages,
  blockPages,
  cpuCreate,
  cpuRun,
  demotePage,
  PageType,
  promotePage,
  removePages,
  tvmCreate,
  tvmCreateFrom,
  TVM_CREATE_PARAMS_SIZE,
  tvmDestroy,
  tvmFinalize,
  tvmInitiateFence,
  unblockPages,
} from "../../lib/covh";
import { beginTest, check, checkEqual, checkResult, checkSuccess, endTest, subject } from "../../lib/protocol";
import { HUGE_PAGE_SIZE, PAGE_SIZE } from "../../lib/records";
import {
  SBI_ALREADY_AVAILABLE,
  SBI_FAILED,
  SBI_INVALID_ADDRESS,
  SBI_INVALID_PARAM,
  SBI_INVALID_STATE,
  SBI_SUCCESS,
} from "../../lib/sbi";
import { GUEST_RAM_START } from "../../lib/tvm-map";
import { parameterBuffer, state } from "../state";
import { testMeasuredPages } from "./measured-pages";
import { BEYOND, CONVERTED_PAGES, Fixture, LAST_PAGE, refused, UNMAPPED, WRAPPING_COUNT } from "./fixture";
import { testFinalized } from "./finalized";

/** Size of the region of the TVM that the error cases make: 64 MiB. */
export const REGION_SIZE: u64 = 64 << 20;

const MAX_REGIONS: u64 = 128;

/**
 * Errors of the calls that build a TVM, each in the state in which all else is right. One TVM is built between them, from the fixture's
 * converted pages: directory, state, tables, vCPU, data.
 */
export function testCreation(fixture: Fixture): void {
  const directory = fixture.converted;
  const statePages = directory + 4 * PAGE_SIZE;
  testTvmCreate(fixture, directory, statePages);
  const tables = statePages + state().tvmStatePages * PAGE_SIZE;
  const vcpu = tables + 8 * PAGE_SIZE;
  const data = vcpu + 2 * state().vcpuStatePages * PAGE_SIZE;
  assert(data + 8 * PAGE_SIZE <= fixture.converted + CONVERTED_PAGES * PAGE_SIZE, "the fixture is too small");

  beginTest("TvmCreate after its errors");
  const created = tvmCreate(parameterBuffer(), directory, statePages);
  if (checkSuccess(created, "TvmCreate with the same pages")) {
    checkResult(
      tvmCreate(parameterBuffer(), directory, statePages),
      SBI_INVALID_ADDRESS,
      "TvmCreate with pages that a TVM has",
    );
  }
  if (!endTest()) return;
  const id = <u64>created;

  testRegions(id);
  testTables(fixture, id, directory, tables, data);
  testMeasuredPages(fixture, id, data);
  testNotFinalized(fixture, id, data);
  testCpuCreate(fixture, id, vcpu);
  testFinalized(fixture, id, data + PAGE_SIZE, vcpu + state().vcpuStatePages * PAGE_SIZE);

  beginTest("errors of TvmDestroy");
  checkResult(tvmDestroy(id), SBI_SUCCESS, "TvmDestroy");
  checkResult(tvmDestroy(id), SBI_INVALID_PARAM, "TvmDestroy again");
  checkResult(cpuRun(id, 0), SBI_INVALID_PARAM, "CpuRun of a destroyed TVM");
  endTest();
  testRegionLimit(fixture);
}

function testTvmCreate(fixture: Fixture, directory: u64, statePages: u64): void {
  beginTest("errors of TvmCreate");
  const buffer = parameterBuffer();
  write64(buffer, directory);
  write64(buffer + 8, statePages);
  checkResult(tvmCreateFrom(buffer, TVM_CREATE_PARAMS_SIZE - 1), SBI_INVALID_PARAM, "parameters one byte too short");
  checkResult(tvmCreateFrom(buffer, 0), SBI_INVALID_PARAM, "no parameters");
  subject("parameters");
  refused(tvmCreateFrom(UNMAPPED, TVM_CREATE_PARAMS_SIZE), "no memory");
  refused(tvmCreateFrom(BEYOND, TVM_CREATE_PARAMS_SIZE), "beyond the address space");
  refused(tvmCreateFrom(LAST_PAGE + PAGE_SIZE - 8, TVM_CREATE_PARAMS_SIZE), "that wrap");
  refused(tvmCreateFrom(fixture.converted, TVM_CREATE_PARAMS_SIZE), "in converted memory");
  subject("page directory");
  refused(tvmCreate(buffer, directory + PAGE_SIZE, statePages), "not aligned to 16 KiB");
  refused(tvmCreate(buffer, directory + 8, statePages), "not aligned to a page");
  refused(tvmCreate(buffer, fixture.plain, statePages), "of ordinary pages");
  refused(tvmCreate(buffer, fixture.unfenced & ~0x3fff, statePages), "not converted and fenced");
  refused(tvmCreate(buffer, 0x4000, statePages), "no memory");
  refused(tvmCreate(buffer, LAST_PAGE & ~0x3fff, statePages), "at the end of all addresses");
  subject("state pages");
  refused(tvmCreate(buffer, directory, statePages + 8), "not aligned");
  refused(tvmCreate(buffer, directory, fixture.plain), "that are ordinary");
  refused(tvmCreate(buffer, directory, fixture.unfenced), "that are not fenced");
  refused(tvmCreate(buffer, directory, directory), "that are the page directory");
  refused(tvmCreate(buffer, directory, directory + 3 * PAGE_SIZE), "that overlap the page directory");
  refused(tvmCreate(buffer, directory, UNMAPPED), "no memory");
  refused(tvmCreate(buffer, directory, LAST_PAGE), "at the end of all addresses");
  endTest();
}

function testRegions(id: u64): void {
  beginTest("errors of AddMemoryRegion");
  const gpa = GUEST_RAM_START;
  checkResult(addMemoryRegion(id, gpa, 0), SBI_INVALID_PARAM, "length 0");
  checkResult(addMemoryRegion(id, gpa, PAGE_SIZE + 8), SBI_INVALID_PARAM, "a length that is not in pages");
  refused(addMemoryRegion(id, gpa + 8, PAGE_SIZE), "a misaligned address");
  refused(addMemoryRegion(id, LAST_PAGE, 2 * PAGE_SIZE), "a range that wraps");
  refused(addMemoryRegion(id, LAST_PAGE, PAGE_SIZE), "the last page of all addresses");
  refused(addMemoryRegion(id, BEYOND, PAGE_SIZE), "beyond the address space");
  refused(addMemoryRegion(id, gpa, ~(<u64>0xfff)), "a length that wraps");
  checkResult(addMemoryRegion(id, gpa, REGION_SIZE), SBI_SUCCESS, "AddMemoryRegion");
  subject("overlap");
  refused(addMemoryRegion(id, gpa, REGION_SIZE), "the same region again");
  refused(addMemoryRegion(id, gpa + REGION_SIZE - PAGE_SIZE, 2 * PAGE_SIZE), "at its end");
  refused(addMemoryRegion(id, gpa - PAGE_SIZE, 2 * PAGE_SIZE), "at its start");
  refused(addMemoryRegion(id, gpa - PAGE_SIZE, REGION_SIZE + 2 * PAGE_SIZE), "around it");
  endTest();
}

function testTables(fixture: Fixture, id: u64, directory: u64, tables: u64, data: u64): void {
  beginTest("errors of AddPageTablePages");
  checkResult(addPageTablePages(id, tables, 0), SBI_INVALID_PARAM, "no pages");
  refused(addPageTablePages(id, tables + 8, 1), "a misaligned address");
  refused(addPageTablePages(id, LAST_PAGE, 2), "a range that wraps");
  refused(addPageTablePages(id, tables, WRAPPING_COUNT + 1), "a length that wraps to one page");
  refused(addPageTablePages(id, UNMAPPED, 1), "no memory");
  refused(addPageTablePages(id, fixture.plain, 1), "an ordinary page");
  refused(addPageTablePages(id, fixture.unfenced, 1), "a page that is not fenced");
  refused(addPageTablePages(id, directory, 1), "a page that the TVM has");
  refused(addPageTablePages(id, fixture.converted - PAGE_SIZE, 2), "two pages, the first ordinary");
  subject("a TVM without page tables");
  testWithoutTables(fixture, id, data);
  checkEqual(<u64>addPageTablePages(id, tables, 8), 8, "AddPageTablePages");
  refused(addPageTablePages(id, tables, 1), "the same pages again");
  endTest();
}

/** One page more than the pool has. */
function testWithoutTables(fixture: Fixture, id: u64, data: u64): void {
  const added = addMeasured(id, fixture.plain, data);
  checkResult(added, SBI_FAILED, "AddMeasuredPages");
}

function addMeasured(id: u64, source: u64, destination: u64): i64 {
  return addMeasuredPages(id, source, destination, PageType.Page4K, 1, GUEST_RAM_START);
}

/** Calls that need a finalized TVM. */
function testNotFinalized(fixture: Fixture, id: u64, data: u64): void {
  beginTest("calls on a TVM that is not finalized");
  const gpa = GUEST_RAM_START;
  const spare = data + 2 * PAGE_SIZE;
  checkResult(addZeroPages(id, spare, PageType.Page4K, 1, gpa + PAGE_SIZE), SBI_INVALID_STATE, "AddZeroPages");
  checkResult(addSharedPages(id, fixture.plain, PageType.Page4K, 1, gpa), SBI_INVALID_STATE, "AddSharedPages");
  checkResult(cpuRun(id, 0), SBI_INVALID_PARAM, "CpuRun");
  checkResult(tvmInitiateFence(id), SBI_INVALID_STATE, "TvmInitiateFence");
  checkResult(blockPages(id, gpa, PAGE_SIZE), SBI_INVALID_STATE, "BlockPages");
  checkResult(unblockPages(id, gpa, PAGE_SIZE), SBI_INVALID_STATE, "UnblockPages");
  checkResult(promotePage(id, gpa & ~(HUGE_PAGE_SIZE - 1), PageType.Page2M), SBI_INVALID_STATE, "PromotePage");
  checkResult(demotePage(id, gpa & ~(HUGE_PAGE_SIZE - 1), PageType.Page4K), SBI_INVALID_STATE, "DemotePage");
  checkResult(removePages(id, gpa, PAGE_SIZE), SBI_INVALID_STATE, "RemovePages");
  checkResult(tvmFinalize(id, gpa, 0), SBI_INVALID_STATE, "TvmFinalize without vCPU 0");
  endTest();
}

function testCpuCreate(fixture: Fixture, id: u64, vcpu: u64): void {
  beginTest("errors of CpuCreate");
  const second = vcpu + state().vcpuStatePages * PAGE_SIZE;
  checkResult(cpuCreate(id, state().maxVcpus, vcpu), SBI_INVALID_PARAM, "the first vCPU id that is too large");
  checkResult(cpuCreate(id, ~0, vcpu), SBI_INVALID_PARAM, "the largest number as vCPU id");
  checkResult(cpuCreate(id, (<u64>1) << 32, vcpu), SBI_INVALID_PARAM, "a vCPU id with a bit above 31");
  subject("state pages");
  refused(cpuCreate(id, 0, vcpu + 8), "not aligned");
  refused(cpuCreate(id, 0, fixture.plain), "that are ordinary");
  refused(cpuCreate(id, 0, fixture.converted), "that the TVM has");
  refused(cpuCreate(id, 0, UNMAPPED), "no memory");
  refused(cpuCreate(id, 0, LAST_PAGE), "at the end of all addresses");
  refused(cpuCreate(id, 0, fixture.unfenced), "that are not fenced");
  checkResult(cpuCreate(id, 0, vcpu), SBI_SUCCESS, "CpuCreate");
  checkResult(cpuCreate(id, 0, second), SBI_ALREADY_AVAILABLE, "a vCPU that exists");
  endTest();
}

/** A TVM that takes as many regions as there is room for. */
function testRegionLimit(fixture: Fixture): void {
  beginTest("AddMemoryRegion when there is no room for another region");
  const directory = fixture.converted;
  const created = tvmCreate(parameterBuffer(), directory, directory + 4 * PAGE_SIZE);
  if (checkSuccess(created, "TvmCreate")) {
    const id = <u64>created;
    let count: u64 = 0;
    let result: i64 = 0;
    while (result == 0 && count <= MAX_REGIONS) {
      result = addMemoryRegion(id, GUEST_RAM_START + 2 * count * PAGE_SIZE, PAGE_SIZE);
      if (result == 0) count++;
    }
    checkResult(result, SBI_FAILED, "the first region too many");
    check(count >= 64, "regions before that");
    checkResult(tvmDestroy(id), SBI_SUCCESS, "TvmDestroy");
  }
  endTest();
}
