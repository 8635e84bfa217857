import { PciSegment } from "./segment";

/**
 * A function (what has a configuration space) of a PCI device, made once at boot (probe.ts) and seen by the host through virtual-config.ts.
 *
 * What the host writes into registers that decide about addresses is kept here; the device gets it only while it is harmless. Those
 * fields are changed under root.pciLock; the rest is constant after boot.
 */
@unmanaged
export class PciFunction {
  /** hpa of its configuration space. */
  config: u64;
  segment: PciSegment;
  /** bus << 8 | device << 3 | function: the requester id. */
  address: u32;
  /** FunctionKind. */
  kind: u32;
  /** OddReason, why it is hidden. */
  odd: u32;
  /** Bits of the command register as the host wants them. */
  command: u32;
  /** 1 if an IOMMU confines what it does to memory: then it may be a bus master. */
  confined: u32;
  /** Its IOMMU (devices/iommu/iommu.ts), 0 if none, and its device id there. */
  iommu: usize;
  deviceId: u32;
  capabilityCount: u32;

  // ---- bridges
  /** Bus numbers that the machine uses: below this bridge are [secondary, subordinate]. */
  secondary: u32;
  subordinate: u32;
  /** Register PCI_BUSES as the host wrote it. */
  virtualBuses: u32;
  /** Bridge control bits that only the host's view has. */
  virtualControl: u32;
  /** Windows as the host wrote them: registers 0x1c (low half), 0x20, 0x24, 0x28, 0x2c, 0x30. */
  ioWindow: u32;
  memoryWindow: u32;
  prefetchWindow: u32;
  prefetchBaseUpper: u32;
  prefetchLimitUpper: u32;
  ioUpper: u32;
  /** Writable bits of 0x1c and of 0x24, 0 if the bridge has no such window; bits 3:0 of either half say how wide its addresses are. */
  ioWindowMask: u32;
  prefetchWindowMask: u32;

  // BARs (MAX_BARS of PciBar) and capabilities (MAX_CAPABILITIES of PciCapability) follow.

  bar(index: u32): PciBar {
    return changetype<PciBar>(changetype<usize>(this) + offsetof<PciFunction>() + <usize>index * BAR_BYTES);
  }

  capability(index: u32): PciCapability {
    return changetype<PciCapability>(
      changetype<usize>(this) + offsetof<PciFunction>() + <usize>MAX_BARS * BAR_BYTES + <usize>index * CAPABILITY_BYTES,
    );
  }

  // @ts-ignore: decorator
  @inline
  bus(): u32 {
    return this.address >> 8;
  }

  /** BARs that a header of its type has. */
  barCount(): u32 {
    return this.kind == FunctionKind.Bridge ? BRIDGE_BARS : MAX_BARS;
  }
}

/** A base address register. */
@unmanaged
export class PciBar {
  /** Bus address as the host wrote it. */
  address: u64;
  /** Bytes, a power of two; 0 = no BAR, or the upper half of the one before. */
  size: u64;
  /** BarKind. */
  kind: u32;
  /** Low bits of the register, which say what it is. */
  flags: u32;
}

/** A capability that the host sees. */
@unmanaged
export class PciCapability {
  offset: u16;
  /** Bytes, a multiple of 4. */
  length: u16;
  id: u16;
  /** Offset of the next one, 0 at the end. */
  next: u16;
}

export const enum FunctionKind {
  Endpoint = 0,
  Bridge = 1,
  /** The host does not see it. */
  Hidden = 2,
  /** An IOMMU of ours; hidden, too. */
  Iommu = 3,
}

export const enum BarKind {
  None = 0,
  Io = 1,
  Memory32 = 2,
  Memory64 = 3,
  /** Upper half of the 64-bit BAR before. */
  Upper = 4,
}

/** What makes a function unusable. */
export const enum OddReason {
  None = 0,
  HeaderType = 1,
  BarSize = 2,
  BarPlace = 3,
  NoBusNumber = 4,
  /** It can do nothing without DMA, and no IOMMU confines it (boot/host-pci.ts). */
  NoDma = 5,
}

export const MAX_BARS: u32 = 6;
export const BRIDGE_BARS: u32 = 2;
/** Capabilities that the host sees of one function: virtio devices have about ten. More are hidden. */
export const MAX_CAPABILITIES: u32 = 24;

const BAR_BYTES: usize = 24;
const CAPABILITY_BYTES: usize = 8;

/** Bytes of a record with its BARs and capabilities. */
// @ts-ignore: decorator
@inline
export function functionSize(): usize {
  return offsetof<PciFunction>() + <usize>MAX_BARS * BAR_BYTES + <usize>MAX_CAPABILITIES * CAPABILITY_BYTES;
}
