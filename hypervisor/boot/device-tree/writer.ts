import { copyBytes, read8, write8, zeroBytes } from "../../riscv/hw";
import { alignDown } from "../../lib/arithmetic";
import { readBig32, writeBig32 } from "../../lib/big-endian";
import { bytesEqual, textLength } from "../../lib/byte-string";
import { literalChar, literalLength } from "../../lib/literal";
import {
  MAX_TREE_DEPTH,
  PROPERTY_HEADER_SIZE,
  TREE_LAST_COMPATIBLE_VERSION,
  TREE_MAGIC,
  TREE_VERSION,
  TreeHeader,
  TreeToken,
} from "./check";
import {
  nextToken,
  nodeBytes,
  nodeName,
  propertyLength,
  propertyName,
  propertyValue,
  tokenAt,
  treeSize,
} from "./reader";

/**
 * Builds a flattened device tree (version 17) in a given buffer, without other memory:
 *
 *     | header | empty reservation | structure --> ... <-- strings | this record |
 *
 * Structure grows upwards, strings (each name once) grow downwards. `finishTree` moves the strings to the structure's
 * end and turns the names' places into offsets. Whatever no longer fits sets `failed`, later calls do nothing, and
 * `finishTree` returns -1: callers need no check in between.
 */
@unmanaged
export class TreeWriter {
  buffer: usize;
  /** Offset of the next structure byte. */
  structureEnd: u32;
  /** Offset of the lowest string byte. */
  stringsStart: u32;
  /** Offset of the end of the strings: where this record begins. */
  stringsLimit: u32;
  depth: u32;
  /** Offset of the property token that is open, 0 if none. */
  openProperty: u32;
  /** 1 once something did not fit. */
  failed: u32;
}

const RESERVATIONS: u32 = 40;
const RESERVATIONS_SIZE: u32 = 16;
const STRUCTURE: u32 = 56;
const MAX_BUFFER: u64 = 1 << 30;

/** Starts a tree in the `capacity` bytes at `buffer` (8-byte aligned). At least 512 bytes. */
export function beginTree(buffer: usize, capacity: u64): TreeWriter {
  assert((buffer & 7) == 0 && capacity >= 512 && capacity <= MAX_BUFFER, "a buffer no device tree can be built in");
  const record = <u32>alignDown(capacity - <u64>offsetof<TreeWriter>(), 8);
  const writer = changetype<TreeWriter>(buffer + <usize>record);
  writer.buffer = buffer;
  writer.structureEnd = STRUCTURE;
  writer.stringsStart = record;
  writer.stringsLimit = record;
  writer.depth = 0;
  writer.openProperty = 0;
  writer.failed = 0;
  return writer;
}

// ---- Nodes

export function beginNode(writer: TreeWriter, name: string): void {
  openNode(writer, name);
  closeName(writer);
}

/** Starts a node with a unit address: ("cpu", 0x1f) gives cpu@1f. */
export function beginNodeAt(writer: TreeWriter, name: string, unit: u64): void {
  openNode(writer, name);
  putByte(writer, 0x40);
  putUnitAddress(writer, unit);
  closeName(writer);
}

/** The digits of a unit address, as they are in names and paths. */
export function putUnitAddress(writer: TreeWriter, unit: u64): void {
  let shift: u64 = 60;
  while (shift > 0 && unit >> shift == 0) shift -= 4;
  while (true) {
    const digit = (<u32>(unit >> shift)) & 0xf;
    putByte(writer, digit < 10 ? 0x30 + digit : 0x57 + digit);
    if (shift == 0) break;
    shift -= 4;
  }
}

function openNode(writer: TreeWriter, name: string): void {
  assert(writer.openProperty == 0, "a device-tree node inside a property");
  if (writer.depth == MAX_TREE_DEPTH) writer.failed = 1;
  writer.depth++;
  putCell(writer, TreeToken.BeginNode);
  putLiteral(writer, name);
}

function closeName(writer: TreeWriter): void {
  putByte(writer, 0);
  pad(writer);
}

export function endNode(writer: TreeWriter): void {
  assert(writer.depth != 0 && writer.openProperty == 0, "endNode without a node");
  writer.depth--;
  putCell(writer, TreeToken.EndNode);
}

// ---- Properties in one call

/** A property without a value. */
export function putEmpty(writer: TreeWriter, name: string): void {
  beginProperty(writer, name);
  endProperty(writer);
}

/** One string. */
export function putString(writer: TreeWriter, name: string, text: string): void {
  beginProperty(writer, name);
  putText(writer, text);
  endProperty(writer);
}

/** One cell. */
export function putNumber32(writer: TreeWriter, name: string, value: u32): void {
  beginProperty(writer, name);
  putCell(writer, value);
  endProperty(writer);
}

/** Two cells. */
export function putNumber64(writer: TreeWriter, name: string, value: u64): void {
  beginProperty(writer, name);
  putCells64(writer, value);
  endProperty(writer);
}

/** A value of `length` bytes from memory. */
export function putValue(writer: TreeWriter, name: string, from: usize, length: u64): void {
  beginProperty(writer, name);
  putBlock(writer, from, length);
  endProperty(writer);
}

/** A property of another (checked) tree, name and value; nothing for property 0. */
export function copyProperty(writer: TreeWriter, fdt: usize, property: u32): void {
  if (property == 0) return;
  const name = propertyName(fdt, property);
  const length = textLength(name, <u64>writer.stringsLimit);
  if (length < 0) {
    writer.failed = 1;
    return;
  }
  openPropertyToken(writer);
  if (reserveString(writer, <u64>length + 1)) {
    copyBytes(<u64>writer.buffer + <u64>writer.stringsStart, <u64>name, <u64>length + 1);
    setName(writer, <u32>length + 1);
  }
  putBlock(writer, propertyValue(fdt, property), propertyLength(fdt, property));
  endProperty(writer);
}

/** A node of another (checked) tree with everything in it. */
export function copyNode(writer: TreeWriter, fdt: usize, node: u32): void {
  const end = node + <u32>nodeBytes(fdt, node);
  for (let at = node; at < end; at = nextToken(fdt, at)) {
    switch (tokenAt(fdt, at)) {
      case TreeToken.BeginNode: {
        const name = nodeName(fdt, at);
        openNode(writer, "");
        putBlock(writer, name, <u64>textLength(name, treeSize(fdt)));
        closeName(writer);
        break;
      }
      case TreeToken.EndNode:
        endNode(writer);
        break;
      case TreeToken.Property:
        copyProperty(writer, fdt, at);
        break;
      default: // a gap
        break;
    }
  }
}

// ---- Properties piece by piece

export function beginProperty(writer: TreeWriter, name: string): void {
  openPropertyToken(writer);
  const length = <u32>literalLength(name);
  if (!reserveString(writer, <u64>length + 1)) return;
  const address = <u64>writer.buffer + <u64>writer.stringsStart;
  for (let i: u32 = 0; i < length; i++) write8(address + <u64>i, literalChar(name, <usize>i));
  write8(address + <u64>length, 0);
  setName(writer, length + 1);
}

export function endProperty(writer: TreeWriter): void {
  const property = writer.openProperty;
  assert(property != 0, "endProperty without a property");
  writer.openProperty = 0;
  if (writer.failed != 0) return;
  const length = writer.structureEnd - property - PROPERTY_HEADER_SIZE;
  writeBig32(writer.buffer + <usize>property + 4, length);
  pad(writer);
}

/** A literal with its NUL. */
export function putText(writer: TreeWriter, text: string): void {
  putLiteral(writer, text);
  putByte(writer, 0);
}

/** A literal without a NUL. */
export function putLiteral(writer: TreeWriter, text: string): void {
  const length = literalLength(text);
  for (let i: usize = 0; i < length; i++) putByte(writer, literalChar(text, i));
}

/** `length` bytes from memory. */
export function putBlock(writer: TreeWriter, from: usize, length: u64): void {
  if (!fits(writer, length)) return;
  copyBytes(<u64>writer.buffer + <u64>writer.structureEnd, <u64>from, length);
  writer.structureEnd += <u32>length;
}

/** One 32-bit cell. */
export function putCell(writer: TreeWriter, value: u32): void {
  if (!fits(writer, 4)) return;
  writeBig32(writer.buffer + <usize>writer.structureEnd, value);
  writer.structureEnd += 4;
}

/** A 64-bit number as two cells. */
export function putCells64(writer: TreeWriter, value: u64): void {
  putCell(writer, <u32>(value >> 32));
  putCell(writer, <u32>value);
}

export function putByte(writer: TreeWriter, value: u32): void {
  if (!fits(writer, 1)) return;
  write8(<u64>writer.buffer + <u64>writer.structureEnd, value);
  writer.structureEnd++;
}

// ---- Repetition

/** Address of the next structure byte: what was written before it can be read until `finishTree`. */
export function writtenPlace(writer: TreeWriter): usize {
  return writer.buffer + <usize>writer.structureEnd;
}

/** The current place in the structure: between nodes or properties, for `repeatStructure`. */
export function structurePlace(writer: TreeWriter): u32 {
  assert(writer.openProperty == 0, "a place inside a device-tree property");
  return writer.structureEnd;
}

/** Puts again what was put between two places: whole properties or nodes. */
export function repeatStructure(writer: TreeWriter, from: u32, to: u32): void {
  if (writer.failed == 0) putBlock(writer, writer.buffer + <usize>from, <u64>(to - from));
}

// ---- The end

/** Completes the tree; returns its size in bytes, or -1 if it did not fit. The rest of the buffer is zeroed. */
export function finishTree(writer: TreeWriter, capacity: u64): i64 {
  assert(writer.depth == 0 && writer.openProperty == 0, "a device tree with open nodes");
  putCell(writer, TreeToken.End);
  if (writer.failed != 0) return -1;
  const buffer = writer.buffer;
  const structureEnd = writer.structureEnd;
  const stringsStart = writer.stringsStart;
  const stringsSize = writer.stringsLimit - stringsStart;
  const total = structureEnd + stringsSize;

  relocateNames(buffer, structureEnd, stringsStart);
  // Downwards and from the front: each byte is read before it can be overwritten.
  for (let i: u64 = 0; i < <u64>stringsSize; i++) {
    write8(<u64>buffer + <u64>structureEnd + i, read8(<u64>buffer + <u64>stringsStart + i));
  }
  zeroBytes(<u64>buffer + <u64>total, capacity - <u64>total);
  zeroBytes(<u64>buffer + <u64>RESERVATIONS, <u64>RESERVATIONS_SIZE);

  setHeader(buffer, TreeHeader.Magic, TREE_MAGIC);
  setHeader(buffer, TreeHeader.TotalSize, total);
  setHeader(buffer, TreeHeader.Structure, STRUCTURE);
  setHeader(buffer, TreeHeader.Strings, structureEnd);
  setHeader(buffer, TreeHeader.Reservations, RESERVATIONS);
  setHeader(buffer, TreeHeader.Version, TREE_VERSION);
  setHeader(buffer, TreeHeader.LastCompatibleVersion, TREE_LAST_COMPATIBLE_VERSION);
  setHeader(buffer, TreeHeader.BootHart, 0);
  setHeader(buffer, TreeHeader.StringsSize, stringsSize);
  setHeader(buffer, TreeHeader.StructureSize, structureEnd - STRUCTURE);
  return <i64>total;
}

function setHeader(buffer: usize, field: TreeHeader, value: u32): void {
  writeBig32(buffer + <usize>field, value);
}

/** While building, a name is the buffer offset of its string; the format wants it relative to the strings block. */
function relocateNames(buffer: usize, structureEnd: u32, stringsStart: u32): void {
  let at = STRUCTURE;
  while (at < structureEnd) {
    const token = readBig32(buffer + <usize>at);
    at += 4;
    if (token == TreeToken.Property) {
      const length = readBig32(buffer + <usize>at);
      const name = buffer + <usize>at + 4;
      writeBig32(name, readBig32(name) - stringsStart);
      at += 8 + ((length + 3) & ~3);
    } else if (token == TreeToken.BeginNode) {
      const length = textLength(buffer + <usize>at, <u64>(structureEnd - at));
      at += (<u32>length + 4) & ~3;
    }
  }
}

// ---- Space

/** Whether `length` more structure bytes fit (with room for padding); otherwise the tree has failed. */
function fits(writer: TreeWriter, length: u64): bool {
  if (writer.failed != 0) return false;
  if (length + 4 <= <u64>(writer.stringsStart - writer.structureEnd)) return true;
  writer.failed = 1;
  return false;
}

function pad(writer: TreeWriter): void {
  while (writer.failed == 0 && (writer.structureEnd & 3) != 0) putByte(writer, 0);
}

function openPropertyToken(writer: TreeWriter): void {
  assert(writer.depth != 0 && writer.openProperty == 0, "a device-tree property outside of a node");
  writer.openProperty = writer.structureEnd;
  putCell(writer, TreeToken.Property);
  putCell(writer, 0);
  putCell(writer, 0);
}

/** Makes room for a string of `size` bytes (NUL included) below the strings. */
function reserveString(writer: TreeWriter, size: u64): bool {
  if (!fits(writer, size)) return false;
  writer.stringsStart -= <u32>size;
  return true;
}

/** Names the open property by the string just put at stringsStart; forgets that string if the table has it already. */
function setName(writer: TreeWriter, size: u32): void {
  const fresh = writer.stringsStart;
  const limit = writer.stringsLimit;
  let name = fresh;
  // Strings follow each other, each with its NUL, so one walk visits them all.
  for (let at = fresh + size; at < limit;) {
    const length = <u32>textLength(writer.buffer + <usize>at, <u64>(limit - at)) + 1;
    if (length == size && bytesEqual(writer.buffer + <usize>at, writer.buffer + <usize>fresh, <u64>size)) {
      name = at;
      writer.stringsStart = fresh + size;
      break;
    }
    at += length;
  }
  writeBig32(writer.buffer + <usize>writer.openProperty + 8, name);
}
