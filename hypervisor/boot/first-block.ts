import { alignUp } from "../lib/arithmetic";
import { ImageSymbol, imageAddress } from "../riscv/hw";
import { PAGE_SIZE } from "../riscv/pte";
import { entryCount, regAddress, regCount, regSize } from "./device-tree/cells";
import {
  childNamed,
  findProperty,
  firstChild,
  nextSibling,
  numberAt,
  numberOf,
  reservationAddress,
  reservationCount,
  reservationSize,
  rootNode,
  treeSize,
} from "./device-tree/reader";
import { isMemoryNode } from "./describe-memory";
import { secretMarkPage } from "./secret-mark";

/**
 * The first memory that boot writes to beside the image: a small block for the description of the machine.
 *
 * Nothing is known yet, so the tree itself is asked, without any memory: the block has to be RAM that no image, no
 * reservation and not the tree lies in. It is normally right after the image.
 */

/** `findFirstBlock`: there is no such place. */
export const NO_PLACE: u64 = ~0;

/** Where modules and their addresses are written with two cells each unless /chosen says otherwise. */
const MODULE_CELLS: u32 = 2;

/** hpa of `bytes` bytes, page aligned, in RAM that holds nothing: right after the image if possible. */
export function findFirstBlock(fdt: usize, bytes: u64): u64 {
  const afterImage = secretMarkPage() + PAGE_SIZE;
  let found = findFrom(fdt, afterImage, bytes);
  if (found != NO_PLACE) return found;
  const root = rootNode(fdt);
  for (let node = firstChild(fdt, root); node != 0; node = nextSibling(fdt, node)) {
    if (!isMemoryNode(fdt, node)) continue;
    const count = regCount(fdt, root, node);
    for (let i: i64 = 0; i < count; i++) {
      found = findFrom(fdt, alignUp(regAddress(fdt, root, node, <u64>i), PAGE_SIZE), bytes);
      if (found != NO_PLACE) return found;
    }
  }
  return NO_PLACE;
}

/** The lowest place from `start` on in the range of RAM that holds `start`. Each turn steps over something, so it ends. */
function findFrom(fdt: usize, start: u64, bytes: u64): u64 {
  let at = start;
  while (isRam(fdt, at, bytes)) {
    const blocked = blockedUntil(fdt, at, bytes);
    if (blocked == 0) return at;
    at = alignUp(blocked, PAGE_SIZE);
  }
  return NO_PLACE;
}

function isRam(fdt: usize, start: u64, bytes: u64): bool {
  const root = rootNode(fdt);
  for (let node = firstChild(fdt, root); node != 0; node = nextSibling(fdt, node)) {
    if (!isMemoryNode(fdt, node)) continue;
    const count = regCount(fdt, root, node);
    for (let i: i64 = 0; i < count; i++) {
      const offset = start - regAddress(fdt, root, node, <u64>i);
      const size = regSize(fdt, root, node, <u64>i);
      if (offset < size && size - offset >= bytes) return true;
    }
  }
  return false;
}

/** End of something that lies in [start, start + bytes), 0 if nothing does. */
function blockedUntil(fdt: usize, start: u64, bytes: u64): u64 {
  const end = start + bytes;
  const image = imageAddress(ImageSymbol.Start);
  const imageEnd = secretMarkPage() + PAGE_SIZE;
  if (image < end && imageEnd > start) return imageEnd;
  const treeEnd = <u64>fdt + treeSize(fdt);
  if (<u64>fdt < end && treeEnd > start) return treeEnd;

  const reservations = reservationCount(fdt);
  for (let i: u64 = 0; i < reservations; i++) {
    const base = reservationAddress(fdt, i);
    if (base < end && base + reservationSize(fdt, i) > start) return base + reservationSize(fdt, i);
  }
  const root = rootNode(fdt);
  const reserved = childNamed(fdt, root, "reserved-memory");
  if (reserved != 0) {
    for (let node = firstChild(fdt, reserved); node != 0; node = nextSibling(fdt, node)) {
      const count = regCount(fdt, reserved, node);
      for (let i: i64 = 0; i < count; i++) {
        const base = regAddress(fdt, reserved, node, <u64>i);
        const size = regSize(fdt, reserved, node, <u64>i);
        if (base < end && base + size > start) return base + size;
      }
    }
  }
  return moduleUntil(fdt, childNamed(fdt, root, "chosen"), start, end);
}

/** The same for the images, which /chosen names. */
function moduleUntil(fdt: usize, chosen: u32, start: u64, end: u64): u64 {
  if (chosen == 0) return 0;
  const addressCells = numberOf(fdt, chosen, "#address-cells", MODULE_CELLS);
  const sizeCells = numberOf(fdt, chosen, "#size-cells", MODULE_CELLS);
  for (let node = firstChild(fdt, chosen); node != 0; node = nextSibling(fdt, node)) {
    const reg = findProperty(fdt, node, "reg");
    if (reg == 0 || entryCount(fdt, reg, addressCells, sizeCells) < 1) continue;
    const base = numberAt(fdt, reg, 0, addressCells);
    const size = numberAt(fdt, reg, <u64>addressCells, sizeCells);
    if (base < end && base + size > start) return base + size;
  }
  return 0;
}
