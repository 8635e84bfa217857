import { mmioRead32, mmioWrite32 } from "../../riscv/hw";

/**
 * Configuration space (PCI Local Bus 3.0 6.1, PCI Express Base 7.5, PCI-to-PCI Bridge 3.2). All accesses of ours are 32 bits wide.
 *
 *            31        24 23        16 15         8 7          0
 *     0x00  |        device id        |        vendor id        |
 *     0x04  |         status          |         command         |
 *     0x08  |           class code                | revision    |
 *     0x0c  |   BIST     | header type| latency    | cache line |
 *     0x10  |  BAR 0 ... BAR 5 (header type 0), BAR 0, BAR 1 (type 1)
 *     0x18  |  type 1:   | subordinate| secondary  | primary bus|
 *     0x1c  |  type 1: secondary status  | I/O limit  | I/O base  |
 *     0x20  |  type 1: memory limit      | memory base             |
 *     0x24  |  type 1: prefetchable limit| prefetchable base       |
 *     0x28, 0x2c  type 1: upper halves of the prefetchable base and limit; 0x30: of the I/O limit and base
 *     0x2c  |  type 0: subsystem id      | subsystem vendor id     |
 *     0x30  |  type 0: expansion ROM          (type 1: 0x38)
 *     0x34  |                                        | list of capabilities
 *     0x3c  |  type 1: bridge control     | interrupt pin | line    |
 */
export const PCI_ID: u64 = 0x00;
export const PCI_COMMAND: u64 = 0x04;
export const PCI_CLASS: u64 = 0x08;
export const PCI_HEADER: u64 = 0x0c;
export const PCI_BAR0: u64 = 0x10;
export const PCI_BUSES: u64 = 0x18;
export const PCI_IO_WINDOW: u64 = 0x1c;
export const PCI_MEMORY_WINDOW: u64 = 0x20;
export const PCI_PREFETCH_WINDOW: u64 = 0x24;
export const PCI_PREFETCH_BASE_UPPER: u64 = 0x28;
export const PCI_PREFETCH_LIMIT_UPPER: u64 = 0x2c;
export const PCI_SUBSYSTEM: u64 = 0x2c;
export const PCI_ROM: u64 = 0x30;
export const PCI_IO_UPPER: u64 = 0x30;
export const PCI_CAPABILITIES: u64 = 0x34;
export const PCI_BRIDGE_ROM: u64 = 0x38;
export const PCI_INTERRUPT: u64 = 0x3c;
/** First register behind the header. */
export const PCI_HEADER_END: u64 = 0x40;
export const PCI_LEGACY_END: u64 = 0x100;
export const CONFIG_END: u64 = 0x1000;

export const COMMAND_IO: u32 = 1 << 0;
export const COMMAND_MEMORY: u32 = 1 << 1;
export const COMMAND_BUS_MASTER: u32 = 1 << 2;
export const COMMAND_PARITY: u32 = 1 << 6;
export const COMMAND_SERR: u32 = 1 << 8;
export const COMMAND_NO_INTX: u32 = 1 << 10;
/** In the register at PCI_COMMAND, which also holds the status: capabilities are there; bits that are cleared by writing 1. */
export const STATUS_CAPABILITIES: u32 = 1 << 20;
export const STATUS_ERRORS: u32 = 0xf900_0000;

/** In the register at PCI_HEADER. */
export const HEADER_TYPE_SHIFT: u32 = 16;
export const HEADER_TYPE_MASK: u32 = 0x7f;
export const HEADER_MULTIFUNCTION: u32 = 1 << 23;
export const HEADER_ENDPOINT: u32 = 0;
export const HEADER_BRIDGE: u32 = 1;

export const BAR_IO: u32 = 1 << 0;
export const BAR_TYPE_MASK: u32 = 6;
export const BAR_TYPE_64: u32 = 4;
export const BAR_PREFETCH: u32 = 1 << 3;
export const BAR_IO_MASK: u32 = ~(<u32>3);
export const BAR_MEMORY_MASK: u32 = ~(<u32>15);

/** Class code in the register at PCI_CLASS: base class, subclass, programming interface. */
export const CLASS_IOMMU: u32 = 0x0806;
export const CLASS_SHIFT: u32 = 16;

export const CAP_MSI: u32 = 0x05;
export const CAP_VENDOR: u32 = 0x09;
export const CAP_SUBSYSTEM: u32 = 0x0d;
export const CAP_EXPRESS: u32 = 0x10;
export const CAP_MSIX: u32 = 0x11;
export const EXT_CAP_ERRORS: u32 = 0x0001;
export const EXT_CAP_SERIAL: u32 = 0x0003;
export const EXT_CAP_ATS: u32 = 0x000f;
export const EXT_CAP_SRIOV: u32 = 0x0010;

/** In the first register of the PCI Express capability: what kind of port it is. */
export const EXPRESS_TYPE_SHIFT: u32 = 20;
export const EXPRESS_SLOT: u32 = 1 << 24;
export const EXPRESS_ROOT_PORT: u32 = 4;
export const EXPRESS_DOWNSTREAM_PORT: u32 = 6;
export const EXPRESS_TO_PCI: u32 = 7;

/** Register at `offset` (a multiple of 4) of the function whose configuration space is at `config`. */
// @ts-ignore: decorator
@inline
export function readConfig(config: u64, offset: u64): u32 {
  return mmioRead32(config + offset);
}

// @ts-ignore: decorator
@inline
export function writeConfig(config: u64, offset: u64, value: u32): void {
  mmioWrite32(config + offset, value);
}

/** Whether a device answers there. A vendor of all zeros or ones is none. */
export function functionExists(config: u64): bool {
  const vendor = readConfig(config, PCI_ID) & 0xffff;
  return vendor != 0xffff && vendor != 0;
}

export function headerType(config: u64): u32 {
  return (readConfig(config, PCI_HEADER) >> HEADER_TYPE_SHIFT) & HEADER_TYPE_MASK;
}

export function isMultifunction(config: u64): bool {
  return (readConfig(config, PCI_HEADER) & HEADER_MULTIFUNCTION) != 0;
}
