import * as hw from "../../lib/hw";
import {
  CodeWriter,
  EBREAK,
  encodeFpLoad,
  encodeFpStore,
  encodeLoad,
  encodeStore,
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
  testLoads(page);
  testStores(page);
  testCompressed(page);
  testFloatingPoint(page);
  testNarrowCompressed(page);
}

function testLoads(page: u64): void {
  subject("lb");
  checkLoad(page, hw.instLb(page + 1), <u64>(<i64>(<i8>ECHO_PATTERN)), LoadForm.Lb, 1);
  subject("lbu");
  checkLoad(page, hw.instLbu(page + 3), ECHO_PATTERN & 0xff, LoadForm.Lbu, 3);
  subject("lh");
  checkLoad(page, hw.instLh(page + 2), <u64>(<i64>(<i16>ECHO_PATTERN)), LoadForm.Lh, 2);
  subject("lhu");
  checkLoad(page, hw.instLhu(page + 6), ECHO_PATTERN & 0xffff, LoadForm.Lhu, 6);
  subject("lw");
  checkLoad(page, hw.instLw(page + 4), <u64>(<i64>(<i32>ECHO_PATTERN)), LoadForm.Lw, 4);
  subject("lwu");
  checkLoad(page, hw.instLwu(page + 8), ECHO_PATTERN & 0xffff_ffff, LoadForm.Lwu, 8);
  subject("ld");
  checkLoad(page, hw.instLd(page + 16), ECHO_PATTERN, LoadForm.Ld, 16);
}

function testStores(page: u64): void {
  subject("sb");
  hw.instSb(page + 1, STORE_VALUE);
  checkStore(page, STORE_VALUE & 0xff, StoreForm.Sb, 1);
  subject("sh");
  hw.instSh(page + 2, STORE_VALUE);
  checkStore(page, STORE_VALUE & 0xffff, StoreForm.Sh, 2);
  subject("sw");
  hw.instSw(page + 4, STORE_VALUE);
  checkStore(page, STORE_VALUE & 0xffff_ffff, StoreForm.Sw, 4);
  subject("sd");
  hw.instSd(page + 8, STORE_VALUE);
  checkStore(page, STORE_VALUE, StoreForm.Sd, 8);
}

function testCompressed(page: u64): void {
  subject("c.lw");
  checkLoad(page, hw.instCLw(page + 12), <u64>(<i64>(<i32>ECHO_PATTERN)), LoadForm.Lw, 12);
  subject("c.ld");
  checkLoad(page, hw.instCLd(page + 24), ECHO_PATTERN, LoadForm.Ld, 24);
  subject("c.lwsp");
  checkLoad(page, hw.instCLwSp(page + 32), <u64>(<i64>(<i32>ECHO_PATTERN)), LoadForm.Lw, 32);
  subject("c.ldsp");
  checkLoad(page, hw.instCLdSp(page + 48), ECHO_PATTERN, LoadForm.Ld, 48);
  subject("c.sw");
  hw.instCSw(page + 20, STORE_VALUE);
  checkStore(page, STORE_VALUE & 0xffff_ffff, StoreForm.Sw, 20);
  subject("c.sd");
  hw.instCSd(page + 40, STORE_VALUE);
  checkStore(page, STORE_VALUE, StoreForm.Sd, 40);
  subject("c.swsp");
  hw.instCSwSp(page + 64, STORE_VALUE);
  checkStore(page, STORE_VALUE & 0xffff_ffff, StoreForm.Sw, 64);
  subject("c.sdsp");
  hw.instCSdSp(page + 80, STORE_VALUE);
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
function testFloatingPoint(page: u64): void {
  const ram = allocateZeroed(1);
  subject("fld");
  runPair(page, ram, encodeFpLoad(LoadForm.Ld, 5, Reg.S0, 16), encodeFpStore(StoreForm.Sd, 5, Reg.S1, 0));
  checkLoad(page, hw.read64(ram), ECHO_PATTERN, LoadForm.Ld, 16);
  subject("flw");
  runPair(page, ram, encodeFpLoad(LoadForm.Lw, 31, Reg.S0, 4), encodeFpStore(StoreForm.Sd, 31, Reg.S1, 0));
  checkLoad(page, hw.read64(ram), ECHO_PATTERN | 0xffff_ffff_0000_0000, LoadForm.Lwu, 4);
  hw.write64(ram, STORE_VALUE);
  subject("fsd");
  runPair(page, ram, encodeFpLoad(LoadForm.Ld, 9, Reg.S1, 0), encodeFpStore(StoreForm.Sd, 9, Reg.S0, 8));
  checkStore(page, STORE_VALUE, StoreForm.Sd, 8);
  subject("fsw");
  runPair(page, ram, encodeFpLoad(LoadForm.Ld, 0, Reg.S1, 0), encodeFpStore(StoreForm.Sw, 0, Reg.S0, 12));
  checkStore(page, STORE_VALUE & 0xffff_ffff, StoreForm.Sw, 12);
}

/** Two instructions with s0 = the device and s1 = ordinary memory. */
function runPair(page: u64, ram: u64, first: u32, second: u32): bool {
  const code = allocateZeroed(1);
  const writer = changetype<CodeWriter>(<usize>(code + PAGE_SIZE - 8));
  writer.next = code;
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

// Zcb: c.lbu a0, 1(s0); c.lhu a0, 2(s0); c.lh a0, 2(s0); c.sb a0, 1(s0); c.sh a0, 2(s0)
const C_LBU: u32 = 0x8048;
const C_LHU: u32 = 0x8428;
const C_LH: u32 = 0x8468;
const C_SB: u32 = 0x8848;
const C_SH: u32 = 0x8c28;

/** The 16-bit forms of narrow accesses, where the hart has them: on ordinary memory they are tried first. */
function testNarrowCompressed(page: u64): void {
  const ram = allocateZeroed(1);
  const file = registerFile(0);
  if (!runHalf(C_LBU, ram)) return;
  subject("c.lbu");
  check(runHalf(C_LBU, page), "the instruction completes");
  checkLoad(page, file.get(Reg.A0), ECHO_PATTERN & 0xff, LoadForm.Lbu, 1);
  subject("c.lhu");
  check(runHalf(C_LHU, page), "the instruction completes");
  checkLoad(page, file.get(Reg.A0), ECHO_PATTERN & 0xffff, LoadForm.Lhu, 2);
  subject("c.lh");
  check(runHalf(C_LH, page), "the instruction completes");
  checkLoad(page, file.get(Reg.A0), <u64>(<i64>(<i16>ECHO_PATTERN)), LoadForm.Lh, 2);
  subject("c.sb");
  check(runHalf(C_SB, page), "the instruction completes");
  checkStore(page, (GUEST_SECRET + Reg.A0) & 0xff, StoreForm.Sb, 1);
  subject("c.sh");
  check(runHalf(C_SH, page), "the instruction completes");
  checkStore(page, (GUEST_SECRET + Reg.A0) & 0xffff, StoreForm.Sh, 2);
}

/** One 16-bit instruction with s0 = `base`. The result stays in register file 0. */
function runHalf(instruction: u32, base: u64): bool {
  const code = allocateZeroed(1);
  const writer = changetype<CodeWriter>(<usize>(code + PAGE_SIZE - 8));
  writer.next = code;
  writer.putHalf(instruction);
  writer.put(EBREAK);
  writer.finish();
  const file = registerFile(0);
  file.fill(GUEST_SECRET);
  file.set(Reg.S0, base);
  return runCode(code, file);
}

/** A load into and a store from each of x0 to x31. */
function testEveryRegister(page: u64): void {
  const code = allocateZeroed(1);
  const writer = changetype<CodeWriter>(<usize>(code + PAGE_SIZE - 8));
  const file = registerFile(0);
  subject("every register");
  for (let register: u32 = 0; register < 32; register++) {
    const base: u32 = register == Reg.T6 ? Reg.T5 : Reg.T6;
    writer.next = code;
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
