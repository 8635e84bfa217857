import { APLIC_SIZE } from "../devices/aplic";
import { alignDown, alignUp } from "../lib/arithmetic";
import { PAGE_SIZE } from "../riscv/pte";
import { interruptParent } from "./describe-aplic";
import { phandleOf } from "./describe-harts";
import { deviceAddress, deviceSize, NO_ADDRESS, regAddress, regCount, regSize } from "./device-tree/cells";
import { findProperty, firstChild, nextCompatible, nextSibling, nodeEnabled, parentOf } from "./device-tree/reader";
import {
  beginNodeAt,
  copyProperty,
  endNode,
  putEmpty,
  putNumber32,
  putString,
  putCells64,
  beginProperty,
  endProperty,
  TreeWriter,
} from "./device-tree/writer";
import { MachineDescription } from "./machine-description";

/**
 * Devices that the host gets whole: their registers are in its address space, at their own addresses. Only kinds that are known to do no DMA, and only those
 * whose pages hold nothing else, since a page is the least that can be given.
 *
 *     console UART    shared: we print lines of our own on it, which are few once the host runs
 *     real-time clock
 *
 * Their interrupts go through the APLIC (devices/aplic.ts). The test finisher is not among them: the machine ends by SBI SRST, after secrets were zeroed.
 */

/** Decides which devices the host gets. Last part of the description: RAM, UART and IMSIC are known. */
export function describeHostDevices(description: MachineDescription): void {
  const fdt = description.fdt;
  if (description.uart != 0 && isGivable(description, description.uartNode)) {
    description.hostUart = alignDown(description.uart, PAGE_SIZE);
  }
  const rtc = nextCompatible(fdt, 0, "google,goldfish-rtc");
  if (rtc != 0 && nodeEnabled(fdt, rtc) && isGivable(description, rtc)) {
    description.rtcNode = rtc;
    description.hostRtc = deviceAddress(fdt, rtc, 0);
  }
}

/** Whether the device's registers lie in one page in which nothing else does that the tree knows. */
function isGivable(description: MachineDescription, node: u32): bool {
  const fdt = description.fdt;
  const address = deviceAddress(fdt, node, 0);
  const size = deviceSize(fdt, node, 0);
  if (address == NO_ADDRESS || address == 0 || size == 0 || size > PAGE_SIZE) return false;
  const page = alignDown(address, PAGE_SIZE);
  if (alignUp(address + size, PAGE_SIZE) != page + PAGE_SIZE) return false;
  for (let i: u64 = 0; i < description.memoryCount; i++) {
    const range = description.memoryRange(i);
    if (overlapsPage(range.base, range.size, page)) return false;
  }
  for (let i: u64 = 0; i < description.imsicRegionCount; i++) {
    const region = description.imsicRegion(i);
    if (overlapsPage(region.base, region.size, page)) return false;
  }
  return !hasNeighbour(fdt, node, address - page);
}

/** Whether another device of the same bus has registers in the page, of which `offset` bytes lie before those of `node`. */
function hasNeighbour(fdt: usize, node: u32, offset: u64): bool {
  const bus = parentOf(fdt, node);
  const page = regAddress(fdt, bus, node, 0) - offset;
  for (let other = firstChild(fdt, bus); other != 0; other = nextSibling(fdt, other)) {
    const count = regCount(fdt, bus, other);
    for (let i: i64 = 0; i < count; i++) {
      if (other == node && i == 0) continue;
      if (overlapsPage(regAddress(fdt, bus, other, <u64>i), regSize(fdt, bus, other, <u64>i), page)) return true;
    }
  }
  return false;
}

function overlapsPage(base: u64, size: u64, page: u64): bool {
  return size != 0 && base < page + PAGE_SIZE && base + (size - 1) >= page;
}

/**
 * Puts the nodes of the given devices: what drivers read of them. `wired`: the host has the APLIC, so devices that are connected to it have their
 * interrupts.
 */
export function putHostDevices(writer: TreeWriter, description: MachineDescription, wired: bool): void {
  const fdt = description.fdt;
  const controller = wired ? phandleOf(fdt, description.aplicNode) : 0;
  if (wired) putAplic(writer, description);
  if (description.hostUart != 0) {
    const node = description.uartNode;
    beginDevice(writer, "serial", fdt, node, controller);
    copyProperty(writer, fdt, findProperty(fdt, node, "clock-frequency"));
    copyProperty(writer, fdt, findProperty(fdt, node, "current-speed"));
    endNode(writer);
  }
  if (description.hostRtc != 0) {
    beginDevice(writer, "rtc", fdt, description.rtcNode, controller);
    endNode(writer);
  }
}

/** The interrupt controller that the host programs through us. */
function putAplic(writer: TreeWriter, description: MachineDescription): void {
  beginNodeAt(writer, "interrupt-controller", description.aplic);
  putString(writer, "compatible", "riscv,aplic");
  beginProperty(writer, "reg");
  putCells64(writer, description.aplic);
  putCells64(writer, APLIC_SIZE);
  endProperty(writer);
  putNumber32(writer, "phandle", phandleOf(description.fdt, description.aplicNode));
  putEmpty(writer, "interrupt-controller");
  putNumber32(writer, "#interrupt-cells", 2);
  putNumber32(writer, "#address-cells", 0);
  putNumber32(writer, "riscv,num-sources", description.aplicSources);
  putNumber32(writer, "msi-parent", description.imsicPhandle);
  endNode(writer);
}

/** Starts the node of a device, which has one region of registers, with its interrupts if they go to `controller`. */
function beginDevice(writer: TreeWriter, name: string, fdt: usize, node: u32, controller: u32): void {
  const address = deviceAddress(fdt, node, 0);
  beginNodeAt(writer, name, address);
  copyProperty(writer, fdt, findProperty(fdt, node, "compatible"));
  beginProperty(writer, "reg");
  putCells64(writer, address);
  putCells64(writer, deviceSize(fdt, node, 0));
  endProperty(writer);
  const interrupts = findProperty(fdt, node, "interrupts");
  if (controller != 0 && interrupts != 0 && interruptParent(fdt, node) == controller) {
    putNumber32(writer, "interrupt-parent", controller);
    copyProperty(writer, fdt, interrupts);
  }
}
