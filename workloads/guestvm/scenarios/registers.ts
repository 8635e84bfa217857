import {
  csrProbe,
  csrRead,
  csrWrite,
  fpFill,
  fpMatches,
  PROBE_OK,
  read64,
  vectorFill,
  vectorMatches,
} from "../../lib/hw";
import {
  codeWriter,
  EBREAK,
  ECALL,
  encodeAddi,
  encodeLoad,
  encodeStore,
  LoadForm,
  Reg,
  StoreForm,
  WFI,
} from "../../lib/assembler";
import { registerFile, runCode } from "../../lib/capsule";
import { printLine } from "../../lib/console";
import { addMmioRegion, CovgFunction } from "../../lib/covg";
import { allocateZeroed } from "../../lib/heap";
import { beginTest, check, checkEqual, checkResult, checkSuccess, endTest, subject } from "../../lib/protocol";
import { PAGE_SIZE, TestVm } from "../../lib/records";
import {
  DbcnFunction,
  EID_COVG,
  EID_DBCN,
  EID_HSM,
  EID_LEGACY_PUTCHAR,
  hartStart,
  hartStatus,
  HsmFunction,
  HSM_STOPPED,
} from "../../lib/sbi";
import { ECHO_PAGE, ECHO_PATTERN, GUEST_SECRET, MMIO_PAGE, SCRATCH_START } from "../../lib/tvm-map";
import { deadlineIn, hasPassed, PATIENCE } from "../../lib/deadline";
import { SCOUNTEREN, SENVCFG, SEPC, SISELECT, SSTATUS, SSTATUS_SUM, STIMECMP } from "../../../hypervisor/riscv/csr";
import { checkInitialState } from "../initial-state";

/** siselect of the IMSIC's eidelivery register: a value that every AIA hart takes. */
const SELECT_EIDELIVERY: u64 = 0x70;

/** A timer deadline that does not come. The host is shown it: it must not be the secret. */
const FAR_FUTURE: u64 = 0x7fff_1234_5678_0000;

/** Turns of the loop that the host interrupts with its timer. */
const LOOP_TURNS: u64 = 30_000_000;

/** Registers of this TVM before, at and after every kind of exit. The host checks its side of the same exits. */
export function runRegisters(vm: TestVm): void {
  beginTest("registers of a new vCPU");
  checkInitialState(vm);
  checkNewVcpu();
  endTest();

  assert(addMmioRegion(ECHO_PAGE, PAGE_SIZE) >= 0, "no echo device");
  testExits(vm);
  testCsrs(vm);
}

/** Starts vCPU 1 at code that stores its registers before anything else. */
function checkNewVcpu(): void {
  const code = allocateZeroed(1);
  const dump = allocateZeroed(1);
  const writer = codeWriter(code);
  for (let n: u32 = 1; n < 32; n++) writer.put(encodeStore(StoreForm.Sd, n, Reg.A1, <i32>(n << 3)));
  writer.putLoadConstant(Reg.A7, EID_HSM);
  writer.put(encodeAddi(Reg.A6, Reg.Zero, HsmFunction.Stop));
  writer.put(ECALL);
  writer.finish();

  subject("vCPU 1");
  checkResult(hartStatus(1), HSM_STOPPED, "status before it is started");
  checkSuccess(hartStart(1, code, dump), "HSM start");
  const deadline = deadlineIn(PATIENCE);
  while (read64(dump + 8 * Reg.A1) == 0 || hartStatus(1) != HSM_STOPPED) {
    if (!check(!hasPassed(deadline), "it stores its registers and stops")) return;
  }
  for (let n: u32 = 1; n < 32; n++) {
    const expected: u64 = n == Reg.A0 ? 1 : n == Reg.A1 ? dump : 0;
    checkEqual(read64(dump + ((<u64>n) << 3)), expected, "a general register at its start");
  }
}

function testExits(vm: TestVm): void {
  beginTest("registers survive every kind of exit");
  const code = allocateZeroed(1);
  subject("wfi");
  exitWith(vm, code, WFI, 0, 0, 0);
  subject("MMIO store");
  exitWith(vm, code, encodeStore(StoreForm.Sd, Reg.A0, Reg.S0, 8), 0x600d, ECHO_PAGE, 0);
  subject("MMIO load into t3");
  if (exitWith(vm, code, encodeLoad(LoadForm.Ld, Reg.T3, Reg.S0, 0), 0, ECHO_PAGE, 1 << Reg.T3)) {
    checkEqual(registerFile(0).get(Reg.T3), ECHO_PATTERN, "the loaded value");
  }
  subject("MMIO load into s1");
  if (exitWith(vm, code, encodeLoad(LoadForm.Ld, Reg.S1, Reg.S0, 0), 0, ECHO_PAGE, 1 << Reg.S1)) {
    checkEqual(registerFile(0).get(Reg.S1), ECHO_PATTERN, "the loaded value");
  }
  subject("load from a missing page");
  exitWith(vm, code, encodeLoad(LoadForm.Ld, Reg.T3, Reg.S0, 0), 0, SCRATCH_START, 1 << Reg.T3);
  subject("store to a missing page");
  exitWith(vm, code, encodeStore(StoreForm.Sd, Reg.A0, Reg.S0, 0), 0x600d, SCRATCH_START + PAGE_SIZE, 0);
  subject("fetch from a missing page");
  fetchMissingPage();
  subject("forwarded DBCN write byte");
  exitWithCall(vm, code, EID_DBCN, DbcnFunction.WriteByte, 0x2e);
  subject("forwarded putchar");
  exitWithCall(vm, code, EID_LEGACY_PUTCHAR, 0, 0x0a);
  subject("COVG call");
  exitWithCall(vm, code, EID_COVG, CovgFunction.AddMmioRegion, MMIO_PAGE);
  subject("timer of the host");
  exitInLoop(code);
  endTest();
}

/** The page arrives zeroed: its first instruction is illegal, so the registers come back through the capsule. */
function fetchMissingPage(): void {
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  runCode(SCRATCH_START + 2 * PAGE_SIZE, file);
  checkEqual(file.cause, 2, "scause of the zeroes in the new page");
  checkEqual(file.differing(GUEST_SECRET), 0, "changed registers");
}

/**
 * Runs `instruction` with every register full of the secret, except a0 = `value` and s0 = `base` where those are not 0.
 * `changed` is the mask of registers that it may change. The result stays in register file 0.
 */
function exitWith(vm: TestVm, code: u64, instruction: u32, value: u64, base: u64, changed: u64): bool {
  const writer = codeWriter(code);
  writer.put(instruction);
  writer.put(EBREAK);
  writer.finish();
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  if (value != 0) file.set(Reg.A0, value);
  if (base != 0) file.set(Reg.S0, base);
  let given: u64 = 0;
  if (value != 0) given |= 1 << Reg.A0;
  if (base != 0) given |= 1 << Reg.S0;
  const completed = runProtected(vm, code);
  checkEqual(file.differing(GUEST_SECRET) & ~(changed | given), 0, "changed registers");
  if (value != 0) checkEqual(file.get(Reg.A0), value, "a0");
  if (base != 0) checkEqual(file.get(Reg.S0), base, "s0");
  return completed;
}

/** An ecall with every register but a7, a6, a0 and a1 full of the secret. */
function exitWithCall(vm: TestVm, code: u64, eid: u64, fid: u64, a0: u64): void {
  const writer = codeWriter(code);
  writer.put(ECALL);
  writer.put(EBREAK);
  writer.finish();
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  file.set(Reg.A7, eid);
  file.set(Reg.A6, fid);
  file.set(Reg.A0, a0);
  if (eid == EID_COVG) file.set(Reg.A1, PAGE_SIZE);
  runProtected(vm, code);
  const results: u64 = (1 << Reg.A0) | (1 << Reg.A1);
  const arguments_: u64 = (1 << Reg.A6) | (1 << Reg.A7);
  checkEqual(file.differing(GUEST_SECRET) & ~(results | arguments_), 0, "changed registers");
  checkEqual(file.get(Reg.A7), eid, "a7");
  checkEqual(file.get(Reg.A6), fid, "a6");
  checkEqual(file.get(Reg.A0), 0, "a0");
}

/** Runs the code with full FP and vector registers too, and checks those. */
function runProtected(vm: TestVm, code: u64): bool {
  fpFill(GUEST_SECRET);
  if (vm.hasVectors != 0) vectorFill(GUEST_SECRET);
  const completed = check(runCode(code, registerFile(0)), "the instruction completes");
  check(fpMatches(GUEST_SECRET), "FP registers");
  if (vm.hasVectors != 0) check(vectorMatches(GUEST_SECRET), "vector registers");
  return completed;
}

/** A loop without exits of its own, long enough for the host's timer. */
function exitInLoop(code: u64): void {
  const writer = codeWriter(code);
  writer.put(encodeAddi(Reg.T0, Reg.T0, -1));
  writer.put(0xfe029ee3); // bnez t0, -4
  writer.put(EBREAK);
  writer.finish();
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  file.set(Reg.T0, LOOP_TURNS);
  check(runCode(code, file), "the loop ends");
  checkEqual(file.get(Reg.T0), 0, "the loop's counter");
  checkEqual(file.differing(GUEST_SECRET) & ~(1 << Reg.T0), 0, "changed registers");
}

function testCsrs(vm: TestVm): void {
  beginTest("CSRs survive an exit");
  const hasSelect = csrProbe(SISELECT) == PROBE_OK;
  const hasEnvironment = csrProbe(SENVCFG) == PROBE_OK;
  csrWrite(SCOUNTEREN, 5);
  const statusBefore = csrRead(SSTATUS) ^ SSTATUS_SUM;
  csrWrite(SSTATUS, statusBefore);
  if (vm.hasStimecmp != 0) csrWrite(STIMECMP, FAR_FUTURE);
  if (hasSelect) csrWrite(SISELECT, SELECT_EIDELIVERY);
  if (hasEnvironment) csrWrite(SENVCFG, 1);
  csrWrite(SEPC, 0x8020_0004);
  // A line of text: one exit that the host answers.
  printLine("  the guest exits with its CSRs full");
  checkEqual(csrRead(SEPC), 0x8020_0004, "sepc");
  checkEqual(csrRead(SCOUNTEREN), 5, "scounteren");
  checkEqual(csrRead(SSTATUS) & SSTATUS_SUM, statusBefore & SSTATUS_SUM, "sstatus.SUM");
  if (vm.hasStimecmp != 0) checkEqual(csrRead(STIMECMP), FAR_FUTURE, "stimecmp");
  if (hasSelect) checkEqual(csrRead(SISELECT), SELECT_EIDELIVERY, "siselect");
  if (hasEnvironment) checkEqual(csrRead(SENVCFG) & 1, 1, "senvcfg.FIOM");
  if (hasEnvironment) csrWrite(SENVCFG, 0);
  csrWrite(SSTATUS, statusBefore ^ SSTATUS_SUM);
  if (vm.hasStimecmp != 0) csrWrite(STIMECMP, ~0);
  endTest();
}
