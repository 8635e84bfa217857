import type { NamedFault } from "../../../tools/mutants/fault.ts";
import { ATTESTATION_FAULTS } from "./attestation.ts";
import { BLOCKING_FAULTS } from "./blocking.ts";
import { CRYPTO_FAULTS } from "./crypto.ts";
import { DEVICE_FAULTS } from "./devices.ts";
import { FENCE_FAULTS } from "./fences.ts";
import { INTERRUPT_FAULTS } from "./interrupts.ts";
import { LIFECYCLE_FAULTS } from "./lifecycle.ts";
import { PAGE_FAULTS } from "./pages.ts";
import { VCPU_FAULTS } from "./vcpus.ts";

/** Faults that somebody thought of: each must be caught. */
export const NAMED_FAULTS: NamedFault[] = [
  ...FENCE_FAULTS,
  ...PAGE_FAULTS,
  ...BLOCKING_FAULTS,
  ...VCPU_FAULTS,
  ...LIFECYCLE_FAULTS,
  ...INTERRUPT_FAULTS,
  ...DEVICE_FAULTS,
  ...CRYPTO_FAULTS,
  ...ATTESTATION_FAULTS,
];
