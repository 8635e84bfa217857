import { probeLoad } from "../../lib/hw";
import {
  codeWriter,
  EBREAK,
  ECALL,
  encodeAmoAddD,
  encodeCsrRead,
  encodeCsrSetImmediate,
  encodeLoad,
  encodeLrD,
  encodeStore,
  HFENCE_GVMA,
  ILLEGAL,
  LoadForm,
  NOP,
  Reg,
  StoreForm,
} from "../../lib/assembler";
import { RegisterFile, registerFile, runCode, runUserCode } from "../../lib/capsule";
import { addMmioRegion } from "../../lib/covg";
import { allocateZeroed } from "../../lib/heap";
import {
  createAddressSpace,
  enterAddressSpace,
  leaveAddressSpace,
  LEVEL_1G,
  LEVEL_4K,
  PagingMode,
  PTE_RWX,
  PTE_USER,
} from "../../lib/paging";
import { beginTest, check, checkEqual, endTest, subject } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import { ECHO_PAGE, GUEST_SECRET } from "../../lib/tvm-map";
import {
  EXC_BREAKPOINT,
  EXC_ECALL_U,
  EXC_ILLEGAL,
  EXC_INST_PAGE,
  EXC_LOAD_PAGE,
  EXC_STORE_PAGE,
  HSTATUS,
  SSTATUS,
  SSTATUS_SIE,
  SSTATUS_SPIE,
  SSTATUS_SPP,
  STVEC,
  VSSTATUS,
} from "../../../hypervisor/riscv/csr";

/** An address that the guest's own page tables do not map. */
const UNMAPPED_VIRTUAL: u64 = 0x20_0000_1238;
/** Where the user page appears. */
const USER_VIRTUAL: u64 = 0x21_0000_0000;

/**
 * Exceptions that belong to the guest arrive in the guest, whether hardware delegates them or the hypervisor injects them, with
 * the state that the architecture says (Privileged 12.1.1, 12.1.8).
 */
export function runExceptions(): void {
  const code = allocateZeroed(1);
  testDelegated(code);
  testInjected(code);
  testPageFaults(code);
  testUserMode();
  testUndecodableMmio(code);
}

/** Writes one instruction after an optional first one, and ebreak. */
function writeCode(code: u64, first: u32, instruction: u32): void {
  const writer = codeWriter(code);
  writer.put(first);
  writer.put(instruction);
  writer.put(EBREAK);
  writer.finish();
}

/** Runs the two instructions; the second must raise `cause` with sstatus.SPP = S and SPIE = `interruptsOn`. */
function expectException(code: u64, first: u32, instruction: u32, cause: u64, interruptsOn: bool): RegisterFile {
  writeCode(code, first, instruction);
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  runCode(code, file);
  checkEqual(file.cause, cause, "scause");
  checkEqual(file.pc, code + 4, "sepc");
  checkEqual(file.differing(GUEST_SECRET), 0, "changed registers");
  checkEqual(file.status & SSTATUS_SPP, SSTATUS_SPP, "sstatus.SPP");
  checkEqual(file.status & SSTATUS_SPIE, interruptsOn ? SSTATUS_SPIE : 0, "sstatus.SPIE");
  checkEqual(file.status & SSTATUS_SIE, 0, "sstatus.SIE");
  return file;
}

function testDelegated(code: u64): void {
  beginTest("exceptions reach the guest directly");
  subject("illegal instruction");
  expectException(code, NOP, ILLEGAL, EXC_ILLEGAL, false);
  subject("breakpoint");
  expectException(code, NOP, EBREAK, EXC_BREAKPOINT, false);
  subject("misaligned lr.d");
  writeCode(code, NOP, encodeLrD(Reg.T3, Reg.S0));
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  file.set(Reg.S0, code + 0x101);
  runCode(code, file);
  // Misaligned (4 or 6) or, where the implementation says so for atomics, an access fault (5 or 7).
  check(file.cause >= 4 && file.cause <= 7, "scause");
  checkEqual(file.pc, code + 4, "sepc");
  checkEqual(file.trapValue, code + 0x101, "stval");
  endTest();
}

function testInjected(code: u64): void {
  beginTest("what a guest may not do is an illegal instruction for it");
  subject("hfence.gvma");
  expectException(code, NOP, HFENCE_GVMA, EXC_ILLEGAL, false);
  subject("hstatus");
  expectException(code, NOP, encodeCsrRead(Reg.T3, HSTATUS), EXC_ILLEGAL, false);
  subject("vsstatus");
  expectException(code, NOP, encodeCsrRead(Reg.T3, VSSTATUS), EXC_ILLEGAL, false);
  subject("hfence.gvma with interrupts on");
  expectException(code, encodeCsrSetImmediate(SSTATUS, 2), HFENCE_GVMA, EXC_ILLEGAL, true);
  subject("hfence.gvma with a vectored stvec");
  expectException(code, encodeCsrSetImmediate(STVEC, 1), HFENCE_GVMA, EXC_ILLEGAL, false);
  // Not an illegal instruction: OpenSBI 1.5 passes those on by copying stvec with its mode bits into the pc.
  subject("breakpoint with a vectored stvec");
  expectException(code, encodeCsrSetImmediate(STVEC, 1), EBREAK, EXC_BREAKPOINT, false);
  endTest();
}

function testPageFaults(code: u64): void {
  beginTest("page faults of the guest's own tables reach the guest");
  const space = createAddressSpace(PagingMode.Sv39);
  for (let gigabyte: u64 = 2; gigabyte < 6; gigabyte++) {
    space.map(gigabyte << 30, gigabyte << 30, LEVEL_1G, PTE_RWX);
  }
  enterAddressSpace(space);
  subject("load");
  checkPageFault(code, encodeLoad(LoadForm.Ld, Reg.T3, Reg.S0, 0), EXC_LOAD_PAGE);
  subject("store");
  checkPageFault(code, encodeStore(StoreForm.Sd, Reg.T3, Reg.S0, 0), EXC_STORE_PAGE);
  subject("fetch");
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  runCode(UNMAPPED_VIRTUAL, file);
  checkEqual(file.cause, EXC_INST_PAGE, "scause");
  checkEqual(file.pc, UNMAPPED_VIRTUAL, "sepc");
  checkEqual(file.trapValue, UNMAPPED_VIRTUAL, "stval");
  subject("probe");
  checkEqual(probeLoad(UNMAPPED_VIRTUAL, 8), EXC_LOAD_PAGE, "scause");
  leaveAddressSpace();
  endTest();
}

function checkPageFault(code: u64, instruction: u32, cause: u64): void {
  writeCode(code, NOP, instruction);
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  file.set(Reg.S0, UNMAPPED_VIRTUAL);
  runCode(code, file);
  checkEqual(file.cause, cause, "scause");
  checkEqual(file.pc, code + 4, "sepc");
  checkEqual(file.trapValue, UNMAPPED_VIRTUAL, "stval");
}

function testUserMode(): void {
  beginTest("user mode of the guest");
  const page = allocateZeroed(1);
  const space = createAddressSpace(PagingMode.Sv39);
  for (let gigabyte: u64 = 2; gigabyte < 6; gigabyte++) {
    space.map(gigabyte << 30, gigabyte << 30, LEVEL_1G, PTE_RWX);
  }
  space.map(USER_VIRTUAL, page, LEVEL_4K, PTE_RWX | PTE_USER);
  enterAddressSpace(space);
  const file = registerFile(0);

  subject("ecall");
  writeCode(page, NOP, ECALL);
  file.fill(GUEST_SECRET);
  runUserCode(USER_VIRTUAL, file);
  checkEqual(file.cause, EXC_ECALL_U, "scause");
  checkEqual(file.pc, USER_VIRTUAL + 4, "sepc");
  checkEqual(file.status & SSTATUS_SPP, 0, "sstatus.SPP");
  checkEqual(file.differing(GUEST_SECRET), 0, "changed registers");

  subject("hfence.gvma");
  writeCode(page, NOP, HFENCE_GVMA);
  runUserCode(USER_VIRTUAL, file);
  checkEqual(file.cause, EXC_ILLEGAL, "scause");
  checkEqual(file.pc, USER_VIRTUAL + 4, "sepc");
  checkEqual(file.status & SSTATUS_SPP, 0, "sstatus.SPP");

  subject("supervisor page");
  writeCode(page, NOP, encodeLoad(LoadForm.Ld, Reg.T3, Reg.S0, 0));
  file.set(Reg.S0, page);
  runUserCode(USER_VIRTUAL, file);
  checkEqual(file.cause, EXC_LOAD_PAGE, "scause");
  checkEqual(file.trapValue, page, "stval");
  leaveAddressSpace();
  endTest();
}

/** An instruction on emulated memory that is not a plain load or store: an exception of the guest, never an exit. */
function testUndecodableMmio(code: u64): void {
  beginTest("an instruction that cannot be emulated is an exception of the guest");
  assert(addMmioRegion(ECHO_PAGE, PAGE_SIZE) >= 0, "no echo device");
  writeCode(code, NOP, encodeAmoAddD(Reg.T3, Reg.T4, Reg.S0));
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  file.set(Reg.S0, ECHO_PAGE);
  runCode(code, file);
  checkEqual(file.cause, EXC_ILLEGAL, "scause");
  checkEqual(file.pc, code + 4, "sepc");
  endTest();
}
