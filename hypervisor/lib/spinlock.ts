import { pause, read32, storeRelease32, swap32 } from "../riscv/hw";

/**
 * Spin lock: one u32 in memory of our own, 0 = free, 1 = held.
 *
 * The hypervisor runs with interrupts off and its sections are short (design rule), so a waiting hart never waits for
 * a hart that cannot go on. Taking a lock twice on one hart hangs: locks do not nest unless docs/architecture.md orders them.
 */
const FREE: u32 = 0;
const HELD: u32 = 1;

/** Waits until the lock at `address` (4-byte aligned) is ours. Everything after it is ordered after it. */
export function lockAcquire(address: usize): void {
  while (swap32(<u64>address, HELD) != FREE) {
    // Spin on a plain read: the cache line stays shared until the holder lets go.
    do {
      pause();
    } while (read32(<u64>address) != FREE);
  }
}

/** Takes the lock if it is free now; returns whether it did. */
export function lockTryAcquire(address: usize): bool {
  return swap32(<u64>address, HELD) == FREE;
}

/** Gives the lock back; everything before it is visible to whoever takes it next. */
export function lockRelease(address: usize): void {
  storeRelease32(<u64>address, FREE);
}

/** Frees a lock whoever holds it: only for a panic, when the holder may never run again. */
export function bustLock(address: usize): void {
  storeRelease32(<u64>address, FREE);
}
