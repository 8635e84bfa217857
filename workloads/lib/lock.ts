import { pause, storeRelease64, swap64 } from "./hw";

/** Spin lock in a u64 word at `address`: 0 = free. */
export function lock(address: u64): void {
  while (swap64(address, 1) != 0) pause();
}

export function unlock(address: u64): void {
  storeRelease64(address, 0);
}
