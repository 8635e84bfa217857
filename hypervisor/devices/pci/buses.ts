import {
  CAP_EXPRESS,
  EXPRESS_DOWNSTREAM_PORT,
  EXPRESS_ROOT_PORT,
  EXPRESS_TYPE_SHIFT,
  HEADER_BRIDGE,
  PCI_BUSES,
  functionExists,
  headerType,
  isMultifunction,
  readConfig,
  writeConfig,
} from "./registers";
import { findCapability } from "./capabilities";
import { PciSegment } from "./segment";

/**
 * Numbers of buses: given once by us, depth first, so that requester ids never change. What the host writes into a bridge's bus
 * numbers only renames its view (virtual-config.ts).
 */

const FUNCTIONS_OF_BUS: u32 = 256;
const FUNCTIONS_OF_DEVICE: u32 = 8;
const PRIMARY_MASK: u32 = 0xff;

/**
 * Numbers the buses of the segment and returns how many functions it has. The work is bounded by the bus numbers: a bridge
 * for which none is left keeps its buses unreachable. Boot, before anything uses a device.
 */
export function numberBuses(segment: PciSegment): u32 {
  let functions: u32 = 0;
  let bus = segment.firstBus;
  let devfn: u32 = 0;
  segment.usedBus = bus;
  while (true) {
    if (devfn >= endOfBus(segment, bus)) {
      if (bus == segment.firstBus) return functions;
      // Back to the bridge: all numbers given below it are its own.
      const bridge = <u32>segment.bus(bus).bridge;
      const config = segment.configOf(bridge >> 8, bridge & 0xff);
      setBuses(config, bridge >> 8, bus, segment.usedBus);
      bus = bridge >> 8;
      devfn = nextFunction(config, bridge & 0xff);
      continue;
    }
    const config = segment.configOf(bus, devfn);
    if (!functionExists(config)) {
      // Without its function 0 a device is not there.
      devfn += (devfn & 7) == 0 ? FUNCTIONS_OF_DEVICE : 1;
      continue;
    }
    functions++;
    if (headerType(config) != HEADER_BRIDGE || segment.usedBus == segment.lastBus) {
      if (headerType(config) == HEADER_BRIDGE) setBuses(config, 0, 0, 0);
      devfn = nextFunction(config, devfn);
      continue;
    }
    segment.usedBus++;
    const origin = segment.bus(segment.usedBus);
    origin.bridge = <u16>((bus << 8) | devfn);
    origin.link = leadsToLink(config) ? 1 : 0;
    setBuses(config, bus, segment.usedBus, segment.lastBus);
    bus = segment.usedBus;
    devfn = 0;
  }
}

/** First device and function number that cannot be on the bus. */
export function endOfBus(segment: PciSegment, bus: u32): u32 {
  const link = bus != segment.firstBus && segment.bus(bus).link != 0;
  return link ? FUNCTIONS_OF_DEVICE : FUNCTIONS_OF_BUS;
}

/** Where to look after the function at `config`, which exists. */
export function nextFunction(config: u64, devfn: u32): u32 {
  return (devfn & 7) == 0 && !isMultifunction(config) ? devfn + FUNCTIONS_OF_DEVICE : devfn + 1;
}

function setBuses(config: u64, primary: u32, secondary: u32, subordinate: u32): void {
  const timer = readConfig(config, PCI_BUSES) & ~(<u32>0xff_ffff);
  writeConfig(config, PCI_BUSES, timer | (subordinate << 16) | (secondary << 8) | (primary & PRIMARY_MASK));
}

function leadsToLink(config: u64): bool {
  const express = findCapability(config, CAP_EXPRESS);
  if (express == 0) return false;
  const type = (readConfig(config, express) >> EXPRESS_TYPE_SHIFT) & 15;
  return type == EXPRESS_ROOT_PORT || type == EXPRESS_DOWNSTREAM_PORT;
}
