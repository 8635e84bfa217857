import {
  CAP_EXPRESS,
  CAP_MSI,
  CAP_MSIX,
  CAP_SUBSYSTEM,
  CAP_VENDOR,
  CONFIG_END,
  EXT_CAP_ATS,
  EXT_CAP_ERRORS,
  EXT_CAP_SERIAL,
  EXT_CAP_SRIOV,
  PCI_CAPABILITIES,
  PCI_COMMAND,
  PCI_HEADER_END,
  PCI_LEGACY_END,
  STATUS_CAPABILITIES,
  readConfig,
  writeConfig,
} from "./registers";
import { MAX_CAPABILITIES, PciCapability, PciFunction } from "./function";

/**
 * The lists of capabilities of a function (PCI Express Base 7.5.3 and following). A device may say anything: loops, offsets into the header or past
 * the end, capabilities that overlap. Walks are bounded by the number of places, and what overlaps is not shown.
 *
 * The host sees the capabilities of a closed list; whatever else there is (power states, ATS, PASID, SR-IOV, ...) does not exist for it.
 */

/** Places in the legacy part and in the extended part of configuration space. */
const LEGACY_PLACES: u32 = 48;
const EXTENDED_PLACES: u32 = 960;
const OFFSET_MASK: u32 = 0xfc;
const EXTENDED_OFFSET_SHIFT: u32 = 20;

/** Offset of the first capability with that id, or 0. */
export function findCapability(config: u64, id: u32): u64 {
  let offset = firstCapability(config);
  for (let i: u32 = 0; i < LEGACY_PLACES && offset >= PCI_HEADER_END; i++) {
    const header = readConfig(config, offset);
    if ((header & 0xff) == id) return offset;
    offset = <u64>((header >> 8) & OFFSET_MASK);
  }
  return 0;
}

function firstCapability(config: u64): u64 {
  if ((readConfig(config, PCI_COMMAND) & STATUS_CAPABILITIES) == 0) return 0;
  return <u64>(readConfig(config, PCI_CAPABILITIES) & OFFSET_MASK);
}

/** Finds the capabilities that the host will see, linked with each other, and turns off those that would undo an IOMMU. Boot. */
export function collectCapabilities(pci: PciFunction): void {
  const config = pci.config;
  let offset = firstCapability(config);
  let last: u32 = MAX_CAPABILITIES;
  for (let i: u32 = 0; i < LEGACY_PLACES && offset >= PCI_HEADER_END; i++) {
    const header = readConfig(config, offset);
    const length = legacyLength(config, offset, header);
    if (length != 0) last = addCapability(pci, last, offset, length, header & 0xff, PCI_LEGACY_END);
    offset = <u64>((header >> 8) & OFFSET_MASK);
  }

  offset = PCI_LEGACY_END;
  last = MAX_CAPABILITIES;
  for (let i: u32 = 0; i < EXTENDED_PLACES && offset >= PCI_LEGACY_END; i++) {
    const header = readConfig(config, offset);
    // No extended space reads as all ones, an empty one as 0.
    if (header == 0 || header == 0xffff_ffff) break;
    const id = header & 0xffff;
    if (id == EXT_CAP_ATS && offset <= CONFIG_END - 8) {
      // Translated requests pass the IOMMU: never enabled.
      writeConfig(config, offset + 4, 0);
    } else if (id == EXT_CAP_SRIOV && offset <= CONFIG_END - 12) {
      // Virtual functions would have requester ids of their own.
      writeConfig(config, offset + 8, 0);
    } else if (id == EXT_CAP_ERRORS) {
      last = addCapability(pci, last, offset, ERRORS_LENGTH, id, CONFIG_END);
    } else if (id == EXT_CAP_SERIAL) {
      last = addCapability(pci, last, offset, SERIAL_LENGTH, id, CONFIG_END);
    }
    offset = <u64>((header >> EXTENDED_OFFSET_SHIFT) & 0xffc);
  }
}

const SUBSYSTEM_LENGTH: u64 = 8;
const MSIX_LENGTH: u64 = 12;
const EXPRESS_LENGTH_1: u64 = 20;
const EXPRESS_LENGTH_2: u64 = 60;
const ERRORS_LENGTH: u64 = 44;
const SERIAL_LENGTH: u64 = 12;
const EXPRESS_VERSION_SHIFT: u32 = 16;

/** In the control half of the first register of the MSI capability. */
export const MSI_64_BIT: u32 = 1 << 23;
export const MSI_MASKING: u32 = 1 << 24;

/** Bytes of a capability that the host may see, else 0. */
function legacyLength(config: u64, offset: u64, header: u32): u64 {
  switch (header & 0xff) {
    case CAP_MSI:
      return 12 + ((header & MSI_64_BIT) != 0 ? 4 : 0) + ((header & MSI_MASKING) != 0 ? 8 : 0);
    case CAP_VENDOR:
      // The length is in the byte behind the link.
      return (<u64>(((header >> 16) & 0xff) + 3)) & ~(<u64>3);
    case CAP_SUBSYSTEM:
      return SUBSYSTEM_LENGTH;
    case CAP_EXPRESS:
      return ((header >> EXPRESS_VERSION_SHIFT) & 15) >= 2 ? EXPRESS_LENGTH_2 : EXPRESS_LENGTH_1;
    case CAP_MSIX:
      return MSIX_LENGTH;
    default:
      return 0;
  }
}

/**
 * Appends a capability to the list whose last one is number `last` (MAX_CAPABILITIES: none yet), unless it passes `end`, overlaps another or finds no room.
 * Returns the number of the last one.
 */
function addCapability(pci: PciFunction, last: u32, offset: u64, length: u64, id: u32, end: u64): u32 {
  if (offset + length > end || pci.capabilityCount == MAX_CAPABILITIES) return last;
  for (let i: u32 = 0; i < pci.capabilityCount; i++) {
    const other = pci.capability(i);
    if (offset < <u64>other.offset + <u64>other.length && <u64>other.offset < offset + length) return last;
  }
  const number = pci.capabilityCount++;
  const added = pci.capability(number);
  added.offset = <u16>offset;
  added.length = <u16>length;
  added.id = <u16>id;
  added.next = 0;
  if (last != MAX_CAPABILITIES) pci.capability(last).next = <u16>offset;
  return number;
}

/** The capability of the host's view that holds the register at `offset`, or null. */
export function capabilityAt(pci: PciFunction, offset: u64): PciCapability | null {
  for (let i: u32 = 0; i < pci.capabilityCount; i++) {
    const found = pci.capability(i);
    if (offset - <u64>found.offset < <u64>found.length) return found;
  }
  return null;
}

/** Offset of the first capability that the host sees in the legacy part, 0 if there is none. */
export function firstVisibleCapability(pci: PciFunction): u32 {
  if (pci.capabilityCount == 0) return 0;
  const first = <u32>pci.capability(0).offset;
  return <u64>first < PCI_LEGACY_END ? first : 0;
}

/** Offset of the first extended capability that the host sees, 0 if there is none. */
export function firstExtendedCapability(pci: PciFunction): u32 {
  for (let i: u32 = 0; i < pci.capabilityCount; i++) {
    const offset = <u32>pci.capability(i).offset;
    if (<u64>offset >= PCI_LEGACY_END) return offset;
  }
  return 0;
}
