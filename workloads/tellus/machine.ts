import { imageAddress, ImageSymbol, read64, read8, write64, write8 } from "../lib/hw";
import {
  bigEndianCells,
  FdtCursor,
  fdtIsValid,
  fdtOpen,
  fdtReservations,
  fdtSize,
  FdtToken,
  isaStringHas,
} from "../lib/fdt";
import { allocateZeroed, alignUp, heapMark, heapRelease } from "../lib/heap";
import { PAGE_SIZE } from "../lib/records";
import { bytesStartWith, textLength } from "../lib/text";
import { GUEST_DATA_PAGES, GUEST_IMAGE_IN_HOST, HOST_IMAGE, NONCE_BYTES } from "../lib/tvm-map";
import { MAX_HOLES, MAX_RAM_RANGES, Range, ResetTest, state, TellusState } from "./state";

/** Reads the device tree that tellus was started with. */

/** Bytes from the host image to the guest image behind it. */
export const GUEST_IMAGE_DISTANCE: u64 = GUEST_IMAGE_IN_HOST - HOST_IMAGE;

/** Fills the state from the device tree at `fdt`. False if there is none. */
export function readMachine(fdt: u64): bool {
  if (!fdtIsValid(fdt)) return false;
  const machine = state();
  machine.fdt = fdt;
  machine.fdtEnd = fdt + fdtSize(fdt);
  machine.timebase = 10_000_000;
  const cursor = changetype<FdtCursor>(<usize>allocateZeroed(1));
  readMemory(machine, cursor);
  countHarts(machine, cursor);
  readHarts(machine, cursor);
  readImsic(machine, cursor);
  readBootArguments(machine, cursor);
  const image = imageAddress(ImageSymbol.Start);
  addHole(machine, image, image + GUEST_IMAGE_DISTANCE + GUEST_DATA_PAGES * PAGE_SIZE);
  addHole(machine, fdt, machine.fdtEnd);
  readReservations(machine);
  return true;
}

function addHole(machine: TellusState, start: u64, end: u64): void {
  if (machine.holeCount == MAX_HOLES || start >= end) return;
  const hole = machine.hole(machine.holeCount++);
  hole.start = start & ~(PAGE_SIZE - 1);
  hole.end = alignUp(end, PAGE_SIZE);
}

/** /memory nodes, and the children of /reserved-memory. */
function readMemory(machine: TellusState, cursor: FdtCursor): void {
  let addressCells: u32 = 2;
  let sizeCells: u32 = 1;
  let inReserved: bool = false;
  let inMemory: bool = false;
  fdtOpen(cursor, machine.fdt);
  while (cursor.next() != FdtToken.End) {
    if (cursor.token == FdtToken.BeginNode && cursor.depth == 2) {
      inMemory = cursor.isNode("memory");
      inReserved = cursor.isNode("reserved-memory");
    }
    if (cursor.token != FdtToken.Property) continue;
    if (cursor.depth == 1 && cursor.isProperty("#address-cells")) addressCells = cursor.value32();
    if (cursor.depth == 1 && cursor.isProperty("#size-cells")) sizeCells = cursor.value32();
    if (!cursor.isProperty("reg")) continue;
    const step = <u64>(addressCells + sizeCells) * 4;
    for (let at: u64 = 0; at + step <= cursor.valueLength; at += step) {
      const start = bigEndianCells(cursor.value + at, addressCells);
      const end = start + bigEndianCells(cursor.value + at + <u64>addressCells * 4, sizeCells);
      if (inMemory && cursor.depth == 2) addRam(machine, start, end);
      if (inReserved && cursor.depth == 3) addHole(machine, start, end);
    }
  }
}

function addRam(machine: TellusState, start: u64, end: u64): void {
  if (machine.ramCount == MAX_RAM_RANGES || start >= end) return;
  const ram = machine.ram(machine.ramCount++);
  ram.start = start;
  ram.end = end;
}

function readReservations(machine: TellusState): void {
  for (let at = fdtReservations(machine.fdt); at + 16 <= machine.fdtEnd; at += 16) {
    const start = bswap<u64>(read64(at));
    const size = bswap<u64>(read64(at + 8));
    if (size == 0) return;
    addHole(machine, start, start + size);
  }
}

function countHarts(machine: TellusState, cursor: FdtCursor): void {
  fdtOpen(cursor, machine.fdt);
  while (cursor.next() != FdtToken.End) {
    if (cursor.token == FdtToken.BeginNode && cursor.depth == 3 && cursor.isNode("cpu")) machine.hartCount++;
  }
  machine.hartIds = <usize>allocateZeroed((machine.hartCount * 8) / PAGE_SIZE + 1);
}

/** /cpus: hart ids, the ISA of the first hart, and the time base. */
function readHarts(machine: TellusState, cursor: FdtCursor): void {
  let index: u64 = 0;
  let inCpu: bool = false;
  fdtOpen(cursor, machine.fdt);
  while (cursor.next() != FdtToken.End) {
    if (cursor.token == FdtToken.BeginNode && cursor.depth <= 3) {
      inCpu = cursor.depth == 3 && cursor.isNode("cpu");
      if (inCpu) index++;
    }
    if (cursor.token != FdtToken.Property) continue;
    if (cursor.isProperty("timebase-frequency")) machine.timebase = <u64>cursor.value32();
    if (!inCpu || cursor.depth != 3) continue;
    if (cursor.isProperty("reg")) {
      const id = bigEndianCells(cursor.value, <u32>(cursor.valueLength >> 2));
      write64(<u64>machine.hartIds + (index - 1) * 8, id);
    }
    if (index == 1) readIsa(machine, cursor);
  }
}

function readIsa(machine: TellusState, cursor: FdtCursor): void {
  if (cursor.isProperty("riscv,isa")) {
    if (isaStringHas(cursor.value, cursor.valueLength, "v")) machine.hasVectors = 1;
    if (isaStringHas(cursor.value, cursor.valueLength, "sstc")) machine.hasStimecmp = 1;
  }
  if (cursor.isProperty("riscv,isa-extensions")) {
    if (cursor.listHas("v")) machine.hasVectors = 1;
    if (cursor.listHas("sstc")) machine.hasStimecmp = 1;
  }
}

/** The first supervisor-level IMSIC node (every node that the host can see is one). */
function readImsic(machine: TellusState, cursor: FdtCursor): void {
  let reg: u64 = 0;
  let regLength: u64 = 0;
  let guestBits: u64 = 0;
  let compatible = false;
  fdtOpen(cursor, machine.fdt);
  while (cursor.next() != FdtToken.End) {
    if (cursor.token == FdtToken.BeginNode) {
      regLength = 0;
      guestBits = 0;
      compatible = false;
    }
    if (cursor.token == FdtToken.EndNode && compatible && regLength != 0) {
      placeInterruptFiles(machine, reg, regLength, PAGE_SIZE << guestBits);
      return;
    }
    if (cursor.token != FdtToken.Property) continue;
    if (cursor.isProperty("compatible") && cursor.listHas("riscv,imsics")) compatible = true;
    if (cursor.isProperty("riscv,guest-index-bits")) guestBits = <u64>cursor.value32();
    if (cursor.isProperty("reg")) {
      reg = cursor.value;
      regLength = cursor.valueLength;
    }
  }
}

/** Harts in device-tree order have their files `stride` bytes apart in the first range of `reg`, then in the next: one range a group. */
function placeInterruptFiles(machine: TellusState, reg: u64, length: u64, stride: u64): void {
  machine.interruptFiles = <usize>allocateZeroed((machine.hartCount * 8) / PAGE_SIZE + 1);
  let index: u64 = 0;
  for (let at: u64 = 0; at + 16 <= length; at += 16) {
    const base = bigEndianCells(reg + at, 2);
    const size = bigEndianCells(reg + at + 8, 2);
    for (let offset: u64 = 0; offset + stride <= size && index < machine.hartCount; offset += stride) {
      write64(<u64>machine.interruptFiles + index * 8, base + offset);
      index++;
    }
  }
}

/** The boot arguments ask for a reset test (scenarios/reset.ts), or for nothing. */
function readBootArguments(machine: TellusState, cursor: FdtCursor): void {
  fdtOpen(cursor, machine.fdt);
  while (cursor.next() != FdtToken.End) {
    if (cursor.token != FdtToken.Property || cursor.depth != 2 || !cursor.isProperty("bootargs")) continue;
    if (valueContains(cursor, "tellus.reset")) machine.resetTest = ResetTest.Own;
    if (valueContains(cursor, "tellus.await-reset")) machine.resetTest = ResetTest.Await;
    readNonce(machine, cursor);
  }
}

/** tellus.nonce=HEX: what somebody outside wants to see in the guest's evidence. */
function readNonce(machine: TellusState, cursor: FdtCursor): void {
  const name: string = "tellus.nonce=";
  const length = <u64>textLength(name);
  for (let at: u64 = 0; at + length + 2 * NONCE_BYTES <= cursor.valueLength; at++) {
    if (!bytesStartWith(cursor.value + at, name)) continue;
    machine.nonce = allocateZeroed(1);
    for (let i: u64 = 0; i < NONCE_BYTES; i++) {
      const digits = cursor.value + at + length + 2 * i;
      write8(machine.nonce + i, (hexDigit(read8(digits)) << 4) | hexDigit(read8(digits + 1)));
    }
    return;
  }
}

/** Value of a lower-case hexadecimal digit, 0 of anything else. */
function hexDigit(character: u32): u32 {
  if (character >= 0x30 && character <= 0x39) return character - 0x30;
  return character >= 0x61 && character <= 0x66 ? character - 0x57 : 0;
}

/** True if `text` is anywhere in the boot arguments. */
export function bootArgumentsHave(text: string): bool {
  const mark = heapMark();
  const cursor = changetype<FdtCursor>(<usize>allocateZeroed(1));
  let found: bool = false;
  fdtOpen(cursor, state().fdt);
  while (!found && cursor.next() != FdtToken.End) {
    if (cursor.token != FdtToken.Property || cursor.depth != 2 || !cursor.isProperty("bootargs")) continue;
    found = valueContains(cursor, text);
  }
  heapRelease(mark);
  return found;
}

/** True if `text` is anywhere in the value of the property just read. */
function valueContains(cursor: FdtCursor, text: string): bool {
  for (let at: u64 = 0; at + <u64>textLength(text) < cursor.valueLength; at++) {
    if (bytesStartWith(cursor.value + at, text)) return true;
  }
  return false;
}

/** The largest stretch of RAM range `index` without holes, in `result`. */
export function largestGap(index: u32, result: Range): void {
  const machine = state();
  const ram = machine.ram(index);
  let start = ram.start;
  result.start = start;
  result.end = start;
  while (start < ram.end) {
    const next = nextHole(machine, start);
    const end = next == null || next.start > ram.end ? ram.end : next.start;
    if (end > start && end - start > result.end - result.start) {
      result.start = start;
      result.end = end;
    }
    if (next == null) return;
    start = next.end > start ? next.end : start + PAGE_SIZE;
  }
}

/** The hole that ends after `address` and begins first. */
function nextHole(machine: TellusState, address: u64): Range | null {
  let found: Range | null = null;
  for (let i: u32 = 0; i < machine.holeCount; i++) {
    const hole = machine.hole(i);
    if (hole.end <= address) continue;
    if (found == null || hole.start < found.start) found = hole;
  }
  return found;
}
