import { Vm } from "./vm";

/**
 * Sets of harts of a VM as SBI calls name them (SBI 3.0, 3.1): bit i of `mask` is hart `base` + i, and `base` = -1 means every hart,
 * whatever the mask.
 */

const ALL_HARTS: u64 = ~0;
const MASK_BITS: u64 = 64;

/** No further hart. */
export const NO_TARGET: u64 = ~0;

/** Whether every hart of the set exists in `vm`: else the call is SBI_INVALID_PARAM. */
export function maskIsValid(vm: Vm, mask: u64, base: u64): bool {
  if (base == ALL_HARTS) return true;
  for (let bit: u64 = 0; bit < MASK_BITS && mask >> bit != 0; bit++) {
    if (((mask >> bit) & 1) == 0) continue;
    const id = base + bit;
    if (id < base || vm.vcpu(id) == null) return false;
  }
  return true;
}

/** The first hart of the set, from `from` on, that exists in `vm`; NO_TARGET after the last. */
export function nextTarget(vm: Vm, mask: u64, base: u64, from: u64): u64 {
  const limit = <u64>vm.maxVcpus;
  if (base == ALL_HARTS) {
    for (let id = from; id < limit; id++) if (vm.vcpu(id) != null) return id;
    return NO_TARGET;
  }
  // Harts that the mask cannot name are not looked at: a call on one hart of many costs as much as on one of two.
  for (let id = max<u64>(from, base); id < limit && id - base < MASK_BITS && mask >> (id - base) != 0; id++) {
    if (((mask >> (id - base)) & 1) != 0 && vm.vcpu(id) != null) return id;
  }
  return NO_TARGET;
}
