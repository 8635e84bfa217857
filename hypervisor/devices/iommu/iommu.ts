import { TIME } from "../../riscv/csr";
import { csrRead } from "../../riscv/hw";
import { Root } from "../../root";
import {
  CAPABILITIES,
  CAP_IGS_SHIFT,
  CAP_MSI_FLAT,
  CAP_SV39X4_SHIFT,
  CAP_VERSION_MAJOR_SHIFT,
  COMMANDS_LOG2,
  CQB,
  CQCSR,
  CQT,
  DDTP,
  DDTP_BUSY,
  DDTP_MODE_MASK,
  DDTP_OFF,
  DDTP_ONE_LEVEL,
  FAULTS_LOG2,
  FCTL,
  FCTL_BIG_ENDIAN,
  FCTL_GXL,
  FCTL_WIRED,
  FAULT_ERRORS,
  FQB,
  FQCSR,
  FQH,
  ICVEC,
  IGS_WIRED,
  MSI_TABLE,
  PQCSR,
  QUEUE_BUSY,
  QUEUE_ENABLE,
  QUEUE_INTERRUPT,
  QUEUE_ON,
  ppnField,
  readRegister32,
  readRegister64,
  waitFor32,
  waitForDirectory,
  writeRegister32,
  writeRegister64,
} from "./registers";

/**
 * An IOMMU of the machine (RISC-V IOMMU Architecture Specification 1.0). All devices of the host behind it translate by the host's G-stage, so
 * they reach what the host reaches: its RAM that it has not given away, its interrupt files, nothing else. A device without a context
 * reaches nothing.
 *
 * The host does not see the IOMMU. Fields behind `lock` are changed under it, the versions are also read without (memory/fence.ts).
 */
@unmanaged
export class Iommu {
  /** hpa of its registers. */
  registers: u64;
  /** IommuState. */
  state: u32;
  /** phandle in the firmware's device tree: iommu-map names it. */
  phandle: u32;
  /** 1: device contexts of 64 bytes. */
  extended: u32;
  /** Levels of the device directory. */
  levels: u32;
  /** hpa of the root of the directory and of the pages of the queues. */
  directory: u64;
  commands: u64;
  faults: u64;
  /** Spin lock of the queues. */
  lock: u32;
  /** Index of the next command. */
  tail: u32;
  /** All that it remembers of the host's G-stage is younger than this translation version of the host (memory/fence.ts). */
  flushedVersion: u64;
  /** The version that `flushedVersion` becomes when the commands up to `tail` are done; 0 = none are under way. */
  pendingVersion: u64;
  /** Asked for while commands were under way: the version of the invalidation that follows them; 0 = none. */
  wantedVersion: u64;

  // ---- faults.ts
  /** Index of the next fault record. */
  faultHead: u32;
  /** Lines that may be printed now. */
  faultLines: u32;
  /** Time of the last refill of `faultLines`. */
  faultTime: u64;
  /** Faults that were not shown. */
  faultsHidden: u64;
  /** Requester id of the PCI function that it is; NO_FUNCTION for a platform device. */
  function: u32;
  /** Device contexts that are valid. */
  contexts: u32;
  /** How often somebody looked at commands that were not done. */
  looks: u32;
  /** linux,pci-domain of the segment that `function` is in. */
  domain: u32;

  lockAddress(): usize {
    return changetype<usize>(this) + offsetof<Iommu>("lock");
  }

  flushedVersionAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Iommu>("flushedVersion"));
  }

  pendingVersionAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Iommu>("pendingVersion"));
  }

  wantedVersionAddress(): u64 {
    return <u64>(changetype<usize>(this) + offsetof<Iommu>("wantedVersion"));
  }
}

export const NO_FUNCTION: u32 = 0xffff_ffff;

export const enum IommuState {
  /** Works. */
  Working = 0,
  /** Turned off: it lets no device through. */
  Off = 1,
  /** It neither works nor can be turned off: no page is given away any more. */
  Lost = 2,
  /** It was told to turn itself off and has not said that it is: as Lost, until it has. */
  Stopping = 3,
}

/** Why an IOMMU is not used. */
export const enum IommuFault {
  None = 0,
  Version = 1,
  Mode = 2,
  Endianness = 3,
  Stuck = 4,
  Directory = 5,
}

export function iommuFaultText(fault: u32): string {
  switch (fault) {
    case IommuFault.Version:
      return "has a version that is not known";
    case IommuFault.Mode:
      return "does not have the host's G-stage mode";
    case IommuFault.Endianness:
      return "insists on another byte order or address width";
    case IommuFault.Directory:
      return "accepts no device directory";
    default:
      return "does not answer";
  }
}

/** IOMMU `index` (< root.iommuCount). */
export function iommuOf(root: Root, index: u32): Iommu {
  return changetype<Iommu>(root.iommus + <usize>index * offsetof<Iommu>());
}

/** Lines about faults that may be printed at once. */
export const FAULT_LINES: u32 = 8;

const MAX_LEVELS: u32 = 3;
const MAJOR_VERSION: u64 = 1;
const VECTORS: u64 = 4;

/**
 * Brings the IOMMU up with an empty directory of the least number of levels that reaches device id `lastId`, or of as many as it has: from then on it lets nothing through.
 * Its three pages are zeroed. `gstageLevels`: of the host. Interrupts go as `message` to hpa `file` if that is not 0. Returns IommuFault; an
 * IOMMU with a fault is Off, or Lost.
 */
export function startIommu(iommu: Iommu, gstageLevels: u32, lastId: u32, file: u64, message: u32): u32 {
  iommu.faultLines = FAULT_LINES;
  iommu.faultTime = csrRead(TIME);
  const fault = configure(iommu, gstageLevels, lastId, file, message);
  if (fault != IommuFault.None) turnOff(iommu);
  return fault;
}

/** Makes the IOMMU block everything, at once: nothing that it remembers counts any more. Boot: it is waited for. */
export function turnOff(iommu: Iommu): void {
  // Nothing may be written to a directory pointer that is busy.
  if (iommu.state != IommuState.Stopping && waitForDirectory(iommu.registers)) beginTurnOff(iommu);
  const off = waitForDirectory(iommu.registers) && isOff(iommu);
  iommu.state = off ? IommuState.Off : IommuState.Lost;
}

/** The same without waiting: the IOMMU is off when `directoryBusy` ends and `isOff`. */
export function beginTurnOff(iommu: Iommu): void {
  iommu.state = IommuState.Stopping;
  writeRegister64(iommu.registers, DDTP, DDTP_OFF);
}

/** Whether the IOMMU is still carrying out what was last written to its directory pointer. */
export function directoryBusy(iommu: Iommu): bool {
  return (readRegister64(iommu.registers, DDTP) & DDTP_BUSY) != 0;
}

export function isOff(iommu: Iommu): bool {
  return (readRegister64(iommu.registers, DDTP) & DDTP_MODE_MASK) == DDTP_OFF;
}

function configure(iommu: Iommu, gstageLevels: u32, lastId: u32, file: u64, message: u32): u32 {
  const registers = iommu.registers;
  const capabilities = readRegister64(registers, CAPABILITIES);
  if (((capabilities >> CAP_VERSION_MAJOR_SHIFT) & 15) != MAJOR_VERSION) return IommuFault.Version;
  if (((capabilities >> (CAP_SV39X4_SHIFT + <u64>(gstageLevels - 3))) & 1) == 0) return IommuFault.Mode;
  iommu.extended = (capabilities & CAP_MSI_FLAT) != 0 ? 1 : 0;

  // Features are changed only while everything is off. The firmware may have left the directory pointer busy.
  if (!waitForDirectory(registers)) return IommuFault.Stuck;
  writeRegister64(registers, DDTP, DDTP_OFF);
  if (!waitForDirectory(registers)) return IommuFault.Stuck;
  if (!stopQueue(registers, CQCSR) || !stopQueue(registers, FQCSR) || !stopQueue(registers, PQCSR)) {
    return IommuFault.Stuck;
  }
  const wired = ((capabilities >> CAP_IGS_SHIFT) & 3) == IGS_WIRED;
  writeRegister32(registers, FCTL, wired ? FCTL_WIRED : 0);
  if ((readRegister32(registers, FCTL) & (FCTL_BIG_ENDIAN | FCTL_GXL)) != 0) return IommuFault.Endianness;

  writeRegister64(registers, CQB, ppnField(iommu.commands) | (COMMANDS_LOG2 - 1));
  writeRegister32(registers, CQT, 0);
  if (!startQueue(registers, CQCSR, 0)) return IommuFault.Stuck;
  writeRegister64(registers, FQB, ppnField(iommu.faults) | (FAULTS_LOG2 - 1));
  writeRegister32(registers, FQH, 0);
  if (!wired && file != 0) setMessages(registers, file, message);
  if (!startQueue(registers, FQCSR, QUEUE_INTERRUPT | FAULT_ERRORS)) return IommuFault.Stuck;

  // With fewer levels than wanted, devices with small ids are served all the same.
  const wanted = levelsFor(iommu.extended, lastId);
  let fault: u32 = IommuFault.Directory;
  for (let levels = wanted; levels <= MAX_LEVELS && fault == IommuFault.Directory; levels++) {
    fault = useDirectory(iommu, levels);
  }
  for (let levels = wanted - 1; levels != 0 && fault == IommuFault.Directory; levels--) {
    fault = useDirectory(iommu, levels);
  }
  return fault;
}

/** Turns translation on with a directory of that many levels. IommuFault.Directory if the IOMMU does not have them. */
function useDirectory(iommu: Iommu, levels: u32): u32 {
  const registers = iommu.registers;
  const mode = DDTP_ONE_LEVEL + <u64>(levels - 1);
  writeRegister64(registers, DDTP, ppnField(iommu.directory) | mode);
  if (!waitForDirectory(registers)) return IommuFault.Stuck;
  if ((readRegister64(registers, DDTP) & DDTP_MODE_MASK) != mode) return IommuFault.Directory;
  iommu.levels = levels;
  iommu.state = IommuState.Working;
  return IommuFault.None;
}

/** All interrupts go to one file. */
function setMessages(registers: u64, file: u64, message: u32): void {
  writeRegister64(registers, ICVEC, 0);
  for (let vector: u64 = 0; vector < VECTORS; vector++) {
    const entry = MSI_TABLE + (vector << 4);
    writeRegister64(registers, entry, file);
    writeRegister32(registers, entry + 8, message);
    writeRegister32(registers, entry + 12, 0);
  }
}

function stopQueue(registers: u64, csr: u64): bool {
  writeRegister32(registers, csr, 0);
  return waitFor32(registers, csr, QUEUE_ON | QUEUE_BUSY, 0);
}

function startQueue(registers: u64, csr: u64, more: u32): bool {
  writeRegister32(registers, csr, QUEUE_ENABLE | more);
  return waitFor32(registers, csr, QUEUE_ON | QUEUE_BUSY, QUEUE_ON);
}

/** Bits of a device id below those of directory level `level` + 1, which is at least 1. The levels take, from the last one up: 7, 9, 8, or 6, 9, 9. */
export function levelShift(extended: u32, level: u32): u32 {
  const first: u32 = extended != 0 ? 6 : 7;
  return first + 9 * (level - 1);
}

function levelsFor(extended: u32, lastId: u32): u32 {
  let levels: u32 = 1;
  while (levels < MAX_LEVELS && lastId >> levelShift(extended, levels) != 0) levels++;
  return levels;
}
