import { read8 } from "../../riscv/hw";
import { alignUp } from "../../lib/arithmetic";
import { readBig32, readBig64 } from "../../lib/big-endian";
import { textLength } from "../../lib/byte-string";

/**
 * The one full check of a flattened device tree (Devicetree Specification 0.4, chapter 5).
 *
 * The firmware's tree is read at boot by one hart and does not change meanwhile. After `treeCheck` has said None, every
 * offset, length and name that reader.ts meets lies inside the blob, and nodes nest properly; so the reader
 * needs no second check, and code that looks at a tree that was never checked is a bug.
 *
 *     header (40 bytes) | reservation entries, ends with 0 0 | structure tokens ... END | strings, NUL-terminated
 */
export const enum TreeError {
  None = 0,
  Address = 1,
  Magic = 2,
  Version = 3,
  Size = 4,
  Layout = 5,
  Reservations = 6,
  Truncated = 7,
  Name = 8,
  Property = 9,
  PropertyName = 10,
  PropertyOrder = 11,
  Nesting = 12,
  Depth = 13,
  Token = 14,
}

export const TREE_MAGIC: u32 = 0xd00dfeed;
export const TREE_VERSION: u32 = 17;
export const TREE_LAST_COMPATIBLE_VERSION: u32 = 16;
export const TREE_HEADER_SIZE: u32 = 40;
/** A tree above this is taken for a lie. */
export const MAX_TREE_SIZE: u32 = 16 << 20;
/** Levels of nodes; far above any real tree, it bounds what walks towards the root. */
export const MAX_TREE_DEPTH: u32 = 64;

/** Byte offsets of the header's 32-bit fields. */
export const enum TreeHeader {
  Magic = 0,
  TotalSize = 4,
  Structure = 8,
  Strings = 12,
  Reservations = 16,
  Version = 20,
  LastCompatibleVersion = 24,
  BootHart = 28,
  StringsSize = 32,
  StructureSize = 36,
}

export const enum TreeToken {
  BeginNode = 1,
  EndNode = 2,
  Property = 3,
  Nop = 4,
  End = 9,
}

/** A property token is followed by its length and the offset of its name. */
export const PROPERTY_HEADER_SIZE: u32 = 12;

export function treeHeader(fdt: usize, field: TreeHeader): u32 {
  return readBig32(fdt + <usize>field);
}

/** Checks the whole tree at `fdt` (a physical address) and returns a TreeError. */
export function treeCheck(fdt: usize): TreeError {
  const error = checkHeader(fdt);
  return error != TreeError.None ? error : checkStructure(fdt);
}

function checkHeader(fdt: usize): TreeError {
  if (fdt == 0 || (fdt & 3) != 0 || fdt > <usize>-1 - <usize>MAX_TREE_SIZE) return TreeError.Address;
  if (treeHeader(fdt, TreeHeader.Magic) != TREE_MAGIC) return TreeError.Magic;
  if (treeHeader(fdt, TreeHeader.Version) < TREE_VERSION) return TreeError.Version;
  if (treeHeader(fdt, TreeHeader.LastCompatibleVersion) > TREE_VERSION) return TreeError.Version;
  const total = treeHeader(fdt, TreeHeader.TotalSize);
  if (total < TREE_HEADER_SIZE || total > MAX_TREE_SIZE) return TreeError.Size;

  const structure = treeHeader(fdt, TreeHeader.Structure);
  const structureSize = treeHeader(fdt, TreeHeader.StructureSize);
  const strings = treeHeader(fdt, TreeHeader.Strings);
  const stringsSize = treeHeader(fdt, TreeHeader.StringsSize);
  if ((structure & 3) != 0 || !blockFits(structure, structureSize, total)) return TreeError.Layout;
  if (!blockFits(strings, stringsSize, total)) return TreeError.Layout;
  if (structure < strings + stringsSize && strings < structure + structureSize) return TreeError.Layout;
  // With this one byte, every offset into the strings block is a terminated string.
  if (stringsSize != 0 && read8(<u64>fdt + <u64>(strings + stringsSize - 1)) != 0) return TreeError.PropertyName;

  return checkReservations(fdt, total);
}

function blockFits(offset: u32, size: u32, total: u32): bool {
  return offset >= TREE_HEADER_SIZE && offset <= total && size <= total - offset;
}

/** The list has no length: it has to end with an empty entry before the blob does. */
function checkReservations(fdt: usize, total: u32): TreeError {
  let at = treeHeader(fdt, TreeHeader.Reservations);
  if ((at & 3) != 0 || at < TREE_HEADER_SIZE) return TreeError.Reservations;
  for (; at <= total && total - at >= 16; at += 16) {
    const address = readBig64(fdt + <usize>at);
    const size = readBig64(fdt + <usize>at + 8);
    if (address == 0 && size == 0) return TreeError.None;
    if (address + size < address) return TreeError.Reservations;
  }
  return TreeError.Reservations;
}

function checkStructure(fdt: usize): TreeError {
  const stringsSize = treeHeader(fdt, TreeHeader.StringsSize);
  let at = treeHeader(fdt, TreeHeader.Structure);
  const end = at + treeHeader(fdt, TreeHeader.StructureSize);
  let depth: u32 = 0;
  let rootSeen = false;
  let propertyAllowed = false;

  while (true) {
    if (at > end || end - at < 4) return TreeError.Truncated;
    const token = readBig32(fdt + <usize>at);
    if (token == TreeToken.BeginNode) {
      if (depth == 0 && rootSeen) return TreeError.Nesting;
      if (depth == MAX_TREE_DEPTH) return TreeError.Depth;
      const length = textLength(fdt + <usize>at + 4, <u64>(end - at - 4));
      if (length < 0) return TreeError.Name;
      at = <u32>alignUp(<u64>at + 4 + <u64>length + 1, 4);
      depth++;
      rootSeen = true;
      propertyAllowed = true;
    } else if (token == TreeToken.EndNode) {
      if (depth == 0) return TreeError.Nesting;
      at += 4;
      depth--;
      propertyAllowed = false;
    } else if (token == TreeToken.Property) {
      // A property outside of a node, or after a child, belongs to nobody.
      if (!propertyAllowed) return TreeError.PropertyOrder;
      if (end - at < PROPERTY_HEADER_SIZE) return TreeError.Truncated;
      const length = readBig32(fdt + <usize>at + 4);
      if (length > end - at - PROPERTY_HEADER_SIZE) return TreeError.Property;
      if (readBig32(fdt + <usize>at + 8) >= stringsSize) return TreeError.PropertyName;
      at = <u32>alignUp(<u64>at + <u64>PROPERTY_HEADER_SIZE + <u64>length, 4);
    } else if (token == TreeToken.Nop) {
      at += 4;
    } else if (token == TreeToken.End) {
      return depth == 0 && rootSeen ? TreeError.None : TreeError.Nesting;
    } else {
      return TreeError.Token;
    }
  }
}

/** What is wrong, for the console: "The device tree ...". */
export function treeErrorText(error: TreeError): string {
  switch (error) {
    case TreeError.None:
      return "is well-formed";
    case TreeError.Address:
      return "is at an impossible address";
    case TreeError.Magic:
      return "does not begin with its magic number";
    case TreeError.Version:
      return "has a version that cannot be read (17 is needed)";
    case TreeError.Size:
      return "has an impossible total size";
    case TreeError.Layout:
      return "has blocks that overlap or leave it";
    case TreeError.Reservations:
      return "has a memory reservation block that wraps or never ends";
    case TreeError.Truncated:
      return "ends in the middle of its structure";
    case TreeError.Name:
      return "has a node name that never ends";
    case TreeError.Property:
      return "has a property that is longer than its structure";
    case TreeError.PropertyName:
      return "has a property name outside of its strings";
    case TreeError.PropertyOrder:
      return "has a property outside of a node or after a child node";
    case TreeError.Nesting:
      return "has nodes that do not nest";
    case TreeError.Depth:
      return "has nodes nested too deeply";
    default:
      return "has an unknown token in its structure";
  }
}
