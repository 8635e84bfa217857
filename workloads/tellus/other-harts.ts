import { read64 } from "../lib/hw";
import { allocateZeroed } from "../lib/heap";
import { NACL_PAGES } from "../lib/nacl";
import { TestVm } from "../lib/records";
import { awaitOnline, createHart, reserveHarts, startHart } from "../lib/start";
import { state } from "./state";

/** Starts every hart of the device tree but the one that runs this, each with a record and a NACL area. Returns how many harts there are then. */
export function startOtherHarts(vm: TestVm): u64 {
  const machine = state();
  reserveHarts(vm, machine.hartCount);
  machine.naclAreas = allocateZeroed(machine.hartCount * NACL_PAGES);
  let index: u64 = 1;
  for (let i: u64 = 0; i < machine.hartCount; i++) {
    const id = read64(<u64>machine.hartIds + i * 8);
    if (id == vm.hart(0).id) continue;
    const hart = createHart(vm, index++, id);
    assert(startHart(hart) == 0 && awaitOnline(hart), "a hart does not start");
  }
  return index;
}
