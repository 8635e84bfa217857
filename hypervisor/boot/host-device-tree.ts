import { hasFeature, Feature, mmuTypeOf } from "../riscv/isa";
import { Root } from "../root";
import { phandleOf } from "./describe-harts";
import { filePage } from "./describe-imsic";
import {
  childNamed,
  findProperty,
  cellCount,
  nodeBytes,
  propertyLength,
  rootNode,
  stringsSize,
} from "./device-tree/reader";
import {
  beginNode,
  beginNodeAt,
  beginProperty,
  beginTree,
  copyProperty,
  endNode,
  endProperty,
  finishTree,
  putBlock,
  putLiteral,
  putUnitAddress,
  copyNode,
  putByte,
  putCell,
  putCells64,
  putEmpty,
  putNumber32,
  putNumber64,
  putString,
  putValue,
  repeatStructure,
  structurePlace,
  TreeWriter,
} from "./device-tree/writer";
import { putHostDevices } from "./host-devices";
import { hasPci, pciTreeBound, putPciBridges } from "./host-pci";
import { putHostIsa } from "./host-isa";
import { IntervalList } from "./interval-list";
import { HartDescription, MachineDescription, NO_NUMA_NODE } from "./machine-description";

/**
 * The device tree of the host VM, made from nothing: it names what the host really has, so no node of the
 * firmware's tree comes through by oversight.
 *
 *     / chosen (arguments, initrd, seed, console) | memory@... | cpus / cpu@0.., cpu-map | distance-map | soc / UART, clock, IMSIC, PCI
 *
 * The timer is Sstc or SBI TIME, IPIs the IMSIC or SBI IPI. A host without the UART has a console by SBI (DBCN).
 */
@unmanaged
export class HostTreePlan {
  /** Host RAM by gpa. */
  memory: IntervalList;
  /** gpa and bytes of the initial RAM disk; size 0 = none. */
  initrdGpa: u64;
  initrdSize: u64;
  /** Feature bits that the host is offered (boot/host-isa.ts: offeredFeatures). */
  features: u64;
  /** 1 if the host has an interrupt file on every hart: its supervisor-level pages at their own addresses. */
  interruptFiles: u32;
  reserved0: u32;
}

const PAGE_SIZE: u64 = 4096;
/** An IMSIC entry of interrupts-extended: the controller and this interrupt. */
const SUPERVISOR_EXTERNAL: u32 = 9;
/** Identity that the original's kernels use for IPIs. */
const IPI_IDENTITY: u32 = 1;

/** Bytes that are enough for the host's tree with that many ranges of RAM, a multiple of 8. */
export function hostTreeBound(description: MachineDescription, memoryRanges: u64): u64 {
  // A cpu node has about 600 bytes and the extensions twice: as a list (at most two bytes for one of a string) and as a string.
  const cpu: u64 = 768 + 3 * description.hart(0).isaLength + 64;
  const fixed: u64 = 4096 + rootText(description) + description.bootArgumentsLength + description.randomSeedLength;
  const imsic = 1024 + 16 * (description.imsicRegionCount + description.hartCount) + 8 * description.hartCount;
  const map = cpuMap(description);
  const topology: u64 = map == 0 ? 0 : nodeBytes(description.fdt, map) + stringsSize(description.fdt);
  return (
    (fixed +
      topology +
      imsic +
      pciTreeBound(description) +
      description.hartCount * cpu +
      memoryRanges * 192 +
      distanceBytes(description) +
      7) &
    ~(<u64>7)
  );
}

function rootText(description: MachineDescription): u64 {
  const root = rootNode(description.fdt);
  return valueBytes(description.fdt, root, "compatible") + valueBytes(description.fdt, root, "model");
}

function distanceBytes(description: MachineDescription): u64 {
  const map = childNamed(description.fdt, rootNode(description.fdt), "distance-map");
  return map == 0 ? 0 : valueBytes(description.fdt, map, "distance-matrix") + 256;
}

function valueBytes(fdt: usize, node: u32, name: string): u64 {
  const property = findProperty(fdt, node, name);
  return property == 0 ? 0 : propertyLength(fdt, property);
}

/**
 * Builds the tree in `capacity` bytes at `buffer` (8-byte aligned, hostTreeBound is enough). The host's harts are those of `root`:
 * cpu@i is hart i of root. Returns the size in bytes, or -1 if it does not fit.
 */
export function buildHostTree(
  root: Root,
  description: MachineDescription,
  plan: HostTreePlan,
  buffer: usize,
  capacity: u64,
): i64 {
  const writer = beginTree(buffer, capacity);
  beginNode(writer, "");
  putRoot(writer, description);
  putChosen(writer, description, plan);
  putMemory(writer, description, plan);
  putCpus(writer, root, description, plan);
  putDistances(writer, description);
  putSoc(writer, root, description, plan);
  endNode(writer);
  return finishTree(writer, capacity);
}

function putRoot(writer: TreeWriter, description: MachineDescription): void {
  const fdt = description.fdt;
  const root = rootNode(fdt);
  putNumber32(writer, "#address-cells", 2);
  putNumber32(writer, "#size-cells", 2);
  copyProperty(writer, fdt, findProperty(fdt, root, "compatible"));
  copyProperty(writer, fdt, findProperty(fdt, root, "model"));
}

function putChosen(writer: TreeWriter, description: MachineDescription, plan: HostTreePlan): void {
  beginNode(writer, "chosen");
  if (description.bootArgumentsLength != 0) {
    beginProperty(writer, "bootargs");
    putBlock(writer, description.bootArguments, description.bootArgumentsLength);
    putByte(writer, 0);
    endProperty(writer);
  }
  if (plan.initrdSize != 0) {
    putNumber64(writer, "linux,initrd-start", plan.initrdGpa);
    putNumber64(writer, "linux,initrd-end", plan.initrdGpa + plan.initrdSize);
  }
  if (description.hostUart != 0) {
    beginProperty(writer, "stdout-path");
    putLiteral(writer, "/soc/serial@");
    putUnitAddress(writer, description.uart);
    putByte(writer, 0);
    endProperty(writer);
  }
  // The host's from here on: the hypervisor makes nothing of it that the host must not know.
  if (description.randomSeedLength != 0) {
    putValue(writer, "rng-seed", description.randomSeed, description.randomSeedLength);
  }
  endNode(writer);
}

function putMemory(writer: TreeWriter, description: MachineDescription, plan: HostTreePlan): void {
  const memory = plan.memory;
  for (let index: u64 = 0; index < memory.count; index++) {
    const start = memory.start(index);
    beginNodeAt(writer, "memory", start);
    putString(writer, "device_type", "memory");
    beginProperty(writer, "reg");
    putCells64(writer, start);
    putCells64(writer, memory.end(index) - start);
    endProperty(writer);
    // Host ranges start where their ranges of RAM do.
    putNumaNode(writer, description.numaNodeOf(start));
    endNode(writer);
  }
}

function putNumaNode(writer: TreeWriter, numaNode: u32): void {
  if (numaNode != NO_NUMA_NODE) putNumber32(writer, "numa-node-id", numaNode);
}

// ---- Harts

function putCpus(writer: TreeWriter, root: Root, description: MachineDescription, plan: HostTreePlan): void {
  beginNode(writer, "cpus");
  putNumber32(writer, "#address-cells", 1);
  putNumber32(writer, "#size-cells", 0);
  if (description.timebaseFrequency >> 32 == 0) {
    putNumber32(writer, "timebase-frequency", <u32>description.timebaseFrequency);
  } else {
    putNumber64(writer, "timebase-frequency", description.timebaseFrequency);
  }
  // The first cpu's description of the ISA is the others' as well.
  let isaStart: u32 = 0;
  let isaEnd: u32 = 0;
  for (let index: u32 = 0; index < root.hartCount; index++) {
    const hart = hartOf(root, description, <u64>index);
    beginNodeAt(writer, "cpu", <u64>index);
    putString(writer, "device_type", "cpu");
    putString(writer, "compatible", "riscv");
    // The host knows its harts by index, not by the firmware's id.
    putNumber32(writer, "reg", index);
    putString(writer, "status", "okay");
    if (index == 0) {
      isaStart = structurePlace(writer);
      putIsa(writer, description, plan.features);
      isaEnd = structurePlace(writer);
    } else {
      repeatStructure(writer, isaStart, isaEnd);
    }
    putNumaNode(writer, hart.numaNode);
    const phandle = phandleOf(description.fdt, hart.node);
    if (phandle != 0) putNumber32(writer, "phandle", phandle);
    putLocalInterrupts(writer, hart);
    endNode(writer);
  }
  // It names the harts by their phandles, which they keep. A hart that did not start is a place that nobody takes.
  const map = cpuMap(description);
  if (map != 0) copyNode(writer, description.fdt, map);
  endNode(writer);
}

/** The firmware's account of sockets, clusters, cores and threads, 0 if there is none. */
function cpuMap(description: MachineDescription): u32 {
  const fdt = description.fdt;
  return childNamed(fdt, childNamed(fdt, rootNode(fdt), "cpus"), "cpu-map");
}

/** The description of hart `index` of the host. */
function hartOf(root: Root, description: MachineDescription, index: u64): HartDescription {
  const found = description.hartIndexOf(root.hart(index).id);
  assert(found >= 0, "a hart that the device tree does not have");
  return description.hart(<u64>found);
}

/** What a hart can do: extensions, address modes, cache block sizes. */
function putIsa(writer: TreeWriter, description: MachineDescription, features: u64): void {
  putString(writer, "mmu-type", mmuTypeOf(features));
  putHostIsa(writer, description, features);
  if (hasFeature(features, Feature.Zicbom)) putBlockSize(writer, "riscv,cbom-block-size", description.cbomBlockSize);
  if (hasFeature(features, Feature.Zicboz)) putBlockSize(writer, "riscv,cboz-block-size", description.cbozBlockSize);
  putBlockSize(writer, "riscv,cbop-block-size", description.cbopBlockSize);
}

/** The hart's local interrupt controller. */
function putLocalInterrupts(writer: TreeWriter, hart: HartDescription): void {
  beginNode(writer, "interrupt-controller");
  putNumber32(writer, "#interrupt-cells", 1);
  putEmpty(writer, "interrupt-controller");
  putString(writer, "compatible", "riscv,cpu-intc");
  if (hart.interruptPhandle != 0) putNumber32(writer, "phandle", hart.interruptPhandle);
  endNode(writer);
}

function putBlockSize(writer: TreeWriter, name: string, size: u64): void {
  if (size != 0) putNumber32(writer, name, <u32>size);
}

/** Distances of the NUMA nodes, as the firmware gives them. */
function putDistances(writer: TreeWriter, description: MachineDescription): void {
  const fdt = description.fdt;
  const map = childNamed(fdt, rootNode(fdt), "distance-map");
  if (map == 0) return;
  beginNode(writer, "distance-map");
  putString(writer, "compatible", "numa-distance-map-v1");
  copyProperty(writer, fdt, findProperty(fdt, map, "distance-matrix"));
  endNode(writer);
}

// ---- Devices and interrupts

function putSoc(writer: TreeWriter, root: Root, description: MachineDescription, plan: HostTreePlan): void {
  const hasFiles = plan.interruptFiles != 0;
  if (!hasFiles && description.hostUart == 0 && description.hostRtc == 0 && !hasPci(root)) return;
  beginNode(writer, "soc");
  putString(writer, "compatible", "simple-bus");
  putNumber32(writer, "#address-cells", 2);
  putNumber32(writer, "#size-cells", 2);
  putEmpty(writer, "ranges");
  putHostDevices(writer, description, root.aplic != 0);
  if (hasFiles) putImsic(writer, root, description);
  putPciBridges(writer, root, description, hasFiles ? description.imsicPhandle : 0);
  endNode(writer);
}

function putImsic(writer: TreeWriter, root: Root, description: MachineDescription): void {
  beginNodeAt(writer, "imsics", description.imsicRegion(0).base);
  putString(writer, "compatible", "riscv,imsics");
  if (description.imsicPhandle != 0) putNumber32(writer, "phandle", description.imsicPhandle);
  putEmpty(writer, "msi-controller");
  putNumber32(writer, "#msi-cells", 0);
  putEmpty(writer, "interrupt-controller");
  putNumber32(writer, "#interrupt-cells", 0);
  // What the host sees as its own file is a guest file, so all of its files have as many identities.
  putNumber32(writer, "riscv,num-ids", description.imsicGuestIdentities);
  putNumber32(writer, "riscv,guest-index-bits", description.imsicGuestIndexBits);
  putNumber32(writer, "riscv,hart-index-bits", description.imsicHartIndexBits);
  if (description.imsicGroupIndexBits != 0) {
    putNumber32(writer, "riscv,group-index-bits", description.imsicGroupIndexBits);
    putNumber32(writer, "riscv,group-index-shift", description.imsicGroupIndexShift);
  }
  putNumber32(writer, "riscv,ipi-id", IPI_IDENTITY);
  putImsicRegions(writer, root, description);
  beginProperty(writer, "interrupts-extended");
  for (let index: u64 = 0; index < <u64>root.hartCount; index++) {
    putCell(writer, hartOf(root, description, index).interruptPhandle);
    putCell(writer, SUPERVISOR_EXTERNAL);
  }
  endProperty(writer);
  endNode(writer);
}

/**
 * Files belong to the entries of interrupts-extended in order. So the regions are the machine's only if the host's harts are in the
 * machine's order and none is missing; otherwise each hart's files are a region.
 */
function putImsicRegions(writer: TreeWriter, root: Root, description: MachineDescription): void {
  beginProperty(writer, "reg");
  if (filesInOrder(root, description)) {
    for (let index: u64 = 0; index < description.imsicRegionCount; index++) {
      putCells64(writer, description.imsicRegion(index).base);
      putCells64(writer, description.imsicRegion(index).size);
    }
  } else {
    for (let index: u64 = 0; index < <u64>root.hartCount; index++) {
      putCells64(writer, hartOf(root, description, index).imsicPage);
      putCells64(writer, PAGE_SIZE << (<u64>description.imsicGuestIndexBits));
    }
  }
  endProperty(writer);
}

function filesInOrder(root: Root, description: MachineDescription): bool {
  const fdt = description.fdt;
  const files = cellCount(fdt, findProperty(fdt, description.imsicNode, "interrupts-extended")) / 2;
  if (files != <u64>root.hartCount) return false;
  for (let index: u64 = 0; index < files; index++) {
    if (hartOf(root, description, index).imsicPage != filePage(description, index)) return false;
  }
  return true;
}
