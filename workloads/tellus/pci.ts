import { mmioRead32, mmioWrite32 } from "../lib/hw";
import { bigEndian32, bigEndianCells, FdtCursor, fdtOpen, FdtToken } from "../lib/fdt";
import { state } from "./state";

/** PCI as a host sees it: the first host bridge of the device tree, and the devices on its root bus. */
@unmanaged
export class PciBridge {
  /** Configuration space; 0 = there is no bridge. */
  ecam: u64;
  /** First address of the window of 32-bit memory. */
  window: u64;
}

const DEVICES: u64 = 32;
const DEVICE_SHIFT: u64 = 15;
/** Bytes of an entry of `ranges`, and the kind of space in its first cell. */
const RANGE_BYTES: u64 = 28;
const SPACE_MASK: u32 = 3 << 24;
const SPACE_MEMORY32: u32 = 2 << 24;

/** Reads the bridge from the device tree. */
export function findPciBridge(bridge: PciBridge, cursor: FdtCursor): void {
  bridge.ecam = 0;
  bridge.window = 0;
  let inBridge: bool = false;
  fdtOpen(cursor, state().fdt);
  while (cursor.next() != FdtToken.End) {
    if (cursor.token == FdtToken.BeginNode) inBridge = cursor.isNode("pci");
    if (cursor.token != FdtToken.Property || !inBridge) continue;
    if (cursor.isProperty("reg")) bridge.ecam = bigEndianCells(cursor.value, 2);
    if (!cursor.isProperty("ranges")) continue;
    for (let at: u64 = 0; at + RANGE_BYTES <= cursor.valueLength; at += RANGE_BYTES) {
      if ((bigEndian32(cursor.value + at) & SPACE_MASK) != SPACE_MEMORY32) continue;
      bridge.window = bigEndianCells(cursor.value + at + 12, 2);
    }
  }
}

/** Configuration space of the device with that id (device << 16 | vendor) on the root bus, 0 if there is none. */
export function findPciDevice(bridge: PciBridge, id: u32): u64 {
  if (bridge.ecam == 0) return 0;
  for (let device: u64 = 0; device < DEVICES; device++) {
    const config = bridge.ecam + (device << DEVICE_SHIFT);
    if (mmioRead32(config) == id) return config;
  }
  return 0;
}

export const PCI_COMMAND: u64 = 0x04;
export const PCI_BAR0: u64 = 0x10;
export const PCI_MEMORY: u32 = 2;
export const PCI_MASTER: u32 = 4;

/** Turns the device on with its first BAR at `address`; returns the bits of the command register that it got. */
export function enablePciDevice(config: u64, address: u64): u32 {
  mmioWrite32(config + PCI_BAR0, <u32>address);
  mmioWrite32(config + PCI_COMMAND, PCI_MEMORY | PCI_MASTER);
  return mmioRead32(config + PCI_COMMAND) & (PCI_MEMORY | PCI_MASTER);
}
