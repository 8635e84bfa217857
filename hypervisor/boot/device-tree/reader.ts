import { read8 } from "../../riscv/hw";
import { alignUp } from "../../lib/arithmetic";
import { readBig32, readBig64 } from "../../lib/big-endian";
import { bytesAre, bytesEqual, textIs, textLength } from "../../lib/byte-string";
import { literalChar, literalLength } from "../../lib/literal";
import { PROPERTY_HEADER_SIZE, treeHeader, TreeHeader, TreeToken } from "./check";

/**
 * Reading a flattened device tree that `treeCheck` has accepted.
 *
 * A node or property is named by the byte offset of its token in the blob; 0 means none. Nothing is copied, nothing
 * recurses, and every value is read within its property's length.
 */

/** Bytes of all names of properties together. */
export function stringsSize(fdt: usize): u64 {
  return <u64>treeHeader(fdt, TreeHeader.StringsSize);
}

/** Bytes of the whole blob. */
export function treeSize(fdt: usize): u64 {
  return <u64>treeHeader(fdt, TreeHeader.TotalSize);
}

// ---- Tokens

/** The token at `at`: where a node, a property or the end of a node begins. */
export function tokenAt(fdt: usize, at: u32): u32 {
  return readBig32(fdt + <usize>at);
}

/** Offset of the token after the one at `at`. */
// @ts-ignore: decorator
@inline
export function nextToken(fdt: usize, at: u32): u32 {
  return afterToken(fdt, at, tokenAt(fdt, at));
}

/** The same for a token that is known already. */
function afterToken(fdt: usize, at: u32, token: u32): u32 {
  if (token == TreeToken.BeginNode) {
    // The check has found the NUL, so the limit is only a formality.
    const length = textLength(nodeName(fdt, at), treeSize(fdt));
    return <u32>alignUp(<u64>at + 4 + <u64>length + 1, 4);
  }
  if (token == TreeToken.Property) {
    return <u32>alignUp(<u64>(at + PROPERTY_HEADER_SIZE) + propertyLength(fdt, at), 4);
  }
  return at + 4;
}

function skipNops(fdt: usize, at: u32): u32 {
  while (tokenAt(fdt, at) == TreeToken.Nop) at += 4;
  return at;
}

// ---- Nodes

export function rootNode(fdt: usize): u32 {
  return skipNops(fdt, treeHeader(fdt, TreeHeader.Structure));
}

/** The next node in file order, whatever its depth. */
export function nextNode(fdt: usize, node: u32): u32 {
  let at = node;
  while (true) {
    at = nextToken(fdt, at);
    const token = tokenAt(fdt, at);
    if (token == TreeToken.BeginNode) return at;
    if (token == TreeToken.End) return 0;
  }
}

export function firstChild(fdt: usize, node: u32): u32 {
  let at = node;
  while (true) {
    at = nextToken(fdt, at);
    const token = tokenAt(fdt, at);
    if (token == TreeToken.BeginNode) return at;
    if (token == TreeToken.EndNode) return 0;
  }
}

/** The next child of the same parent. */
export function nextSibling(fdt: usize, node: u32): u32 {
  return nodeOrNone(fdt, nodeEnd(fdt, node));
}

function nodeOrNone(fdt: usize, at: u32): u32 {
  at = skipNops(fdt, at);
  return tokenAt(fdt, at) == TreeToken.BeginNode ? at : 0;
}

/** Bytes of the node with everything in it but the names of its properties. */
export function nodeBytes(fdt: usize, node: u32): u64 {
  return <u64>(nodeEnd(fdt, node) - node);
}

/** Offset of the token after the node's END_NODE. */
function nodeEnd(fdt: usize, node: u32): u32 {
  let at = nextToken(fdt, node);
  let depth: u32 = 1;
  while (depth != 0) {
    const token = tokenAt(fdt, at);
    if (token == TreeToken.BeginNode) depth++;
    else if (token == TreeToken.EndNode) depth--;
    at = afterToken(fdt, at, token);
  }
  return at;
}

/** The parent of `node`, 0 for the root. Costs one walk of what lies before the node. */
export function parentOf(fdt: usize, node: u32): u32 {
  let parent: u32 = 0;
  let holder = rootNode(fdt);
  while (holder != node) {
    parent = holder;
    holder = childHolding(fdt, parent, node);
  }
  return parent;
}

/** The child of `parent` that is `node` or holds it. */
function childHolding(fdt: usize, parent: u32, node: u32): u32 {
  let child = firstChild(fdt, parent);
  while (true) {
    assert(child != 0, "a device-tree node without a parent");
    const end = nodeEnd(fdt, child);
    if (end > node) return child;
    child = nodeOrNone(fdt, end);
  }
}

/** Address of the node's name (NUL-terminated, with its unit address). */
export function nodeName(fdt: usize, node: u32): usize {
  return fdt + <usize>node + 4;
}

/** Whether the node's name, without its unit address, is the literal. */
export function nodeNameIs(fdt: usize, node: u32, name: string): bool {
  const address = nodeName(fdt, node);
  const length = literalLength(name);
  for (let i: usize = 0; i < length; i++) {
    if (read8(<u64>(address + i)) != literalChar(name, i)) return false;
  }
  const end = read8(<u64>(address + length));
  return end == 0 || end == AT_SIGN;
}

/** The child of that name (without unit address). */
export function childNamed(fdt: usize, node: u32, name: string): u32 {
  let child = firstChild(fdt, node);
  while (child != 0 && !nodeNameIs(fdt, child, name)) child = nextSibling(fdt, child);
  return child;
}

const AT_SIGN: u32 = 0x40;

// ---- Properties

export function firstProperty(fdt: usize, node: u32): u32 {
  return propertyOrNone(fdt, nextToken(fdt, node));
}

export function nextProperty(fdt: usize, property: u32): u32 {
  return propertyOrNone(fdt, nextToken(fdt, property));
}

function propertyOrNone(fdt: usize, at: u32): u32 {
  at = skipNops(fdt, at);
  return tokenAt(fdt, at) == TreeToken.Property ? at : 0;
}

/** The node's property of that name; 0 also for node 0. */
export function findProperty(fdt: usize, node: u32, name: string): u32 {
  if (node == 0) return 0;
  const strings = fdt + <usize>treeHeader(fdt, TreeHeader.Strings);
  let property = firstProperty(fdt, node);
  while (property != 0 && !textIs(strings + <usize>nameOffset(fdt, property), name)) {
    property = nextProperty(fdt, property);
  }
  return property;
}

/** Address of the property's name (NUL-terminated). */
export function propertyName(fdt: usize, property: u32): usize {
  return fdt + <usize>treeHeader(fdt, TreeHeader.Strings) + <usize>nameOffset(fdt, property);
}

function nameOffset(fdt: usize, property: u32): u32 {
  return readBig32(fdt + <usize>property + 8);
}

/** Bytes of the property's value. */
export function propertyLength(fdt: usize, property: u32): u64 {
  return <u64>readBig32(fdt + <usize>property + 4);
}

/** Address of the property's value. */
export function propertyValue(fdt: usize, property: u32): usize {
  return fdt + <usize>(property + PROPERTY_HEADER_SIZE);
}

/** 32-bit cells of the value (a rest of fewer than 4 bytes does not count); 0 for property 0. */
export function cellCount(fdt: usize, property: u32): u64 {
  return property == 0 ? 0 : propertyLength(fdt, property) >> 2;
}

/** Cell `index` of the value; index < cellCount. */
export function cellAt(fdt: usize, property: u32, index: u64): u32 {
  assert(index < cellCount(fdt, property), "a device-tree cell outside of its property");
  return readBig32(propertyValue(fdt, property) + <usize>(index << 2));
}

/** A number of `cells` (0, 1 or 2) cells from cell `index` on. */
export function numberAt(fdt: usize, property: u32, index: u64, cells: u32): u64 {
  let value: u64 = 0;
  for (let i: u32 = 0; i < cells; i++) value = (value << 32) | (<u64>cellAt(fdt, property, index + <u64>i));
  return value;
}

/** The node's 32-bit property of that name, or `otherwise` if it is absent or has another size. */
export function numberOf(fdt: usize, node: u32, name: string, otherwise: u32): u32 {
  const property = findProperty(fdt, node, name);
  return property != 0 && propertyLength(fdt, property) == 4 ? cellAt(fdt, property, 0) : otherwise;
}

/** Whether the value of `property` (not 0) is one NUL-terminated string and equals the literal. */
export function propertyIs(fdt: usize, property: u32, text: string): bool {
  const length = propertyLength(fdt, property);
  const address = propertyValue(fdt, property);
  return length != 0 && read8(<u64>address + length - 1) == 0 && bytesAre(address, length - 1, text);
}

/** Whether one string of the value's list equals the literal. A last string without its NUL counts as well. */
export function propertyHas(fdt: usize, property: u32, text: string): bool {
  if (property == 0) return false;
  const end = propertyLength(fdt, property);
  const address = propertyValue(fdt, property);
  for (let at: u64 = 0; at < end;) {
    const length = textLength(address + <usize>at, end - at);
    const size = length < 0 ? end - at : <u64>length;
    if (bytesAre(address + <usize>at, size, text)) return true;
    at += size + 1;
  }
  return false;
}

/** Whether two properties (0 = absent) have the same value. */
export function sameValue(fdt: usize, a: u32, b: u32): bool {
  if (a == 0 || b == 0) return a == b;
  const length = propertyLength(fdt, a);
  return length == propertyLength(fdt, b) && bytesEqual(propertyValue(fdt, a), propertyValue(fdt, b), length);
}

// ---- What most nodes have

/** status is absent, "okay" or "ok". */
export function nodeEnabled(fdt: usize, node: u32): bool {
  const status = findProperty(fdt, node, "status");
  return status == 0 || propertyIs(fdt, status, "okay") || propertyIs(fdt, status, "ok");
}

/** The next enabled node after `node` in file order (0 = from the start) that is compatible with the literal. */
export function nextCompatible(fdt: usize, node: u32, compatible: string): u32 {
  node = node == 0 ? rootNode(fdt) : nextNode(fdt, node);
  while (node != 0) {
    if (propertyHas(fdt, findProperty(fdt, node, "compatible"), compatible) && nodeEnabled(fdt, node)) return node;
    node = nextNode(fdt, node);
  }
  return 0;
}

// ---- Memory reservation block

/** Entries before the empty one. */
export function reservationCount(fdt: usize): u64 {
  let count: u64 = 0;
  while (reservationAddress(fdt, count) != 0 || reservationSize(fdt, count) != 0) count++;
  return count;
}

export function reservationAddress(fdt: usize, index: u64): u64 {
  return readBig64(fdt + <usize>treeHeader(fdt, TreeHeader.Reservations) + <usize>(index << 4));
}

export function reservationSize(fdt: usize, index: u64): u64 {
  return readBig64(fdt + <usize>treeHeader(fdt, TreeHeader.Reservations) + <usize>(index << 4) + 8);
}
