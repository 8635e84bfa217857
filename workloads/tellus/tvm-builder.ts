import { imageAddress, ImageSymbol } from "../lib/hw";
import {
  addMeasuredPages,
  addMemoryRegion,
  addPageTablePages,
  convertPages,
  cpuCreate,
  PAGE_DIRECTORY_PAGES,
  PageType,
  reclaimPages,
  tvmCreate,
  tvmDestroy,
  tvmFinalize,
} from "../lib/covh";
import { allocatePagesAligned, allocateZeroed } from "../lib/heap";
import { check, checkEqual, checkSuccess } from "../lib/protocol";
import { PAGE_SIZE } from "../lib/records";
import { bootArgument, GUEST_DATA_PAGES, GUEST_RAM_END, GUEST_RAM_START, SHARED_WINDOW_PAGES } from "../lib/tvm-map";
import { fenceAllHarts } from "./fences";
import { GUEST_IMAGE_DISTANCE } from "./machine";
import { ensureNacl, parameterBuffer, state } from "./state";
import { MAX_TEST_VCPUS, PuppetArguments, Tvm } from "./tvm";
import { countNonZero } from "./verify";

/**
 * Makes and destroys TVMs. A TVM's pages come from one stretch of host memory that is converted and fenced as a whole:
 *
 *     directory (4, 16 KiB aligned) | state | vCPUs | tables | data | pool of zero pages
 */

/** Page-table pages that every TVM gets. */
export const TABLE_PAGES: u64 = 24;

/** Zero pages that every TVM of a scenario gets for faults. */
export const POOL_PAGES: u64 = 32;

/** Host memory that holds the guest image. */
export function guestImage(): u64 {
  return imageAddress(ImageSymbol.Start) + GUEST_IMAGE_DISTANCE;
}

/** A TVM record with its pages laid out in host memory; nothing is converted yet. */
export function layOutTvm(vcpus: u64, dataPages: u64, poolPages: u64): Tvm {
  assert(vcpus <= MAX_TEST_VCPUS, "more vCPUs than a Tvm record can count");
  const tvm = changetype<Tvm>(<usize>allocateZeroed(2));
  const machine = state();
  const vcpuPages = machine.vcpuStatePages * vcpus;
  tvm.puppetArguments = changetype<PuppetArguments>(changetype<usize>(tvm) + <usize>PAGE_SIZE);
  tvm.window = allocateZeroed(SHARED_WINDOW_PAGES);
  tvm.vcpuCount = vcpus;
  tvm.blockPages = PAGE_DIRECTORY_PAGES + machine.tvmStatePages + vcpuPages + TABLE_PAGES + dataPages + poolPages;
  tvm.block = allocatePagesAligned(tvm.blockPages, PAGE_DIRECTORY_PAGES * PAGE_SIZE);
  tvm.directory = tvm.block;
  tvm.statePages = tvm.directory + PAGE_DIRECTORY_PAGES * PAGE_SIZE;
  tvm.vcpuPages = tvm.statePages + machine.tvmStatePages * PAGE_SIZE;
  tvm.tables = tvm.vcpuPages + vcpuPages * PAGE_SIZE;
  tvm.data = tvm.tables + TABLE_PAGES * PAGE_SIZE;
  tvm.dataPages = dataPages;
  tvm.poolNext = tvm.data + dataPages * PAGE_SIZE;
  tvm.poolEnd = tvm.poolNext + poolPages * PAGE_SIZE;
  tvm.noteStart(0);
  return tvm;
}

/** Converts a laid-out TVM's pages and creates it, with tables, vCPUs and its memory region. False if a step fails. */
export function createTvm(tvm: Tvm): bool {
  checkSuccess(ensureNacl(), "NACL set_shmem");
  if (!checkSuccess(convertPages(tvm.block, tvm.blockPages), "ConvertPages")) return false;
  if (!fenceAllHarts()) return false;
  const id = tvmCreate(parameterBuffer(), tvm.directory, tvm.statePages);
  if (!checkSuccess(id, "TvmCreate")) return false;
  tvm.id = <u64>id;
  if (!checkSuccess(addPageTablePages(tvm.id, tvm.tables, TABLE_PAGES), "AddPageTablePages")) return false;
  const step = state().vcpuStatePages * PAGE_SIZE;
  for (let vcpu: u64 = 0; vcpu < tvm.vcpuCount; vcpu++) {
    if (!checkSuccess(cpuCreate(tvm.id, vcpu, tvm.vcpuPages + vcpu * step), "CpuCreate")) return false;
  }
  return checkSuccess(addMemoryRegion(tvm.id, GUEST_RAM_START, GUEST_RAM_END - GUEST_RAM_START), "AddMemoryRegion");
}

/** Gives a created TVM its measured pages, copies of host memory at `source`, and finalizes it. */
export function loadAndFinalize(tvm: Tvm, source: u64, entry: u64, argument: u64): bool {
  const added = addMeasuredPages(tvm.id, source, tvm.data, PageType.Page4K, tvm.dataPages, GUEST_RAM_START);
  if (!checkEqual(<u64>added, tvm.dataPages, "pages added by AddMeasuredPages")) return false;
  return checkSuccess(tvmFinalize(tvm.id, entry, argument), "TvmFinalize");
}

/** A runnable TVM with the guest image and one of its scenarios. Check `tvm.id`: it is 0 if a step failed. */
export function buildGuest(scenario: u64, parameter: u64, vcpus: u64): Tvm {
  return buildGuestWithPool(scenario, parameter, vcpus, POOL_PAGES);
}

export function buildGuestWithPool(scenario: u64, parameter: u64, vcpus: u64, poolPages: u64): Tvm {
  const tvm = layOutTvm(vcpus, GUEST_DATA_PAGES, poolPages);
  const argument = bootArgument(scenario, parameter, state().hasVectors != 0);
  if (!createTvm(tvm) || !loadAndFinalize(tvm, guestImage(), GUEST_RAM_START, argument)) releaseTvm(tvm);
  return tvm;
}

/** A runnable TVM whose only measured page is the host's page at `code`, where it starts. */
export function buildCodeTvm(code: u64, argument: u64): Tvm {
  const tvm = layOutTvm(1, 1, POOL_PAGES);
  if (!createTvm(tvm) || !loadAndFinalize(tvm, code, GUEST_RAM_START, argument)) releaseTvm(tvm);
  return tvm;
}

/** Destroys the TVM, if it exists, and reclaims its pages, which must come back zeroed. */
export function releaseTvm(tvm: Tvm): void {
  if (tvm.id != 0) checkSuccess(tvmDestroy(tvm.id), "TvmDestroy");
  tvm.id = 0;
  reclaimAndVerify(tvm.block, tvm.blockPages);
}

/** Reclaims `pages` converted pages and checks that every word of them is zero. */
export function reclaimAndVerify(address: u64, pages: u64): void {
  if (!checkEqual(<u64>reclaimPages(address, pages), pages, "pages reclaimed")) return;
  check(countNonZero(address, pages) == 0, "reclaimed pages are zero");
}
