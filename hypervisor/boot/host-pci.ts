import { probeFunctions } from "../devices/pci/probe";
import { pciSegment, PciSegment, PciSpace, PciWindow } from "../devices/pci/segment";
import { putPciAddress } from "../devices/pci/address";
import { FunctionKind, functionSize, OddReason } from "../devices/pci/function";
import { PCI_ID, readConfig } from "../devices/pci/registers";
import { Root } from "../root";
import { beginLine, endLine, putChar, putDecimal, putHex, putText } from "../devices/console";
import {
  beginNodeAt,
  beginProperty,
  copyProperty,
  endNode,
  endProperty,
  putCell,
  putCells64,
  putEmpty,
  putNumber32,
  putString,
  TreeWriter,
} from "./device-tree/writer";
import { logText } from "./boot-log";
import { phandleOf } from "./describe-harts";
import { cellAt, cellCount, findProperty, numberOf } from "./device-tree/reader";
import { MachineDescription, NO_NUMA_NODE } from "./machine-description";
import { OwnMemory } from "./own-memory";

/**
 * PCI at boot: the records of all functions, which the host will see, and the host bridges in its device tree.
 */

/** Makes the records of all functions in own.pciRecords. Our map is in use; nobody else uses PCI yet. */
export function createPciDevices(root: Root, description: MachineDescription, own: OwnMemory): void {
  root.pciSegments = description.pciSegments;
  root.pciSegmentCount = description.pciSegmentCount;
  let records = own.pciRecords;
  let left = <u32>own.pciFunctions;
  for (let i: u32 = 0; i < root.pciSegmentCount; i++) {
    const segment = pciSegment(root, i);
    if (segment.ecam == 0) continue;
    segment.functions = records;
    probeFunctions(segment, left);
    left -= segment.functionCount;
    records += <usize>segment.functionCount * functionSize();
  }
}

/**
 * Hides virtio functions that no IOMMU confines. All that they do is in rings in memory, which they cannot read: a driver that gave them a request, as the
 * host's does for the first sector of a disk, would wait for ever, and the boot with it. Others stay, with their registers. After createIommus.
 */
export function hideSilentDevices(root: Root): void {
  for (let i: u32 = 0; i < root.pciSegmentCount; i++) {
    const segment = pciSegment(root, i);
    for (let f: u32 = 0; f < segment.functionCount; f++) {
      const pci = segment.function(f);
      if (pci.kind != FunctionKind.Endpoint || pci.confined != 0 || !isVirtio(readConfig(pci.config, PCI_ID))) continue;
      pci.kind = FunctionKind.Hidden;
      pci.odd = OddReason.NoDma;
      segment.oddCount++;
    }
  }
}

/** Virtio 1.2, 4.1.2: vendor 0x1af4, devices 0x1000 to 0x107f. */
function isVirtio(id: u32): bool {
  return (id & 0xffff) == VIRTIO_VENDOR && id >> 16 >= VIRTIO_FIRST && id >> 16 <= VIRTIO_LAST;
}

const VIRTIO_VENDOR: u32 = 0x1af4;
const VIRTIO_FIRST: u32 = 0x1000;
const VIRTIO_LAST: u32 = 0x107f;

/** One line for each host bridge, and one for each function that is hidden because it is odd or can do nothing. */
export function logPci(root: Root): void {
  if (hasPci(root) && root.iommuCount == 0) {
    logText("no IOMMU: PCI devices of the host stay without bus mastering (DMA and MSI)");
  }
  for (let i: u32 = 0; i < root.pciSegmentCount; i++) {
    const segment = pciSegment(root, i);
    beginLine();
    putText("salus: PCI segment ");
    putDecimal(<u64>segment.domain);
    if (segment.ecam == 0) {
      putText(": not usable as the device tree describes it");
    } else {
      putText(" at ");
      putHex(segment.ecam);
      putText(", functions: ");
      putDecimal(<u64>segment.functionCount);
      putText(", buses: ");
      putDecimal(<u64>(segment.usedBus - segment.firstBus + 1));
    }
    endLine();
    for (let f: u32 = 0; f < segment.functionCount && segment.oddCount != 0; f++) {
      const pci = segment.function(f);
      if (pci.odd == 0) continue;
      beginLine();
      putText("salus:   ");
      putPciAddress(segment.domain, pci.address);
      if (pci.odd == OddReason.NoDma) {
        putText(" is hidden from the host: a virtio device does nothing without DMA");
      } else {
        putText(" is hidden from the host: its registers make no sense (");
        putDecimal(<u64>pci.odd);
        putChar(0x29);
      }
      endLine();
    }
  }
}

/** Bytes that the host's device tree may need for its host bridges. */
export function pciTreeBound(description: MachineDescription): u64 {
  let bytes: u64 = 0;
  for (let i: u32 = 0; i < description.pciSegmentCount; i++) {
    const segment = description.pciSegment(i);
    const map = findProperty(description.fdt, segment.node, "interrupt-map");
    bytes += 768 + 28 * <u64>segment.windowCount + 4 * cellCount(description.fdt, map);
  }
  return bytes;
}

/** Whether the host gets a bridge at all. */
export function hasPci(root: Root): bool {
  for (let i: u32 = 0; i < root.pciSegmentCount; i++) {
    if (pciSegment(root, i).ecam != 0) return true;
  }
  return false;
}

/** Cells of an entry of interrupt-map: function (3), pin, controller, and the source and its kind at an APLIC, which has no unit addresses. */
const MAP_CELLS: u64 = 7;
const MAP_CONTROLLER: u64 = 4;

/** Whether all INTx lines of the bridge lead to the controller with that phandle. */
function leadsTo(fdt: usize, node: u32, controller: u32): bool {
  const map = findProperty(fdt, node, "interrupt-map");
  const cells = cellCount(fdt, map);
  if (cells == 0 || cells % MAP_CELLS != 0 || numberOf(fdt, node, "#interrupt-cells", 0) != 1) return false;
  for (let at: u64 = 0; at < cells; at += MAP_CELLS) {
    if (cellAt(fdt, map, at + MAP_CONTROLLER) != controller) return false;
  }
  return findProperty(fdt, node, "interrupt-map-mask") != 0;
}

/** The host bridges. `imsicPhandle`: where their devices' messages go, 0 if the host has no interrupt files. */
export function putPciBridges(
  writer: TreeWriter,
  root: Root,
  description: MachineDescription,
  imsicPhandle: u32,
): void {
  const fdt = description.fdt;
  const controller = root.aplic != 0 ? phandleOf(fdt, description.aplicNode) : 0;
  for (let i: u32 = 0; i < root.pciSegmentCount; i++) {
    const segment = pciSegment(root, i);
    if (segment.ecam == 0) continue;
    segment.wired = controller != 0 && leadsTo(fdt, segment.node, controller) ? 1 : 0;
    putBridge(writer, fdt, segment, imsicPhandle);
  }
}

function putBridge(writer: TreeWriter, fdt: usize, segment: PciSegment, imsicPhandle: u32): void {
  beginNodeAt(writer, "pci", segment.ecam);
  putString(writer, "compatible", "pci-host-ecam-generic");
  putString(writer, "device_type", "pci");
  putNumber32(writer, "#address-cells", 3);
  putNumber32(writer, "#size-cells", 2);
  putNumber32(writer, "linux,pci-domain", segment.domain);
  beginProperty(writer, "reg");
  putCells64(writer, segment.ecam);
  putCells64(writer, segment.ecamSize());
  endProperty(writer);
  beginProperty(writer, "bus-range");
  putCell(writer, segment.firstBus);
  putCell(writer, segment.lastBus);
  endProperty(writer);
  beginProperty(writer, "ranges");
  for (let i: u32 = 0; i < segment.windowCount; i++) putWindow(writer, segment.window(i));
  endProperty(writer);
  if (segment.coherent != 0) putEmpty(writer, "dma-coherent");
  if (imsicPhandle != 0) putNumber32(writer, "msi-parent", imsicPhandle);
  if (segment.wired != 0) {
    putNumber32(writer, "#interrupt-cells", 1);
    copyProperty(writer, fdt, findProperty(fdt, segment.node, "interrupt-map-mask"));
    copyProperty(writer, fdt, findProperty(fdt, segment.node, "interrupt-map"));
  }
  if (segment.numaNode != NO_NUMA_NODE) putNumber32(writer, "numa-node-id", segment.numaNode);
  endNode(writer);
}

const SPACE_SHIFT: u32 = 24;
const PREFETCHABLE: u32 = 1 << 30;

function putWindow(writer: TreeWriter, window: PciWindow): void {
  if (window.hostSize == 0 || window.space == PciSpace.None) return;
  putCell(writer, (window.space << SPACE_SHIFT) | (window.prefetchable != 0 ? PREFETCHABLE : 0));
  putCells64(writer, window.busAddress);
  putCells64(writer, window.base);
  putCells64(writer, window.hostSize);
}
