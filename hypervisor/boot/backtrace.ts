import { newline, putBytes, putChar, putHex, putText } from "../devices/console";
import { thisHart } from "../hart";
import { ImageSymbol, imageAddress, read16, read32, read64, read8, stackPointer } from "../riscv/hw";

/**
 * Who called whom, from the symbol table that the build puts into the image.
 *
 * There is no frame pointer: the table says how large each function's frame is and that its return address lies in the
 * frame's highest word. So a backtrace is exact, and costs nothing until it is printed. The layout of the table is
 * described in tools/build/symbols.ts, which writes it.
 */

/** Frames that are printed at most. */
const MOST_FRAMES: u32 = 40;

// One entry of the table.
const HEADER_SIZE: u64 = 8;
const ENTRY_SIZE: u64 = 12;
const FRAME_WORDS: u64 = 4;
const PROLOGUE: u64 = 6;
const FILE_NAME: u64 = 8;
const FUNCTION_NAME: u64 = 10;
const SAVES_RETURN_ADDRESS: u32 = 0x8000;

/**
 * Prints the callers of the code at `pc`, innermost first. `sp` and `ra` are the registers at that instruction. With
 * `pc` = 0 the trace starts here, in the caller's own stack, and `sp` and `ra` do not matter.
 */
export function printBacktrace(sp: usize, pc: u64, ra: u64): void {
  let frame = <u64>sp;
  let address = pc;
  let link = ra;
  if (pc == 0) {
    frame = <u64>stackPointer();
    address = imageAddress(ImageSymbol.ProgramCounter);
    link = 0;
  }
  // The first address is where the hart is; the others are return addresses, which can lie behind their function.
  let lookup = address;
  for (let depth: u32 = 0; depth < MOST_FRAMES; depth++) {
    const entry = findFunction(lookup);
    printFrame(address, entry);
    if (entry == 0) return;
    const flags = read16(entry + PROLOGUE);
    const offset = address - functionAddress(entry);
    const frameSize = (<u64>read16(entry + FRAME_WORDS)) << 3;
    const atStart = depth == 0 && offset < <u64>(flags & ~SAVES_RETURN_ADDRESS);
    if (atStart || (flags & SAVES_RETURN_ADDRESS) == 0) {
      if (depth != 0 || link == 0) return;
      address = link;
      if (offset != 0) frame += frameSize;
    } else {
      frame += frameSize;
      if (!onStack(frame - 8)) return;
      address = read64(frame - 8);
    }
    lookup = address - 1;
  }
  putText("    ...\n");
}

/** True if the 8 bytes at `address` belong to this hart's stack. */
function onStack(address: u64): bool {
  const hart = thisHart();
  const bottom = hart.stackBottom != 0 ? <u64>hart.stackBottom : imageAddress(ImageSymbol.BootStackBottom);
  return (address & 7) == 0 && address >= bottom && address + 8 <= <u64>hart.stackTop;
}

function functionAddress(entry: u64): u64 {
  return imageAddress(ImageSymbol.Start) + <u64>read32(entry);
}

/** The entry of the function that `address` lies in, 0 if it is not in text. */
function findFunction(address: u64): u64 {
  if (address < imageAddress(ImageSymbol.Start) || address >= imageAddress(ImageSymbol.TextEnd)) return 0;
  const table = imageAddress(ImageSymbol.SymbolTable);
  // The last entry that begins at or before the address lies in [low, high).
  let low: u64 = 0;
  let high = <u64>read32(table);
  if (high == 0) return 0;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (functionAddress(table + HEADER_SIZE + middle * ENTRY_SIZE) <= address) low = middle;
    else high = middle;
  }
  return table + HEADER_SIZE + low * ENTRY_SIZE;
}

function printFrame(address: u64, entry: u64): void {
  putText("    ");
  putHex(address);
  if (entry != 0) {
    putChar(0x20);
    if (read16(entry + FILE_NAME) != 0) {
      putName(<u64>read16(entry + FILE_NAME));
      putChar(0x3a);
    }
    putName(<u64>read16(entry + FUNCTION_NAME));
  }
  newline();
}

/** Prints the name at `offset` of the table's names. */
function putName(offset: u64): void {
  const table = imageAddress(ImageSymbol.SymbolTable);
  const name = table + HEADER_SIZE + <u64>read32(table) * ENTRY_SIZE + offset;
  putBytes(name + 1, <u64>read8(name));
}
