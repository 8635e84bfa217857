import { Feature, featureMask, featuresOfIsa, featuresOfMmuType, IsaText } from "../riscv/isa";
import { addressCells, sizeCells } from "./device-tree/cells";
import {
  cellCount,
  childNamed,
  findProperty,
  firstChild,
  nextSibling,
  nodeEnabled,
  nodeNameIs,
  numberAt,
  numberOf,
  propertyIs,
  propertyLength,
  propertyValue,
  rootNode,
  sameValue,
} from "./device-tree/reader";
import { DescribeError, HartDescription, MachineDescription, NO_NUMA_NODE } from "./machine-description";

/**
 * The harts of /cpus and what they have in common (Devicetree Specification 0.4, 3.7 and 3.8, and the RISC-V bindings:
 * riscv,isa-extensions, riscv,isa, mmu-type, cache block sizes).
 */

/** An enabled cpu node. A hart with another status belongs to somebody else, or does not work. */
function isCpuNode(fdt: usize, node: u32): bool {
  const type = findProperty(fdt, node, "device_type");
  const cpu = type != 0 ? propertyIs(fdt, type, "cpu") : nodeNameIs(fdt, node, "cpu");
  return cpu && nodeEnabled(fdt, node);
}

/** Enabled harts. */
export function cpuCount(fdt: usize): u64 {
  const cpus = childNamed(fdt, rootNode(fdt), "cpus");
  if (cpus == 0) return 0;
  let count: u64 = 0;
  for (let node = firstChild(fdt, cpus); node != 0; node = nextSibling(fdt, node)) {
    if (isCpuNode(fdt, node)) count++;
  }
  return count;
}

export function describeHarts(description: MachineDescription): DescribeError {
  const fdt = description.fdt;
  const cpus = childNamed(fdt, rootNode(fdt), "cpus");
  if (cpus == 0) return DescribeError.NoHarts;
  const idCells = addressCells(fdt, cpus);
  if (idCells == 0 || idCells > 2 || sizeCells(fdt, cpus) != 0) return DescribeError.HartMalformed;

  description.timebaseFrequency = timebase(fdt, cpus);
  for (let node = firstChild(fdt, cpus); node != 0; node = nextSibling(fdt, node)) {
    if (!isCpuNode(fdt, node)) continue;
    const reg = findProperty(fdt, node, "reg");
    // Several entries are the hart contexts of one core, of which we could only use the first.
    if (cellCount(fdt, reg) < <u64>idCells) return DescribeError.HartMalformed;
    const id = numberAt(fdt, reg, 0, idCells);
    if (description.hartIndexOf(id) >= 0) return DescribeError.HartTwice;
    const hart = description.hart(description.hartCount++);
    hart.id = id;
    hart.node = node;
    describeHart(description, hart);
    if (description.timebaseFrequency == 0) description.timebaseFrequency = timebase(fdt, node);
  }
  if (description.hartCount == 0) return DescribeError.NoHarts;
  if (description.timebaseFrequency == 0) return DescribeError.NoTimebase;
  combineHarts(description);
  return DescribeError.None;
}

function describeHart(description: MachineDescription, hart: HartDescription): void {
  const fdt = description.fdt;
  const node = hart.node;
  hart.numaNode = numberOf(fdt, node, "numa-node-id", NO_NUMA_NODE);
  const controller = childNamed(fdt, node, "interrupt-controller");
  hart.interruptPhandle = controller == 0 ? 0 : phandleOf(fdt, controller);
  hart.cbomBlockSize = <u64>numberOf(fdt, node, "riscv,cbom-block-size", 0);
  hart.cbozBlockSize = <u64>numberOf(fdt, node, "riscv,cboz-block-size", 0);
  hart.cbopBlockSize = <u64>numberOf(fdt, node, "riscv,cbop-block-size", 0);

  const isa = isaProperty(fdt, node);
  if (isa != 0) {
    hart.isa = propertyValue(fdt, isa);
    hart.isaLength = propertyLength(fdt, isa);
    hart.isaKind = findProperty(fdt, node, "riscv,isa-extensions") == isa ? IsaText.List : IsaText.String;
  }
  const first = description.hart(0);
  // The usual machine has equal harts: read the text once.
  hart.sameIsaAsFirst = sameValue(fdt, isa, isaProperty(fdt, first.node)) && hart.isaKind == first.isaKind ? 1 : 0;
  hart.features =
    hart.sameIsaAsFirst != 0 && hart.node != first.node
      ? first.features & ~mmuFeatures()
      : featuresOfIsa(hart.isa, hart.isaLength, hart.isaKind);
  const mmu = findProperty(fdt, node, "mmu-type");
  if (mmu != 0 && propertyLength(fdt, mmu) != 0) {
    hart.features |= featuresOfMmuType(propertyValue(fdt, mmu), propertyLength(fdt, mmu) - 1);
  }
}

/** The modes come from each hart's own mmu-type. */
function mmuFeatures(): u64 {
  return featureMask(Feature.Sv39) | featureMask(Feature.Sv48) | featureMask(Feature.Sv57);
}

/** The property that names the hart's extensions: the list if there is one. */
function isaProperty(fdt: usize, node: u32): u32 {
  const list = findProperty(fdt, node, "riscv,isa-extensions");
  return list != 0 ? list : findProperty(fdt, node, "riscv,isa");
}

/** What all harts have. */
function combineHarts(description: MachineDescription): void {
  const first = description.hart(0);
  description.features = first.features;
  description.cbomBlockSize = first.cbomBlockSize;
  description.cbozBlockSize = first.cbozBlockSize;
  description.cbopBlockSize = first.cbopBlockSize;
  for (let index: u64 = 1; index < description.hartCount; index++) {
    const hart = description.hart(index);
    description.features &= hart.features;
    if (hart.cbomBlockSize != description.cbomBlockSize) description.cbomBlockSize = 0;
    if (hart.cbozBlockSize != description.cbozBlockSize) description.cbozBlockSize = 0;
    if (hart.cbopBlockSize != description.cbopBlockSize) description.cbopBlockSize = 0;
  }
  // An instruction on blocks of unknown size cannot be used.
  if (description.cbomBlockSize == 0) description.features &= ~featureMask(Feature.Zicbom);
  if (description.cbozBlockSize == 0) description.features &= ~featureMask(Feature.Zicboz);
}

/** timebase-frequency of a node in Hz (one or two cells), 0 if none. */
function timebase(fdt: usize, node: u32): u64 {
  const property = findProperty(fdt, node, "timebase-frequency");
  const cells = cellCount(fdt, property);
  return cells == 1 || cells == 2 ? numberAt(fdt, property, 0, <u32>cells) : 0;
}

/** phandle of a node, 0 if it has none. */
export function phandleOf(fdt: usize, node: u32): u32 {
  return numberOf(fdt, node, "phandle", numberOf(fdt, node, "linux,phandle", 0));
}
