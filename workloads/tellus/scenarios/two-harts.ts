import { codeWriter, encodeJump } from "../../lib/assembler";
import {
  addZeroPages,
  blockPages,
  convertPages,
  cpuRun,
  PageType,
  reclaimPages,
  tsmInitiateFence,
  tvmDestroy,
  tvmInitiateFence,
  unblockPages,
} from "../../lib/covh";
import { deadlineInMs, hasPassed, waitUntilAtLeast } from "../../lib/deadline";
import { allocatePages, allocateZeroed } from "../../lib/heap";
import { awaitIdle, commandResult, post } from "../../lib/mailbox";
import {
  beginTest,
  check,
  checkEqual,
  checkResult,
  checkSuccess,
  endTest,
  skipTest,
  subject,
} from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import { SBI_ALREADY_STARTED, SBI_INVALID_STATE, SBI_SUCCESS, sendIpi } from "../../lib/sbi";
import { SCRATCH_START } from "../../lib/tvm-map";
import { IRQ_SSI, SCAUSE_INTERRUPT } from "../../../hypervisor/riscv/csr";
import { HartCommand } from "../commands";
import { localFenceOn } from "../fences";
import { ensureNacl, hartAt, hartCount } from "../state";
import { Tvm } from "../tvm";
import { buildCodeTvm, reclaimAndVerify, releaseTvm } from "../tvm-builder";

/** What a host may not do to a TVM that runs on another hart at the same time, and what it may. */
export function testTwoHarts(): void {
  if (hartCount() < 2) {
    skipTest("a TVM that runs on another hart", "one hart");
    return;
  }
  beginTest("a TVM that runs on another hart");
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  writer.put(encodeJump(0));
  const spare = allocatePages(1);
  checkSuccess(ensureNacl(), "NACL set_shmem");
  const tvm = buildCodeTvm(code, 0);
  if (tvm.id != 0 && startOnHart1(tvm)) {
    testBusyTvm(tvm);
    testFences(tvm, spare);
    stopOnHart1();
    subject("when it does not run any more");
    checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "TvmInitiateFence");
    checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "TvmInitiateFence again");
    subject("");
  }
  releaseTvm(tvm);
  endTest();
}

/** Lets hart 1 run the TVM, which never exits by itself. */
function startOnHart1(tvm: Tvm): bool {
  post(hartAt(1), HartCommand.RunUntilInterrupt, changetype<usize>(tvm));
  if (!check(waitUntilAtLeast(tvm.runningAddress(), 1), "hart 1 runs it")) return false;
  // Its announcement comes before its call: give it time to be in the guest.
  const later = deadlineInMs(20);
  while (!hasPassed(later));
  return true;
}

function stopOnHart1(): void {
  const hart = hartAt(1);
  sendIpi(1, hart.id);
  if (check(awaitIdle(hart), "an interrupt ends its run")) {
    checkEqual(commandResult(hart), SCAUSE_INTERRUPT | IRQ_SSI, "scause on hart 1");
  }
}

function testBusyTvm(tvm: Tvm): void {
  subject("while it runs");
  checkResult(cpuRun(tvm.id, 0), SBI_INVALID_STATE, "CpuRun of the same vCPU");
  checkResult(tvmDestroy(tvm.id), SBI_INVALID_STATE, "TvmDestroy");
  const added = addZeroPages(tvm.id, tvm.poolNext, PageType.Page4K, 2, SCRATCH_START);
  checkResult(added, 2, "AddZeroPages");
  tvm.poolNext += 2 * PAGE_SIZE;
}

/** Fences of the TVM wait for its vCPU; fences of the host do not. */
function testFences(tvm: Tvm, spare: u64): void {
  checkResult(blockPages(tvm.id, SCRATCH_START, PAGE_SIZE), SBI_SUCCESS, "BlockPages");
  checkResult(tvmInitiateFence(tvm.id), SBI_SUCCESS, "TvmInitiateFence");
  checkResult(tvmInitiateFence(tvm.id), SBI_ALREADY_STARTED, "TvmInitiateFence while one is in progress");
  checkResult(unblockPages(tvm.id, SCRATCH_START, PAGE_SIZE), SBI_SUCCESS, "UnblockPages");
  subject("fences of the host");
  checkSuccess(convertPages(spare, 1), "ConvertPages");
  checkResult(tsmInitiateFence(), SBI_SUCCESS, "TsmInitiateFence");
  for (let index: u64 = 2; index < hartCount(); index++) {
    check(reclaimPages(spare, 1) < 0, "the page cannot be used before every hart of the host is fenced");
    localFenceOn(index);
  }
  reclaimAndVerify(spare, 1);
}
