import { csrWrite, fenceI, imageAddress, ImageSymbol, probeCall, read64, storeRelease64 } from "../lib/hw";
import { codeWriter, encodeJumpRegister, Reg } from "../lib/assembler";
import { endLine, print, printDecimal, printHex } from "../lib/console";
import { convertPages, tsmInitiateFence } from "../lib/covh";
import { allocateHugePages, allocatePages, allocateZeroed } from "../lib/heap";
import { maskInterrupts } from "../lib/interrupts";
import { NACL_PAGES } from "../lib/nacl";
import { TestHart } from "../lib/records";
import {
  adoptSecondary,
  afterImage,
  awaitOnline,
  createHart,
  reserveHarts,
  startHart,
  startTestVm,
} from "../lib/start";
import { SATP, SIE } from "../../hypervisor/riscv/csr";
import { GUEST_IMAGE_DISTANCE, readMachine } from "../tellus/machine";
import { Range, state } from "../tellus/state";
import { askTsm } from "../tellus/tsm";
import { layOutTvm } from "../tellus/tvm-builder";
import { writeGuest } from "./guest-code";
import { KeptWork, liveForEver, TOUCHED_PAGES } from "./kept-hart";
import { chooseKept, linuxImage } from "./plan";
import { makeStatus } from "./status";
import { Storm } from "./storm";
import { makeLinuxTree } from "./tree";

export { handleTrap as trap } from "../lib/interrupts";
export { reportAssert as panicAssert, reportWasmTrap as panicWasm } from "../lib/panic";

/**
 * A host that shares its machine with a stock Linux: it keeps one hart and a range of memory, on which TVMs come and go for ever, and starts the Linux whose
 * image is behind its own (2 MiB) on the others. Linux' device tree has that hart as failed and that memory as reserved.
 *
 * What it keeps is said in one line: `companion: hart 2, status 0x..., converted 0x...` (status.ts; a page that stays converted).
 */

const SEED: u64 = 0x1234_5678_9abc_def1;

export function main(hartId: u64, fdt: u64): void {
  const vm = startTestVm(hartId, afterImage(), imageAddress(ImageSymbol.Start) + GUEST_IMAGE_DISTANCE);
  assert(readMachine(fdt), "there is no device tree");
  vm.timebase = state().timebase;
  vm.hasVectors = state().hasVectors;
  vm.hasStimecmp = state().hasStimecmp;
  const kept = changetype<Range>(<usize>allocateZeroed(1));
  const tree = chooseKept(kept);
  askTsm();

  reserveHarts(vm, 2);
  const hart = createHart(vm, 1, otherHart(hartId));
  state().naclAreas = allocateZeroed(2 * NACL_PAGES);
  const status = allocateZeroed(1);
  const converted = allocatePages(1);
  prepareWork(hart, status);
  assert(convertPages(converted, 1) == 1, "ConvertPages");
  // Nobody but this hart has run yet: now everything that was converted can be used.
  assert(tsmInitiateFence() == 0, "TsmInitiateFence");

  const own = changetype<Range>(<usize>allocateZeroed(1));
  own.start = imageAddress(ImageSymbol.Start);
  own.end = linuxImage();
  makeLinuxTree(tree, hart.id, own, kept);
  assert(startHart(hart) == 0 && awaitOnline(hart), "the kept hart does not start");
  print("companion: hart ");
  printDecimal(hart.id);
  print(", status ");
  printHex(status);
  print(", converted ");
  printHex(converted);
  endLine();
  startLinux(hartId, tree);
}

/** The last hart that is not the boot hart. */
function otherHart(bootHart: u64): u64 {
  for (let i = state().hartCount; i > 0; i--) {
    const id = read64(<u64>state().hartIds + (i - 1) * 8);
    if (id != bootHart) return id;
  }
  assert(false, "there is only one hart");
  return 0;
}

/** Everything that the kept hart needs. */
function prepareWork(hart: TestHart, status: u64): void {
  const work = changetype<KeptWork>(hart.program + WORK_OFFSET);
  work.status = makeStatus(status);
  work.code = writeGuest();
  const tvm = layOutTvm(1, 1, TOUCHED_PAGES);
  work.tvm = tvm;
  work.pool = tvm.poolNext;
  work.storm = changetype<Storm>(<usize>allocateZeroed(1));
  work.storm.seed = SEED + hart.id;
  work.storm.scratch = allocateHugePages(1);
  assert(convertPages(tvm.block, tvm.blockPages) == <i64>tvm.blockPages, "ConvertPages");
}

/** In a hart's program record: behind its last exit and its parameters. */
const WORK_OFFSET: usize = 1024;

/** Enters Linux as the firmware would: a0 = hart, a1 = device tree, no translation, no interrupts. */
function startLinux(hartId: u64, tree: u64): void {
  const code = allocateZeroed(1);
  const writer = codeWriter(code);
  writer.putLoadConstant(Reg.A0, hartId);
  writer.putLoadConstant(Reg.A1, tree);
  writer.putLoadConstant(Reg.T0, linuxImage());
  writer.put(encodeJumpRegister(Reg.T0));
  writer.finish();
  maskInterrupts();
  csrWrite(SIE, 0);
  csrWrite(SATP, 0);
  fenceI();
  probeCall(code);
}

export function secondaryMain(hartId: u64, stackTop: u64): void {
  const hart = adoptSecondary(stackTop);
  assert(hart.id == hartId, "a hart got another one's stack");
  storeRelease64(hart.address(offsetof<TestHart>("online")), 1);
  liveForEver(changetype<KeptWork>(hart.program + WORK_OFFSET));
}
