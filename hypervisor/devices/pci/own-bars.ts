import { isPowerOfTwo, maximum } from "../../lib/arithmetic";
import {
  BAR_IO,
  BAR_MEMORY_MASK,
  BAR_TYPE_64,
  BAR_TYPE_MASK,
  COMMAND_NO_INTX,
  PCI_BAR0,
  PCI_COMMAND,
  readConfig,
  writeConfig,
} from "./registers";
import { MAX_BARS } from "./function";
import { probeMask } from "./probe";
import { CONFIG_SIZE, PciSegment, PciSpace, PciWindow } from "./segment";

/**
 * Places for the registers of devices that we drive: the ends of the windows, which the host then does not get. Before the kernel map is made, which
 * maps them.
 */

/** Addresses that a 32-bit BAR reaches. */
const LIMIT_32: u64 = (<u64>1) << 32;

/** Gives every memory BAR of the function at `config`, on the root bus, a place. False if there is none for one of them; the device stays off. */
export function placeOwnBars(segment: PciSegment, config: u64): bool {
  writeConfig(config, PCI_COMMAND, COMMAND_NO_INTX);
  let index: u32 = 0;
  while (index < MAX_BARS) {
    const offset = PCI_BAR0 + ((<u64>index) << 2);
    const low = probeMask(config, offset, readConfig(config, offset));
    index++;
    if (low == 0 || (low & BAR_IO) != 0) continue;
    const wide = (low & BAR_TYPE_MASK) == BAR_TYPE_64;
    let mask = <u64>(low & BAR_MEMORY_MASK);
    if (wide) {
      if (index == MAX_BARS) return false;
      index++;
      mask |= (<u64>probeMask(config, offset + 4, readConfig(config, offset + 4))) << 32;
    }
    const size = wide ? 0 - mask : <u64>(<u32>0 - <u32>mask);
    if (!isPowerOfTwo(size)) return false;
    const window = windowFor(segment, size, wide);
    if (window == null) return false;
    const address = endOf(window, size);
    window.hostSize = address - window.busAddress;
    writeConfig(config, offset, <u32>address);
    if (wide) writeConfig(config, offset + 4, <u32>(address >> 32));
  }
  return true;
}

/** The smallest window of memory that has room at the end of the host's part. */
function windowFor(segment: PciSegment, size: u64, wide: bool): PciWindow | null {
  let best: PciWindow | null = null;
  for (let i: u32 = 0; i < segment.windowCount; i++) {
    const window = segment.window(i);
    if (window.space == PciSpace.Io || window.prefetchable != 0 || window.hostSize < maximum(size, CONFIG_SIZE))
      continue;
    const address = endOf(window, size);
    if (address < window.busAddress || address - window.busAddress > window.hostSize) continue;
    if (!wide && address + size > LIMIT_32) continue;
    if (best == null || window.size < best.size) best = window;
  }
  return best;
}

/** The last bus address for `size` bytes in the host's part of the window, whole pages. */
function endOf(window: PciWindow, size: u64): u64 {
  const step = maximum(size, CONFIG_SIZE);
  return (window.busAddress + window.hostSize - step) & ~(step - 1);
}

/**
 * hpa of a bus address of memory in our part of a window, 0 if it is elsewhere: then the BAR did not keep the place that it was given, and neither does our
 * map have it, nor is it out of the host's reach.
 */
export function ownMemoryAt(segment: PciSegment, busAddress: u64): u64 {
  for (let i: u32 = 0; i < segment.windowCount; i++) {
    const window = segment.window(i);
    const offset = busAddress - window.busAddress;
    if (offset >= window.hostSize && offset < window.size) return window.base + offset;
  }
  return 0;
}
