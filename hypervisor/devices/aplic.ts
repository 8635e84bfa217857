import { Hart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { mmioRead32, mmioWrite32 } from "../riscv/hw";
import { Root } from "../root";
import { filePage } from "./imsic-file";
import { SETEIPNUM, guestIdentities, hostGuestFile } from "./imsic";

/**
 * The APLIC of supervisor level (AIA, chapter 4) in MSI mode, which turns wired interrupts into writes to interrupt files. We have no use for wired
 * interrupts, so all of its sources are the host's. But whoever programs a target names an interrupt file, and those of supervisor level are ours
 * and those behind the first guest file may be a TVM's: so each access of the host comes here, and a target is always the host's own file of one of its harts.
 *
 *     host:    target = hart index << 18 |     0 << 12 | identity        "the supervisor-level file of that hart"
 *     machine: target = hart index << 18 | file << 12 | identity        the host's guest file
 */

// Offsets of registers, all of 32 bits. Bit maps and numbers have a gap behind them.
const DOMAINCFG: u64 = 0x0000;
const SOURCECFG: u64 = 0x0000; // + 4 * source
const SOURCECFG_END: u64 = 0x1000;
/** setip, setipnum, in_clrip, clripnum, setie, setienum, clrie, clrienum, setipnum_le, setipnum_be. */
const PENDING_AND_ENABLED: u64 = 0x1c00;
const PENDING_AND_ENABLED_END: u64 = 0x2008;
const GENMSI: u64 = 0x3000;
const TARGET: u64 = 0x3000; // + 4 * source
const TARGET_END: u64 = 0x4000;

/** Bytes of registers in MSI mode; what may follow belongs to the other one. */
export const APLIC_SIZE: u64 = 0x4000;
/** Sources are numbered from 1. */
export const MAX_SOURCES: u32 = 1023;

/** domaincfg: interrupts are delivered; MSI mode. */
const DOMAIN_ENABLED: u32 = 1 << 8;
const DOMAIN_MSI_MODE: u32 = 1 << 2;
/** sourcecfg: mode of the input; 0 = inactive. Delegation to another domain is above it. */
const SOURCE_MODE: u32 = 7;
// target and genmsi
const TARGET_HART_SHIFT: u32 = 18;
const TARGET_GUEST_SHIFT: u32 = 12;
const TARGET_GUEST_MASK: u32 = 63;
const TARGET_IDENTITY_MASK: u32 = 0x7ff;

@unmanaged
export class Aplic {
  /** hpa of the registers, page aligned; also the host's address. */
  base: u64;
  sources: u32;
  /** Spin lock: a source has a target of the host's before another hart can enable it. */
  lock: u32;
  /** Where a hart's number is in the address of its interrupt file: the geometry of the IMSIC. */
  hartShift: u32;
  hartBits: u32;
  groupShift: u32;
  groupBits: u32;

  lockAddress(): usize {
    return changetype<usize>(this) + offsetof<Aplic>("lock");
  }

  /** The number by which a target names the hart with its interrupt file at `page`. */
  hartNumber(page: u64): u32 {
    const hart = (page >> (<u64>this.hartShift)) & (((<u64>1) << (<u64>this.hartBits)) - 1);
    const group = (page >> (<u64>this.groupShift)) & (((<u64>1) << (<u64>this.groupBits)) - 1);
    return <u32>((group << (<u64>this.hartBits)) | hart);
  }
}

/**
 * Takes the APLIC of `record`, which is filled but for the lock, for the host: nothing is enabled or pending, MSI mode is on. Returns false, and
 * nobody gets it, if it has no MSI mode or the host no interrupt files. After initImsic, with our map in use.
 */
export function initAplic(root: Root, record: Aplic): bool {
  const base = record.base;
  if (base == 0 || hostGuestFile(root) == 0) return false;
  mmioWrite32(base + DOMAINCFG, DOMAIN_MSI_MODE);
  if ((mmioRead32(base + DOMAINCFG) & DOMAIN_MSI_MODE) == 0) return false;
  // An inactive source is neither enabled nor pending.
  for (let source: u64 = 1; source <= <u64>record.sources; source++) mmioWrite32(base + SOURCECFG + (source << 2), 0);
  root.aplic = changetype<usize>(record);
  return true;
}

/** A load of the host of the register at `offset`, a multiple of 4. What does not exist reads as 0. */
export function readAplic(root: Root, offset: u64): u32 {
  const aplic = changetype<Aplic>(root.aplic);
  if (offset == DOMAINCFG || isPendingOrEnabled(offset) || isSource(aplic, offset, SOURCECFG, SOURCECFG_END)) {
    return mmioRead32(aplic.base + offset);
  }
  if (!isSource(aplic, offset, TARGET, TARGET_END)) return 0;
  return mmioRead32(aplic.base + offset) & ~(TARGET_GUEST_MASK << TARGET_GUEST_SHIFT);
}

/** A store of the host to the register at `offset`, a multiple of 4. What it may not change stays as it is. */
export function writeAplic(root: Root, offset: u64, value: u32): void {
  const aplic = changetype<Aplic>(root.aplic);
  const register = aplic.base + offset;
  lockAcquire(aplic.lockAddress());
  if (isPendingOrEnabled(offset)) mmioWrite32(register, value);
  else if (offset == DOMAINCFG) mmioWrite32(register, (value & DOMAIN_ENABLED) | DOMAIN_MSI_MODE);
  else if (offset == GENMSI) sendMsi(root, aplic, value);
  else if (isSource(aplic, offset, SOURCECFG, SOURCECFG_END)) setMode(root, aplic, offset, value & SOURCE_MODE);
  else if (isSource(aplic, offset, TARGET, TARGET_END)) setTarget(root, aplic, register, value);
  lockRelease(aplic.lockAddress());
}

function isPendingOrEnabled(offset: u64): bool {
  return offset >= PENDING_AND_ENABLED && offset < PENDING_AND_ENABLED_END;
}

/** Whether `offset` belongs to a source in an array that begins with the place of source 0, which does not exist. */
function isSource(aplic: Aplic, offset: u64, start: u64, end: u64): bool {
  return offset > start && offset < end && <u32>((offset - start) >> 2) <= aplic.sources;
}

/**
 * A source that becomes active has any target at first, but is not enabled yet: here it gets one of the host's, with no identity. One that is the host's already
 * stays, because Linux programs the target once and the mode as often as it likes.
 */
function setMode(root: Root, aplic: Aplic, offset: u64, mode: u32): void {
  mmioWrite32(aplic.base + SOURCECFG + offset, mode);
  if (mode == 0) return;
  const register = aplic.base + TARGET + offset;
  const target = mmioRead32(register);
  const file = (target >> TARGET_GUEST_SHIFT) & TARGET_GUEST_MASK;
  if (<u64>file == hostGuestFile(root) && hartOf(root, aplic, target) != null) return;
  mmioWrite32(register, machineTarget(root, aplic.hartNumber(root.hart(0).imsicPage), 0));
}

/** A target that is not a supervisor-level file of one of the host's harts leaves the source with the one it has. */
function setTarget(root: Root, aplic: Aplic, register: u64, value: u32): void {
  const identity = value & TARGET_IDENTITY_MASK;
  if (((value >> TARGET_GUEST_SHIFT) & TARGET_GUEST_MASK) != 0 || <u64>identity > guestIdentities(root)) return;
  if (hartOf(root, aplic, value) == null) return;
  mmioWrite32(register, machineTarget(root, value >> TARGET_HART_SHIFT, identity));
}

/** genmsi: an interrupt to the supervisor-level file of a hart, which for the host is another file than for the APLIC. */
function sendMsi(root: Root, aplic: Aplic, value: u32): void {
  const identity = value & TARGET_IDENTITY_MASK;
  const hart = hartOf(root, aplic, value);
  if (hart == null || <u64>identity > guestIdentities(root)) return;
  mmioWrite32(filePage(hart, hostGuestFile(root)) + SETEIPNUM, identity);
}

/** The host's hart that a target or genmsi names, or null. */
function hartOf(root: Root, aplic: Aplic, value: u32): Hart | null {
  const number = value >> TARGET_HART_SHIFT;
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const hart = root.hart(i);
    if (aplic.hartNumber(hart.imsicPage) == number) return hart;
  }
  return null;
}

function machineTarget(root: Root, hartNumber: u32, identity: u32): u32 {
  return (hartNumber << TARGET_HART_SHIFT) | ((<u32>hostGuestFile(root)) << TARGET_GUEST_SHIFT) | identity;
}
