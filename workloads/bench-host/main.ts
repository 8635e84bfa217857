import { imageAddress, ImageSymbol } from "../lib/hw";
import { printLine } from "../lib/console";
import { allocateZeroed } from "../lib/heap";
import { NACL_PAGES } from "../lib/nacl";
import { RESET_NO_REASON, RESET_SHUTDOWN, systemReset } from "../lib/sbi";
import { afterImage, startTestVm } from "../lib/start";
import { useHeapRange } from "../tellus/host-memory";
import { bootArgumentsHave, GUEST_IMAGE_DISTANCE, readMachine } from "../tellus/machine";
import { state } from "../tellus/state";
import { askTsm } from "../tellus/tsm";
import { report } from "./announce";
import { serveBusyHart } from "./busy-harts";
import { measureBusyRows } from "./busy-rows";
import { measureHostRows } from "./host-rows";
import { measureLargeRows } from "./large-rows";
import { measureMeasuredGibRow, measureMeasuredRows } from "./measured-rows";
import { measureScaleRows } from "./scale-rows";
import { measureTvmRows } from "./tvm-rows";

export { handleTrap as trap } from "../lib/interrupts";
export { reportAssert as panicAssert, reportWasmTrap as panicWasm } from "../lib/panic";

/** The benchmark's host: does every operation once or a thousand times, between marks (bench/README.md). */
export function main(hartId: u64, fdt: u64): void {
  const vm = startTestVm(hartId, afterImage(), imageAddress(ImageSymbol.Start) + GUEST_IMAGE_DISTANCE);
  assert(readMachine(fdt), "there is a device tree");
  vm.timebase = state().timebase;
  reportMemory();
  useHeapRange();
  askTsm();
  state().naclAreas = allocateZeroed(NACL_PAGES);
  // The boot arguments say what this machine is for (tools/bench/rows.ts).
  if (bootArgumentsHave("bench.busy")) {
    measureBusyRows();
  } else if (bootArgumentsHave("bench.large")) {
    measureLargeRows();
  } else if (bootArgumentsHave("bench.measured")) {
    measureMeasuredRows();
  } else if (bootArgumentsHave("bench.gibibyte")) {
    measureMeasuredGibRow();
  } else if (bootArgumentsHave("bench.scale")) {
    measureScaleRows();
  } else if (!bootArgumentsHave("bench.boot")) {
    measureHostRows();
    measureTvmRows();
  }
  printLine("bench: done");
  systemReset(RESET_SHUTDOWN, RESET_NO_REASON);
}

function reportMemory(): void {
  let bytes: u64 = 0;
  for (let i: u32 = 0; i < state().ramCount; i++) bytes += state().ram(i).end - state().ram(i).start;
  report("host-memory", bytes);
}

export function secondaryMain(hartId: u64, stackTop: u64): void {
  serveBusyHart(hartId, stackTop);
}
