import { fenceI, read64, write32, write64 } from "../../lib/hw";
import { ILLEGAL, RET } from "../../lib/assembler";
import { deadlineIn, hasPassed, PATIENCE, waitUntilAtLeast } from "../../lib/deadline";
import { allocateZeroed } from "../../lib/heap";
import { clearSoftwareInterrupt, softwareInterruptPending } from "../../lib/interrupts";
import { awaitIdle, commandResult, post, runOn } from "../../lib/mailbox";
import {
  createAddressSpace,
  enterAddressSpace,
  leaveAddressSpace,
  LEVEL_1G,
  LEVEL_4K,
  PagingMode,
  PTE_RW,
  PTE_RWX,
} from "../../lib/paging";
import { beginTest, check, checkEqual, checkResult, checkSuccess, endTest } from "../../lib/protocol";
import { TestHart, TestVm } from "../../lib/records";
import {
  HSM_STARTED,
  HSM_STOPPED,
  hartStart,
  hartStatus,
  remoteFenceI,
  remoteSfenceVma,
  SBI_ALREADY_AVAILABLE,
  SBI_INVALID_PARAM,
  sendIpi,
} from "../../lib/sbi";
import { awaitOnline, createHart, reserveHarts, startHart } from "../../lib/start";
import { meet, Meeting, MEETING_TURNS, VcpuCommand } from "../secondary";

/** The page whose translation vCPU 0 changes under the others. */
const REMAPPED_VIRTUAL: u64 = 0x20_0000_0000;

/** `count` vCPUs: start, meet in confidential memory, interrupt each other, fence each other, stop. */
export function runMultiprocessor(vm: TestVm, count: u64): void {
  if (!startVcpus(vm, count)) return;
  testMeeting(vm);
  testIpi(vm);
  testRemoteSfence(vm);
  testRemoteFenceI(vm);
  testStop(vm);
}

function startVcpus(vm: TestVm, count: u64): bool {
  beginTest("vCPUs start each other");
  reserveHarts(vm, count);
  for (let index: u64 = 1; index < count; index++) {
    checkResult(hartStatus(index), HSM_STOPPED, "status before the start");
    const hart = createHart(vm, index, index);
    checkSuccess(startHart(hart), "HSM start");
    check(awaitOnline(hart), "the vCPU comes up");
    checkResult(hartStatus(index), HSM_STARTED, "status after the start");
    checkResult(startHart(hart), SBI_ALREADY_AVAILABLE, "HSM start of a started vCPU");
  }
  checkResult(hartStart(100, 0x8020_0000, 0), SBI_INVALID_PARAM, "HSM start of a vCPU that does not exist");
  checkResult(hartStatus(100), SBI_INVALID_PARAM, "HSM status of a vCPU that does not exist");
  return endTest();
}

/** Gives every other vCPU a command; their results are read after `awaitAll`. */
function postAll(vm: TestVm, command: u64, argument: u64): void {
  for (let index: u64 = 1; index < <u64>vm.hartCount; index++) post(vm.hart(index), command, argument);
}

/** Waits until every other vCPU has completed its command. */
function awaitAll(vm: TestVm): bool {
  let all = true;
  for (let index: u64 = 1; index < <u64>vm.hartCount; index++) {
    if (!awaitIdle(vm.hart(index))) all = false;
  }
  return all;
}

/** Gives all a command and waits; checks that each result is `expected`. */
function allDo(vm: TestVm, command: u64, argument: u64, expected: u64, what: string): void {
  postAll(vm, command, argument);
  check(awaitAll(vm), "every vCPU answers");
  for (let index: u64 = 1; index < <u64>vm.hartCount; index++) {
    checkEqual(commandResult(vm.hart(index)), expected, what);
  }
}

function newMeeting(expected: u64): Meeting {
  const meeting = changetype<Meeting>(<usize>allocateZeroed(1));
  meeting.expected = expected;
  return meeting;
}

function testMeeting(vm: TestVm): void {
  beginTest("vCPUs meet at a barrier in confidential memory");
  const count = <u64>vm.hartCount;
  const meeting = newMeeting(count);
  postAll(vm, VcpuCommand.Meet, changetype<usize>(meeting));
  check(meet(meeting), "the others arrive");
  check(awaitAll(vm), "every vCPU answers");
  checkEqual(read64(meeting.at(offsetof<Meeting>("counter"))), count * MEETING_TURNS, "sum of all counts");
  endTest();
}

function testIpi(vm: TestVm): void {
  beginTest("vCPUs interrupt each other");
  const others = <u64>vm.hartCount - 1;
  const mask: u64 = (((<u64>1) << others) - 1) << 1;
  const meeting = newMeeting(others);
  postAll(vm, VcpuCommand.AwaitIpi, changetype<usize>(meeting));
  check(waitUntilAtLeast(meeting.at(offsetof<Meeting>("arrived")), others), "the others wait");
  checkSuccess(sendIpi(mask, 0), "send_ipi to all others");
  check(awaitAll(vm), "every vCPU answers");
  for (let index: u64 = 1; index <= others; index++) {
    checkEqual(commandResult(vm.hart(index)), 1, "the interrupt arrived");
  }
  check(!softwareInterruptPending(), "the sender did not interrupt itself");
  checkSuccess(sendIpi(1, 0), "send_ipi to itself");
  check(softwareInterruptPending(), "an interrupt to itself is pending");
  clearSoftwareInterrupt();
  check(!softwareInterruptPending(), "and can be cleared");
  checkResult(sendIpi(1, 100), SBI_INVALID_PARAM, "send_ipi to a vCPU that does not exist");
  endTest();
}

function testRemoteSfence(vm: TestVm): void {
  beginTest("remote sfence.vma between vCPUs");
  const first = allocateZeroed(1);
  const second = allocateZeroed(1);
  write64(first, 0x1111);
  write64(second, 0x2222);
  const space = createAddressSpace(PagingMode.Sv39);
  for (let gigabyte: u64 = 2; gigabyte < 6; gigabyte++) {
    space.map(gigabyte << 30, gigabyte << 30, LEVEL_1G, PTE_RWX);
  }
  space.map(REMAPPED_VIRTUAL, first, LEVEL_4K, PTE_RW);
  allDo(vm, VcpuCommand.EnterAddressSpace, changetype<usize>(space), 1, "paging is on");
  enterAddressSpace(space);
  allDo(vm, VcpuCommand.Load, REMAPPED_VIRTUAL, 0x1111, "the word before the change");
  space.map(REMAPPED_VIRTUAL, second, LEVEL_4K, PTE_RW);
  checkSuccess(remoteSfenceVma(0, ~0, REMAPPED_VIRTUAL, 4096), "remote_sfence_vma");
  allDo(vm, VcpuCommand.Load, REMAPPED_VIRTUAL, 0x2222, "the word after the change");
  checkEqual(read64(REMAPPED_VIRTUAL), 0x2222, "the word on the caller's own vCPU");
  allDo(vm, VcpuCommand.LeaveAddressSpace, 0, 1, "paging is off");
  leaveAddressSpace();
  endTest();
}

function testRemoteFenceI(vm: TestVm): void {
  beginTest("remote fence.i between vCPUs");
  const code = allocateZeroed(1);
  write32(code, RET);
  fenceI();
  checkSuccess(remoteFenceI(0, ~0), "remote_fence_i");
  allDo(vm, VcpuCommand.Call, code, ~0, "outcome of the first code");
  write32(code, ILLEGAL);
  fenceI();
  checkSuccess(remoteFenceI(0, ~0), "remote_fence_i");
  allDo(vm, VcpuCommand.Call, code, 2, "outcome of the second code");
  endTest();
}

function testStop(vm: TestVm): void {
  beginTest("vCPUs stop and start again");
  for (let index: u64 = 1; index < <u64>vm.hartCount; index++) {
    const hart = vm.hart(index);
    check(runOn(hart, VcpuCommand.Stop, 0), "the vCPU takes the command");
    check(awaitStatus(index, HSM_STOPPED), "it stops");
  }
  if (vm.hartCount > 1) restart(vm.hart(1));
  endTest();
}

function restart(hart: TestHart): void {
  write64(hart.address(offsetof<TestHart>("online")), 0);
  checkSuccess(startHart(hart), "HSM start of a stopped vCPU");
  check(awaitOnline(hart), "it comes up again");
  check(runOn(hart, VcpuCommand.Stop, 0), "it takes the command");
  check(awaitStatus(hart.id, HSM_STOPPED), "it stops again");
}

function awaitStatus(hartId: u64, status: i64): bool {
  const deadline = deadlineIn(PATIENCE);
  while (hartStatus(hartId) != status) if (hasPassed(deadline)) return false;
  return true;
}
