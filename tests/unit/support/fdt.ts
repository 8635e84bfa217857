/**
 * An independent device-tree reader and writer in JavaScript: the oracle for the hypervisor's own, and the maker of trees
 * that no dump gives us (sparse hart ids, lying sizes, several IMSIC groups).
 */

export type PropertyValue = string | string[] | number[] | bigint | Uint8Array | true;

export interface FdtNode {
  name: string;
  properties: Map<string, Uint8Array>;
  children: FdtNode[];
}

export interface Fdt {
  root: FdtNode;
  reservations: { address: bigint; size: bigint }[];
  bootHart: number;
}

const BEGIN_NODE = 1;
const END_NODE = 2;
const PROPERTY = 3;
const NOP = 4;
const END = 9;
const latin = new TextDecoder("latin1");

/** Parses a well-formed blob; throws on anything else. */
export function parseFdt(blob: Uint8Array): Fdt {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  const u32 = (offset: number) => view.getUint32(offset);
  if (u32(0) !== 0xd00dfeed) throw new Error("no magic");
  if (u32(4) > blob.length) throw new Error("totalsize");
  const structure = u32(8);
  const strings = u32(12);
  const reservations: Fdt["reservations"] = [];
  for (let at = u32(16); ; at += 16) {
    const [address, size] = [view.getBigUint64(at), view.getBigUint64(at + 8)];
    if (address === 0n && size === 0n) break;
    reservations.push({ address, size });
  }
  const text = (at: number) => latin.decode(blob.subarray(at, blob.indexOf(0, at)));
  const stack: FdtNode[] = [];
  let root: FdtNode | undefined;
  let at = structure;
  for (;;) {
    const token = u32(at);
    at += 4;
    if (token === BEGIN_NODE) {
      const name = text(at);
      at = (at + name.length + 4) & ~3;
      const node: FdtNode = { name, properties: new Map(), children: [] };
      if (stack.length > 0) stack[stack.length - 1].children.push(node);
      else if (root) throw new Error("two roots");
      else root = node;
      stack.push(node);
    } else if (token === END_NODE) {
      if (!stack.pop()) throw new Error("END_NODE without a node");
    } else if (token === PROPERTY) {
      const length = u32(at);
      const name = text(strings + u32(at + 4));
      if (stack[stack.length - 1].children.length > 0) throw new Error(`property ${name} after a child node`);
      stack[stack.length - 1].properties.set(name, blob.slice(at + 8, at + 8 + length));
      at = (at + 8 + length + 3) & ~3;
    } else if (token === END) {
      if (stack.length > 0 || !root) throw new Error("END inside a node");
      if (at > structure + u32(36)) throw new Error("structure block is longer than its size");
      return { root, reservations, bootHart: u32(28) };
    } else if (token !== NOP) {
      throw new Error(`token ${token} at ${at - 4}`);
    }
  }
}

/** The node at a path like "/cpus/cpu@0"; a part without "@" also matches a unit address. */
export function nodeAt(root: FdtNode, path: string): FdtNode | undefined {
  let node: FdtNode | undefined = root;
  for (const part of path.split("/").filter(Boolean)) {
    node = node?.children.find((child) => child.name === part || child.name.split("@")[0] === part);
  }
  return node;
}

export function stringsOf(node: FdtNode, name: string): string[] {
  const bytes = node.properties.get(name);
  return bytes ? latin.decode(bytes).replace(/\0$/, "").split("\0") : [];
}

export function cellsOf(node: FdtNode, name: string): number[] {
  const bytes = node.properties.get(name);
  if (!bytes) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length >> 2 }, (_, index) => view.getUint32(index * 4));
}

/** All nodes, parents first. */
export function* allNodes(node: FdtNode): Generator<FdtNode> {
  yield node;
  for (const child of node.children) yield* allNodes(child);
}

/** Shorthand for a node: `node("cpu@0", { reg: [0], status: "okay" }, [child, ...])`. Numbers become 32-bit cells, a bigint 64 bits. */
export function node(name: string, properties: Record<string, PropertyValue> = {}, children: FdtNode[] = []): FdtNode {
  const encoded = Object.entries(properties).map(([key, value]) => [key, encode(value)] as const);
  return { name, properties: new Map(encoded), children };
}

function encode(value: PropertyValue): Uint8Array {
  if (value === true) return new Uint8Array(0);
  if (value instanceof Uint8Array) return value;
  if (typeof value === "string") return new TextEncoder().encode(value + "\0");
  if (typeof value === "bigint") return encode([Number(value >> 32n), Number(value & 0xffffffffn)]);
  if (value.length > 0 && typeof value[0] === "string") return new TextEncoder().encode(value.join("\0") + "\0");
  const bytes = new Uint8Array(value.length * 4);
  const view = new DataView(bytes.buffer);
  (value as number[]).forEach((cell, index) => view.setUint32(index * 4, cell >>> 0));
  return bytes;
}

/** Cells of 64-bit numbers: `cells64(0x80000000n, 0x1000n)`. */
export function cells64(...values: bigint[]): number[] {
  return values.flatMap((value) => [Number(value >> 32n), Number(value & 0xffffffffn)]);
}

/** Serializes a tree as version 17. */
export function buildFdt(root: FdtNode, reservations: Fdt["reservations"] = []): Uint8Array {
  const structure: number[] = [];
  const strings: number[] = [];
  const offsets = new Map<string, number>();
  const push32 = (value: number) =>
    structure.push(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
  const pad = () => {
    while (structure.length & 3) structure.push(0);
  };
  const nameOffset = (name: string) => {
    if (!offsets.has(name)) {
      offsets.set(name, strings.length);
      strings.push(...new TextEncoder().encode(name + "\0"));
    }
    return offsets.get(name)!;
  };
  const emit = (current: FdtNode) => {
    push32(BEGIN_NODE);
    structure.push(...new TextEncoder().encode(current.name + "\0"));
    pad();
    for (const [name, value] of current.properties) {
      push32(PROPERTY);
      push32(value.length);
      push32(nameOffset(name));
      for (const byte of value) structure.push(byte);
      pad();
    }
    current.children.forEach(emit);
    push32(END_NODE);
  };
  emit(root);
  push32(END);

  const header = 40;
  const structureAt = header + 16 * (reservations.length + 1);
  const stringsAt = structureAt + structure.length;
  const blob = new Uint8Array(stringsAt + strings.length);
  const view = new DataView(blob.buffer);
  [0xd00dfeed, blob.length, structureAt, stringsAt, header, 17, 16, 0, strings.length, structure.length].forEach(
    (value, index) => view.setUint32(index * 4, value),
  );
  reservations.forEach(({ address, size }, index) => {
    view.setBigUint64(header + index * 16, address);
    view.setBigUint64(header + index * 16 + 8, size);
  });
  blob.set(structure, structureAt);
  blob.set(strings, stringsAt);
  return blob;
}

/** A readable listing, for messages and for looking at dumps by hand. */
export function formatFdt(node: FdtNode, indent = ""): string {
  const lines = [`${indent}${node.name || "/"} {`];
  for (const [name, value] of node.properties) {
    const text = latin.decode(value);
    const printable = /^([\x20-\x7e]+\0)+$/.test(text);
    const shown = printable
      ? JSON.stringify(text.replace(/\0$/, "").split("\0"))
      : cellsOf(node, name)
          .map((cell) => "0x" + cell.toString(16))
          .join(" ");
    lines.push(`${indent}  ${name} = ${shown}`);
  }
  for (const child of node.children) lines.push(formatFdt(child, indent + "  "));
  lines.push(`${indent}}`);
  return lines.join("\n");
}
