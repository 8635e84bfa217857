import { cells64, treeNode, writeDeviceTree, type TreeNode } from "../../machine/simulated/device-tree-blob.ts";

/** Puts the node of a DICE handover into a machine's device tree. */

const MAGIC = 0xd00dfeed;
const BEGIN_NODE = 1;
const END_NODE = 2;
const PROPERTY = 3;
const NOP = 4;
const END = 9;

/**
 * The tree with `/reserved-memory/dice@ADDRESS`, compatible with "google,open-dice".
 *
 * @throws RangeError if `blob` is no device tree
 */
export function addHandoverNode(blob: Uint8Array, address: number, bytes: number): Uint8Array {
  const { root, bootHart } = readDeviceTree(blob);
  let reserved = root.children.find((child) => child.name === "reserved-memory");
  if (!reserved) {
    reserved = treeNode("reserved-memory", { "#address-cells": [2], "#size-cells": [2], ranges: true });
    root.children.push(reserved);
  }
  const name = `dice@${address.toString(16)}`;
  reserved.children.push(
    treeNode(name, { compatible: "google,open-dice", reg: cells64(address, bytes), "no-map": true }),
  );
  return writeDeviceTree(root, bootHart);
}

/** Reads a tree whose properties are bytes. Memory reservations are left out: QEMU makes none. */
export function readDeviceTree(blob: Uint8Array): { root: TreeNode; bootHart: number } {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  if (view.getUint32(0) !== MAGIC) throw new RangeError("not a device tree");
  const strings = view.getUint32(12);
  let at = view.getUint32(8);
  const word = (): number => {
    at += 4;
    return view.getUint32(at - 4);
  };
  const text = (start: number): string => {
    const end = blob.indexOf(0, start);
    return new TextDecoder().decode(blob.subarray(start, end));
  };
  const top = treeNode("");
  const open: TreeNode[] = [top];
  for (;;) {
    const token = word();
    const current = open.at(-1)!;
    if (token === BEGIN_NODE) {
      const node = treeNode(text(at));
      at = (at + new TextEncoder().encode(node.name).length + 4) & ~3;
      current.children.push(node);
      open.push(node);
    } else if (token === END_NODE) {
      open.pop();
    } else if (token === PROPERTY) {
      const length = word();
      const name = text(strings + word());
      current.properties[name] = blob.slice(at, at + length);
      at = (at + length + 3) & ~3;
    } else if (token === END) {
      return { root: top.children[0], bootHart: view.getUint32(28) };
    } else if (token !== NOP) {
      throw new RangeError(`a device tree has no token ${token}`);
    }
  }
}
