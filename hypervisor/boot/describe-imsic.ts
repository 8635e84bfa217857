import { indexBits, isAligned, minimum } from "../lib/arithmetic";
import { IRQ_SEI } from "../riscv/csr";
import { deviceAddress, deviceSize, NO_ADDRESS, regCount } from "./device-tree/cells";
import { cellAt, cellCount, findProperty, nextCompatible, numberOf, parentOf } from "./device-tree/reader";
import { phandleOf } from "./describe-harts";
import { DescribeError, MachineDescription } from "./machine-description";

/**
 * The IMSIC of supervisor level (AIA, chapter 3; binding riscv,imsics).
 *
 * `interrupts-extended` lists, for each hart, its local interrupt controller and the interrupt that the file raises
 * there (9 = supervisor external). In the same order, the files of the harts fill the register regions:
 *
 *     page = region base + (hart's place in the region) * 2^guest-index-bits pages; guest files follow the hart's own
 */
const PAGE_SIZE: u64 = 4096;
/** Each entry: phandle of a local interrupt controller, and its one interrupt cell. */
const ENTRY_CELLS: u64 = 2;

const DEFAULT_GROUP_INDEX_SHIFT: u32 = 24;
const MIN_IDENTITIES: u32 = 63;
const MAX_IDENTITIES: u32 = 2047;

/** Register regions of an IMSIC's node, 0 if there is none. */
export function imsicRegionCount(fdt: usize, node: u32): u64 {
  if (node == 0) return 0;
  const count = regCount(fdt, parentOf(fdt, node), node);
  return count < 0 ? 0 : <u64>count;
}

/** The first enabled IMSIC whose files raise the supervisor external interrupt. */
export function supervisorImsic(fdt: usize): u32 {
  for (let node = nextCompatible(fdt, 0, "riscv,imsics"); node != 0; node = nextCompatible(fdt, node, "riscv,imsics")) {
    const interrupts = findProperty(fdt, node, "interrupts-extended");
    if (cellCount(fdt, interrupts) >= ENTRY_CELLS && cellAt(fdt, interrupts, 1) == <u32>IRQ_SEI) return node;
  }
  return 0;
}

export function describeImsic(description: MachineDescription): DescribeError {
  const fdt = description.fdt;
  const node = description.imsicNode;
  if (node == 0) return DescribeError.None;
  const interrupts = findProperty(fdt, node, "interrupts-extended");
  const files = cellCount(fdt, interrupts) / ENTRY_CELLS;
  if (cellCount(fdt, interrupts) % ENTRY_CELLS != 0) return DescribeError.ImsicMalformed;

  description.imsicPhandle = phandleOf(fdt, node);
  if (!describeGeometry(description, node, files)) return DescribeError.ImsicMalformed;
  if (!describeRegions(description, node)) return DescribeError.ImsicMalformed;
  description.imsicGuestFiles = ((<u64>1) << (<u64>description.imsicGuestIndexBits)) - 1;
  for (let file: u64 = 0; file < files; file++) {
    if (cellAt(fdt, interrupts, file * ENTRY_CELLS + 1) != <u32>IRQ_SEI) return DescribeError.ImsicMalformed;
    const page = filePage(description, file);
    if (page == NO_ADDRESS) return DescribeError.ImsicMalformed;
    description.imsicGuestFiles = minimum(description.imsicGuestFiles, pagesFrom(description, page) - 1);
    // A file of a hart that is not enabled has nobody to go to.
    if (!giveToHart(description, cellAt(fdt, interrupts, file * ENTRY_CELLS), page))
      return DescribeError.ImsicMalformed;
  }
  let hasImsic: u32 = 1;
  for (let index: u64 = 0; index < description.hartCount; index++) {
    if (description.hart(index).imsicPage == 0) hasImsic = 0;
  }
  description.hasImsic = hasImsic;
  return DescribeError.None;
}

/** Index bits and identities; false where they cannot be. */
function describeGeometry(description: MachineDescription, node: u32, files: u64): bool {
  const fdt = description.fdt;
  const guestBits = numberOf(fdt, node, "riscv,guest-index-bits", 0);
  const hartBits = numberOf(fdt, node, "riscv,hart-index-bits", <u32>indexBits(files));
  const groupBits = numberOf(fdt, node, "riscv,group-index-bits", 0);
  const groupShift = numberOf(fdt, node, "riscv,group-index-shift", DEFAULT_GROUP_INDEX_SHIFT);
  const identities = numberOf(fdt, node, "riscv,num-ids", 0);
  const guestIdentities = numberOf(fdt, node, "riscv,num-guest-ids", identities);
  // Every bit field has to lie in a 64-bit address above the page offset, and the group above the hart.
  if (guestBits > 32 || hartBits > 32 || groupBits > 32 || groupShift > 63) return false;
  if (12 + guestBits + hartBits > 63) return false;
  if (groupBits != 0 && (groupShift < 12 + guestBits + hartBits || groupShift + groupBits > 64)) return false;
  if (!isIdentityCount(identities) || !isIdentityCount(guestIdentities)) return false;
  description.imsicGuestIndexBits = guestBits;
  description.imsicHartIndexBits = hartBits;
  description.imsicGroupIndexBits = groupBits;
  description.imsicGroupIndexShift = groupShift;
  description.imsicIdentities = identities;
  description.imsicGuestIdentities = guestIdentities;
  return true;
}

/** One less than a multiple of 64, within the architecture's limits. */
function isIdentityCount(count: u32): bool {
  return count >= MIN_IDENTITIES && count <= MAX_IDENTITIES && (count & 63) == 63;
}

function describeRegions(description: MachineDescription, node: u32): bool {
  const fdt = description.fdt;
  const count = imsicRegionCount(fdt, node);
  for (let index: u64 = 0; index < count; index++) {
    const base = deviceAddress(fdt, node, index);
    const size = deviceSize(fdt, node, index);
    if (base == NO_ADDRESS || !isAligned(base, PAGE_SIZE) || size < PAGE_SIZE) return false;
    const region = description.imsicRegion(description.imsicRegionCount++);
    region.base = base;
    region.size = size;
  }
  return count != 0;
}

/** hpa of supervisor file number `file`, or NO_ADDRESS if the regions have no place for it. */
export function filePage(description: MachineDescription, file: u64): u64 {
  const stride = PAGE_SIZE << (<u64>description.imsicGuestIndexBits);
  let offset = file * stride;
  for (let index: u64 = 0; index < description.imsicRegionCount; index++) {
    const region = description.imsicRegion(index);
    if (offset < region.size) {
      return region.size - offset >= PAGE_SIZE ? region.base + offset : NO_ADDRESS;
    }
    // A region may end before the guest files of its last hart do.
    const places = region.size / stride + (region.size % stride != 0 ? 1 : 0);
    offset -= places * stride;
  }
  return NO_ADDRESS;
}

/** Pages from `page` to the end of its region. */
function pagesFrom(description: MachineDescription, page: u64): u64 {
  let index: u64 = 0;
  while (page - description.imsicRegion(index).base >= description.imsicRegion(index).size) index++;
  const region = description.imsicRegion(index);
  return (region.base + region.size - page) / PAGE_SIZE;
}

/** Gives the page to the hart with that local interrupt controller; false if it has one already. */
function giveToHart(description: MachineDescription, phandle: u32, page: u64): bool {
  for (let index: u64 = 0; index < description.hartCount; index++) {
    const hart = description.hart(index);
    if (phandle == 0 || hart.interruptPhandle != phandle) continue;
    if (hart.imsicPage != 0) return false;
    hart.imsicPage = page;
    return true;
  }
  return true;
}
