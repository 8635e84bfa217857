import {
  codeWriter,
  ECALL,
  encodeLoad,
  encodeStore,
  encodeJumpRegister,
  LoadForm,
  Reg,
  StoreForm,
} from "../../lib/assembler";
import { cpuRun } from "../../lib/covh";
import { CovgFunction } from "../../lib/covg";
import { allocateZeroed, heapMark, heapRelease } from "../../lib/heap";
import { guestRegister } from "../../lib/nacl";
import { beginTest, check, checkEqual, checkResult, endTest, subject } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import { EID_COVG, EID_HSM, EID_SRST, HsmFunction, SBI_INVALID_STATE } from "../../lib/sbi";
import { MMIO_PAGE } from "../../lib/tvm-map";
import {
  EXC_ECALL_VS,
  EXC_INST_GUEST_PAGE,
  EXC_LOAD_GUEST_PAGE,
  EXC_STORE_GUEST_PAGE,
} from "../../../hypervisor/riscv/csr";
import { runOnce } from "../run-loop";
import { Exit } from "../state";
import { Tvm } from "../tvm";
import { buildCodeTvm, releaseTvm } from "../tvm-builder";

/** A guest address in no region. */
const NOWHERE: u64 = 0x2000_0000;

/** Exits after which a vCPU is off for good, each from a TVM of a few instructions. */
export function testFatalExits(): void {
  const mark = heapMark();
  testLostAccess("a load from nowhere ends the vCPU", encodeLoad(LoadForm.Ld, Reg.T0, Reg.S0, 0), EXC_LOAD_GUEST_PAGE);
  heapRelease(mark);
  testLostAccess(
    "a store to nowhere ends the vCPU",
    encodeStore(StoreForm.Sd, Reg.T0, Reg.S0, 0),
    EXC_STORE_GUEST_PAGE,
  );
  heapRelease(mark);
  testLostAccess("a jump to nowhere ends the vCPU", encodeJumpRegister(Reg.S0), EXC_INST_GUEST_PAGE);
  heapRelease(mark);
  testJumpToDevice();
  heapRelease(mark);
  testLastCall("the guest's hart_stop ends the vCPU", EID_HSM, HsmFunction.Stop);
  heapRelease(mark);
  testLastCall("the guest's system_reset ends the vCPU", EID_SRST, 0);
  heapRelease(mark);
}

function testLostAccess(name: string, instruction: u32, cause: u64): void {
  beginTest(name);
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  writer.putLoadConstant(Reg.S0, NOWHERE + 0x123456);
  writer.put(instruction);
  const tvm = buildCodeTvm(code, 0);
  if (tvm.id != 0) expectEnd(tvm, runOnce(tvm, 0), cause);
  releaseTvm(tvm);
  endTest();
}

/** The vCPU is off, the host sees the cause and no address, and cannot run it again. */
function expectEnd(tvm: Tvm, exit: Exit, cause: u64): void {
  checkEqual(exit.error, 0, "CpuRun");
  checkEqual(exit.terminated, 1, "the vCPU is off");
  checkEqual(exit.cause, cause, "scause");
  checkEqual(exit.value, 0, "stval");
  checkEqual(exit.htval, 0, "htval");
  checkEqual(exit.htinst, 0, "htinst");
  checkResult(cpuRun(tvm.id, 0), SBI_INVALID_STATE, "CpuRun again");
}

function testJumpToDevice(): void {
  beginTest("a jump into a device ends the vCPU");
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  writer.putLoadConstant(Reg.A0, MMIO_PAGE);
  writer.putLoadConstant(Reg.A1, PAGE_SIZE);
  writer.putLoadConstant(Reg.A6, CovgFunction.AddMmioRegion);
  writer.putLoadConstant(Reg.A7, EID_COVG);
  writer.put(ECALL);
  writer.putLoadConstant(Reg.S0, MMIO_PAGE);
  writer.put(encodeJumpRegister(Reg.S0));
  const tvm = buildCodeTvm(code, 0);
  if (tvm.id != 0) {
    const exit = runOnce(tvm, 0);
    checkEqual(exit.cause, EXC_ECALL_VS, "scause of AddMmioRegion");
    checkEqual(guestRegister(Reg.A0), MMIO_PAGE, "its address");
    checkEqual(guestRegister(Reg.A1), PAGE_SIZE, "its length");
    expectEnd(tvm, runOnce(tvm, 0), EXC_INST_GUEST_PAGE);
  }
  releaseTvm(tvm);
  endTest();
}

function testLastCall(name: string, eid: u64, fid: u64): void {
  beginTest(name);
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  writer.putLoadConstant(Reg.A1, 1);
  writer.putLoadConstant(Reg.A6, fid);
  writer.putLoadConstant(Reg.A7, eid);
  writer.put(ECALL);
  const tvm = buildCodeTvm(code, 0);
  if (tvm.id != 0) {
    subject("the call");
    const exit = runOnce(tvm, 0);
    checkEqual(guestRegister(Reg.A7), eid, "a7");
    checkEqual(guestRegister(Reg.A6), fid, "a6");
    if (eid == EID_SRST) checkEqual(guestRegister(Reg.A1), 1, "the reason");
    expectEnd(tvm, exit, EXC_ECALL_VS);
    check(tvm.id != 0, "the TVM is still there");
  }
  releaseTvm(tvm);
  endTest();
}
