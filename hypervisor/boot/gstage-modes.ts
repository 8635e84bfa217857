import { ATP_MODE_39, ATP_MODE_SHIFT, HGATP, HGATP_VMID_MASK, HGATP_VMID_SHIFT } from "../riscv/csr";
import { csrRead, csrWrite, hfenceGvmaAll } from "../riscv/hw";

/**
 * What this hart's hgatp can do, found by writing it and reading it back (Privileged 21.2.10). No VM is entered yet, so
 * nothing uses what is written.
 */

const MIN_LEVELS: u32 = 3;
const MAX_LEVELS: u32 = 5;
const SV48X4_LEVELS: u32 = 4;

/** Least number of G-stage levels (3: Sv39x4, 4: Sv48x4, 5: Sv57x4) that reaches all addresses below `end` and that the hart has; 0 if none. */
export function gstageLevels(end: u64): u32 {
  for (let levels = MIN_LEVELS; levels <= MAX_LEVELS; levels++) {
    if (end <= gstageReach(levels) && hasLevels(levels)) return levels;
  }
  return 0;
}

/** First gpa beyond the reach of that many levels. */
export function gstageReach(levels: u32): u64 {
  // Two bits more than the first-stage mode of the same depth.
  const bits = <u64>(12 + 9 * levels + 2);
  return (<u64>1) << bits;
}

/** Most levels that the hart has; 0 if G-stage translation is missing. */
export function mostGstageLevels(): u32 {
  let levels = MAX_LEVELS;
  while (levels >= MIN_LEVELS && !hasLevels(levels)) levels--;
  return levels >= MIN_LEVELS ? levels : 0;
}

/**
 * Levels of a TVM's address space: Sv48x4 where the harts have it, so that hosts may place guests as high as the original lets them;
 * never less than the host's own (`hostLevels`).
 */
export function tvmGstageLevels(hostLevels: u32): u32 {
  return hostLevels < SV48X4_LEVELS && hasLevels(SV48X4_LEVELS) ? SV48X4_LEVELS : hostLevels;
}

/** Width of the VMID field. */
export function vmidBits(levels: u32): u64 {
  const mode = gstageMode(levels);
  csrWrite(HGATP, mode | (HGATP_VMID_MASK << HGATP_VMID_SHIFT));
  const kept = (csrRead(HGATP) >> HGATP_VMID_SHIFT) & HGATP_VMID_MASK;
  csrWrite(HGATP, 0);
  hfenceGvmaAll();
  return 64 - clz<u64>(kept);
}

/** MODE field of hgatp for a number of levels, in place. */
// @ts-ignore: decorator
@inline
export function gstageMode(levels: u32): u64 {
  return (ATP_MODE_39 + <u64>(levels - MIN_LEVELS)) << ATP_MODE_SHIFT;
}

function hasLevels(levels: u32): bool {
  const wanted = gstageMode(levels);
  csrWrite(HGATP, wanted);
  const found = csrRead(HGATP);
  csrWrite(HGATP, 0);
  return found >> ATP_MODE_SHIFT == wanted >> ATP_MODE_SHIFT;
}
