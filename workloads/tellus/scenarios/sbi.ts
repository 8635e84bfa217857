import { csrClear, csrRead, csrSet, write8 } from "../../lib/hw";
import { codeWriter, EBREAK, ECALL, Reg } from "../../lib/assembler";
import { registerFile, runCode } from "../../lib/capsule";
import { convertPages } from "../../lib/covh";
import { deadlineIn, deadlineInMs, hasPassed, PATIENCE } from "../../lib/deadline";
import { allocatePages } from "../../lib/heap";
import { armTimer, clearSoftwareInterrupt, NEVER, SIE_TIMER, softwareInterruptPending } from "../../lib/interrupts";
import { runOn } from "../../lib/mailbox";
import { naclProbeFeature } from "../../lib/nacl";
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
import { PAGE_SIZE, thisHart } from "../../lib/records";
import {
  BaseFunction,
  debugConsoleRead,
  debugConsoleWrite,
  debugConsoleWriteByte,
  EID_BASE,
  EID_COVH,
  EID_DBCN,
  EID_HSM,
  EID_IPI,
  EID_NACL,
  EID_RFENCE,
  EID_SRST,
  EID_TIME,
  HSM_STARTED,
  HSM_STOPPED,
  HsmFunction,
  hartStart,
  hartStatus,
  probeExtension,
  putchar,
  remoteFenceI,
  remoteSfenceVma,
  remoteSfenceVmaAsid,
  RfenceFunction,
  sbi,
  SBI_ALREADY_AVAILABLE,
  SBI_INVALID_ADDRESS,
  SBI_INVALID_PARAM,
  SBI_NOT_SUPPORTED,
  SBI_SUCCESS,
  sendIpi,
  setTimer,
  systemReset,
} from "../../lib/sbi";
import { awaitOnline, startHart } from "../../lib/start";
import { BINARY_TEXT, BINARY_TEXT_BYTES, HOST_SECRET } from "../../lib/tvm-map";
import { SIE, SIP } from "../../../hypervisor/riscv/csr";
import { HartCommand } from "../commands";
import { fenceAllHarts } from "../fences";
import { hartAt, hartCount } from "../state";
import { reclaimAndVerify } from "../tvm-builder";
import { BEYOND, LAST_PAGE, UNMAPPED } from "../error-cases/fixture";

/** A hart id that no machine here has. */
const NO_HART: u64 = 0x7777;

const SPEC_2_0: i64 = 0x0200_0000;

/** The ordinary SBI extensions, as a host uses them. */
export function testSbi(): void {
  testBase();
  testTimer();
  testIpi();
  testRemoteFences();
  testHartStates();
  testConsole();
  testResetArguments();
}

function testBase(): void {
  beginTest("SBI Base");
  check(sbi(EID_BASE, BaseFunction.SpecVersion) >= SPEC_2_0, "specification 2.0 or later");
  for (let fid: u64 = BaseFunction.ImplementationId; fid <= <u64>BaseFunction.MachineId; fid++) {
    if (fid != BaseFunction.Probe) checkSuccess(sbi(EID_BASE, fid), "a Base function");
  }
  check(probeExtension(EID_BASE) > 0, "probe of Base");
  check(probeExtension(EID_TIME) > 0, "probe of TIME");
  check(probeExtension(EID_IPI) > 0, "probe of IPI");
  check(probeExtension(EID_RFENCE) > 0, "probe of RFENCE");
  check(probeExtension(EID_HSM) > 0, "probe of HSM");
  check(probeExtension(EID_SRST) > 0, "probe of SRST");
  check(probeExtension(EID_DBCN) > 0, "probe of DBCN");
  check(probeExtension(EID_NACL) > 0, "probe of NACL");
  check(probeExtension(EID_COVH) > 0, "probe of COVH");
  checkEqual(changedByCall(EID_BASE, BaseFunction.SpecVersion), 0, "registers that a call changes, beside a0 and a1");
  for (let feature: u64 = 0; feature < 4; feature++) {
    checkResult(naclProbeFeature(feature), 0, "NACL offers no synchronization feature");
  }
  endTest();
}

/** Which registers other than a0 and a1 the call changes, as a mask: all are filled before it. */
function changedByCall(eid: u64, fid: u64): u64 {
  const code = allocatePages(1);
  const writer = codeWriter(code);
  writer.put(ECALL);
  writer.put(EBREAK);
  writer.finish();
  const file = registerFile(1);
  file.fill(HOST_SECRET);
  file.set(Reg.A6, fid);
  file.set(Reg.A7, eid);
  check(runCode(code, file), "the call returns");
  // What differs from the pattern by being an argument still has to be that argument.
  let expected: u64 = (1 << Reg.A0) | (1 << Reg.A1);
  if (file.get(Reg.A6) == fid) expected |= 1 << Reg.A6;
  if (file.get(Reg.A7) == eid) expected |= 1 << Reg.A7;
  return file.differing(HOST_SECRET) & ~expected;
}

function testTimer(): void {
  beginTest("SBI TIME");
  csrSet(SIE, SIE_TIMER);
  checkSuccess(setTimer(deadlineInMs(2)), "set_timer");
  const deadline = deadlineIn(PATIENCE);
  while ((csrRead(SIP) & SIE_TIMER) == 0 && !hasPassed(deadline));
  check((csrRead(SIP) & SIE_TIMER) != 0, "the timer is pending when its time has come");
  checkSuccess(setTimer(NEVER), "set_timer to never");
  check((csrRead(SIP) & SIE_TIMER) == 0, "and not any more");
  subject("hart_suspend");
  armTimer(deadlineInMs(5));
  checkResult(sbi(EID_HSM, HsmFunction.Suspend, 0, 0, 0), SBI_SUCCESS, "retentive suspend");
  check((csrRead(SIP) & SIE_TIMER) != 0, "it ends with the timer");
  armTimer(NEVER);
  csrClear(SIE, SIE_TIMER);
  endTest();
}

function testIpi(): void {
  beginTest("SBI IPI");
  const self = thisHart().id;
  clearSoftwareInterrupt();
  checkSuccess(sendIpi(1, self), "send_ipi to itself");
  check(softwareInterruptPending(), "the interrupt is pending");
  clearSoftwareInterrupt();
  check(!softwareInterruptPending(), "it can be cleared");
  checkSuccess(sendIpi(0, 0), "send_ipi to nobody");
  check(!softwareInterruptPending(), "nothing is pending");
  checkSuccess(sendIpi(0, ~0), "send_ipi to all");
  check(softwareInterruptPending(), "all are all harts, the caller too");
  clearSoftwareInterrupt();
  checkResult(sendIpi(1, NO_HART), SBI_INVALID_PARAM, "a hart that does not exist");
  checkResult(sendIpi(~0, 0), SBI_INVALID_PARAM, "64 harts, of which some do not exist");
  endTest();
}

function testRemoteFences(): void {
  beginTest("SBI RFENCE");
  checkResult(remoteFenceI(0, ~0), SBI_SUCCESS, "remote_fence_i of all");
  checkResult(remoteFenceI(1, thisHart().id), SBI_SUCCESS, "remote_fence_i of the caller");
  checkResult(remoteSfenceVma(0, ~0, 0, ~0), SBI_SUCCESS, "remote_sfence_vma of everything");
  checkResult(remoteSfenceVma(0, ~0, 0x1000, 0x3000), SBI_SUCCESS, "remote_sfence_vma of a range");
  checkResult(remoteSfenceVmaAsid(0, ~0, 0, ~0, 1), SBI_SUCCESS, "remote_sfence_vma_asid");
  checkResult(remoteFenceI(1, NO_HART), SBI_INVALID_PARAM, "a hart that does not exist");
  checkResult(remoteSfenceVma(0, ~0, LAST_PAGE, 2 * PAGE_SIZE), SBI_INVALID_ADDRESS, "a range that wraps");
  subject("a host without hypervisor extension");
  for (let fid: u64 = RfenceFunction.HfenceGvmaVmid; fid <= <u64>RfenceFunction.HfenceVvma; fid++) {
    checkResult(sbi(EID_RFENCE, fid, 1, 0, 0, ~0, 0), SBI_NOT_SUPPORTED, "remote hfence");
  }
  endTest();
}

function testHartStates(): void {
  beginTest("SBI HSM");
  const self = thisHart().id;
  checkResult(hartStatus(self), HSM_STARTED, "status of itself");
  checkResult(hartStatus(NO_HART), SBI_INVALID_PARAM, "status of a hart that does not exist");
  checkResult(hartStart(NO_HART, 0x8020_0000, 0), SBI_INVALID_PARAM, "start of a hart that does not exist");
  checkResult(hartStart(self, 0x8020_0000, 0), SBI_ALREADY_AVAILABLE, "start of itself");
  checkResult(sbi(EID_HSM, HsmFunction.Suspend, 1, 0, 0), SBI_INVALID_PARAM, "suspend of a reserved type");
  endTest();
  if (hartCount() < 2) {
    skipTest("stop and restart a hart", "one hart");
    return;
  }
  beginTest("stop and restart a hart");
  const hart = hartAt(1);
  check(runOn(hart, HartCommand.Stop, 0), "the hart takes the command");
  const deadline = deadlineIn(PATIENCE);
  while (hartStatus(hart.id) != HSM_STOPPED && !hasPassed(deadline));
  checkResult(hartStatus(hart.id), HSM_STOPPED, "status of a stopped hart");
  checkResult(hartStart(hart.id, UNMAPPED, 0), SBI_INVALID_ADDRESS, "start where no memory is");
  hart.online = 0;
  checkSuccess(startHart(hart), "start");
  check(awaitOnline(hart), "the hart comes up again");
  check(runOn(hart, HartCommand.LocalFence, 0), "and does its work");
  endTest();
}

function testConsole(): void {
  beginTest("SBI DBCN");
  const pages = allocatePages(3);
  checkResult(debugConsoleWrite(pages, 0), 0, "no bytes");
  for (let i: u64 = 0; i < BINARY_TEXT_BYTES; i++) {
    // Across a page boundary.
    write8(pages + PAGE_SIZE - 4 + i, (<u32>(BINARY_TEXT >> (i * 8))) & 0xff);
  }
  const written = debugConsoleWrite(pages + PAGE_SIZE - 4, BINARY_TEXT_BYTES);
  checkResult(written, <i64>BINARY_TEXT_BYTES, "bytes that are not text");
  checkResult(debugConsoleWriteByte(0x2a), SBI_SUCCESS, "write_byte");
  checkResult(putchar(0x0a), SBI_SUCCESS, "legacy putchar");
  checkSuccess(debugConsoleRead(pages, 16), "read");
  subject("buffer");
  checkResult(debugConsoleWrite(UNMAPPED, 8), SBI_INVALID_PARAM, "no memory");
  checkResult(debugConsoleWrite(BEYOND, 8), SBI_INVALID_PARAM, "beyond the address space");
  checkResult(debugConsoleRead(UNMAPPED, 8), SBI_INVALID_PARAM, "no memory, to read");
  checkResult(sbi(EID_DBCN, 0, 8, pages, 1), SBI_INVALID_PARAM, "above 64 bits");
  checkSuccess(convertPages(pages + PAGE_SIZE, 1), "ConvertPages");
  checkResult(debugConsoleWrite(pages + PAGE_SIZE, 8), SBI_INVALID_PARAM, "a converted page");
  fenceAllHarts();
  reclaimAndVerify(pages + PAGE_SIZE, 1);
  endTest();
}

/** Arguments that must not reset anything. */
function testResetArguments(): void {
  beginTest("SBI SRST refuses what it does not know");
  checkResult(systemReset(3, 0), SBI_INVALID_PARAM, "a reserved type");
  checkResult(systemReset(0, 2), SBI_INVALID_PARAM, "a reserved reason");
  endTest();
}
