import { Root } from "../../root";
import { functionSize, PciFunction } from "./function";

/**
 * A PCI segment: one host bridge with its configuration space (ECAM) and the windows through which its devices' registers are reached
 * (PCI Express Base 7.2.2). Records are made from the device tree by boot/describe-pci.ts and constant after boot, except where
 * devices/pci/function.ts says so.
 *
 *     configuration space, 4 KiB a function, 1 MiB a bus:
 *      63            28 27    20 19   15 14  12 11          0
 *     +----------------+--------+-------+------+-------------+
 *     |      ecam      |  bus   | device| func |  register   |     bus counts from firstBus here
 *     +----------------+--------+-------+------+-------------+
 */
@unmanaged
export class PciSegment {
  /** hpa of the configuration space of `firstBus`; 0 = the host bridge is of no use to us. */
  ecam: u64;
  /** Node of the host bridge in the firmware's device tree (boot only). */
  node: u32;
  /** linux,pci-domain. */
  domain: u32;
  firstBus: u32;
  /** Last bus number that ECAM and bus-range both have. */
  lastBus: u32;
  /** Highest bus number in use. */
  usedBus: u32;
  /** 1 if DMA is coherent (dma-coherent). */
  coherent: u32;
  numaNode: u32;
  /** 1 if INTx reaches the host, through the APLIC. */
  wired: u32;
  windowCount: u32;
  /** Array of PciWindow. */
  windows: usize;
  /** Array of PciFunction, by ascending bus, device and function. */
  functions: usize;
  functionCount: u32;
  /** Functions that are hidden because they are odd. */
  oddCount: u32;
  /** Array of BusOrigin by bus number. */
  buses: usize;

  window(index: u32): PciWindow {
    return changetype<PciWindow>(this.windows + <usize>index * offsetof<PciWindow>());
  }

  function(index: u32): PciFunction {
    return changetype<PciFunction>(this.functions + <usize>index * functionSize());
  }

  /** Where `bus` hangs. */
  bus(bus: u32): BusOrigin {
    return changetype<BusOrigin>(this.buses + <usize>bus * offsetof<BusOrigin>());
  }

  /** hpa of the configuration space of a function, firstBus <= bus <= lastBus. */
  configOf(bus: u32, devfn: u32): u64 {
    return this.ecam + ((<u64>(bus - this.firstBus)) << BUS_SHIFT) + ((<u64>devfn) << FUNCTION_SHIFT);
  }

  /** Bytes of configuration space. */
  ecamSize(): u64 {
    return (<u64>(this.lastBus - this.firstBus + 1)) << BUS_SHIFT;
  }

  /** The function, or null if there is none. */
  find(bus: u32, devfn: u32): PciFunction | null {
    const wanted = (bus << 8) | devfn;
    let low: u32 = 0;
    let high = this.functionCount;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.function(middle).address < wanted) low = middle + 1;
      else high = middle;
    }
    if (low == this.functionCount) return null;
    const found = this.function(low);
    return found.address == wanted ? found : null;
  }
}

/** Addresses that the host bridge passes on to its bus. */
@unmanaged
export class PciWindow {
  /** PciSpace. */
  space: u32;
  prefetchable: u32;
  /** First address on the bus, and where the CPU finds it. */
  busAddress: u64;
  base: u64;
  /** Bytes; 0 = not usable. */
  size: u64;
  /** Bytes from the start on that are the host's; the rest is for devices of ours. */
  hostSize: u64;
}

/** Which bridge leads to a bus. */
@unmanaged
export class BusOrigin {
  /** bus << 8 | device << 3 | function of the bridge; of no meaning for the root bus. */
  bridge: u16;
  /** 1 if a link begins there, which has one device: device 0. */
  link: u16;
}

/** Address spaces of PCI. */
export const enum PciSpace {
  None = 0,
  Io = 1,
  Memory32 = 2,
  Memory64 = 3,
}

export const BUS_SHIFT: u64 = 20;
export const FUNCTION_SHIFT: u64 = 12;
export const CONFIG_SIZE: u64 = 4096;
export const BUSES: u64 = 256;

/** Segment `index` (< root.pciSegmentCount). */
export function pciSegment(root: Root, index: u32): PciSegment {
  return changetype<PciSegment>(root.pciSegments + <usize>index * offsetof<PciSegment>());
}

/** The segment whose configuration space holds `hpa`, or null. */
export function segmentAt(root: Root, hpa: u64): PciSegment | null {
  for (let index: u32 = 0; index < root.pciSegmentCount; index++) {
    const segment = pciSegment(root, index);
    if (segment.ecam != 0 && hpa - segment.ecam < segment.ecamSize()) return segment;
  }
  return null;
}

/**
 * Whether [busAddress, busAddress + size) of `space` (Io, or any kind of memory) lies in the host's part of one window. size > 0.
 */
export function inHostWindow(segment: PciSegment, io: bool, busAddress: u64, size: u64): bool {
  for (let index: u32 = 0; index < segment.windowCount; index++) {
    const window = segment.window(index);
    if ((window.space == PciSpace.Io) != io) continue;
    const offset = busAddress - window.busAddress;
    if (offset < window.hostSize && size <= window.hostSize - offset) return true;
  }
  return false;
}
