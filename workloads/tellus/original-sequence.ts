import { copyBytes, read64, vectorFill, vectorMatches, csrClear, csrSet } from "../lib/hw";
import { endLine, print, printDecimal, printLine } from "../lib/console";
import {
  addMeasuredPages,
  addMemoryRegion,
  addPageTablePages,
  addZeroPages,
  convertPages,
  cpuCreate,
  PAGE_DIRECTORY_PAGES,
  PageType,
  tsmGetInfo,
  TSM_INFO_SIZE,
  tvmCreate,
  tvmDestroy,
  tvmFinalize,
} from "../lib/covh";
import { allocateHugePages, allocatePages, allocatePagesAligned, allocateZeroed } from "../lib/heap";
import { armTimer, NEVER, SIE_EXTERNAL, SIE_TIMER } from "../lib/interrupts";
import { naclUnregister } from "../lib/nacl";
import { beginTest, check, checkEqual, checkSuccess, endTest } from "../lib/protocol";
import { HUGE_PAGE_SIZE, PAGE_SIZE, PAGES_PER_HUGE } from "../lib/records";
import { SBI_INVALID_ADDRESS } from "../lib/sbi";
import {
  bootArgument,
  GUEST_DATA_PAGES,
  GUEST_RAM_END,
  GUEST_RAM_START,
  GuestScenario,
  NONCE_BYTES,
  NONCE_PAGE_INDEX,
  PONG,
  PREFAULTED_PAGES,
  SHARED_WINDOW_PAGES,
  ZERO_PAGES,
  ZERO_PAGES_START,
} from "../lib/tvm-map";
import { IRQ_SEI, IRQ_STI, SCAUSE_INTERRUPT, SIE } from "../../hypervisor/riscv/csr";
import { fenceAllHarts } from "./fences";
import { claimInterrupt, hasImsic, openInterruptFile, raiseOwnInterrupt, TEST_INTERRUPT } from "./imsic";
import { runOnce, runToShutdown } from "./run-loop";
import { logConfidentialRegion, logPages, logStart, logVcpu } from "./measurement-log";
import { ensureNacl, parameterBuffer, state } from "./state";
import { Tvm } from "./tvm";
import { guestImage, reclaimAndVerify } from "./tvm-builder";

/**
 * The steps of the original tellus, in its order: one TVM made call by call from pages that are converted as they are needed, run,
 * destroyed, and every page reclaimed. (Interrupt files, the PMU and attestation have tests of their own.)
 */

/** Page-table pages that the original donates. */
const ORIGINAL_TABLE_PAGES: u64 = 10;

/** Pattern that tellus' vector registers hold while the guest runs. */
const VECTOR_SEED: u64 = 0xdeadbeef;

export function runOriginalSequence(): void {
  const tvm = changetype<Tvm>(<usize>allocateZeroed(1));
  const machine = state();
  tvm.vcpuCount = 1;
  tvm.directory = allocatePagesAligned(PAGE_DIRECTORY_PAGES + machine.tvmStatePages, PAGE_DIRECTORY_PAGES * PAGE_SIZE);
  tvm.statePages = tvm.directory + PAGE_DIRECTORY_PAGES * PAGE_SIZE;
  tvm.tables = allocatePages(ORIGINAL_TABLE_PAGES);
  tvm.vcpuPages = allocatePages(machine.vcpuStatePages);
  tvm.data = allocatePages(GUEST_DATA_PAGES);
  // One more than the guest's zero pages: for the page that it unshares.
  tvm.poolNext = allocatePages(ZERO_PAGES + 1);
  tvm.poolEnd = tvm.poolNext + (ZERO_PAGES + 1) * PAGE_SIZE;
  const pool = tvm.poolNext;
  tvm.window = allocateZeroed(SHARED_WINDOW_PAGES);
  if (machine.nonce != 0) copyBytes(tvm.window + NONCE_PAGE_INDEX * PAGE_SIZE, machine.nonce, NONCE_BYTES);
  const huge = allocateHugePages(2);

  testInfoRefusal();
  if (create(tvm) && populate(tvm, huge) && run(tvm)) destroy(tvm);
  else return;
  reclaim(tvm, pool, huge);
  beginTest("unregister the shared memory");
  checkSuccess(naclUnregister(), "NACL set_shmem of all ones");
  endTest();
}

function testInfoRefusal(): void {
  beginTest("TsmGetInfo to a bad address fails");
  check(tsmGetInfo(0x1000, TSM_INFO_SIZE) == SBI_INVALID_ADDRESS, "INVALID_ADDRESS");
  endTest();
}

function create(tvm: Tvm): bool {
  beginTest("create a TVM");
  const pages = PAGE_DIRECTORY_PAGES + state().tvmStatePages;
  checkEqual(<u64>convertPages(tvm.directory, pages), pages, "pages converted");
  fenceAllHarts();
  const id = tvmCreate(parameterBuffer(), tvm.directory, tvm.statePages);
  if (checkSuccess(id, "TvmCreate")) {
    tvm.id = <u64>id;
    print("Tvm Create Success vmid: ");
    printDecimal(tvm.id);
    endLine();
  }
  checkSuccess(ensureNacl(), "NACL set_shmem");
  checkEqual(<u64>convertPages(tvm.tables, ORIGINAL_TABLE_PAGES), ORIGINAL_TABLE_PAGES, "pages converted for tables");
  fenceAllHarts();
  checkSuccess(addPageTablePages(tvm.id, tvm.tables, ORIGINAL_TABLE_PAGES), "AddPageTablePages");
  checkSuccess(convertPages(tvm.vcpuPages, state().vcpuStatePages), "ConvertPages for the vCPU");
  fenceAllHarts();
  checkSuccess(cpuCreate(tvm.id, 0, tvm.vcpuPages), "CpuCreate");
  logVcpu(0);
  return endTest();
}

function populate(tvm: Tvm, huge: u64): bool {
  beginTest("load and finalize the TVM");
  checkSuccess(addMemoryRegion(tvm.id, GUEST_RAM_START, GUEST_RAM_END - GUEST_RAM_START), "AddMemoryRegion");
  logConfidentialRegion(GUEST_RAM_START, GUEST_RAM_END - GUEST_RAM_START);
  checkEqual(<u64>convertPages(tvm.data, GUEST_DATA_PAGES), GUEST_DATA_PAGES, "data pages converted");
  fenceAllHarts();
  const added = addMeasuredPages(tvm.id, guestImage(), tvm.data, PageType.Page4K, GUEST_DATA_PAGES, GUEST_RAM_START);
  checkEqual(<u64>added, GUEST_DATA_PAGES, "measured pages added");
  logPages(GUEST_RAM_START, GUEST_DATA_PAGES, "guest", 0);
  const pool = (tvm.poolEnd - tvm.poolNext) / PAGE_SIZE;
  checkEqual(<u64>convertPages(tvm.poolNext, pool), pool, "zero pages converted");
  checkEqual(<u64>convertPages(huge, 2 * PAGES_PER_HUGE), 2 * PAGES_PER_HUGE, "large pages converted");
  fenceAllHarts();
  tvm.promoteSource = huge;
  tvm.demoteSource = huge + HUGE_PAGE_SIZE;
  const argument = bootArgument(GuestScenario.Original, 0, state().hasVectors != 0);
  checkSuccess(tvmFinalize(tvm.id, GUEST_RAM_START, argument), "TvmFinalize");
  logStart(GUEST_RAM_START, argument);
  const first = addZeroPages(tvm.id, tvm.poolNext, PageType.Page4K, PREFAULTED_PAGES, ZERO_PAGES_START);
  checkEqual(<u64>first, PREFAULTED_PAGES, "zero pages added");
  tvm.poolNext += PREFAULTED_PAGES * PAGE_SIZE;
  return endTest();
}

function run(tvm: Tvm): bool {
  if (state().hasVectors != 0) vectorFill(VECTOR_SEED);
  exitByInterrupts(tvm);
  beginTest("run the TVM");
  if (runToShutdown(tvm)) printLine("Guest VM requested shutdown");
  if (state().hasVectors != 0) check(vectorMatches(VECTOR_SEED), "vector registers are as before");
  return endTest();
}

/** An interrupt of the host that is pending already takes the TVM out at once. */
function exitByInterrupts(tvm: Tvm): void {
  beginTest("pending interrupts of the host end a run");
  csrSet(SIE, SIE_TIMER);
  armTimer(0);
  let exit = runOnce(tvm, 0);
  checkEqual(exit.error, 0, "CpuRun with the timer pending");
  checkEqual(exit.cause, SCAUSE_INTERRUPT | IRQ_STI, "scause");
  checkEqual(exit.terminated, 0, "the vCPU can go on");
  armTimer(NEVER);
  if (hasImsic()) {
    openInterruptFile();
    raiseOwnInterrupt();
    csrSet(SIE, SIE_EXTERNAL);
    exit = runOnce(tvm, 0);
    checkEqual(exit.error, 0, "CpuRun with an external interrupt pending");
    checkEqual(exit.cause, SCAUSE_INTERRUPT | IRQ_SEI, "scause");
    checkEqual(claimInterrupt(), TEST_INTERRUPT, "the interrupt is still the host's to claim");
    csrClear(SIE, SIE_EXTERNAL);
  }
  endTest();
}

function destroy(tvm: Tvm): void {
  beginTest("destroy the TVM");
  checkSuccess(tvmDestroy(tvm.id), "TvmDestroy");
  checkEqual(read64(tvm.window), PONG, "the guest's word in the shared page");
  endTest();
}

function reclaim(tvm: Tvm, pool: u64, huge: u64): void {
  beginTest("reclaim every page, zeroed");
  reclaimAndVerify(huge, 2 * PAGES_PER_HUGE);
  reclaimAndVerify(tvm.data, GUEST_DATA_PAGES);
  reclaimAndVerify(pool, ZERO_PAGES + 1);
  reclaimAndVerify(tvm.directory, PAGE_DIRECTORY_PAGES + state().tvmStatePages);
  reclaimAndVerify(tvm.vcpuPages, state().vcpuStatePages);
  reclaimAndVerify(tvm.tables, ORIGINAL_TABLE_PAGES);
  endTest();
}
