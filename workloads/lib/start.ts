import { imageAddress, ImageSymbol, zeroBytes } from "./hw";
import { chooseConsole, useLineBuffer } from "./console";
import { buildCapsule } from "./capsule";
import { alignUp, allocateZeroed } from "./heap";
import { becomeHart, PAGE_SIZE, TestHart, TestVm } from "./records";
import { hartStart } from "./sbi";
import { waitUntilAtLeast } from "./deadline";

/** Where the records of a test VM and its harts lie, and how harts come to life. */

// The first page of the heap: the VM's record, the boot hart's record, the boot hart's line, the program's root record.
const BOOT_HART_OFFSET: u64 = 512;
const BOOT_LINE_OFFSET: u64 = 1024;
const BOOT_LINE_BYTES: u32 = 256;
const HARTS_OFFSET: u64 = 1536;
const PROGRAM_OFFSET: u64 = 2048;
const BOOT_HART_PROGRAM_OFFSET: u64 = 3072;

// A secondary hart's block: its stack, then a page with its record and line, then its capsule.
const STACK_PAGES: u64 = 4;
const LINE_OFFSET: u64 = 1024;
const HART_PROGRAM_OFFSET: u64 = 2048;

/** First page after the image and the boot hart's stack. */
export function afterImage(): u64 {
  const end = imageAddress(ImageSymbol.End);
  const stack = imageAddress(ImageSymbol.BootStackTop);
  return alignUp(end > stack ? end : stack, PAGE_SIZE);
}

/**
 * Makes the records of the VM and of its boot hart, with a heap of [heapStart, heapEnd), and turns the console on. `heapStart`
 * is page aligned; the memory need not be zero.
 */
export function startTestVm(hartId: u64, heapStart: u64, heapEnd: u64): TestVm {
  zeroBytes(heapStart, PAGE_SIZE);
  const vm = changetype<TestVm>(<usize>heapStart);
  vm.heapNext = heapStart + PAGE_SIZE;
  vm.heapEnd = heapEnd;
  vm.program = <usize>(heapStart + PROGRAM_OFFSET);
  vm.hartCount = 1;
  vm.harts = <usize>(heapStart + HARTS_OFFSET);
  const hart = changetype<TestHart>(<usize>(heapStart + BOOT_HART_OFFSET));
  hart.id = hartId;
  hart.vm = vm;
  hart.program = <usize>(heapStart + BOOT_HART_PROGRAM_OFFSET);
  vm.setHart(0, hart);
  becomeHart(hart);
  chooseConsole();
  useLineBuffer(heapStart + BOOT_LINE_OFFSET, BOOT_LINE_BYTES);
  return vm;
}

/** Makes room for `count` harts in the VM's table; hart 0 stays the boot hart. */
export function reserveHarts(vm: TestVm, count: u64): void {
  const boot = vm.hart(0);
  vm.harts = <usize>allocateZeroed((count * 8 + PAGE_SIZE - 1) / PAGE_SIZE);
  vm.hartCount = <u32>count;
  vm.setHart(0, boot);
}

/** Makes the record, stack and capsule of the hart that becomes number `index`. */
export function createHart(vm: TestVm, index: u64, hartId: u64): TestHart {
  const block = allocateZeroed(STACK_PAGES + 2);
  const record = block + STACK_PAGES * PAGE_SIZE;
  const hart = changetype<TestHart>(<usize>record);
  hart.id = hartId;
  hart.index = index;
  hart.vm = vm;
  hart.lineBuffer = record + LINE_OFFSET;
  hart.lineCapacity = BOOT_LINE_BYTES;
  hart.capsule = record + PAGE_SIZE;
  hart.program = <usize>(record + HART_PROGRAM_OFFSET);
  vm.setHart(index, hart);
  return hart;
}

/** Starts a created hart at the image's secondary entry; returns the SBI result. */
export function startHart(hart: TestHart): i64 {
  return hartStart(hart.id, imageAddress(ImageSymbol.SecondaryEntry), changetype<usize>(hart));
}

/** Waits until a started hart serves its mailbox. */
export function awaitOnline(hart: TestHart): bool {
  return waitUntilAtLeast(hart.address(offsetof<TestHart>("online")), 1);
}

/** First thing on a secondary hart: its record lies at the top of its stack. */
export function adoptSecondary(stackTop: u64): TestHart {
  const hart = changetype<TestHart>(<usize>stackTop);
  becomeHart(hart);
  buildCapsule(hart.capsule);
  return hart;
}
