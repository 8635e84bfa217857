import { readFileSync } from "node:fs";
import path from "node:path";
import { IMAGE_BASE } from "../../../tools/build/modules.ts";
import type { LiveMachine } from "./live-machine.ts";

/** The device tree that the firmware gives the hypervisor, taken and replaced between the two. */

/** Free RAM that is neither an image's nor the firmware's on machines of 128 MiB and more. */
export const FREE_RAM = 0x8700_0000;

const A1 = 11;
/** Bytes that one packet of QEMU's gdb server takes. */
const PACKET_BYTES = 1024;

/** Runs the machine (started with `gdb`) up to the hypervisor's first instruction and returns the device tree. */
export async function treeAtEntry(machine: LiveMachine): Promise<Uint8Array> {
  const { gdb } = machine;
  await gdb.setBreakpoint(BigInt(IMAGE_BASE));
  await gdb.resumeToStop();
  await gdb.clearBreakpoint(BigInt(IMAGE_BASE));
  const address = await gdb.register(A1);
  const header = await save(machine, address, 8);
  return save(machine, address, header.readUInt32BE(4));
}

async function save(machine: LiveMachine, address: bigint, size: number): Promise<Buffer> {
  const file = path.join(machine.folder, "tree");
  await machine.qmp.execute("pmemsave", { val: Number(address), size, filename: file });
  return readFileSync(file);
}

/** Has the hypervisor, which is at its first instruction, find `tree` in the place of the firmware's. */
export async function replaceTree(machine: LiveMachine, tree: Uint8Array, address = FREE_RAM): Promise<void> {
  for (let at = 0; at < tree.length; at += PACKET_BYTES) {
    await machine.gdb.write(BigInt(address + at), tree.subarray(at, at + PACKET_BYTES));
  }
  await machine.gdb.setRegister(A1, BigInt(address));
}
