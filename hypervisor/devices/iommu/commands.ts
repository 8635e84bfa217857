import { beginLine, endLine, putHex, putText } from "../console";
import { lockAcquire, lockRelease } from "../../lib/spinlock";
import { Root } from "../../root";
import { loadAcquire64, read64, storeRelease64, write64 } from "../../riscv/hw";
import { Iommu, IommuState, beginTurnOff, directoryBusy, iommuOf, isOff } from "./iommu";
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
 *
 *     askDevices --> commands under way --look--> done: the version is announced
 *                                          |
 *                                          +--refused, or never done--> Stopping --look--> Off: nothing passes, and nothing is held back
 *                                                                                     +--> Lost: what was not announced never is
 *
 * Nobody waits here: a look is short, and whoever needs the result looks again, between looks at its own interrupts.
 */

/** GSCID of the host's G-stage. */
export const HOST_GSCID: u64 = 0;

/** Polls of a register in one look: the longest that a look holds the queues, and a hart, up. */
const POLLS: u32 = 128;
/** Looks that a caller takes, when nothing else is to be done, before it goes on with the commands under way. */
export const PATIENCE: u32 = 160;
/** Looks at an unfinished command after which the IOMMU is turned off; and at one that is being turned off, after which it is Lost. */
const MAX_LOOKS: u32 = 100 * PATIENCE;

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
 * All IOMMUs are to forget what they know of the host's G-stage, which has had translation version `version` since before the call. `lookAtDevices` says when
 * they have.
 */
export function askDevices(root: Root, version: u64): void {
  for (let i: u32 = 0; i < root.iommuCount; i++) {
    const iommu = iommuOf(root, i);
    lockAcquire(iommu.lockAddress());
    ask(iommu, version);
    lockRelease(iommu.lockAddress());
  }
}

/** The same for those IOMMUs that nobody has asked for this version yet. */
export function askOldDevices(root: Root, version: u64): void {
  for (let i: u32 = 0; i < root.iommuCount; i++) {
    const iommu = iommuOf(root, i);
    lockAcquire(iommu.lockAddress());
    const asked = max(iommu.flushedVersion, max(iommu.pendingVersion, iommu.wantedVersion));
    if (asked < version) ask(iommu, version);
    lockRelease(iommu.lockAddress());
  }
}

function ask(iommu: Iommu, version: u64): void {
  if (iommu.state != IommuState.Working) return;
  // What is under way may have passed the entries in question already.
  if (iommu.pendingVersion != 0) iommu.wantedVersion = version;
  else invalidate(iommu, version);
}

/** One short look at each IOMMU. Whether there is nothing to wait for: what was asked is done, or the IOMMU is out of use. */
export function lookAtDevices(root: Root): bool {
  let done = true;
  for (let i: u32 = 0; i < root.iommuCount; i++) {
    const iommu = iommuOf(root, i);
    lockAcquire(iommu.lockAddress());
    if (!look(iommu)) done = false;
    lockRelease(iommu.lockAddress());
  }
  return done;
}

/** Whether no IOMMU has anything left to do that it was asked for. No lock: the answer may be old. */
export function devicesIdle(root: Root): bool {
  for (let i: u32 = 0; i < root.iommuCount; i++) {
    const iommu = iommuOf(root, i);
    if ((read64(iommu.pendingVersionAddress()) | read64(iommu.wantedVersionAddress())) != 0) return false;
  }
  return true;
}

/** The directory has changed: what the IOMMU knows of it and of everything else goes. Boot; false if it does not answer. */
export function invalidateDirectory(iommu: Iommu, version: u64): bool {
  iommu.pendingVersion = version;
  submit(iommu, IODIR_INVAL_ALL);
  if (!isCompleted(iommu)) return false;
  iommu.pendingVersion = version;
  submit(iommu, IOTINVAL_GVMA);
  return isCompleted(iommu);
}

function isCompleted(iommu: Iommu): bool {
  for (let looks: u32 = 0; looks < PATIENCE && iommu.state == IommuState.Working; looks++) {
    if (complete(iommu)) return true;
  }
  return false;
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

function invalidate(iommu: Iommu, version: u64): void {
  iommu.pendingVersion = version;
  iommu.wantedVersion = 0;
  submit(iommu, IOTINVAL_GVMA | IOTINVAL_GV | (HOST_GSCID << IOTINVAL_GSCID_SHIFT));
}

/** Whether there is nothing to wait for. Caller holds the lock (boot: nobody else runs). */
function look(iommu: Iommu): bool {
  if (iommu.state == IommuState.Stopping) return lookAtEnd(iommu);
  if (iommu.state != IommuState.Working) return true;
  if (!complete(iommu)) return false;
  if (iommu.wantedVersion == 0) return true;
  invalidate(iommu, iommu.wantedVersion);
  return complete(iommu);
}

/** Whether the commands are done: then their version is announced. An IOMMU that refuses them or never does them begins to be turned off. */
function complete(iommu: Iommu): bool {
  if (iommu.pendingVersion == 0) return true;
  const registers = iommu.registers;
  for (let polls: u32 = 0; polls < POLLS; polls++) {
    if (readRegister32(registers, CQH) == iommu.tail) {
      announce(iommu, iommu.pendingVersion);
      return true;
    }
    if ((readRegister32(registers, CQCSR) & COMMAND_ERRORS) != 0) {
      stop(iommu);
      return false;
    }
  }
  iommu.looks++;
  if (iommu.looks == MAX_LOOKS) stop(iommu);
  return false;
}

function stop(iommu: Iommu): void {
  iommu.looks = 0;
  beginTurnOff(iommu);
}

/** Whether the IOMMU, which was told to turn itself off, has done so or never will. Until it has, nothing that it may remember is announced as forgotten. */
function lookAtEnd(iommu: Iommu): bool {
  let polls: u32 = 0;
  while (polls < POLLS && directoryBusy(iommu)) polls++;
  const busy = polls == POLLS;
  iommu.looks++;
  if (busy && iommu.looks != MAX_LOOKS) return false;
  const off = !busy && isOff(iommu);
  iommu.state = off ? IommuState.Off : IommuState.Lost;
  logEnd(iommu);
  if (off) announce(iommu, NEVER);
  return true;
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
