import { BootAllocator } from "../../../hypervisor/boot/boot-allocator";
import { HostLayout, hostLayoutBytes, planHostLayout } from "../../../hypervisor/boot/host-layout";
import { initIntervalList, intervalListBytes } from "../../../hypervisor/boot/interval-list";

/**
 * The memory plan of the host as a module of its own: tests/unit/boot/host-layout.test.ts writes lists into its memory and reads the
 * layout back.
 */

/** An empty interval list with room for `capacity` intervals. */
export function listCreate(address: usize, capacity: u64): u64 {
  initIntervalList(address, capacity);
  return intervalListBytes(capacity);
}

export function layoutBytes(ram: u64, kept: u64): u64 {
  return hostLayoutBytes(ram, kept);
}

/** Plans with the layout record at `address` and the scratch memory [scratch, scratchEnd). */
export function plan(address: usize, allocator: usize, scratch: usize, scratchEnd: usize): u32 {
  const memory = changetype<BootAllocator>(allocator);
  memory.next = scratch;
  memory.end = scratchEnd;
  return planHostLayout(changetype<HostLayout>(address), memory);
}
