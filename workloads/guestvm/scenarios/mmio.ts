import * as hw from "../../lib/hw";
import {
  codeWriter,
  EBREAK,
  encodeFpLoad,
  encodeFpStore,
  encodeLoad,
  encodeStore,
  isCompressed,
  LoadForm,
  Reg,
  StoreForm,
} from "../../lib/assembler";
import { registerFile, runCode } from "../../lib/capsule";
import { addMmioRegion } from "../../lib/covg";
import { allocateZeroed } from "../../lib/heap";
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
import { beginTest, check, checkEqual, endTest, subject } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import {
  ECHO_COUNT,
  ECHO_GPA,
  ECHO_HTINST,
  ECHO_PAGE,
  ECHO_PATTERN,
  ECHO_VALUE,
  GUEST_SECRET,
} from "../../lib/tvm-map";

/** Where the echo page appears with paging on: not at its guest physical address. */
const ECHO_VIRTUAL: u64 = 0x20_0000_0000;

const STORE_VALUE: u64 = 0x9192_9394_9596_9798;

/** Loads and stores on an emulated device, in every form, with paging off and on. */
export function runMmio(): void {
  assert(addMmioRegion(ECHO_PAGE, PAGE_SIZE) >= 0, "no echo device");
  beginTest("MMIO in every load and store form, addresses physical");
  testForms(ECHO_PAGE);
  testEveryRegister(ECHO_PAGE);
  endTest();

  const space = createAddressSpace(PagingMode.Sv39);
  for (let gigabyte: u64 = 2; gigabyte < 6; gigabyte++) {
    space.map(gigabyte << 30, gigabyte << 30, LEVEL_1G, PTE_RWX);
  }
  space.map(ECHO_VIRTUAL, ECHO_PAGE, LEVEL_4K, PTE_RW);
  enterAddressSpace(space);
  beginTest("MMIO in every load and store form, through the guest's page tables");
  testForms(ECHO_VIRTUAL);
  testEveryRegister(ECHO_VIRTUAL);
  endTest();
  leaveAddressSpace();
}

function testForms(page: u64): void {
  const code = allocateZeroed(1);
  testLoads(page, code);
  testStores(page, code);
  testCompressed(page, code);
  testFloatingPoint(page, code);
  testNarrowCompressed(page, code);
}

function testLoads(page: u64, code: u64): void {
  subject("lb");
  testLoad(page, code, LoadForm.Lb, 1, <u64>(<i64>(<i8>ECHO_PATTERN)));
  subject("lbu");
  testLoad(page, code, LoadForm.Lbu, 3, ECHO_PATTERN & 0xff);
  subject("lh");
  testLoad(page, code, LoadForm.Lh, 2, <u64>(<i64>(<i16>ECHO_PATTERN)));
  subject("lhu");
  testLoad(page, code, LoadForm.Lhu, 6, ECHO_PATTERN & 0xffff);
  subject("lw");
  testLoad(page, code, LoadForm.Lw, 4, <u64>(<i64>(<i32>ECHO_PATTERN)));
  subject("lwu");
  testLoad(page, code, LoadForm.Lwu, 8, ECHO_PATTERN & 0xffff_ffff);
  subject("ld");
  testLoad(page, code, LoadForm.Ld, 16, ECHO_PATTERN);
}

function testStores(page: u64, code: u64): void {
  subject("sb");
  testStore(page, code, StoreForm.Sb, 1, 0xff);
  subject("sh");
  testStore(page, code, StoreForm.Sh, 2, 0xffff);
  subject("sw");
  testStore(page, code, StoreForm.Sw, 4, 0xffff_ffff);
  subject("sd");
  testStore(page, code, StoreForm.Sd, 8, ~0);
}

function testLoad(page: u64, code: u64, form: u32, offset: u64, expected: u64): void {
  const loaded = completed(code, encodeLoad(form, Reg.A0, Reg.S0, 0), Reg.S0, page + offset);
  checkLoad(page, loaded, expected, form, offset);
}

function testStore(page: u64, code: u64, form: u32, offset: u64, mask: u64): void {
  completed(code, encodeStore(form, Reg.A0, Reg.S0, 0), Reg.S0, page + offset);
  checkStore(page, STORE_VALUE & mask, form, offset);
}

// c.lw, c.ld, c.sw and c.sd with a0 and 0(s0), c.lwsp, c.ldsp, c.swsp and c.sdsp with a0 and 0(sp)
const C_LW: u32 = 0x4008;
const C_LD: u32 = 0x6008;
const C_SW: u32 = 0xc008;
const C_SD: u32 = 0xe008;
const C_LWSP: u32 = 0x4502;
const C_LDSP: u32 = 0x6502;
const C_SWSP: u32 = 0xc02a;
const C_SDSP: u32 = 0xe02a;

function testCompressed(page: u64, code: u64): void {
  const word: u64 = <u64>(<i64>(<i32>ECHO_PATTERN));
  subject("c.lw");
  checkLoad(page, completed(code, C_LW, Reg.S0, page + 12), word, LoadForm.Lw, 12);
  subject("c.ld");
  checkLoad(page, completed(code, C_LD, Reg.S0, page + 24), ECHO_PATTERN, LoadForm.Ld, 24);
  subject("c.lwsp");
  checkLoad(page, completed(code, C_LWSP, Reg.Sp, page + 32), word, LoadForm.Lw, 32);
  subject("c.ldsp");
  checkLoad(page, completed(code, C_LDSP, Reg.Sp, page + 48), ECHO_PATTERN, LoadForm.Ld, 48);
  subject("c.sw");
  completed(code, C_SW, Reg.S0, page + 20);
  checkStore(page, STORE_VALUE & 0xffff_ffff, StoreForm.Sw, 20);
  subject("c.sd");
  completed(code, C_SD, Reg.S0, page + 40);
  checkStore(page, STORE_VALUE, StoreForm.Sd, 40);
  subject("c.swsp");
  completed(code, C_SWSP, Reg.Sp, page + 64);
  checkStore(page, STORE_VALUE & 0xffff_ffff, StoreForm.Sw, 64);
  subject("c.sdsp");
  completed(code, C_SDSP, Reg.Sp, page + 80);
  checkStore(page, STORE_VALUE, StoreForm.Sd, 80);
}

/** `loaded` is what the instruction left in its register; the host saw the load of `form` at `offset`. */
function checkLoad(page: u64, loaded: u64, expected: u64, form: u32, offset: u64): void {
  checkEqual(loaded, expected, "loaded value");
  checkEqual(hw.mmioRead64(page + ECHO_HTINST), <u64>encodeLoad(form, Reg.A0, 0, 0), "htinst");
  checkEqual(hw.mmioRead64(page + ECHO_GPA), ECHO_PAGE + offset, "faulting address");
}

function checkStore(page: u64, value: u64, form: u32, offset: u64): void {
  checkEqual(hw.mmioRead64(page + ECHO_VALUE), value, "stored value");
  checkEqual(hw.mmioRead64(page + ECHO_HTINST), <u64>encodeStore(form, Reg.A0, 0, 0), "htinst");
  checkEqual(hw.mmioRead64(page + ECHO_GPA), ECHO_PAGE + offset, "faulting address");
}

/** FP loads box a single in ones; FP stores store the low bits. The host sees them as integer accesses. */
function testFloatingPoint(page: u64, code: u64): void {
  const ram = allocateZeroed(1);
  subject("fld");
  runPair(page, code, ram, encodeFpLoad(LoadForm.Ld, 5, Reg.S0, 16), encodeFpStore(StoreForm.Sd, 5, Reg.S1, 0));
  checkLoad(page, hw.read64(ram), ECHO_PATTERN, LoadForm.Ld, 16);
  subject("flw");
  runPair(page, code, ram, encodeFpLoad(LoadForm.Lw, 31, Reg.S0, 4), encodeFpStore(StoreForm.Sd, 31, Reg.S1, 0));
  checkLoad(page, hw.read64(ram), ECHO_PATTERN | 0xffff_ffff_0000_0000, LoadForm.Lwu, 4);
  hw.write64(ram, STORE_VALUE);
  subject("fsd");
  runPair(page, code, ram, encodeFpLoad(LoadForm.Ld, 9, Reg.S1, 0), encodeFpStore(StoreForm.Sd, 9, Reg.S0, 8));
  checkStore(page, STORE_VALUE, StoreForm.Sd, 8);
  subject("fsw");
  runPair(page, code, ram, encodeFpLoad(LoadForm.Ld, 0, Reg.S1, 0), encodeFpStore(StoreForm.Sw, 0, Reg.S0, 12));
  checkStore(page, STORE_VALUE & 0xffff_ffff, StoreForm.Sw, 12);
}

/** Two instructions with s0 = the device and s1 = ordinary memory. */
function runPair(page: u64, code: u64, ram: u64, first: u32, second: u32): bool {
  const writer = codeWriter(code);
  writer.put(first);
  writer.put(second);
  writer.put(EBREAK);
  writer.finish();
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  file.set(Reg.S0, page);
  file.set(Reg.S1, ram);
  return check(runCode(code, file), "both instructions complete");
}

/**
 * Runs one instruction, of 16 or 32 bits, with a0 = STORE_VALUE and its register `base` = `address`. Register file 0 has the result. False if
 * it raised an exception.
 */
function runOne(code: u64, instruction: u32, base: u32, address: u64): bool {
  const writer = codeWriter(code);
  if (isCompressed(instruction)) writer.putHalf(instruction);
  else writer.put(instruction);
  writer.put(EBREAK);
  writer.finish();
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  file.set(Reg.A0, STORE_VALUE);
  file.set(base, address);
  return runCode(code, file);
}

/** The same, which must succeed: what a0 holds then. */
function completed(code: u64, instruction: u32, base: u32, address: u64): u64 {
  check(runOne(code, instruction, base, address), "the instruction completes");
  return registerFile(0).get(Reg.A0);
}

// Zcb: c.lbu a0, 1(s0); c.lhu a0, 2(s0); c.lh a0, 2(s0); c.sb a0, 1(s0); c.sh a0, 2(s0)
const C_LBU: u32 = 0x8048;
const C_LHU: u32 = 0x8428;
const C_LH: u32 = 0x8468;
const C_SB: u32 = 0x8848;
const C_SH: u32 = 0x8c28;

/** The 16-bit forms of narrow accesses, where the hart has them: on ordinary memory they are tried first. */
function testNarrowCompressed(page: u64, code: u64): void {
  if (!runOne(code, C_LBU, Reg.S0, allocateZeroed(1))) return;
  subject("c.lbu");
  checkLoad(page, completed(code, C_LBU, Reg.S0, page), ECHO_PATTERN & 0xff, LoadForm.Lbu, 1);
  subject("c.lhu");
  checkLoad(page, completed(code, C_LHU, Reg.S0, page), ECHO_PATTERN & 0xffff, LoadForm.Lhu, 2);
  subject("c.lh");
  const half: u64 = <u64>(<i64>(<i16>ECHO_PATTERN));
  checkLoad(page, completed(code, C_LH, Reg.S0, page), half, LoadForm.Lh, 2);
  subject("c.sb");
  completed(code, C_SB, Reg.S0, page);
  checkStore(page, STORE_VALUE & 0xff, StoreForm.Sb, 1);
  subject("c.sh");
  completed(code, C_SH, Reg.S0, page);
  checkStore(page, STORE_VALUE & 0xffff, StoreForm.Sh, 2);
}

/** A load into and a store from each of x0 to x31. */
function testEveryRegister(page: u64): void {
  const code = allocateZeroed(1);
  const file = registerFile(0);
  subject("every register");
  for (let register: u32 = 0; register < 32; register++) {
    const base: u32 = register == Reg.T6 ? Reg.T5 : Reg.T6;
    const writer = codeWriter(code);
    writer.put(encodeStore(StoreForm.Sd, register, base, 0x100));
    writer.put(encodeLoad(LoadForm.Lw, register, base, -4));
    writer.put(EBREAK);
    writer.finish();
    file.fill(GUEST_SECRET);
    file.set(base, page + 0x80);
    const before = hw.mmioRead64(page + ECHO_COUNT);
    check(runCode(code, file), "both instructions complete");
    checkEqual(hw.mmioRead64(page + ECHO_COUNT) - before, 2, "number of exits");
    const stored = register == 0 ? 0 : GUEST_SECRET + <u64>register;
    checkEqual(hw.mmioRead64(page + ECHO_VALUE), stored, "value stored from the register");
    if (register != 0)
      checkEqual(file.get(register), <u64>(<i64>(<i32>ECHO_PATTERN)), "value loaded into the register");
    const changed: u64 = (1 << (<u64>register)) | (1 << (<u64>base));
    checkEqual(file.differing(GUEST_SECRET) & ~changed, 0, "other registers");
  }
}
