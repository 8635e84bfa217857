import { beginLine, endLine, putHex, putText } from "../console";
import { lockAcquire, lockRelease } from "../../lib/spinlock";
import { Root } from "../../root";
import { loadAcquire64, storeRelease64, write64 } from "../../riscv/hw";
import { Iommu, IommuState, iommuOf, turnOff } from "./iommu";
import {
  COMMANDS,
  COMMAND_ERRORS,
  COMMAND_SHIFT,
  CQCSR,
  CQH,
  CQT,
  IODIR_INVAL_ALL,
  IOFENCE_ALL,
  IOTINVAL_GSCID_SHIFT,
  IOTINVAL_GV,
  IOTINVAL_GVMA,
  readRegister32,
  writeRegister32,
} from "./registers";

/**
 * Invalidation of what IOMMUs remember of the host's G-stage.
 *
 * An IOMMU takes part in the fence protocol (memory/fence.ts) like a hart that runs the host: it announces the translation version before which it
 * has forgotten everything. The announcement follows the completion of IOTINVAL.GVMA and IOFENCE.C; a page that was taken from the host
 * is not given away before.
 */

/** GSCID of the host's G-stage. */
export const HOST_GSCID: u64 = 0;

/** Polls of cqh before the hart goes on and somebody looks again later. */
const PATIENCE: u32 = 20_000;
/** Looks at an unfinished command, each with `PATIENCE`, after which the IOMMU is turned off. */
const MAX_LOOKS: u32 = 1_000;

/** Announced by an IOMMU that is off: it never holds a fence back. */
const NEVER: u64 = ~(<u64>0);

/** The oldest translation version of the host that an IOMMU may still remember something of; all ones without IOMMUs. */
export function oldestDeviceVersion(root: Root): u64 {
  let oldest = NEVER;
  for (let i: u32 = 0; i < root.iommuCount; i++) {
    const flushed = loadAcquire64(iommuOf(root, i).flushedVersionAddress());
    if (flushed < oldest) oldest = flushed;
  }
  return oldest;
}

/**
 * All IOMMUs forget what they know of the host's G-stage, which has had translation version `version` since before the call. Normally done on return; one
 * that is slow is looked after by later calls.
 */
export function invalidateDevices(root: Root, version: u64): void {
  for (let i: u32 = 0; i < root.iommuCount; i++) {
    const iommu = iommuOf(root, i);
    lockAcquire(iommu.lockAddress());
    if (iommu.state == IommuState.Working && complete(iommu)) {
      iommu.pendingVersion = version;
      submit(iommu, IOTINVAL_GVMA | IOTINVAL_GV | (HOST_GSCID << IOTINVAL_GSCID_SHIFT));
      complete(iommu);
    }
    lockRelease(iommu.lockAddress());
  }
}

/** The directory has changed: what the IOMMU knows of it and of everything else goes. Boot; false if it does not answer. */
export function invalidateDirectory(iommu: Iommu, version: u64): bool {
  iommu.pendingVersion = version;
  submit(iommu, IODIR_INVAL_ALL);
  if (!complete(iommu)) return false;
  iommu.pendingVersion = version;
  submit(iommu, IOTINVAL_GVMA);
  return complete(iommu);
}

/** Puts `command` and a fence into the queue, which is empty. */
function submit(iommu: Iommu, command: u64): void {
  push(iommu, command);
  push(iommu, IOFENCE_ALL);
  iommu.looks = 0;
  writeRegister32(iommu.registers, CQT, iommu.tail);
}

function push(iommu: Iommu, command: u64): void {
  const at = iommu.commands + ((<u64>iommu.tail) << COMMAND_SHIFT);
  write64(at, command);
  write64(at + 8, 0);
  iommu.tail = (iommu.tail + 1) & (COMMANDS - 1);
}

/** Whether the commands are done (then their version is announced), after a short wait. An IOMMU that refuses them or never does them is turned off. */
function complete(iommu: Iommu): bool {
  if (iommu.pendingVersion == 0) return true;
  const registers = iommu.registers;
  for (let polls: u32 = 0; polls < PATIENCE; polls++) {
    if (readRegister32(registers, CQH) == iommu.tail) {
      announce(iommu, iommu.pendingVersion);
      return true;
    }
    if ((readRegister32(registers, CQCSR) & COMMAND_ERRORS) != 0) break;
  }
  iommu.looks++;
  if ((readRegister32(registers, CQCSR) & COMMAND_ERRORS) == 0 && iommu.looks < MAX_LOOKS) return false;
  turnOff(iommu);
  logEnd(iommu);
  if (iommu.state == IommuState.Off) announce(iommu, NEVER);
  return false;
}

function logEnd(iommu: Iommu): void {
  beginLine();
  putText("salus: IOMMU at ");
  putHex(iommu.registers);
  putText(" does not do what it is told; ");
  if (iommu.state == IommuState.Off) putText("it is turned off, its devices have no DMA any more");
  else putText("it cannot be turned off, the host's pages stay where they are");
  endLine();
}

function announce(iommu: Iommu, version: u64): void {
  iommu.pendingVersion = 0;
  storeRelease64(iommu.flushedVersionAddress(), version);
}
