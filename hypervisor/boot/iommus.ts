import { beginLine, endLine, putDecimal, putHex, putText } from "../devices/console";
import { DEVICE_IDENTITY } from "../devices/imsic";
import { HOST_GSCID, invalidateDirectory } from "../devices/iommu/commands";
import { DirectoryPages, setContext } from "../devices/iommu/directory";
import {
  Iommu,
  IommuFault,
  IommuState,
  NO_FUNCTION,
  iommuFaultText,
  iommuOf,
  startIommu,
  turnOff,
} from "../devices/iommu/iommu";
import { IOHGATP_GSCID_SHIFT, REGISTERS_SIZE } from "../devices/iommu/registers";
import { putPciAddress } from "../devices/pci/address";
import { findCapability } from "../devices/pci/capabilities";
import { BarKind, FunctionKind, PciFunction } from "../devices/pci/function";
import { ownMemoryAt } from "../devices/pci/own-bars";
import {
  CAP_MSIX,
  COMMAND_BUS_MASTER,
  COMMAND_MEMORY,
  COMMAND_NO_INTX,
  PCI_COMMAND,
  readConfig,
  writeConfig,
} from "../devices/pci/registers";
import { pciSegment, PciSegment } from "../devices/pci/segment";
import { currentVersion } from "../memory/fence";
import { PAGE_SIZE } from "../riscv/pte";
import { Root } from "../root";
import {
  mappedDevice,
  nextPlatformIommu,
  NOT_SERVED,
  phandleOfFunction,
  phandleOfNode,
  platformRegisters,
} from "./describe-iommu";
import { MachineDescription } from "./machine-description";
import { OwnMemory } from "./own-memory";

/**
 * IOMMUs at boot: each is brought up with an empty directory, then gets a context for every function of the host that the device tree puts behind
 * it. A function with a context may be a bus master.
 */

/** Pages that each IOMMU has of its own: root of the directory, two queues. */
const OWN_PAGES: u64 = 3;
/** Pages of directories that a function can need, once for itself and, a bridge, once for what is behind it. */
const FUNCTION_PAGES: u64 = 2;
const SPARE_PAGES: u64 = 2;

/** Pages for all IOMMUs. */
export function iommuPages(description: MachineDescription): u64 {
  const count = <u64>description.iommuCount;
  return count == 0 ? 0 : count * OWN_PAGES + <u64>description.pciFunctionCount * FUNCTION_PAGES + SPARE_PAGES;
}

/** After createHostVm and createPciDevices; nobody uses a device yet. */
export function createIommus(root: Root, description: MachineDescription, own: OwnMemory): void {
  if (description.iommuCount == 0) return;
  const pages = changetype<DirectoryPages>(own.directoryPages);
  pages.next = own.iommuPages;
  pages.end = own.iommuPages + iommuPages(description) * PAGE_SIZE;
  root.iommus = own.iommuRecords;
  for (let node = nextPlatformIommu(description, 0); node != 0; node = nextPlatformIommu(description, node)) {
    addIommu(root, pages, platformRegisters(description, node), phandleOfNode(description.fdt, node), NO_FUNCTION);
  }
  for (let s: u32 = 0; s < root.pciSegmentCount; s++) {
    const segment = pciSegment(root, s);
    for (let i: u32 = 0; i < segment.functionCount; i++) {
      const pci = segment.function(i);
      if (pci.kind != FunctionKind.Iommu || root.iommuCount == description.iommuCount) continue;
      const registers = registersOf(segment, pci);
      if (registers == 0) continue;
      enableFunction(pci);
      addIommu(root, pages, registers, phandleOfFunction(description.fdt, segment, pci.address), pci.address);
      iommuOf(root, root.iommuCount - 1).domain = segment.domain;
    }
  }

  for (let i: u32 = 0; i < root.iommuCount; i++) {
    const iommu = iommuOf(root, i);
    const file = root.imsic != 0 ? root.bootHart.imsicPage : 0;
    const lastId = lastDevice(root, description, iommu);
    const fault = startIommu(iommu, root.host.levels, lastId, file, <u32>DEVICE_IDENTITY);
    if (fault == IommuFault.None) attachAll(root, description, iommu, pages);
    finish(root, iommu, fault);
  }
}

/** hpa of the registers of an IOMMU function: its first BAR, which has been given a place (survey.ts) if it is on the root bus. 0 if they are not there. */
function registersOf(segment: PciSegment, pci: PciFunction): u64 {
  const bar = pci.bar(0);
  if (pci.bus() != segment.firstBus || bar.kind == BarKind.Io || bar.size < REGISTERS_SIZE) return 0;
  return ownMemoryAt(segment, bar.address);
}

function addIommu(root: Root, pages: DirectoryPages, registers: u64, phandle: u32, address: u32): void {
  const iommu = iommuOf(root, root.iommuCount++);
  iommu.registers = registers;
  iommu.phandle = phandle;
  iommu.function = address;
  iommu.directory = pages.next;
  iommu.commands = pages.next + PAGE_SIZE;
  iommu.faults = pages.next + 2 * PAGE_SIZE;
  pages.next += OWN_PAGES * PAGE_SIZE;
}

/** The function may decode, write memory and send messages. */
function enableFunction(pci: PciFunction): void {
  writeConfig(pci.config, PCI_COMMAND, COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_NO_INTX);
  const messages = findCapability(pci.config, CAP_MSIX);
  if (messages == 0) return;
  const control = readConfig(pci.config, messages) & ~MSIX_MASK_ALL;
  writeConfig(pci.config, messages, control | MSIX_ENABLE);
}

const MSIX_ENABLE: u32 = 1 << 31;
const MSIX_MASK_ALL: u32 = 1 << 30;

/** The largest device id that it serves. */
function lastDevice(root: Root, description: MachineDescription, iommu: Iommu): u32 {
  let last: u32 = 0;
  for (let s: u32 = 0; s < root.pciSegmentCount; s++) {
    const segment = pciSegment(root, s);
    for (let i: u32 = 0; i < segment.functionCount; i++) {
      last = max<u32>(last, idAt(description, segment, segment.function(i).address, iommu));
      last = max<u32>(last, idAt(description, segment, aliasOf(segment.function(i)), iommu));
    }
  }
  return last;
}

/** Device id of a requester id if that IOMMU serves it, else 0. */
function idAt(description: MachineDescription, segment: PciSegment, address: u32, iommu: Iommu): u32 {
  const mapped = mappedDevice(description.fdt, segment, address);
  return mapped != NOT_SERVED && <u32>(mapped >> 32) == iommu.phandle ? <u32>mapped : 0;
}

/** A bridge to conventional PCI makes requests of what is behind it in the name of device 0 of its secondary bus, or in its own. */
function aliasOf(pci: PciFunction): u32 {
  return pci.kind == FunctionKind.Bridge ? pci.secondary << 8 : pci.address;
}

/** Contexts for all functions of the host that the IOMMU serves. */
function attachAll(root: Root, description: MachineDescription, iommu: Iommu, pages: DirectoryPages): void {
  const iohgatp = root.host.hgatp | (HOST_GSCID << IOHGATP_GSCID_SHIFT);
  for (let s: u32 = 0; s < root.pciSegmentCount; s++) {
    const segment = pciSegment(root, s);
    for (let i: u32 = 0; i < segment.functionCount; i++) {
      const pci = segment.function(i);
      if (pci.kind != FunctionKind.Endpoint && pci.kind != FunctionKind.Bridge) continue;
      const mapped = mappedDevice(description.fdt, segment, pci.address);
      if (mapped == NOT_SERVED || <u32>(mapped >> 32) != iommu.phandle) continue;
      if (!setContext(iommu, <u32>mapped, iohgatp, pages)) continue;
      pci.iommu = changetype<usize>(iommu);
      pci.deviceId = <u32>mapped;
      pci.confined = 1;
      const alias = mappedDevice(description.fdt, segment, aliasOf(pci));
      if (alias != NOT_SERVED && <u32>(alias >> 32) == iommu.phandle) setContext(iommu, <u32>alias, iohgatp, pages);
    }
  }
}

/** The IOMMU takes part in fences from now on, or its devices stay without bus mastering. */
function finish(root: Root, iommu: Iommu, fault: u32): void {
  if (fault == IommuFault.None && !invalidateDirectory(iommu, currentVersion(root.host))) {
    fault = IommuFault.Stuck;
    turnOff(iommu);
  }
  if (fault != IommuFault.None) {
    // A fence has nothing to wait for: no device has been a bus master, and none behind this IOMMU will be.
    iommu.flushedVersion = ~(<u64>0);
    release(root, iommu);
  }
  logIommu(root, iommu, fault);
}

function release(root: Root, iommu: Iommu): void {
  for (let s: u32 = 0; s < root.pciSegmentCount; s++) {
    const segment = pciSegment(root, s);
    for (let i: u32 = 0; i < segment.functionCount; i++) {
      const pci = segment.function(i);
      if (pci.iommu == changetype<usize>(iommu)) pci.confined = 0;
    }
  }
}

function logIommu(root: Root, iommu: Iommu, fault: u32): void {
  beginLine();
  putText("salus: IOMMU ");
  if (iommu.function != NO_FUNCTION) {
    putText("(PCI ");
    putPciAddress(iommu.domain, iommu.function);
    putText(") ");
  }
  putText("at ");
  putHex(iommu.registers);
  if (fault != IommuFault.None) {
    putText(iommu.state == IommuState.Lost ? ", which cannot be turned off, " : " is not used: it ");
    putText(iommuFaultText(fault));
  } else {
    putText(", levels of the device directory: ");
    putDecimal(<u64>iommu.levels);
    putText(iommu.extended != 0 ? " (extended)" : " (base)");
    putText(", devices of the host: ");
    putDecimal(<u64>iommu.contexts);
  }
  endLine();
}
