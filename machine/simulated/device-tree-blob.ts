/** Flattened device trees (Devicetree Specification 0.4, chapter 5), written. */

/** true: a property without value. Numbers are cells of 32 bits. */
export type PropertyValue = string | readonly string[] | readonly number[] | Uint8Array | true;

export interface TreeNode {
  name: string;
  properties: Record<string, PropertyValue>;
  children: TreeNode[];
}

export function treeNode(
  name: string,
  properties: Record<string, PropertyValue> = {},
  children: TreeNode[] = [],
): TreeNode {
  return { name, properties, children };
}

/** Two cells for each number, for reg with #address-cells = #size-cells = 2. */
export function cells64(...values: number[]): number[] {
  return values.flatMap((value) => [Math.floor(value / 2 ** 32), value % 2 ** 32]);
}

const BEGIN_NODE = 1;
const END_NODE = 2;
const PROPERTY = 3;
const END = 9;
const HEADER_SIZE = 40;
const VERSION = 17;
const LAST_COMPATIBLE_VERSION = 16;

/** The tree as bytes, version 17, without memory reservations. */
export function writeDeviceTree(root: TreeNode, bootHart: number): Uint8Array {
  const structure = new ByteWriter();
  const strings = new ByteWriter();
  const nameOffsets = new Map<string, number>();
  const emit = (node: TreeNode): void => {
    structure.u32(BEGIN_NODE).text(node.name).pad(4);
    for (const [name, value] of Object.entries(node.properties)) {
      if (!nameOffsets.has(name)) {
        nameOffsets.set(name, strings.length);
        strings.text(name);
      }
      const bytes = encode(value);
      structure.u32(PROPERTY).u32(bytes.length).u32(nameOffsets.get(name)!).raw(bytes).pad(4);
    }
    node.children.forEach(emit);
    structure.u32(END_NODE);
  };
  emit(root);
  structure.u32(END);

  const reservationEnd = HEADER_SIZE + 16;
  const stringsStart = reservationEnd + structure.length;
  const total = stringsStart + strings.length;
  const blob = new ByteWriter();
  blob.u32(0xd00dfeed).u32(total).u32(reservationEnd).u32(stringsStart).u32(HEADER_SIZE);
  blob.u32(VERSION).u32(LAST_COMPATIBLE_VERSION).u32(bootHart).u32(strings.length).u32(structure.length);
  return Uint8Array.from([...blob.bytes, ...new Uint8Array(16), ...structure.bytes, ...strings.bytes]);
}

function encode(value: PropertyValue): Uint8Array {
  const writer = new ByteWriter();
  if (value === true) return new Uint8Array(0);
  if (value instanceof Uint8Array) return value;
  if (typeof value === "string") writer.text(value);
  else
    for (const item of value)
      if (typeof item === "string") writer.text(item);
      else writer.u32(item);
  return Uint8Array.from(writer.bytes);
}

/** Big-endian numbers and NUL-terminated texts. */
class ByteWriter {
  readonly bytes: number[] = [];

  get length(): number {
    return this.bytes.length;
  }

  u32(value: number): this {
    this.bytes.push((value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
    return this;
  }

  text(value: string): this {
    this.bytes.push(...new TextEncoder().encode(value), 0);
    return this;
  }

  raw(bytes: Uint8Array): this {
    for (const byte of bytes) this.bytes.push(byte);
    return this;
  }

  pad(alignment: number): this {
    while (this.bytes.length % alignment !== 0) this.bytes.push(0);
    return this;
  }
}
