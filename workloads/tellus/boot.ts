import { csrProbe, imageAddress, ImageSymbol, PROBE_OK, read64 } from "../lib/hw";
import { registerFile } from "../lib/capsule";
import { endLine, print, printDecimal, printHex, printLine } from "../lib/console";
import { PAGE_DIRECTORY_PAGES, TSM_READY } from "../lib/covh";
import { allocateZeroed, heapMark, heapRelease } from "../lib/heap";
import { NACL_PAGES } from "../lib/nacl";
import { beginHartTest, beginTest, check, checkEqual, checkResult, checkSuccess, endTest } from "../lib/protocol";
import { TestVm } from "../lib/records";
import {
  EID_COVH,
  HSM_STARTED,
  HSM_STOPPED,
  hartStatus,
  probeExtension,
  RESET_NO_REASON,
  RESET_SHUTDOWN,
  RESET_SYSTEM_FAILURE,
  systemReset,
} from "../lib/sbi";
import { afterImage, awaitOnline, createHart, reserveHarts, startHart, startTestVm } from "../lib/start";
import { SENVCFG } from "../../hypervisor/riscv/csr";
import { GUEST_IMAGE_DISTANCE, readMachine } from "./machine";
import { runOriginalSequence } from "./original-sequence";
import { runErrorCases } from "./error-cases/all";
import { testReset } from "./scenarios/reset";
import { runScenarios } from "./scenarios/all";
import { state } from "./state";
import { useHeapRange } from "./host-memory";
import { hasImsic } from "./imsic";
import { prepareRunCall } from "./secret-run";
import { askTsm } from "./tsm";

/** Boot hart: device tree, memory, harts, the TSM, then every test; ends with a shutdown. */
export function bootTellus(hartId: u64, fdt: u64): void {
  const vm = startTestVm(hartId, afterImage(), imageAddress(ImageSymbol.Start) + GUEST_IMAGE_DISTANCE);
  printLine("Tellus: Booting the test VM");
  beginHartTest("booting tellus");
  const readable = check(readMachine(fdt), "there is a device tree");
  endTest();
  if (readable) {
    vm.timebase = state().timebase;
    vm.hasVectors = state().hasVectors;
    vm.hasStimecmp = state().hasStimecmp;
    state().hasEnvironment = csrProbe(SENVCFG) == PROBE_OK ? 1 : 0;
    describeMemory();
    useHeapRange();
    startSecondaryHarts(vm);
    if (findTsm()) {
      if (state().resetTest != 0) testReset();
      else runAllTests();
    }
  }
  finish(vm);
}

function describeMemory(): void {
  for (let i: u32 = 0; i < state().ramCount; i++) {
    const ram = state().ram(i);
    print("Memory: ");
    printHex(ram.start);
    print(" size ");
    printHex(ram.end - ram.start);
    endLine();
  }
}

function startSecondaryHarts(vm: TestVm): void {
  beginTest("start every hart");
  const machine = state();
  reserveHarts(vm, machine.hartCount);
  machine.naclAreas = allocateZeroed(machine.hartCount * NACL_PAGES);
  let index: u64 = 1;
  for (let i: u64 = 0; i < machine.hartCount; i++) {
    const id = read64(<u64>machine.hartIds + i * 8);
    if (id == vm.hart(0).id) continue;
    checkResult(hartStatus(id), HSM_STOPPED, "status before the start");
    const hart = createHart(vm, index++, id);
    checkSuccess(startHart(hart), "HSM start");
    check(awaitOnline(hart), "the hart comes up");
    checkResult(hartStatus(id), HSM_STARTED, "status after the start");
  }
  print("Harts: ");
  printDecimal(machine.hartCount);
  print(machine.hasVectors != 0 ? ", with vectors" : ", without vectors");
  print(hasImsic() ? ", with an IMSIC" : ", without an IMSIC");
  endLine();
  checkEqual(index, machine.hartCount, "the boot hart is in the device tree");
  endTest();
}

/** Probes COVH and asks what a TVM costs. */
function findTsm(): bool {
  beginTest("find the TSM");
  check(probeExtension(EID_COVH) > 0, "COVH is there");
  const info = askTsm();
  checkEqual(<u64>info.state, <u64>TSM_READY, "state of the TSM");
  check(info.tvmStatePages != 0 && info.vcpuStatePages != 0, "state pages are needed");
  check(info.maxVcpus >= 4, "a TVM may have several vCPUs");
  print("Donating ");
  printDecimal(PAGE_DIRECTORY_PAGES + info.tvmStatePages);
  printLine(" pages for TVM creation");
  return endTest();
}

/** Every group of tests begins with the heap as it was. */
function runAllTests(): void {
  prepareRunCall();
  // The boot hart's capsule is made at its first use: now, so that it stays.
  registerFile(0);
  const mark = heapMark();
  runOriginalSequence();
  heapRelease(mark);
  runErrorCases();
  heapRelease(mark);
  runScenarios();
}

function finish(vm: TestVm): void {
  printDecimal(vm.testsPassed);
  print(" tests passed, ");
  printDecimal(vm.testsFailed);
  print(" failed, ");
  printDecimal(vm.checksMade);
  printLine(" checks");
  const passed = vm.testsFailed == 0 && vm.testsPassed != 0;
  if (passed) printLine("Tellus - All OK");
  systemReset(RESET_SHUTDOWN, passed ? RESET_NO_REASON : RESET_SYSTEM_FAILURE);
}
