import { CovgFunction } from "../../lib/covg";
import { CovhFunction } from "../../lib/covh";
import { beginTest, check, checkResult, endTest, subject } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import {
  EID_COVG,
  EID_COVH,
  EID_HSM,
  HsmFunction,
  SBI_FAILED,
  SBI_INVALID_ADDRESS,
  SBI_INVALID_PARAM,
  SBI_NOT_SUPPORTED,
  SBI_SUCCESS,
} from "../../lib/sbi";
import { CONSOLE_PAGE, GUEST_RAM_END, GUEST_RAM_START, GuestScenario, SCRATCH_START } from "../../lib/tvm-map";
import { endPuppet, expectOutcome, puppetCall, startPuppet } from "../puppet";
import { Outcome, Tvm } from "../tvm";
import { buildGuest, releaseTvm } from "../tvm-builder";
import { BEYOND, LAST_PAGE } from "../error-cases/fixture";

/** Guest addresses in no region. */
const FREE: u64 = 0x4000_0000;

const MAX_REGIONS: u64 = 128;

/** Every error of the guest's own calls: it gets them without an exit to its host. */
export function testGuestCalls(): void {
  beginTest("a guest for its own calls");
  const tvm = buildGuest(GuestScenario.Puppet, 0, 1);
  const ready = tvm.id != 0 && startPuppet(tvm);
  endTest();
  if (ready) {
    testMmioRegions(tvm);
    testShareErrors(tvm);
    testOtherCalls(tvm);
    testHostCallsOfGuest(tvm);
    testRegionLimit(tvm);
  }
  beginTest("the guest ends");
  if (ready) endPuppet(tvm);
  releaseTvm(tvm);
  endTest();
}

/** The guest makes the call and gets `expected`; its host sees nothing of it unless it succeeds. */
function expect(tvm: Tvm, eid: u64, fid: u64, a0: u64, a1: u64, expected: i64, what: string): void {
  const exits = tvm.exits;
  if (!expectOutcome(puppetCall(tvm, eid, fid, a0, a1), Outcome.PuppetDone, what)) return;
  checkResult(<i64>tvm.puppetDone, expected, what);
  // Six loads and two stores of the puppet, and its wait for the next command.
  if (expected < 0) check(tvm.exits - exits <= 9, "an error is no exit");
}

function mmio(tvm: Tvm, fid: u64, gpa: u64, length: u64, expected: i64, what: string): void {
  expect(tvm, EID_COVG, fid, gpa, length, expected, what);
}

function testMmioRegions(tvm: Tvm): void {
  const add = CovgFunction.AddMmioRegion;
  const remove = CovgFunction.RemoveMmioRegion;
  beginTest("errors of AddMmioRegion and RemoveMmioRegion");
  subject("AddMmioRegion");
  mmio(tvm, add, FREE, 0, SBI_INVALID_PARAM, "length 0");
  mmio(tvm, add, FREE, PAGE_SIZE + 1, SBI_INVALID_PARAM, "a length that is not in pages");
  mmio(tvm, add, FREE + 8, PAGE_SIZE, SBI_INVALID_ADDRESS, "a misaligned address");
  mmio(tvm, add, LAST_PAGE, 2 * PAGE_SIZE, SBI_INVALID_ADDRESS, "a range that wraps");
  mmio(tvm, add, BEYOND, PAGE_SIZE, SBI_INVALID_ADDRESS, "beyond the address space");
  mmio(tvm, add, GUEST_RAM_START, PAGE_SIZE, SBI_INVALID_ADDRESS, "confidential memory");
  mmio(tvm, add, GUEST_RAM_END - PAGE_SIZE, 2 * PAGE_SIZE, SBI_INVALID_ADDRESS, "across the end of memory");
  mmio(tvm, add, CONSOLE_PAGE, PAGE_SIZE, SBI_INVALID_ADDRESS, "shared memory");
  mmio(tvm, add, FREE, 4 * PAGE_SIZE, SBI_SUCCESS, "free addresses");
  mmio(tvm, add, FREE, PAGE_SIZE, SBI_INVALID_ADDRESS, "a part of them again");
  subject("RemoveMmioRegion");
  mmio(tvm, remove, FREE, 0, SBI_INVALID_PARAM, "length 0");
  mmio(tvm, remove, FREE + 8, PAGE_SIZE, SBI_INVALID_ADDRESS, "a misaligned address");
  mmio(tvm, remove, LAST_PAGE, 2 * PAGE_SIZE, SBI_INVALID_ADDRESS, "a range that wraps");
  mmio(tvm, remove, GUEST_RAM_START, PAGE_SIZE, SBI_INVALID_ADDRESS, "confidential memory");
  mmio(tvm, remove, FREE + 8 * PAGE_SIZE, PAGE_SIZE, SBI_INVALID_ADDRESS, "free addresses");
  mmio(tvm, remove, FREE, 8 * PAGE_SIZE, SBI_INVALID_ADDRESS, "more than the region");
  mmio(tvm, remove, FREE + PAGE_SIZE, PAGE_SIZE, SBI_SUCCESS, "a page in the middle");
  mmio(tvm, remove, FREE, 4 * PAGE_SIZE, SBI_INVALID_ADDRESS, "the whole with its hole");
  mmio(tvm, add, FREE + PAGE_SIZE, PAGE_SIZE, SBI_SUCCESS, "AddMmioRegion of the hole");
  mmio(tvm, remove, FREE, 4 * PAGE_SIZE, SBI_SUCCESS, "the whole");
  endTest();
}

function testShareErrors(tvm: Tvm): void {
  const share = CovgFunction.ShareMemory;
  const unshare = CovgFunction.UnshareMemory;
  beginTest("errors of ShareMemory and UnshareMemory");
  subject("ShareMemory");
  mmio(tvm, share, SCRATCH_START, 0, SBI_INVALID_PARAM, "length 0");
  mmio(tvm, share, SCRATCH_START, 8, SBI_INVALID_PARAM, "a length that is not in pages");
  mmio(tvm, share, SCRATCH_START + 8, PAGE_SIZE, SBI_INVALID_ADDRESS, "a misaligned address");
  mmio(tvm, share, LAST_PAGE, 2 * PAGE_SIZE, SBI_INVALID_ADDRESS, "a range that wraps");
  mmio(tvm, share, BEYOND, PAGE_SIZE, SBI_INVALID_ADDRESS, "beyond the address space");
  mmio(tvm, share, FREE, PAGE_SIZE, SBI_INVALID_PARAM, "no memory");
  mmio(tvm, share, CONSOLE_PAGE, PAGE_SIZE, SBI_INVALID_PARAM, "shared memory");
  mmio(tvm, share, CONSOLE_PAGE - PAGE_SIZE, 2 * PAGE_SIZE, SBI_INVALID_PARAM, "memory of which a part is shared");
  mmio(tvm, share, GUEST_RAM_END - PAGE_SIZE, 2 * PAGE_SIZE, SBI_INVALID_PARAM, "across the end of memory");
  subject("UnshareMemory");
  mmio(tvm, unshare, CONSOLE_PAGE, 0, SBI_INVALID_PARAM, "length 0");
  mmio(tvm, unshare, CONSOLE_PAGE + 8, PAGE_SIZE, SBI_INVALID_ADDRESS, "a misaligned address");
  mmio(tvm, unshare, LAST_PAGE, 2 * PAGE_SIZE, SBI_INVALID_ADDRESS, "a range that wraps");
  mmio(tvm, unshare, SCRATCH_START, PAGE_SIZE, SBI_INVALID_PARAM, "confidential memory");
  mmio(tvm, unshare, CONSOLE_PAGE, 2 * PAGE_SIZE, SBI_INVALID_PARAM, "memory of which a part is confidential");
  mmio(tvm, unshare, FREE, PAGE_SIZE, SBI_INVALID_PARAM, "no memory");
  endTest();
}

function testOtherCalls(tvm: Tvm): void {
  beginTest("other calls of a guest");
  expect(tvm, EID_COVG, CovgFunction.End, 0, 0, SBI_NOT_SUPPORTED, "an unknown COVG function");
  expect(tvm, EID_COVG, CovgFunction.RetrieveSecret, 0, 0, SBI_NOT_SUPPORTED, "RetrieveSecret");
  expect(tvm, 0x0bad_cafe, 0, 0, 0, SBI_NOT_SUPPORTED, "an unknown extension");
  expect(tvm, EID_HSM, HsmFunction.Status, 100, 0, SBI_INVALID_PARAM, "hart_get_status of no vCPU");
  expect(tvm, EID_HSM, HsmFunction.Start, 100, SCRATCH_START, SBI_INVALID_PARAM, "hart_start of no vCPU");
  subject("without an interrupt file");
  const allow = CovgFunction.AllowExternalInterrupt;
  const deny = CovgFunction.DenyExternalInterrupt;
  expect(tvm, EID_COVG, allow, 0, 0, SBI_INVALID_PARAM, "AllowExternalInterrupt of no interrupt");
  expect(tvm, EID_COVG, allow, 1, 0, SBI_INVALID_PARAM, "AllowExternalInterrupt of one that only a file has");
  expect(tvm, EID_COVG, deny, 10, 0, SBI_INVALID_PARAM, "DenyExternalInterrupt of one that only a file has");
  expect(tvm, EID_COVG, allow, 9, 0, SBI_SUCCESS, "AllowExternalInterrupt of the external interrupt");
  expect(tvm, EID_COVG, deny, ~0, 0, SBI_SUCCESS, "DenyExternalInterrupt of all");
  endTest();
}

/** A TVM has no TVMs of its own, and no memory to give away. */
function testHostCallsOfGuest(tvm: Tvm): void {
  beginTest("host calls of a guest");
  const ram = GUEST_RAM_START;
  expect(tvm, EID_COVH, CovhFunction.ConvertPages, ram, 1, SBI_INVALID_ADDRESS, "ConvertPages");
  expect(tvm, EID_COVH, CovhFunction.ReclaimPages, ram, 1, SBI_INVALID_ADDRESS, "ReclaimPages");
  expect(tvm, EID_COVH, CovhFunction.TvmCreate, ram, 16, SBI_INVALID_PARAM, "TvmCreate");
  expect(tvm, EID_COVH, CovhFunction.TvmDestroy, tvm.id, 0, SBI_INVALID_PARAM, "TvmDestroy of itself");
  expect(tvm, EID_COVH, CovhFunction.CpuRun, tvm.id, 0, SBI_INVALID_PARAM, "CpuRun of itself");
  expect(tvm, EID_COVH, CovhFunction.BlockPages, tvm.id, ram, SBI_INVALID_PARAM, "BlockPages of itself");
  endTest();
}

function testRegionLimit(tvm: Tvm): void {
  beginTest("AddMmioRegion when there is no room for another region");
  let count: u64 = 0;
  tvm.puppetDone = 0;
  while (<i64>tvm.puppetDone == SBI_SUCCESS && count < MAX_REGIONS) {
    const gpa = FREE + 2 * count * PAGE_SIZE;
    const outcome = puppetCall(tvm, EID_COVG, CovgFunction.AddMmioRegion, gpa, PAGE_SIZE);
    if (!expectOutcome(outcome, Outcome.PuppetDone, "the guest makes the call")) break;
    count++;
  }
  checkResult(<i64>tvm.puppetDone, SBI_FAILED, "the first region too many");
  check(count >= 64, "regions before that");
  endTest();
}
