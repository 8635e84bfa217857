import { Hart } from "../hart";
import { Root } from "../root";
import { IRQ_SEI, SIE, SIREG, SISELECT, STOPEI } from "../riscv/csr";
import { csrSet, csrSwap, csrWrite, mmioWrite32 } from "../riscv/hw";
import { clearFile } from "./imsic-file";

/**
 * Interrupt files of the IMSIC (AIA, chapter 3). Each hart has one of supervisor level, which is ours and serves for interrupts between
 * harts, and guest files. Guest file 1 of each hart is the host's: it appears to the host as its own supervisor file. Guest file k + 1 appears
 * to the host as its guest file k, which it can give to vCPUs of TVMs (sbi/covi.ts).
 */
@unmanaged
export class ImsicGeometry {
  /** Highest interrupt identity of a supervisor file and of a guest file; one less than a multiple of 64. */
  identities: u32;
  guestIdentities: u32;
  /** A hart's files are 2^guestIndexBits pages: its own, then its guest files. */
  guestIndexBits: u32;
  reserved0: u32;
}

/** Guest files that a hart can have: hgeie has a bit for each, the highest being the last of its 64. */
export const MAX_GUEST_FILES: u64 = 63;

/** Identity of the interrupt that one hart sends another. */
const IPI_IDENTITY: u64 = 1;
/** Identity of the interrupts of devices that we drive (IOMMUs). */
export const DEVICE_IDENTITY: u64 = 2;
/** Offset of seteipnum_le in a file's page: the identity written there becomes pending. */
export const SETEIPNUM: u64 = 0;
/** stopei: the identity is in bits 26:16. */
const TOPEI_IDENTITY_SHIFT: u64 = 16;

// Registers behind siselect and vsiselect. On RV64 only the even ones of eip and eie exist.
export const EIDELIVERY: u64 = 0x70;
export const EITHRESHOLD: u64 = 0x72;
export const EIP0: u64 = 0x80;
export const EIE0: u64 = 0xc0;

const HOST_GUEST_FILE: u64 = 1;

/** Claims of one call: a hart's file has two identities enabled, so more than two or three are a broken machine. */
const MAX_CLAIMS: u32 = 64;

/**
 * Fills the record at `record` and makes it the machine's: with that many guest files of each hart in its memory map, of which those that
 * hgeie has are used. Boot, before `setupHartInterrupts`; harts have their imsicPage.
 */
export function initImsic(
  root: Root,
  record: usize,
  identities: u32,
  guestIdentities: u32,
  guestIndexBits: u32,
  mappedFiles: u64,
): void {
  const geometry = changetype<ImsicGeometry>(record);
  geometry.identities = identities;
  geometry.guestIdentities = guestIdentities;
  geometry.guestIndexBits = guestIndexBits;
  root.imsic = record;
  // hgeie has bits 1 to GEILEN; a file without a page in the memory map cannot be given to anybody.
  const files = min(popcnt<u64>(root.guestFileMask >> 1), min(mappedFiles, MAX_GUEST_FILES));
  root.guestFileMask = (((<u64>1) << files) - 1) << 1;
}

/** Number of the guest file (VGEIN) that the host has on each hart, 0 if the machine has none. */
export function hostGuestFile(root: Root): u64 {
  return hostGuestFileMask(root) != 0 ? HOST_GUEST_FILE : 0;
}

/** Bits of hgeie for the host's guest file, 0 if it has none. */
// @ts-ignore: decorator
@inline
export function hostGuestFileMask(root: Root): u64 {
  return root.guestFileMask & (1 << HOST_GUEST_FILE);
}

/** The host's guest files by its own numbers, as bits of its hgeie. */
// @ts-ignore: decorator
@inline
export function filesForTvms(root: Root): u64 {
  return (root.guestFileMask >> HOST_GUEST_FILE) & ~(<u64>1);
}

/** hgeie and hgeip of the machine have the host's file k at k + HOST_FILE_SHIFT. */
export const HOST_FILE_SHIFT: u64 = HOST_GUEST_FILE;

/** Highest interrupt identity of a guest file; 0 without an IMSIC. */
export function guestIdentities(root: Root): u64 {
  return root.imsic != 0 ? <u64>changetype<ImsicGeometry>(root.imsic).guestIdentities : 0;
}

/**
 * Prepares the files of the hart that runs this: ours delivers nothing but interrupts from other harts and devices of ours; the host's is empty and off.
 */
export function setupHartImsic(hart: Hart): void {
  const root = hart.root;
  const geometry = changetype<ImsicGeometry>(root.imsic);
  writeOwn(EIDELIVERY, 0);
  for (let i: u64 = 0; i <= <u64>geometry.identities; i += 64) {
    writeOwn(EIE0 + (i >> 5), 0);
    writeOwn(EIP0 + (i >> 5), 0);
  }
  writeOwn(EIE0, (1 << IPI_IDENTITY) | (1 << DEVICE_IDENTITY));
  writeOwn(EITHRESHOLD, 0);
  writeOwn(EIDELIVERY, 1);
  const files = root.guestFileMask;
  for (let file: u64 = 1; file <= MAX_GUEST_FILES && files >> file != 0; file++) clearFile(root, file);
  csrSet(SIE, (<u64>1) << IRQ_SEI);
}

/** Interrupts `hart`. What was written before is visible to it when it takes the interrupt. */
export function sendIpi(hart: Hart): void {
  mmioWrite32(hart.imsicPage + SETEIPNUM, <u32>IPI_IDENTITY);
}

/** Claims everything that is pending in this hart's own file; returns how many were neither from other harts nor from devices of ours. */
export function claimAll(): u64 {
  let strays: u64 = 0;
  for (let claims: u32 = 0; claims < MAX_CLAIMS; claims++) {
    const top = csrSwap(STOPEI, 0);
    if (top == 0) break;
    const identity = top >> TOPEI_IDENTITY_SHIFT;
    if (identity != IPI_IDENTITY && identity != DEVICE_IDENTITY) strays++;
  }
  return strays;
}

function writeOwn(register: u64, value: u64): void {
  csrWrite(SISELECT, register);
  csrWrite(SIREG, value);
}
