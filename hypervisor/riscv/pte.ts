/**
 * Page-table entries (Privileged 12.3-12.6; G-stage 21.5.1).
 *
 *     63  62 61  60   54 53                10 9  8 7 6 5 4 3 2 1 0
 *    +---+------+-------+--------------------+----+-+-+-+-+-+-+-+-+
 *    | N | PBMT | rsvd  |        PFN         |RSW |D|A|G|U|X|W|R|V|
 *    +---+------+-------+--------------------+----+-+-+-+-+-+-+-+-+
 *
 * An invalid entry (V = 0) is ours to use:
 *
 *     63        54 53                10 9         2  1  0
 *    +------------+--------------------+-----------+--+--+
 *    | stamp high |        PFN         | stamp low | 1| 0|   parked: the page belongs here but is not reachable
 *    +------------+--------------------+-----------+--+--+
 *    |                        0                    | 0| 0|   unused
 *    +---------------------------------------------+--+--+
 *
 * The 18-bit stamp is the VM's translation version (memory/fence.ts) when the entry was parked; only blocked pages of
 * a TVM use it. A converted page of a host keeps its stamp, in full, in its page record.
 */
export const PTE_V: u64 = 1 << 0;
export const PTE_R: u64 = 1 << 1;
export const PTE_W: u64 = 1 << 2;
export const PTE_X: u64 = 1 << 3;
export const PTE_U: u64 = 1 << 4;
export const PTE_G: u64 = 1 << 5;
export const PTE_A: u64 = 1 << 6;
export const PTE_D: u64 = 1 << 7;
export const PTE_RWX: u64 = 0x0e;
export const PTE_PFN_SHIFT: u64 = 10;
export const PTE_PFN_MASK: u64 = ((1 << 44) - 1) << 10;

/** Every G-stage leaf: RWX for the guest, A and D set so that no hart needs to write it. */
export const GSTAGE_LEAF: u64 = 0xdf;

/** Parked: V = 0 and this bit. */
export const PTE_PARKED: u64 = 1 << 1;
const STAMP_LOW_SHIFT: u64 = 2;
const STAMP_LOW_BITS: u64 = 8;
const STAMP_HIGH_SHIFT: u64 = 54;
const STAMP_MASK: u64 = (1 << 18) - 1;

export const PAGE_SHIFT: u64 = 12;
export const PAGE_SIZE: u64 = 4096;
export const PAGES_PER_TABLE: u64 = 512;

/** hpa that a leaf, parked or table entry holds. */
// @ts-ignore: decorator
@inline
export function pteAddress(entry: u64): u64 {
  return (entry & PTE_PFN_MASK) << 2;
}

/** Entry bits of an hpa. */
// @ts-ignore: decorator
@inline
export function pteFromAddress(hpa: u64): u64 {
  return hpa >> 2;
}

/** True for a valid entry that points at a table. */
// @ts-ignore: decorator
@inline
export function isTable(entry: u64): bool {
  return (entry & (PTE_V | PTE_RWX)) == PTE_V;
}

/** True for a valid leaf. */
// @ts-ignore: decorator
@inline
export function isLeaf(entry: u64): bool {
  return (entry & PTE_V) != 0 && (entry & PTE_RWX) != 0;
}

/** True for an entry whose page is kept but unreachable. */
// @ts-ignore: decorator
@inline
export function isParked(entry: u64): bool {
  return (entry & (PTE_V | PTE_PARKED)) == PTE_PARKED;
}

/** The parked form of a leaf at `hpa`, stamped with `version`. */
// @ts-ignore: decorator
@inline
export function parkedEntry(hpa: u64, version: u64): u64 {
  const stamp = version & STAMP_MASK;
  return (
    pteFromAddress(hpa) |
    PTE_PARKED |
    ((stamp & ((1 << STAMP_LOW_BITS) - 1)) << STAMP_LOW_SHIFT) |
    ((stamp >> STAMP_LOW_BITS) << STAMP_HIGH_SHIFT)
  );
}

/**
 * True if every hart has dropped translations older than the parking of `entry`. `minVersion` is the oldest version
 * entered on any hart. The stamp is kept modulo 2^18: a distance that looks like 0 or -1 counts as not yet fenced, which
 * after a wrap costs one more fence and never frees a page early.
 */
// @ts-ignore: decorator
@inline
export function parkedLongEnough(entry: u64, minVersion: u64): bool {
  const stamp =
    ((entry >> STAMP_LOW_SHIFT) & ((1 << STAMP_LOW_BITS) - 1)) | ((entry >> STAMP_HIGH_SHIFT) << STAMP_LOW_BITS);
  const distance = (minVersion - stamp) & STAMP_MASK;
  return distance != 0 && distance != STAMP_MASK;
}
