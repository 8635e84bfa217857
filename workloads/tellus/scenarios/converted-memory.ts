import { csrRead, probeCall, probeLoad, probeStore, read64, write64 } from "../../lib/hw";
import { codeWriter, EBREAK, encodeLoad, encodeStore, LoadForm, Reg, StoreForm } from "../../lib/assembler";
import { RegisterFile, registerFile, runCode } from "../../lib/capsule";
import { convertPages } from "../../lib/covh";
import { allocatePages, allocateZeroed } from "../../lib/heap";
import { commandResult, runOn } from "../../lib/mailbox";
import { enterAddressSpace, leaveAddressSpace, LEVEL_4K, PTE_RWX } from "../../lib/paging";
import { beginTest, check, checkEqual, endTest, subject } from "../../lib/protocol";
import { PAGE_SIZE } from "../../lib/records";
import { HOST_SECRET } from "../../lib/tvm-map";
import { EXC_INST_ACCESS, EXC_LOAD_ACCESS, EXC_STORE_ACCESS, STVAL } from "../../../hypervisor/riscv/csr";
import { HartCommand } from "../commands";
import { fenceAllHarts } from "../fences";
import { mapAllRam } from "../host-memory";
import { hartAt, hartCount } from "../state";
import { reclaimAndVerify } from "../tvm-builder";
import { UNMAPPED } from "../error-cases/fixture";

/** Where the page appears with paging on: not at its guest physical address. */
const VIRTUAL: u64 = 0x20_0000_0000;

/** A host that touches what it gave away gets an access fault with its own virtual address, and lives. */
export function testConvertedMemory(): void {
  const page = allocatePages(3) + PAGE_SIZE;
  write64(page, 0x1234);
  write64(page - 8, 0x5678);
  write64(page + PAGE_SIZE, 0x9abc);
  beginTest("the host cannot touch a page that it converted");
  checkEqual(<u64>convertPages(page, 1), 1, "pages converted");
  subject("before the fence, on the hart that converted");
  touch(page);
  fenceAllHarts();
  subject("after the fence");
  touch(page);
  checkEqual(read64(page - 8), 0x5678, "the word before it");
  checkEqual(read64(page + PAGE_SIZE), 0x9abc, "the word after it");
  touchOnOtherHarts(page);
  subject("no memory");
  touch(UNMAPPED);
  endTest();

  beginTest("the fault shows the host's virtual address");
  touchThroughPaging(page);
  endTest();

  beginTest("the page is the host's again when it is reclaimed");
  reclaimAndVerify(page, 1);
  write64(page, 0x4321);
  checkEqual(read64(page), 0x4321, "a word in it");
  endTest();
}

/** Loads, stores and fetches of several widths. */
function touch(address: u64): void {
  for (let width: u32 = 1; width <= 8; width *= 2) {
    checkEqual(probeLoad(address + 16, width), EXC_LOAD_ACCESS, "cause of a load");
    checkEqual(csrRead(STVAL), address + 16, "stval of a load");
    checkEqual(probeStore(address + 32, width, 1), EXC_STORE_ACCESS, "cause of a store");
    checkEqual(csrRead(STVAL), address + 32, "stval of a store");
  }
  checkEqual(probeCall(address), EXC_INST_ACCESS, "cause of a fetch");
  checkEqual(csrRead(STVAL), address, "stval of a fetch");
}

function touchOnOtherHarts(page: u64): void {
  subject("on another hart");
  for (let index: u64 = 1; index < hartCount(); index++) {
    const hart = hartAt(index);
    if (check(runOn(hart, HartCommand.ProbeLoad, page), "the hart loads")) {
      checkEqual(commandResult(hart), EXC_LOAD_ACCESS, "cause of a load");
    }
    if (check(runOn(hart, HartCommand.ProbeStore, page), "the hart stores")) {
      checkEqual(commandResult(hart), EXC_STORE_ACCESS, "cause of a store");
    }
  }
}

function touchThroughPaging(page: u64): void {
  const code = allocateZeroed(1);
  // Built now: the heap is not mapped at other addresses later.
  const file = registerFile(0);
  const space = mapAllRam();
  space.map(VIRTUAL, page, LEVEL_4K, PTE_RWX);
  enterAddressSpace(space);
  subject("load");
  expectFault(code, file, encodeLoad(LoadForm.Lw, Reg.T3, Reg.S0, 0x18), EXC_LOAD_ACCESS, VIRTUAL + 0x18);
  subject("store");
  expectFault(code, file, encodeStore(StoreForm.Sb, Reg.T3, Reg.S0, 0x29), EXC_STORE_ACCESS, VIRTUAL + 0x29);
  subject("fetch");
  checkEqual(probeCall(VIRTUAL + 0x40), EXC_INST_ACCESS, "cause");
  checkEqual(csrRead(STVAL), VIRTUAL + 0x40, "stval");
  leaveAddressSpace();
}

/** Runs one instruction with s0 = VIRTUAL and all else full: it must fault and change nothing. */
function expectFault(code: u64, file: RegisterFile, instruction: u32, cause: u64, value: u64): void {
  const writer = codeWriter(code);
  writer.put(instruction);
  writer.put(EBREAK);
  writer.finish();
  file.fill(HOST_SECRET);
  file.set(Reg.S0, VIRTUAL);
  runCode(code, file);
  checkEqual(file.cause, cause, "cause");
  checkEqual(file.trapValue, value, "stval");
  checkEqual(file.pc, code, "sepc");
  checkEqual(file.differing(HOST_SECRET), 1 << Reg.S0, "changed registers");
}
