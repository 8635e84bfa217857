import type { GuestDriver } from "../../../../machine/simulated/guest-driver.ts";
import type { Machine } from "../../../../machine/simulated/machine.ts";
import { nodeAt, parseFdt, type FdtNode } from "../fdt.ts";

/** The device tree that the host, which has not executed anything yet, was started with: its root. */
export function hostTree(machine: Machine, host: GuestDriver): FdtNode {
  const at = machine.harts.find(({ id }) => id === machine.options.bootHart)!.registers[11];
  const header = new DataView(new ArrayBuffer(8));
  header.setBigUint64(0, host.load(at, 8), true);
  const size = header.getUint32(4);
  const blob = new DataView(new ArrayBuffer((size + 7) & ~7));
  for (let offset = 0; offset < blob.byteLength; offset += 8) {
    blob.setBigUint64(offset, host.load(at + BigInt(offset), 8), true);
  }
  return parseFdt(new Uint8Array(blob.buffer, 0, size)).root;
}

/** The PCI host bridges in it. */
export function bridgesOf(root: FdtNode): FdtNode[] {
  return nodeAt(root, "/soc")!.children.filter(({ name }) => name.startsWith("pci@"));
}

/** A property as 32-bit numbers. */
export function cellsOf(node: FdtNode, name: string): number[] {
  const bytes = node.properties.get(name)!;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.byteLength / 4 }, (_, index) => view.getUint32(index * 4));
}
