import { isPowerOfTwo } from "../../lib/arithmetic";
import {
  BAR_IO,
  BAR_IO_MASK,
  BAR_MEMORY_MASK,
  BAR_TYPE_64,
  BAR_TYPE_MASK,
  CLASS_IOMMU,
  CLASS_SHIFT,
  COMMAND_NO_INTX,
  HEADER_BRIDGE,
  HEADER_ENDPOINT,
  PCI_BAR0,
  PCI_BRIDGE_ROM,
  PCI_BUSES,
  PCI_CLASS,
  PCI_COMMAND,
  PCI_ID,
  PCI_IO_WINDOW,
  PCI_PREFETCH_WINDOW,
  PCI_ROM,
  functionExists,
  headerType,
  readConfig,
  writeConfig,
} from "./registers";
import { endOfBus, nextFunction } from "./buses";
import { collectCapabilities } from "./capabilities";
import { BRIDGE_BARS, BarKind, FunctionKind, MAX_BARS, OddReason, PciFunction } from "./function";
import { PciSegment } from "./segment";

/**
 * Makes the records of all functions of a segment, whose buses are numbered. Each function is turned off (no decoding, no bus mastering, no INTx)
 * before anything else is asked of it, and is still off afterwards. A function that cannot be understood is hidden, the others work.
 */

/** The IOMMUs that are known by vendor and device: QEMU's, and those of Rivos. */
const IOMMU_QEMU: u32 = 0x0014_1b36;
const IOMMU_RIVOS_QEMU: u32 = 0xedf1_1efd;
const IOMMU_RIVOS: u32 = 0x0008_1efd;

/** Fills segment.functions; `capacity` records are there. */
export function probeFunctions(segment: PciSegment, capacity: u32): void {
  for (let bus = segment.firstBus; bus <= segment.usedBus; bus++) {
    const end = endOfBus(segment, bus);
    let devfn: u32 = 0;
    while (devfn < end && segment.functionCount < capacity) {
      const config = segment.configOf(bus, devfn);
      if (!functionExists(config)) {
        devfn += (devfn & 7) == 0 ? 8 : 1;
        continue;
      }
      const pci = segment.function(segment.functionCount++);
      pci.config = config;
      pci.segment = segment;
      pci.address = (bus << 8) | devfn;
      probeFunction(pci);
      if (pci.odd != OddReason.None) segment.oddCount++;
      devfn = nextFunction(config, devfn);
    }
  }
}

function probeFunction(pci: PciFunction): void {
  const config = pci.config;
  writeConfig(config, PCI_COMMAND, COMMAND_NO_INTX);
  const type = headerType(config);
  if (type != HEADER_ENDPOINT && type != HEADER_BRIDGE) return hide(pci, OddReason.HeaderType);
  pci.kind = type == HEADER_BRIDGE ? FunctionKind.Bridge : FunctionKind.Endpoint;
  writeConfig(config, type == HEADER_BRIDGE ? PCI_BRIDGE_ROM : PCI_ROM, 0);
  const wrong = probeBars(pci, type == HEADER_BRIDGE ? BRIDGE_BARS : MAX_BARS);
  if (wrong != OddReason.None) return hide(pci, wrong);
  collectCapabilities(pci);
  if (type == HEADER_BRIDGE) {
    const buses = readConfig(config, PCI_BUSES);
    pci.secondary = (buses >> 8) & 0xff;
    pci.subordinate = (buses >> 16) & 0xff;
    if (pci.secondary <= pci.bus()) return hide(pci, OddReason.NoBusNumber);
    probeBridge(pci);
  } else if (isIommu(config)) {
    pci.kind = FunctionKind.Iommu;
  } else if (readConfig(config, PCI_CLASS) >> CLASS_SHIFT == CLASS_IOMMU) {
    // An IOMMU that we cannot drive is no device of the host's.
    pci.kind = FunctionKind.Hidden;
  }
}

function hide(pci: PciFunction, reason: u32): void {
  pci.kind = FunctionKind.Hidden;
  pci.odd = reason;
}

/** Whether the function at `config` is an IOMMU that we know. */
export function isIommu(config: u64): bool {
  const id = readConfig(config, PCI_ID);
  return id == IOMMU_QEMU || id == IOMMU_RIVOS_QEMU || id == IOMMU_RIVOS;
}

/** Sizes of the BARs; each is as it was afterwards. Returns OddReason. */
function probeBars(pci: PciFunction, count: u32): u32 {
  let index: u32 = 0;
  while (index < count) {
    const bar = pci.bar(index);
    const offset = PCI_BAR0 + ((<u64>index) << 2);
    const low = readConfig(pci.config, offset);
    let mask = <u64>probeMask(pci.config, offset, low);
    index++;
    if (mask == 0) continue;
    if ((mask & (<u64>BAR_IO)) != 0) {
      bar.kind = BarKind.Io;
      bar.flags = BAR_IO;
      mask &= <u64>BAR_IO_MASK;
      bar.address = <u64>(low & BAR_IO_MASK);
      // Decoders of 16 bits leave the upper half 0.
      if (mask <= 0xffff) mask |= 0xffff_0000;
      bar.size = <u64>(<u32>0 - <u32>mask);
    } else {
      bar.flags = (<u32>mask) & 15;
      bar.address = <u64>(low & BAR_MEMORY_MASK);
      const wide = (bar.flags & BAR_TYPE_MASK) == BAR_TYPE_64;
      mask &= <u64>BAR_MEMORY_MASK;
      if (wide) {
        if (index == count) return OddReason.BarPlace;
        const high = readConfig(pci.config, offset + 4);
        mask |= (<u64>probeMask(pci.config, offset + 4, high)) << 32;
        bar.address |= (<u64>high) << 32;
        pci.bar(index).kind = BarKind.Upper;
        index++;
        bar.kind = BarKind.Memory64;
        bar.size = 0 - mask;
      } else {
        bar.kind = BarKind.Memory32;
        bar.size = <u64>(<u32>0 - <u32>mask);
      }
    }
    if (!isPowerOfTwo(bar.size)) return OddReason.BarSize;
  }
  return OddReason.None;
}

/** What a register that reads as `value` keeps of all ones. */
export function probeMask(config: u64, offset: u64, value: u32): u32 {
  writeConfig(config, offset, 0xffff_ffff);
  const mask = readConfig(config, offset);
  writeConfig(config, offset, value);
  return mask;
}

const IO_WINDOW_BITS: u32 = 0xf0f0;
const WINDOW_BITS: u32 = 0xfff0_fff0;
/** Windows whose base is above their limit: nothing passes. */
export const CLOSED_IO: u32 = 0x00f0;
export const CLOSED_MEMORY: u32 = 0x0000_fff0;

/** Which windows a bridge has (their registers keep what is written); all are closed. */
function probeBridge(pci: PciFunction): void {
  const config = pci.config;
  writeConfig(config, PCI_IO_WINDOW, IO_WINDOW_BITS);
  pci.ioWindowMask = readConfig(config, PCI_IO_WINDOW) & 0xffff;
  if ((pci.ioWindowMask & IO_WINDOW_BITS) != IO_WINDOW_BITS) pci.ioWindowMask = 0;
  writeConfig(config, PCI_PREFETCH_WINDOW, WINDOW_BITS);
  pci.prefetchWindowMask = readConfig(config, PCI_PREFETCH_WINDOW);
  if ((pci.prefetchWindowMask & WINDOW_BITS) != WINDOW_BITS) pci.prefetchWindowMask = 0;
  pci.ioWindow = CLOSED_IO;
  pci.memoryWindow = CLOSED_MEMORY;
  pci.prefetchWindow = CLOSED_MEMORY;
}
