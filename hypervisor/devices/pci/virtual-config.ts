import { lockAcquire, lockRelease } from "../../lib/spinlock";
import { Root } from "../../root";
import { capabilityAt, firstExtendedCapability, firstVisibleCapability, MSI_64_BIT, MSI_MASKING } from "./capabilities";
import { HOST_COMMAND, applyDecoding, effectiveCommand } from "./decode";
import { BarKind, FunctionKind, PciCapability, PciFunction } from "./function";
import {
  BAR_IO_MASK,
  BAR_MEMORY_MASK,
  CAP_EXPRESS,
  CAP_MSI,
  CAP_MSIX,
  CAP_SUBSYSTEM,
  EXPRESS_SLOT,
  EXT_CAP_ERRORS,
  HEADER_MULTIFUNCTION,
  HEADER_TYPE_MASK,
  HEADER_TYPE_SHIFT,
  PCI_BAR0,
  PCI_BUSES,
  PCI_CAPABILITIES,
  PCI_CLASS,
  PCI_COMMAND,
  PCI_HEADER,
  PCI_HEADER_END,
  PCI_ID,
  PCI_INTERRUPT,
  PCI_IO_UPPER,
  PCI_IO_WINDOW,
  PCI_LEGACY_END,
  PCI_MEMORY_WINDOW,
  PCI_PREFETCH_BASE_UPPER,
  PCI_PREFETCH_LIMIT_UPPER,
  PCI_PREFETCH_WINDOW,
  PCI_SUBSYSTEM,
  STATUS_CAPABILITIES,
  STATUS_ERRORS,
  readConfig,
  writeConfig,
} from "./registers";
import { PciSegment } from "./segment";

/**
 * Configuration space as the host sees it. Deny by default: a register that is not named here reads as 0 and takes nothing.
 *
 * - Numbers of buses are the host's own: a bridge answers to what the host wrote into it, the machine's numbers stay.
 * - Addresses (BARs, windows of bridges) are kept in our record; decode.ts says when the device gets them.
 * - Whatever else may be written is merged into the device's register; bits that are cleared by ones get zeros unless the host
 *   wrote ones.
 */

const ALL_ONES: u32 = 0xffff_ffff;

/** What the host reads from the aligned 32-bit register at `offset` into the configuration space of the segment. */
export function readVirtualConfig(root: Root, segment: PciSegment, offset: u64): u32 {
  lockAcquire(lockOf(root));
  const pci = functionAt(segment, offset);
  const value = pci != null ? readRegister(pci, offset & 0xffc) : ALL_ONES;
  lockRelease(lockOf(root));
  return value;
}

/** The host writes the bits `lanes` of the aligned 32-bit register at `offset` (whole bytes). */
export function writeVirtualConfig(root: Root, segment: PciSegment, offset: u64, value: u32, lanes: u32): void {
  lockAcquire(lockOf(root));
  const pci = functionAt(segment, offset);
  if (pci != null) writeRegister(pci, offset & 0xffc, value, lanes);
  lockRelease(lockOf(root));
}

// @ts-ignore: decorator
@inline
function lockOf(root: Root): usize {
  return changetype<usize>(root) + offsetof<Root>("pciLock");
}

/**
 * The function that the host addresses, by its own numbers of buses, which another hart may be about to change: caller holds root.pciLock. Null
 * if there is none, or if the host must not see it. Each turn goes one bus down, so the machine's bus numbers bound it.
 */
function functionAt(segment: PciSegment, offset: u64): PciFunction | null {
  const wanted = segment.firstBus + <u32>(offset >> 20);
  const devfn = (<u32>(offset >> 12)) & 0xff;
  let bus = segment.firstBus;
  let virtualBus = bus;
  while (virtualBus != wanted) {
    const bridge = bridgeTowards(segment, bus, wanted);
    if (bridge == null) return null;
    bus = bridge.secondary;
    virtualBus = (bridge.virtualBuses >> 8) & 0xff;
  }
  const found = segment.find(bus, devfn);
  return found != null && isShown(found) ? found : null;
}

function isShown(pci: PciFunction): bool {
  return pci.kind == FunctionKind.Endpoint || pci.kind == FunctionKind.Bridge;
}

/** The bridge on `bus` behind which the host has put its bus `wanted`. */
function bridgeTowards(segment: PciSegment, bus: u32, wanted: u32): PciFunction | null {
  for (let index: u32 = 0; index < segment.functionCount; index++) {
    const found = segment.function(index);
    if (found.kind != FunctionKind.Bridge || found.bus() != bus) continue;
    const secondary = (found.virtualBuses >> 8) & 0xff;
    const subordinate = (found.virtualBuses >> 16) & 0xff;
    if (secondary != 0 && wanted >= secondary && wanted <= subordinate) return found;
  }
  return null;
}

// ---- Reading

/** Error and speed bits of the status register that the host sees. */
const STATUS_SHOWN: u32 = STATUS_ERRORS | 0x06a0_0000;
const BUSES_MASK: u32 = 0x00ff_ffff;
/** Bridge control: parity, SERR, master abort; the reset of the secondary bus is only remembered. */
const CONTROL_WRITABLE: u32 = 0x0023_0000;
const CONTROL_RESET: u32 = 0x0040_0000;

function readRegister(pci: PciFunction, offset: u64): u32 {
  if (offset >= PCI_HEADER_END) return readBehindHeader(pci, offset);
  if (offset >= PCI_BAR0 && offset < PCI_BAR0 + ((<u64>pci.barCount()) << 2)) return readBar(pci, offset);
  switch (<u32>offset) {
    case <u32>PCI_ID:
    case <u32>PCI_CLASS:
      return readConfig(pci.config, offset);
    case <u32>PCI_COMMAND: {
      const status = readConfig(pci.config, offset) & STATUS_SHOWN;
      const list = firstVisibleCapability(pci) != 0 ? STATUS_CAPABILITIES : 0;
      return status | list | effectiveCommand(pci);
    }
    case <u32>PCI_HEADER:
      return readConfig(pci.config, offset) & (HEADER_MULTIFUNCTION | (HEADER_TYPE_MASK << HEADER_TYPE_SHIFT));
    case <u32>PCI_CAPABILITIES:
      return firstVisibleCapability(pci);
    default:
      break;
  }
  if (pci.kind == FunctionKind.Bridge) return readBridgeRegister(pci, offset);
  if (offset == PCI_INTERRUPT) return interruptPin(pci);
  return offset == PCI_SUBSYSTEM ? readConfig(pci.config, offset) : 0;
}

const INTERRUPT_PIN: u32 = 0xff00;

/** The pin of INTx, in its place, if its line leads to the host. */
function interruptPin(pci: PciFunction): u32 {
  return pci.segment.wired != 0 ? readConfig(pci.config, PCI_INTERRUPT) & INTERRUPT_PIN : 0;
}

function readBar(pci: PciFunction, offset: u64): u32 {
  const index = <u32>((offset - PCI_BAR0) >> 2);
  const bar = pci.bar(index);
  if (bar.kind == BarKind.Upper) return <u32>(pci.bar(index - 1).address >> 32);
  return bar.size != 0 ? (<u32>bar.address) | bar.flags : 0;
}

function readBridgeRegister(pci: PciFunction, offset: u64): u32 {
  switch (<u32>offset) {
    case <u32>PCI_BUSES:
      return pci.virtualBuses;
    case <u32>PCI_IO_WINDOW: {
      const errors = readConfig(pci.config, offset) & STATUS_ERRORS;
      return pci.ioWindowMask == 0 ? errors : errors | pci.ioWindow | (pci.ioWindowMask & 0x0f0f);
    }
    case <u32>PCI_MEMORY_WINDOW:
      return pci.memoryWindow;
    case <u32>PCI_PREFETCH_WINDOW:
      return pci.prefetchWindowMask == 0 ? 0 : pci.prefetchWindow | (pci.prefetchWindowMask & 0x000f_000f);
    case <u32>PCI_PREFETCH_BASE_UPPER:
      return pci.prefetchBaseUpper;
    case <u32>PCI_PREFETCH_LIMIT_UPPER:
      return pci.prefetchLimitUpper;
    case <u32>PCI_IO_UPPER:
      return pci.ioUpper;
    case <u32>PCI_INTERRUPT:
      return (readConfig(pci.config, offset) & CONTROL_WRITABLE) | pci.virtualControl | interruptPin(pci);
    default:
      return 0;
  }
}

function readBehindHeader(pci: PciFunction, offset: u64): u32 {
  const capability = capabilityAt(pci, offset);
  if (capability == null) return offset == PCI_LEGACY_END ? firstExtendedLink(pci) : 0;
  const at = offset - <u64>capability.offset;
  const value = readConfig(pci.config, offset);
  if (offset >= PCI_LEGACY_END) return at == 0 ? (value & 0x000f_ffff) | ((<u32>capability.next) << 20) : value;
  if (at == 0) return (capabilityHead(capability, value) & 0xffff_00ff) | ((<u32>capability.next) << 8);
  return capability.id == CAP_EXPRESS ? shownExpress(at, value) : value;
}

/** The list of extended capabilities begins at 0x100 whatever is there: a capability of no kind that leads to the first one. */
function firstExtendedLink(pci: PciFunction): u32 {
  return firstExtendedCapability(pci) << 20;
}

/** A slot is not shown: what is plugged in later is not known here. */
function capabilityHead(capability: PciCapability, value: u32): u32 {
  return capability.id == CAP_EXPRESS ? value & ~EXPRESS_SLOT : value;
}

// Registers of the PCI Express capability.
const EXPRESS_DEVICE: u64 = 0x04;
const EXPRESS_CONTROL: u64 = 0x08;
const EXPRESS_LINK_CONTROL: u64 = 0x10;
const EXPRESS_SLOT_FIRST: u64 = 0x14;
const EXPRESS_SLOT_CONTROL: u64 = 0x18;
const EXPRESS_ROOT_CONTROL: u64 = 0x1c;
const EXPRESS_ROOT_STATUS: u64 = 0x20;
const EXPRESS_DEVICE_2: u64 = 0x24;
const EXPRESS_CONTROL_2: u64 = 0x28;
/** Function-level reset would undo what we keep in the device; bits of what is not offered. */
const DEVICE_RESET: u32 = 1 << 28;
const DEVICE_2_ARI: u32 = 1 << 5;

function shownExpress(at: u64, value: u32): u32 {
  switch (<u32>at) {
    case <u32>EXPRESS_DEVICE:
      return value & ~DEVICE_RESET;
    case <u32>EXPRESS_SLOT_FIRST:
    case <u32>EXPRESS_SLOT_CONTROL:
      return 0;
    case <u32>EXPRESS_DEVICE_2:
      return value & ~DEVICE_2_ARI;
    default:
      return value;
  }
}

// ---- Writing

function writeRegister(pci: PciFunction, offset: u64, value: u32, lanes: u32): void {
  if (offset >= PCI_HEADER_END) return writeBehindHeader(pci, offset, value, lanes);
  if (offset >= PCI_BAR0 && offset < PCI_BAR0 + ((<u64>pci.barCount()) << 2)) {
    return writeBar(pci, offset, value, lanes);
  }
  if (offset == PCI_COMMAND) {
    pci.command = merge(pci.command, value, lanes & HOST_COMMAND);
    applyDecoding(pci);
    if ((value & lanes & STATUS_ERRORS) != 0) {
      writeConfig(pci.config, offset, effectiveCommand(pci) | (value & lanes & STATUS_ERRORS));
    }
    return;
  }
  if (pci.kind == FunctionKind.Bridge) writeBridgeRegister(pci, offset, value, lanes);
}

// @ts-ignore: decorator
@inline
function merge(old: u32, value: u32, mask: u32): u32 {
  return (old & ~mask) | (value & mask);
}

/** A BAR keeps the bits above its size. */
function writeBar(pci: PciFunction, offset: u64, value: u32, lanes: u32): void {
  let index = <u32>((offset - PCI_BAR0) >> 2);
  const upper = pci.bar(index).kind == BarKind.Upper;
  if (upper) index--;
  const bar = pci.bar(index);
  if (bar.size == 0) return;
  if (upper) {
    bar.address = (bar.address & 0xffff_ffff) | ((<u64>merge(<u32>(bar.address >> 32), value, lanes)) << 32);
  } else {
    const mask = lanes & (bar.kind == BarKind.Io ? BAR_IO_MASK : BAR_MEMORY_MASK);
    bar.address = (bar.address & ~(<u64>0xffff_ffff)) | (<u64>merge(<u32>bar.address, value, mask));
  }
  bar.address &= ~(bar.size - 1);
  applyDecoding(pci);
}

function writeBridgeRegister(pci: PciFunction, offset: u64, value: u32, lanes: u32): void {
  switch (<u32>offset) {
    case <u32>PCI_BUSES:
      pci.virtualBuses = merge(pci.virtualBuses, value, lanes & BUSES_MASK);
      return;
    case <u32>PCI_IO_WINDOW: {
      pci.ioWindow = merge(pci.ioWindow, value, lanes & pci.ioWindowMask & 0xf0f0);
      const errors = value & lanes & STATUS_ERRORS;
      applyDecoding(pci);
      if (errors != 0) writeConfig(pci.config, offset, (readConfig(pci.config, offset) & 0xffff) | errors);
      return;
    }
    case <u32>PCI_MEMORY_WINDOW:
      pci.memoryWindow = merge(pci.memoryWindow, value, lanes & 0xfff0_fff0);
      break;
    case <u32>PCI_PREFETCH_WINDOW:
      pci.prefetchWindow = merge(pci.prefetchWindow, value, lanes & pci.prefetchWindowMask & 0xfff0_fff0);
      break;
    case <u32>PCI_PREFETCH_BASE_UPPER:
      if ((pci.prefetchWindowMask & 1) == 0) return;
      pci.prefetchBaseUpper = merge(pci.prefetchBaseUpper, value, lanes);
      break;
    case <u32>PCI_PREFETCH_LIMIT_UPPER:
      if ((pci.prefetchWindowMask & 1) == 0) return;
      pci.prefetchLimitUpper = merge(pci.prefetchLimitUpper, value, lanes);
      break;
    case <u32>PCI_IO_UPPER:
      if ((pci.ioWindowMask & 1) == 0) return;
      pci.ioUpper = merge(pci.ioUpper, value, lanes);
      break;
    case <u32>PCI_INTERRUPT:
      pci.virtualControl = merge(pci.virtualControl, value, lanes & CONTROL_RESET);
      return mergeIntoDevice(pci, offset, value, lanes, CONTROL_WRITABLE, 0);
    default:
      return;
  }
  applyDecoding(pci);
}

/** Writes the bits `writable` that are in `lanes`; bits `cleared` of the device are those that a one clears. */
function mergeIntoDevice(pci: PciFunction, offset: u64, value: u32, lanes: u32, writable: u32, cleared: u32): void {
  if ((lanes & (writable | cleared)) == 0) return;
  const kept = readConfig(pci.config, offset) & ~(writable & lanes) & ~cleared;
  writeConfig(pci.config, offset, kept | (value & lanes & (writable | cleared)));
}

function writeBehindHeader(pci: PciFunction, offset: u64, value: u32, lanes: u32): void {
  const capability = capabilityAt(pci, offset);
  if (capability == null) return;
  const at = offset - <u64>capability.offset;
  if (offset >= PCI_LEGACY_END) {
    // Only masks and error bits: nothing of it changes where the device may go.
    if (capability.id == EXT_CAP_ERRORS && at != 0) writeErrors(pci, offset, at, value, lanes);
    return;
  }
  switch (<u32>capability.id) {
    case CAP_MSI:
      return writeMsi(pci, capability, at, value, lanes);
    case CAP_MSIX:
      if (at == 0) mergeIntoDevice(pci, offset, value, lanes, MSIX_WRITABLE, 0);
      return;
    case CAP_EXPRESS:
      return writeExpress(pci, offset, at, value, lanes);
    case CAP_SUBSYSTEM:
    default:
      return;
  }
}

/** MSI-X: enable and mask all. The table lies in a BAR, so only the IOMMU says where its messages go. */
const MSIX_WRITABLE: u32 = 0xc000_0000;
/** MSI: enable, number of messages. */
const MSI_WRITABLE: u32 = 0x0071_0000;
const MSI_ADDRESS: u64 = 4;

/** Address, data and mask: messages are memory writes, which only a bus master can send, through the IOMMU. */
function writeMsi(pci: PciFunction, capability: PciCapability, at: u64, value: u32, lanes: u32): void {
  const offset = <u64>capability.offset + at;
  if (at == 0) return mergeIntoDevice(pci, offset, value, lanes, MSI_WRITABLE, 0);
  const control = readConfig(pci.config, <u64>capability.offset);
  const data = MSI_ADDRESS + 4 + ((control & MSI_64_BIT) != 0 ? 4 : 0);
  if (at < data) return mergeIntoDevice(pci, offset, value, lanes, at == MSI_ADDRESS ? ~(<u32>3) : ALL_ONES, 0);
  if (at == data) return mergeIntoDevice(pci, offset, value, lanes, 0xffff, 0);
  if (at == data + 4 && (control & MSI_MASKING) != 0) mergeIntoDevice(pci, offset, value, lanes, ALL_ONES, 0);
}

// Writable bits; the status in the upper half is cleared by ones.
const CONTROL_BITS: u32 = 0x0000_79ff;
const CONTROL_CLEARED: u32 = 0x000f_0000;
const LINK_CONTROL_BITS: u32 = 0x0000_00cb;
const LINK_CONTROL_CLEARED: u32 = 0xc000_0000;
const ROOT_CONTROL_BITS: u32 = 0x0000_001f;
const ROOT_STATUS_CLEARED: u32 = 0x0001_0000;
const CONTROL_2_BITS: u32 = 0x0000_041f;

/** Sizes of requests, error reports, power of the link: no reset, no phantom functions, no slot, no ARI. */
function writeExpress(pci: PciFunction, offset: u64, at: u64, value: u32, lanes: u32): void {
  switch (<u32>at) {
    case <u32>EXPRESS_CONTROL:
      return mergeIntoDevice(pci, offset, value, lanes, CONTROL_BITS, CONTROL_CLEARED);
    case <u32>EXPRESS_LINK_CONTROL:
      return mergeIntoDevice(pci, offset, value, lanes, LINK_CONTROL_BITS, LINK_CONTROL_CLEARED);
    case <u32>EXPRESS_ROOT_CONTROL:
      return mergeIntoDevice(pci, offset, value, lanes, ROOT_CONTROL_BITS, 0);
    case <u32>EXPRESS_ROOT_STATUS:
      return mergeIntoDevice(pci, offset, value, lanes, 0, ROOT_STATUS_CLEARED);
    case <u32>EXPRESS_CONTROL_2:
      return mergeIntoDevice(pci, offset, value, lanes, CONTROL_2_BITS, 0);
    default:
      return;
  }
}

// Advanced error reporting: status registers at 4 and 16 are cleared by ones, as is the root's at 48, which is not shown.
const UNCORRECTABLE_STATUS: u64 = 4;
const CORRECTABLE_STATUS: u64 = 16;
const ERRORS_CONTROL: u64 = 24;

function writeErrors(pci: PciFunction, offset: u64, at: u64, value: u32, lanes: u32): void {
  if (at > ERRORS_CONTROL) return;
  const status = at == UNCORRECTABLE_STATUS || at == CORRECTABLE_STATUS;
  mergeIntoDevice(pci, offset, value, lanes, status ? 0 : ALL_ONES, status ? ALL_ONES : 0);
}
