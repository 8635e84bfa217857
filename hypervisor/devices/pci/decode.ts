import {
  COMMAND_BUS_MASTER,
  COMMAND_IO,
  COMMAND_MEMORY,
  COMMAND_NO_INTX,
  COMMAND_PARITY,
  COMMAND_SERR,
  PCI_BAR0,
  PCI_COMMAND,
  PCI_IO_UPPER,
  PCI_IO_WINDOW,
  PCI_MEMORY_WINDOW,
  PCI_PREFETCH_BASE_UPPER,
  PCI_PREFETCH_LIMIT_UPPER,
  PCI_PREFETCH_WINDOW,
  writeConfig,
} from "./registers";
import { BarKind, FunctionKind, PciFunction } from "./function";
import { CLOSED_IO, CLOSED_MEMORY } from "./probe";
import { inHostWindow } from "./segment";

/**
 * What a device gets of the addresses that the host has written: it decodes them only if all lie in the host's part of the windows, so that no BAR
 * and no bridge ever answers at an address that is RAM's, an interrupt file's or a device's of ours. Bus mastering only under an IOMMU.
 */

/** Bits of the command register that the host may set. */
export const HOST_COMMAND: u32 =
  COMMAND_IO | COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_PARITY | COMMAND_SERR | COMMAND_NO_INTX;

/** Low bits of a bridge's window register that say: 32-bit I/O or 64-bit memory. */
const WIDE_WINDOW: u32 = 1;
const WINDOW_MEGABYTE_MASK: u32 = 0xfff0;

/** The command register as the host wants it, without what it may not have now. */
export function effectiveCommand(pci: PciFunction): u32 {
  let command = pci.command & HOST_COMMAND;
  const count = pci.barCount();
  for (let index: u32 = 0; index < count; index++) {
    const bar = pci.bar(index);
    if (bar.size == 0) continue;
    const io = bar.kind == BarKind.Io;
    if (!inHostWindow(pci.segment, io, bar.address, bar.size)) command &= ~(io ? COMMAND_IO : COMMAND_MEMORY);
  }
  if (pci.confined == 0) command &= ~COMMAND_BUS_MASTER;
  return command;
}

/** Brings the device in line with its record: nothing is decoded while addresses change. Caller holds root.pciLock, or boots. */
export function applyDecoding(pci: PciFunction): void {
  const config = pci.config;
  // The upper half is the status, whose bits are cleared by ones.
  const command = effectiveCommand(pci);
  writeConfig(config, PCI_COMMAND, command & ~(COMMAND_IO | COMMAND_MEMORY));
  const count = pci.barCount();
  for (let index: u32 = 0; index < count; index++) {
    const bar = pci.bar(index);
    if (bar.size == 0) continue;
    const offset = PCI_BAR0 + ((<u64>index) << 2);
    writeConfig(config, offset, (<u32>bar.address) | bar.flags);
    if (bar.kind == BarKind.Memory64) writeConfig(config, offset + 4, <u32>(bar.address >> 32));
  }
  if (pci.kind == FunctionKind.Bridge) applyWindows(pci);
  writeConfig(config, PCI_COMMAND, command);
}

/** A bridge passes on what its windows say, or nothing where a window is not the host's to use. */
function applyWindows(pci: PciFunction): void {
  const config = pci.config;
  if (pci.ioWindowMask != 0) {
    const open = ioWindowValid(pci);
    writeConfig(config, PCI_IO_UPPER, open ? pci.ioUpper : 0);
    writeConfig(config, PCI_IO_WINDOW, open ? pci.ioWindow & 0xffff : CLOSED_IO);
  }
  const memory = memoryWindowBase(pci.memoryWindow);
  const memoryEnd = memoryWindowEnd(pci.memoryWindow);
  writeConfig(config, PCI_MEMORY_WINDOW, windowValid(pci, memory, memoryEnd) ? pci.memoryWindow : CLOSED_MEMORY);
  if (pci.prefetchWindowMask == 0) return;
  const wide = (pci.prefetchWindowMask & WIDE_WINDOW) != 0;
  const base = memoryWindowBase(pci.prefetchWindow) | (wide ? (<u64>pci.prefetchBaseUpper) << 32 : 0);
  const end = memoryWindowEnd(pci.prefetchWindow) + (wide ? (<u64>pci.prefetchLimitUpper) << 32 : 0);
  const open = windowValid(pci, base, end);
  writeConfig(config, PCI_PREFETCH_WINDOW, CLOSED_MEMORY);
  if (wide) {
    writeConfig(config, PCI_PREFETCH_BASE_UPPER, open ? pci.prefetchBaseUpper : 0);
    writeConfig(config, PCI_PREFETCH_LIMIT_UPPER, open ? pci.prefetchLimitUpper : 0);
  }
  if (open) writeConfig(config, PCI_PREFETCH_WINDOW, pci.prefetchWindow);
}

/** Open, and all of it the host's. */
function windowValid(pci: PciFunction, base: u64, end: u64): bool {
  return base < end && inHostWindow(pci.segment, false, base, end - base);
}

/** Windows of memory have megabytes: bits 15:4 of base and limit are bits 31:20 of the address. */
function memoryWindowBase(window: u32): u64 {
  return (<u64>(window & WINDOW_MEGABYTE_MASK)) << 16;
}

function memoryWindowEnd(window: u32): u64 {
  return ((<u64>((window >> 16) & WINDOW_MEGABYTE_MASK)) << 16) + 0x10_0000;
}

/** Windows of I/O have 4 KiB: bits 7:4 of base and limit are bits 15:12 of the address. */
function ioWindowValid(pci: PciFunction): bool {
  const wide = (pci.ioWindowMask & WIDE_WINDOW) != 0;
  const base = ((<u64>(pci.ioWindow & 0xf0)) << 8) | (wide ? (<u64>(pci.ioUpper & 0xffff)) << 16 : 0);
  const limit = ((<u64>((pci.ioWindow >> 8) & 0xf0)) << 8) | (wide ? (<u64>(pci.ioUpper >> 16)) << 16 : 0);
  const end = limit + 0x1000;
  return base < end && inHostWindow(pci.segment, true, base, end - base);
}
