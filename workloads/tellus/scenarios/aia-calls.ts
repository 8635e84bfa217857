import {
  bindImsic,
  convertImsic,
  CoviFunction,
  injectExternalInterrupt,
  rebindImsicBegin,
  rebindImsicClone,
  rebindImsicEnd,
  reclaimImsic,
  setImsicAddress,
  TVM_AIA_PARAMS_SIZE,
  tvmAiaInit,
  unbindImsicBegin,
  unbindImsicEnd,
  writeAiaParams,
} from "../../lib/covi";
import {
  blockPages,
  convertPages,
  cpuRun,
  reclaimPages,
  tvmFinalize,
  tvmInitiateFence,
  unblockPages,
} from "../../lib/covh";
import { beginTest, check, checkResult, checkSuccess, endTest, skipTest, subject } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import {
  EID_COVI,
  probeExtension,
  sbi,
  SBI_ALREADY_AVAILABLE,
  SBI_DENIED,
  SBI_INVALID_ADDRESS,
  SBI_INVALID_PARAM,
  SBI_INVALID_STATE,
  SBI_NOT_SUPPORTED,
  SBI_SUCCESS,
} from "../../lib/sbi";
import { GUEST_IMSIC, GUEST_RAM_START, GuestScenario } from "../../lib/tvm-map";
import { fenceAllHarts } from "../fences";
import { giveFileBack, guestFile, GUEST_GROUP_SHIFT, GUEST_HART_BITS, hasGuestFiles, takeFile } from "../guest-files";
import { interruptFile } from "../imsic";
import { parameterBuffer } from "../state";
import { Tvm } from "../tvm";
import { buildGuest, createTvm, layOutTvm, loadAndFinalize, guestImage, POOL_PAGES, releaseTvm } from "../tvm-builder";

const FILE_1: u64 = 1 << 1;
const FILE_2: u64 = 1 << 2;
const NO_TVM: u64 = 0x7777_7002;

/** COVI call by call: what is refused, and in which order the calls go. */
export function testAiaCalls(): void {
  if (!hasGuestFiles(1)) {
    testWithoutFiles();
    return;
  }
  if (!hasGuestFiles(2)) {
    skipTest("errors of the COVI calls", "one guest interrupt file for TVMs");
    return;
  }
  beginTest("errors of the COVI calls");
  checkResult(sbi(EID_COVI, CoviFunction.End), SBI_NOT_SUPPORTED, "an unknown function");
  testUnknownTvm();
  testConversion();
  const tvm = layOutTvm(2, 1, POOL_PAGES);
  if (createTvm(tvm)) {
    testGeometry(tvm);
    testAddresses(tvm);
    testBinding(tvm);
    testRebinding(tvm);
    subject("the TVM is destroyed with a file bound");
    checkSuccess(bindImsic(tvm.id, 1, FILE_2), "BindImsic of vCPU 1");
    checkSuccess(rebindImsicBegin(tvm.id, 1, FILE_1), "RebindImsicBegin");
  }
  releaseTvm(tvm);
  subject("after the TVM is gone");
  giveFileBack(0, 1);
  giveFileBack(0, 2);
  testTvmWithoutFiles();
  endTest();
}

/** A machine whose harts have no guest files to give. */
function testWithoutFiles(): void {
  beginTest("COVI without guest interrupt files");
  checkResult(probeExtension(EID_COVI), 0, "probe");
  for (let fid: u64 = 0; fid <= <u64>CoviFunction.End; fid++) {
    checkResult(sbi(EID_COVI, fid, 2, 0, 0), SBI_NOT_SUPPORTED, "every function");
  }
  endTest();
}

function testUnknownTvm(): void {
  subject("a TVM that does not exist");
  checkResult(tvmAiaInit(NO_TVM, parameterBuffer(), TVM_AIA_PARAMS_SIZE), SBI_INVALID_PARAM, "TvmAiaInit");
  checkResult(setImsicAddress(NO_TVM, 0, GUEST_IMSIC), SBI_INVALID_PARAM, "SetImsicAddress");
  checkResult(bindImsic(NO_TVM, 0, FILE_1), SBI_INVALID_PARAM, "BindImsic");
  checkResult(injectExternalInterrupt(0, 0, 1), SBI_INVALID_PARAM, "InjectExternalInterrupt into the host");
}

function testConversion(): void {
  subject("ConvertImsic");
  const file = guestFile(0, 1);
  checkResult(convertImsic(file + 8), SBI_INVALID_ADDRESS, "a misaligned address");
  checkResult(convertImsic(interruptFile(0)), SBI_INVALID_ADDRESS, "the hart's own file");
  checkResult(convertImsic(parameterBuffer() & ~(PAGE_SIZE - 1)), SBI_INVALID_ADDRESS, "ordinary memory");
  checkResult(convertImsic(~(PAGE_SIZE - 1)), SBI_INVALID_ADDRESS, "the last page of all");
  checkResult(convertPages(file, 1), SBI_INVALID_ADDRESS, "ConvertPages of a file");
  subject("ReclaimImsic");
  checkResult(reclaimImsic(file), SBI_INVALID_ADDRESS, "a file that was not converted");
  checkResult(convertImsic(file), SBI_SUCCESS, "ConvertImsic");
  checkResult(convertImsic(file), SBI_INVALID_ADDRESS, "ConvertImsic again");
  checkResult(reclaimImsic(file), SBI_INVALID_ADDRESS, "without a fence");
  fenceAllHarts();
  checkResult(reclaimPages(file, 1), SBI_INVALID_ADDRESS, "ReclaimPages of a file");
  checkResult(reclaimImsic(file), SBI_SUCCESS, "after a fence");
  checkResult(reclaimImsic(file), SBI_INVALID_ADDRESS, "again");
}

function initWith(tvm: Tvm, base: u64, groupBits: u32, groupShift: u32, hartBits: u32, guestBits: u32): i64 {
  const params = parameterBuffer();
  writeAiaParams(params, base, groupBits, groupShift, hartBits, guestBits);
  return tvmAiaInit(tvm.id, params, TVM_AIA_PARAMS_SIZE);
}

function testGeometry(tvm: Tvm): void {
  subject("TvmAiaInit");
  const shift = GUEST_GROUP_SHIFT;
  const bits = GUEST_HART_BITS;
  checkResult(setImsicAddress(tvm.id, 0, GUEST_IMSIC), SBI_NOT_SUPPORTED, "SetImsicAddress before it");
  checkResult(bindImsic(tvm.id, 0, FILE_1), SBI_NOT_SUPPORTED, "BindImsic before it");
  checkResult(tvmAiaInit(tvm.id, parameterBuffer(), 31), SBI_INVALID_PARAM, "parameters that are too short");
  checkResult(tvmAiaInit(tvm.id, 0x1000, TVM_AIA_PARAMS_SIZE), SBI_INVALID_ADDRESS, "parameters that are nowhere");
  checkResult(
    initWith(tvm, GUEST_IMSIC + PAGE_SIZE, 0, shift, bits, 0),
    SBI_INVALID_PARAM,
    "a base with a hart number",
  );
  checkResult(initWith(tvm, GUEST_IMSIC + 8, 0, shift, bits, 0), SBI_INVALID_PARAM, "a misaligned base");
  checkResult(initWith(tvm, GUEST_IMSIC, 0, 23, bits, 0), SBI_INVALID_PARAM, "a group shift below 24");
  checkResult(initWith(tvm, GUEST_IMSIC, 0, 24, 13, 0), SBI_INVALID_PARAM, "a group shift inside the hart number");
  checkResult(initWith(tvm, GUEST_IMSIC, 7, 60, bits, 0), SBI_INVALID_PARAM, "a group number beyond 64 bits");
  checkResult(initWith(tvm, GUEST_IMSIC, 0, ~(<u32>0), bits, 0), SBI_INVALID_PARAM, "a group shift that overflows");
  checkResult(initWith(tvm, 0, 0, shift, ~(<u32>0), ~(<u32>0)), SBI_INVALID_PARAM, "index bits that overflow");
  checkResult(initWith(tvm, (<u64>1) << 62, 0, shift, bits, 0), SBI_INVALID_ADDRESS, "beyond the address space");
  checkResult(initWith(tvm, GUEST_RAM_START & ~(<u64>0xff_ffff), 0, shift, 12, 0), SBI_INVALID_ADDRESS, "over memory");
  checkResult(initWith(tvm, 0, 7, 25, bits, 0), SBI_INVALID_ADDRESS, "a group over memory");
  checkResult(initWith(tvm, GUEST_IMSIC, 0, shift, bits, 0), SBI_SUCCESS, "the right ones");
  checkResult(initWith(tvm, GUEST_IMSIC, 0, shift, bits, 0), SBI_SUCCESS, "the same again");
  checkResult(initWith(tvm, GUEST_IMSIC, 0, shift, bits - 1, 0), SBI_ALREADY_AVAILABLE, "others");
}

function testAddresses(tvm: Tvm): void {
  subject("SetImsicAddress");
  checkResult(setImsicAddress(tvm.id, 5, GUEST_IMSIC), SBI_INVALID_PARAM, "a vCPU that does not exist");
  checkResult(setImsicAddress(tvm.id, 0, GUEST_IMSIC + 8), SBI_INVALID_ADDRESS, "a misaligned address");
  checkResult(setImsicAddress(tvm.id, 0, GUEST_IMSIC + (PAGE_SIZE << 8)), SBI_INVALID_ADDRESS, "outside the geometry");
  checkResult(setImsicAddress(tvm.id, 0, GUEST_IMSIC), SBI_SUCCESS, "the first file");
  checkResult(bindImsic(tvm.id, 0, FILE_1), SBI_INVALID_STATE, "BindImsic before TvmFinalize");
  checkResult(injectExternalInterrupt(tvm.id, 0, 1), SBI_INVALID_STATE, "InjectExternalInterrupt before TvmFinalize");
  subject("TvmFinalize");
  checkResult(tvmFinalize(tvm.id, GUEST_RAM_START, 0), SBI_INVALID_STATE, "a vCPU without an address");
  checkResult(setImsicAddress(tvm.id, 1, GUEST_IMSIC), SBI_SUCCESS, "the same address");
  checkResult(tvmFinalize(tvm.id, GUEST_RAM_START, 0), SBI_INVALID_STATE, "two vCPUs with one address");
  checkResult(setImsicAddress(tvm.id, 1, GUEST_IMSIC + PAGE_SIZE), SBI_SUCCESS, "an address of its own");
  check(loadAndFinalize(tvm, guestImage(), GUEST_RAM_START, 0), "the call is repeated");
  checkResult(setImsicAddress(tvm.id, 1, GUEST_IMSIC), SBI_INVALID_PARAM, "SetImsicAddress after it");
  checkResult(
    initWith(tvm, GUEST_IMSIC, 0, GUEST_GROUP_SHIFT, GUEST_HART_BITS, 0),
    SBI_INVALID_PARAM,
    "TvmAiaInit after it",
  );
}

function testBinding(tvm: Tvm): void {
  const id = tvm.id;
  subject("a vCPU that is not bound");
  checkResult(cpuRun(id, 0), SBI_INVALID_STATE, "CpuRun");
  checkResult(unbindImsicBegin(id, 0), SBI_INVALID_STATE, "UnbindImsicBegin");
  checkResult(unbindImsicEnd(id, 0), SBI_INVALID_STATE, "UnbindImsicEnd");
  checkResult(rebindImsicBegin(id, 0, FILE_1), SBI_INVALID_STATE, "RebindImsicBegin");
  checkResult(rebindImsicClone(id, 0), SBI_INVALID_STATE, "RebindImsicClone");
  checkResult(rebindImsicEnd(id, 0), SBI_INVALID_STATE, "RebindImsicEnd");
  checkResult(injectExternalInterrupt(id, 0, 3), SBI_DENIED, "an interrupt that is not allowed");
  checkResult(injectExternalInterrupt(id, 0, 0), SBI_DENIED, "interrupt 0");
  checkResult(injectExternalInterrupt(id, 0, ~0), SBI_DENIED, "an interrupt that there is not");
  checkResult(injectExternalInterrupt(id, 7, 3), SBI_INVALID_PARAM, "a vCPU that does not exist");

  subject("BindImsic");
  checkResult(bindImsic(id, 0, FILE_1), SBI_INVALID_ADDRESS, "a file that was not converted");
  checkResult(convertImsic(guestFile(0, 1)), SBI_SUCCESS, "ConvertImsic");
  checkResult(bindImsic(id, 0, FILE_1), SBI_INVALID_ADDRESS, "a file that was not fenced");
  fenceAllHarts();
  takeFile(0, 2);
  checkResult(bindImsic(id, 0, 0), SBI_INVALID_PARAM, "no file");
  checkResult(bindImsic(id, 0, 1), SBI_INVALID_PARAM, "file 0");
  checkResult(bindImsic(id, 0, FILE_1 | FILE_2), SBI_INVALID_PARAM, "two files");
  checkResult(bindImsic(id, 0, (<u64>1) << 63), SBI_INVALID_PARAM, "a file that there is not");
  checkResult(bindImsic(id, 0, FILE_1), SBI_SUCCESS, "the right one");
  checkResult(bindImsic(id, 0, FILE_2), SBI_INVALID_STATE, "another one for the same vCPU");
  checkResult(bindImsic(id, 1, FILE_1), SBI_INVALID_ADDRESS, "the same one for another vCPU");
  checkResult(reclaimImsic(guestFile(0, 1)), SBI_INVALID_ADDRESS, "ReclaimImsic of a bound file");
  checkResult(blockPages(id, GUEST_IMSIC, PAGE_SIZE), SBI_INVALID_ADDRESS, "BlockPages of a bound file");
  checkResult(rebindImsicClone(id, 0), SBI_INVALID_STATE, "RebindImsicClone of a bound vCPU");
  checkResult(unbindImsicEnd(id, 0), SBI_INVALID_STATE, "UnbindImsicEnd of a bound vCPU");

  subject("unbinding");
  checkResult(unbindImsicBegin(id, 0), SBI_SUCCESS, "UnbindImsicBegin");
  checkResult(unbindImsicBegin(id, 0), SBI_INVALID_STATE, "UnbindImsicBegin again");
  checkResult(cpuRun(id, 0), SBI_INVALID_STATE, "CpuRun");
  checkResult(unblockPages(id, GUEST_IMSIC, PAGE_SIZE), SBI_INVALID_ADDRESS, "UnblockPages of its file");
  checkResult(unbindImsicEnd(id, 0), SBI_INVALID_ADDRESS, "UnbindImsicEnd without a fence");
  checkResult(tvmInitiateFence(id), SBI_SUCCESS, "TvmInitiateFence");
  checkResult(reclaimImsic(guestFile(0, 1)), SBI_INVALID_ADDRESS, "ReclaimImsic before the end");
  checkResult(unbindImsicEnd(id, 0), SBI_SUCCESS, "UnbindImsicEnd");
  checkResult(unbindImsicEnd(id, 0), SBI_INVALID_STATE, "UnbindImsicEnd again");
}

/** Ends with vCPU 0 unbound, and both files converted. */
function testRebinding(tvm: Tvm): void {
  const id = tvm.id;
  subject("rebinding");
  checkResult(bindImsic(id, 0, FILE_1), SBI_SUCCESS, "BindImsic");
  checkResult(rebindImsicBegin(id, 0, FILE_1), SBI_INVALID_ADDRESS, "to the file that it has");
  checkResult(rebindImsicBegin(id, 0, 3), SBI_INVALID_PARAM, "to two files");
  checkResult(rebindImsicBegin(id, 0, FILE_2), SBI_SUCCESS, "RebindImsicBegin");
  checkResult(rebindImsicBegin(id, 0, FILE_2), SBI_INVALID_STATE, "RebindImsicBegin again");
  checkResult(rebindImsicEnd(id, 0), SBI_INVALID_STATE, "RebindImsicEnd before the clone");
  checkResult(unbindImsicBegin(id, 0), SBI_INVALID_STATE, "UnbindImsicBegin");
  checkResult(cpuRun(id, 0), SBI_INVALID_STATE, "CpuRun");
  checkResult(rebindImsicClone(id, 0), SBI_INVALID_ADDRESS, "RebindImsicClone without a fence");
  checkResult(tvmInitiateFence(id), SBI_SUCCESS, "TvmInitiateFence");
  checkResult(reclaimImsic(guestFile(0, 1)), SBI_INVALID_ADDRESS, "ReclaimImsic before the clone");
  checkResult(rebindImsicClone(id, 0), SBI_SUCCESS, "RebindImsicClone");
  checkResult(rebindImsicClone(id, 0), SBI_INVALID_STATE, "RebindImsicClone again");
  checkResult(cpuRun(id, 0), SBI_INVALID_STATE, "CpuRun before the end");
  checkResult(rebindImsicEnd(id, 0), SBI_SUCCESS, "RebindImsicEnd");
  checkResult(rebindImsicEnd(id, 0), SBI_INVALID_STATE, "RebindImsicEnd again");
  checkResult(unbindImsicBegin(id, 0), SBI_SUCCESS, "UnbindImsicBegin");
  checkResult(tvmInitiateFence(id), SBI_SUCCESS, "TvmInitiateFence");
  checkResult(unbindImsicEnd(id, 0), SBI_SUCCESS, "UnbindImsicEnd");
}

/** A TVM that was made without interrupt files has no use for these calls. */
function testTvmWithoutFiles(): void {
  subject("a TVM without interrupt files");
  const tvm = buildGuest(GuestScenario.Puppet, 0, 1);
  checkResult(setImsicAddress(tvm.id, 0, GUEST_IMSIC), SBI_NOT_SUPPORTED, "SetImsicAddress");
  checkResult(bindImsic(tvm.id, 0, FILE_1), SBI_NOT_SUPPORTED, "BindImsic");
  checkResult(injectExternalInterrupt(tvm.id, 0, 1), SBI_NOT_SUPPORTED, "InjectExternalInterrupt");
  releaseTvm(tvm);
}
