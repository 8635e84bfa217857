import { fenceWrites, read64, write64 } from "../../riscv/hw";
import { Iommu, levelShift } from "./iommu";
import { CONTEXT_IOHGATP, CONTEXT_VALID, DIRECTORY_VALID, ppnField } from "./registers";

/**
 * The device directory (3.1): which device translates how. Made at boot; nothing is ever taken out of it.
 */

/** Pages for directories, taken in order. */
@unmanaged
export class DirectoryPages {
  next: u64;
  end: u64;
}

const PAGE_SIZE: u64 = 4096;
const CONTEXT_SHIFT: u64 = 5;
const EXTENDED_CONTEXT_SHIFT: u64 = 6;
const PPN_MASK: u64 = ((<u64>1) << 44) - 1;
/** A device id has 24 bits. */
const DEVICE_ID_BITS: u32 = 24;

/**
 * Device `id` translates by `iohgatp` from now on (the caller invalidates what the IOMMU remembers). False if the id is too large for the directory, or
 * there is no page left; then the device is blocked as before.
 */
export function setContext(iommu: Iommu, id: u32, iohgatp: u64, pages: DirectoryPages): bool {
  if (id >> DEVICE_ID_BITS != 0 || (iommu.levels < 3 && id >> levelShift(iommu.extended, iommu.levels) != 0)) {
    return false;
  }
  let table = iommu.directory;
  for (let level = iommu.levels - 1; level != 0; level--) {
    const index = (<u64>(id >> levelShift(iommu.extended, level))) & 511;
    const at = table + (index << 3);
    let entry = read64(at);
    if ((entry & DIRECTORY_VALID) == 0) {
      if (pages.next == pages.end) return false;
      entry = ppnField(pages.next) | DIRECTORY_VALID;
      pages.next += PAGE_SIZE;
      fenceWrites();
      write64(at, entry);
    }
    table = ((entry >> 10) & PPN_MASK) << 12;
  }
  const last = id & (((<u32>1) << levelShift(iommu.extended, 1)) - 1);
  const context = table + ((<u64>last) << (iommu.extended != 0 ? EXTENDED_CONTEXT_SHIFT : CONTEXT_SHIFT));
  if (read64(context) != 0) return true;
  write64(context + CONTEXT_IOHGATP, iohgatp);
  fenceWrites();
  write64(context, CONTEXT_VALID);
  iommu.contexts++;
  return true;
}
