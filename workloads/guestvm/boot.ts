import { csrProbe, PROBE_OK } from "../lib/hw";
import { ConsoleMethod, PAGE_SIZE, TestVm } from "../lib/records";
import { shareMemory } from "../lib/covg";
import { useLineBuffer } from "../lib/console";
import { afterImage, startTestVm } from "../lib/start";
import { RESET_NO_REASON, RESET_SHUTDOWN, RESET_SYSTEM_FAILURE, systemReset } from "../lib/sbi";
import {
  BOOT_PARAMETER_SHIFT,
  BOOT_SCENARIO_MASK,
  BOOT_SCENARIO_SHIFT,
  BOOT_VECTORS,
  CONSOLE_PAGE,
  GuestScenario,
  ZERO_PAGES_START,
} from "../lib/tvm-map";
import { STIMECMP } from "../../hypervisor/riscv/csr";
import { captureInitialState } from "./initial-state";
import { runOriginalSequence } from "./original-sequence";
import { runCounter } from "./scenarios/counter";
import { runExceptions } from "./scenarios/exceptions";
import { runExternalLine } from "./scenarios/external-line";
import { runFlood } from "./scenarios/flood";
import { runInterrupts } from "./scenarios/interrupts";
import { runMmio } from "./scenarios/mmio";
import { runMultiprocessor } from "./scenarios/multiprocessor";
import { runPuppet } from "./scenarios/puppet";
import { runRegisters } from "./scenarios/registers";
import { runStress } from "./scenarios/stress";
import { runTime } from "./scenarios/time";

/** Ticks of the guest's time CSR in a second: that of QEMU's machine. Only deadlines depend on it. */
const TIMEBASE: u64 = 10_000_000;

/** Bytes of the console page that each vCPU uses for its lines. */
export const CONSOLE_SLICE: u32 = 256;

/** Boot vCPU: records, console, then the scenario that the boot argument names; ends with a shutdown. */
export function bootGuest(hartId: u64, argument: u64): void {
  const vm = startTestVm(hartId, afterImage(), ZERO_PAGES_START);
  vm.timebase = TIMEBASE;
  vm.hasVectors = (argument & BOOT_VECTORS) != 0 ? 1 : 0;
  captureInitialState(vm);
  vm.hasStimecmp = csrProbe(STIMECMP) == PROBE_OK ? 1 : 0;
  openConsole(vm);

  const scenario = (argument >> BOOT_SCENARIO_SHIFT) & BOOT_SCENARIO_MASK;
  const parameter = argument >> BOOT_PARAMETER_SHIFT;
  switch (<u32>scenario) {
    case GuestScenario.Original:
      runOriginalSequence(vm);
      break;
    case GuestScenario.Puppet:
      runPuppet();
      break;
    case GuestScenario.Registers:
      runRegisters(vm);
      break;
    case GuestScenario.Mmio:
      runMmio();
      break;
    case GuestScenario.Exceptions:
      runExceptions();
      break;
    case GuestScenario.Multiprocessor:
      runMultiprocessor(vm, parameter);
      break;
    case GuestScenario.Counter:
      runCounter(vm, parameter);
      break;
    case GuestScenario.Stress:
      runStress(parameter);
      break;
    case GuestScenario.Time:
      runTime();
      break;
    case GuestScenario.Interrupts:
      runInterrupts(vm, parameter);
      break;
    case GuestScenario.ExternalLine:
      runExternalLine();
      break;
    case GuestScenario.Flood:
      runFlood(vm, parameter);
      break;
    default:
      assert(false, "unknown scenario");
  }
  systemReset(RESET_SHUTDOWN, vm.testsFailed == 0 ? RESET_NO_REASON : RESET_SYSTEM_FAILURE);
}

/** The console goes through a page that is shared with the host; without it, character by character. */
function openConsole(vm: TestVm): void {
  if (shareMemory(CONSOLE_PAGE, PAGE_SIZE) < 0) {
    vm.consoleMethod = ConsoleMethod.Putchar;
    return;
  }
  useLineBuffer(CONSOLE_PAGE, CONSOLE_SLICE);
}
