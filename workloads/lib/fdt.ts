import { read32, read8 } from "./hw";
import { bytesEqual, textAt, textLength } from "./text";

/**
 * Reader of a flattened device tree (Devicetree Specification 0.4, chapter 5): a cursor over the structure block. It never
 * reads beyond the size that the header names; what is malformed ends the walk.
 */

const FDT_MAGIC: u32 = 0xd00dfeed;
const HEADER_BYTES: u64 = 40;

export const enum FdtToken {
  BeginNode = 1,
  EndNode = 2,
  Property = 3,
  Nop = 4,
  End = 9,
}

/** Big-endian u32 at `address`. */
export function bigEndian32(address: u64): u32 {
  return bswap<u32>(read32(address));
}

/** Big-endian number of `cells` (1 or 2) u32 cells at `address`. */
export function bigEndianCells(address: u64, cells: u32): u64 {
  let value: u64 = 0;
  for (let i: u32 = 0; i < cells; i++) value = (value << 32) | (<u64>bigEndian32(address + <u64>(i << 2)));
  return value;
}

/** Cursor. Begin with `fdtOpen`, then `next` until it returns End. */
@unmanaged
export class FdtCursor {
  base: u64;
  /** Address after the whole blob. */
  end: u64;
  strings: u64;
  position: u64;
  /** Depth of the node the cursor is in: 0 before the root, 1 in the root. */
  depth: u32;
  token: u32;
  /** Name of the node just begun: address and length. */
  nodeName: u64;
  nodeNameLength: u64;
  /** The property just read: addresses of its name and value, and lengths. */
  propertyName: u64;
  propertyNameLength: u64;
  value: u64;
  valueLength: u64;

  /** Goes to the next token and returns it. */
  next(): u32 {
    while (this.position + 4 <= this.end) {
      const token = bigEndian32(this.position);
      this.position += 4;
      if (token == FdtToken.Nop) continue;
      this.token = token;
      if (token == FdtToken.BeginNode) {
        this.depth++;
        this.nodeName = this.position;
        this.nodeNameLength = this.stringLength(this.position);
        this.position = (this.position + this.nodeNameLength + 4) & ~3;
        return token;
      }
      if (token == FdtToken.EndNode) {
        if (this.depth != 0) this.depth--;
        return token;
      }
      if (token == FdtToken.Property && this.readProperty()) return token;
      break;
    }
    this.token = FdtToken.End;
    return FdtToken.End;
  }

  /** True if the node just begun is called `name` or `name@...`. */
  isNode(name: string): bool {
    const length = <u64>textLength(name);
    if (this.nodeNameLength < length) return false;
    if (this.nodeNameLength > length && read8(this.nodeName + length) != 0x40) return false;
    return bytesEqual(this.nodeName, length, name);
  }

  /** True if the property just read is called `name`. */
  isProperty(name: string): bool {
    return bytesEqual(this.propertyName, this.propertyNameLength, name);
  }

  /** True if the value of the property just read is a string list with the member `text`. */
  listHas(text: string): bool {
    let start: u64 = 0;
    for (let i: u64 = 0; i < this.valueLength; i++) {
      if (read8(this.value + i) != 0) continue;
      if (bytesEqual(this.value + start, i - start, text)) return true;
      start = i + 1;
    }
    return false;
  }

  /** First u32 of the property just read, 0 if it is shorter. */
  value32(): u32 {
    return this.valueLength < 4 ? 0 : bigEndian32(this.value);
  }

  private readProperty(): bool {
    if (this.position + 8 > this.end) return false;
    this.valueLength = <u64>bigEndian32(this.position);
    this.propertyName = this.strings + <u64>bigEndian32(this.position + 4);
    this.value = this.position + 8;
    if (this.value + this.valueLength > this.end || this.propertyName >= this.end) return false;
    this.propertyNameLength = this.stringLength(this.propertyName);
    this.position = (this.value + this.valueLength + 3) & ~3;
    return true;
  }

  private stringLength(address: u64): u64 {
    let length: u64 = 0;
    while (address + length < this.end && read8(address + length) != 0) length++;
    return length;
  }
}

/** True if there is a device tree at `fdt`. */
export function fdtIsValid(fdt: u64): bool {
  return fdt != 0 && (fdt & 3) == 0 && bigEndian32(fdt) == FDT_MAGIC && fdtSize(fdt) > HEADER_BYTES;
}

/** Size of the whole blob in bytes. */
export function fdtSize(fdt: u64): u64 {
  return <u64>bigEndian32(fdt + 4);
}

/** Puts `cursor` before the root node of the valid tree at `fdt`. */
export function fdtOpen(cursor: FdtCursor, fdt: u64): void {
  cursor.base = fdt;
  cursor.end = fdt + fdtSize(fdt);
  cursor.position = fdt + <u64>bigEndian32(fdt + 8);
  cursor.strings = fdt + <u64>bigEndian32(fdt + 12);
  cursor.depth = 0;
  cursor.token = FdtToken.Nop;
}

/** Address of the memory reservation block: pairs of big-endian u64 (address, size), ended by a pair of zeros. */
export function fdtReservations(fdt: u64): u64 {
  return fdt + <u64>bigEndian32(fdt + 16);
}

/**
 * True if the ISA string at `isa` ("rv64imafdcvh_zicsr_...", riscv,isa) names the extension `name`: a single letter of the
 * first part, or a whole part between underscores.
 */
export function isaStringHas(isa: u64, length: u64, name: string): bool {
  const wanted = textLength(name);
  let start: u64 = 0;
  let first = true;
  for (let i: u64 = 0; i <= length; i++) {
    const end = i == length || read8(isa + i) == 0;
    if (!end && read8(isa + i) != 0x5f) continue;
    if (first && wanted == 1) return containsLetter(isa + 4, i > 4 ? i - 4 : 0, textAt(name, 0));
    if (!first && bytesEqual(isa + start, i - start, name)) return true;
    if (end) return false;
    first = false;
    start = i + 1;
  }
  return false;
}

function containsLetter(address: u64, length: u64, letter: u32): bool {
  for (let i: u64 = 0; i < length; i++) if (read8(address + i) == letter) return true;
  return false;
}
