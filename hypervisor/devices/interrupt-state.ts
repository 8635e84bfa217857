import { and64, or64, read64, write64 } from "../riscv/hw";

/**
 * External interrupts of one vCPU that are not in hardware: the state of its interrupt file while no guest file is bound to it, and the
 * interrupts that the guest lets its host inject (COVG AllowExternalInterrupt; none at first).
 *
 *     0 pending   256 enabled   512 allowed      each 2048 bits, bit n = identity n
 *     768 delivery   776 threshold
 *
 * All of it changes under vm.lock; the allow list by the vCPU itself only, so that who has the vCPU (CpuRun) reads it without.
 */
@unmanaged
export class InterruptState {
  /** Word `index` of the pending bits: identities 64 * index and up. */
  pending(index: u64): u64 {
    return read64(this.at(PENDING, index));
  }

  setPending(index: u64, bits: u64): void {
    write64(this.at(PENDING, index), bits);
  }

  /** Makes interrupt `identity` pending. */
  raise(identity: u64): void {
    or64(this.at(PENDING, identity >> 6), (<u64>1) << (identity & 63));
  }

  enabled(index: u64): u64 {
    return read64(this.at(ENABLED, index));
  }

  setEnabled(index: u64, bits: u64): void {
    write64(this.at(ENABLED, index), bits);
  }

  get delivery(): u64 {
    return read64(this.at(DELIVERY, 0));
  }

  set delivery(value: u64) {
    write64(this.at(DELIVERY, 0), value);
  }

  get threshold(): u64 {
    return read64(this.at(THRESHOLD, 0));
  }

  set threshold(value: u64) {
    write64(this.at(THRESHOLD, 0), value);
  }

  /** Whether the guest lets its host inject `identity` (<= 2047). */
  allows(identity: u64): bool {
    return ((read64(this.at(ALLOWED, identity >> 6)) >> (identity & 63)) & 1) != 0;
  }

  allow(identity: u64): void {
    or64(this.at(ALLOWED, identity >> 6), (<u64>1) << (identity & 63));
  }

  deny(identity: u64): void {
    and64(this.at(ALLOWED, identity >> 6), ~((<u64>1) << (identity & 63)));
  }

  /** Allows or denies every identity. */
  setAllAllowed(allowed: bool): void {
    for (let index: u64 = 0; index < WORDS; index++) write64(this.at(ALLOWED, index), allowed ? ~(<u64>0) : 0);
  }

  private at(offset: u64, index: u64): u64 {
    return <u64>changetype<usize>(this) + offset + (index << 3);
  }
}

/** 2048 identities. */
const WORDS: u64 = 32;
const PENDING: u64 = 0;
const ENABLED: u64 = 256;
const ALLOWED: u64 = 512;
const DELIVERY: u64 = 768;
const THRESHOLD: u64 = 776;
export const INTERRUPT_STATE_BYTES: usize = 784;
