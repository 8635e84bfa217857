import { copyBytes, write32, write8, zeroBytes } from "../lib/hw";
import { bigEndian32, bigEndianCells, FdtCursor, fdtOpen, fdtSize, FdtToken } from "../lib/fdt";
import { allocateZeroed } from "../lib/heap";
import { textAt, textLength } from "../lib/text";
import { Range, state } from "../tellus/state";

/**
 * Linux' device tree: that of the host, with a hart that has failed and with reserved memory (Devicetree Specification 0.4, 2.3.4 and 3.5).
 */

// Fields of the header.
const TOTAL_SIZE: u64 = 4;
const STRUCTURE_OFFSET: u64 = 8;
const STRINGS_OFFSET: u64 = 12;
const STRINGS_SIZE: u64 = 32;
const STRUCTURE_SIZE: u64 = 36;
const TOKEN_BYTES: u64 = 4;

/** Where the next token and the next name of a property go. */
@unmanaged
class TreeEnd {
  structure: u64;
  /** Bytes of the strings so far, and where the new ones are kept until the structure is complete. */
  stringsSize: u64;
  newStrings: u64;
  newStringsSize: u64;
}

/** Copies the host's tree to `to`, where nothing else is, without hart `hartId` and with the two ranges reserved. */
export function makeLinuxTree(to: u64, hartId: u64, first: Range, second: Range): void {
  const from = state().fdt;
  const cursor = changetype<FdtCursor>(<usize>allocateZeroed(1));
  const strings = bigEndian32(from + STRINGS_OFFSET);
  const stringsSize = <u64>bigEndian32(from + STRINGS_SIZE);
  assert(bigEndian32(from + STRUCTURE_OFFSET) < strings, "the strings are not behind the structure");
  copyBytes(to, from, fdtSize(from));
  failHart(cursor, to, hartId);

  const end = changetype<TreeEnd>(<usize>allocateZeroed(1));
  end.structure = endOfRoot(cursor, to);
  end.stringsSize = stringsSize;
  end.newStrings = allocateZeroed(1);
  beginNode(end, "reserved-memory");
  putProperty(end, "#address-cells", 4);
  putCell(end, 2);
  putProperty(end, "#size-cells", 4);
  putCell(end, 2);
  putProperty(end, "ranges", 0);
  putReserved(end, "companion-image", first);
  putReserved(end, "companion-memory", second);
  putCell(end, FdtToken.EndNode);
  putCell(end, FdtToken.EndNode);
  putCell(end, FdtToken.End);

  copyBytes(end.structure, from + <u64>strings, stringsSize);
  copyBytes(end.structure + stringsSize, end.newStrings, end.newStringsSize);
  const structure = to + <u64>bigEndian32(to + STRUCTURE_OFFSET);
  const size = stringsSize + end.newStringsSize;
  putBigEndian(to + TOTAL_SIZE, <u32>(end.structure + size - to));
  putBigEndian(to + STRINGS_OFFSET, <u32>(end.structure - to));
  putBigEndian(to + STRINGS_SIZE, <u32>size);
  putBigEndian(to + STRUCTURE_SIZE, <u32>(end.structure - structure));
}

/** Status "fail" is as long as "okay": such a hart is not used. */
function failHart(cursor: FdtCursor, fdt: u64, hartId: u64): void {
  let found = false;
  let id: u64 = ~0;
  fdtOpen(cursor, fdt);
  while (cursor.next() != FdtToken.End) {
    if (cursor.token == FdtToken.BeginNode && cursor.depth == 3) id = ~0;
    if (cursor.token != FdtToken.Property || cursor.depth != 3) continue;
    if (cursor.isProperty("reg") && cursor.valueLength == 4) id = bigEndianCells(cursor.value, 1);
    if (id != hartId || !cursor.isProperty("status") || !cursor.listHas("okay")) continue;
    putText(cursor.value, "fail");
    found = true;
  }
  assert(found, "the device tree has no such hart");
}

/** Address of the token that ends the root node. */
function endOfRoot(cursor: FdtCursor, fdt: u64): u64 {
  fdtOpen(cursor, fdt);
  while (cursor.next() != FdtToken.End) {
    if (cursor.token == FdtToken.EndNode && cursor.depth == 0) return cursor.position - TOKEN_BYTES;
  }
  assert(false, "the root node does not end");
  return 0;
}

function putReserved(end: TreeEnd, name: string, range: Range): void {
  beginNode(end, name);
  putProperty(end, "reg", 16);
  putCell(end, <u32>(range.start >> 32));
  putCell(end, <u32>range.start);
  putCell(end, <u32>((range.end - range.start) >> 32));
  putCell(end, <u32>(range.end - range.start));
  putProperty(end, "no-map", 0);
  putCell(end, FdtToken.EndNode);
}

function beginNode(end: TreeEnd, name: string): void {
  putCell(end, FdtToken.BeginNode);
  const bytes = (<u64>textLength(name) + TOKEN_BYTES) & ~(TOKEN_BYTES - 1);
  zeroBytes(end.structure, bytes);
  putText(end.structure, name);
  end.structure += bytes;
}

/** The head of a property of `length` bytes; each has its name once more in the strings. */
function putProperty(end: TreeEnd, name: string, length: u32): void {
  putCell(end, FdtToken.Property);
  putCell(end, length);
  putCell(end, <u32>(end.stringsSize + end.newStringsSize));
  putText(end.newStrings + end.newStringsSize, name);
  end.newStringsSize += <u64>textLength(name) + 1;
}

function putText(address: u64, text: string): void {
  const length = textLength(text);
  for (let i: u32 = 0; i < length; i++) write8(address + <u64>i, textAt(text, i));
}

function putCell(end: TreeEnd, value: u32): void {
  putBigEndian(end.structure, value);
  end.structure += TOKEN_BYTES;
}

function putBigEndian(address: u64, value: u32): void {
  write32(address, bswap<u32>(value));
}
