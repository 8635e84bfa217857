import { csrProbe, csrSwap, loadAcquire64, mmioWrite32, pause, PROBE_OK, storeRelease64 } from "../../lib/hw";
import { shareMemory } from "../../lib/covg";
import { clearSoftwareInterrupt, softwareInterruptPending } from "../../lib/interrupts";
import { awaitIdle, commandResult, post } from "../../lib/mailbox";
import { beginTest, check, checkEqual, checkSuccess, endTest } from "../../lib/protocol";
import { PAGE_SIZE, TestVm } from "../../lib/records";
import { sendIpi } from "../../lib/sbi";
import { awaitOnline, createHart, reserveHarts, startHart } from "../../lib/start";
import {
  BOARD_FLOOD,
  BOARD_STOP,
  BOARD_TAKEN,
  BOARD_WORK,
  FloodKind,
  GUEST_IMSIC,
  INTERRUPT_BOARD,
} from "../../lib/tvm-map";
import { HSTATUS, STOPEI } from "../../../hypervisor/riscv/csr";
import { VcpuCommand } from "../secondary";
import { openFile } from "./interrupts";

/** Additions in one round of work. */
const WORK: u64 = 1000;
/** Identity that the flood of external interrupts consists of. */
const FLOOD_IDENTITY: u32 = 40;

/**
 * vCPU 0 floods whoever is in reach in the way that `kind` says, until the host says stop, while vCPU 1 works and counts what it takes. With
 * FloodKind.None, when it is the host who floods, vCPU 0 works itself. All counts are on the board that the host sees.
 */
export function runFlood(vm: TestVm, kind: u64): void {
  beginTest("work goes on in a flood");
  checkSuccess(shareMemory(INTERRUPT_BOARD, PAGE_SIZE), "ShareMemory");
  // The page is there before a second vCPU asks for it too.
  storeRelease64(INTERRUPT_BOARD + BOARD_WORK, 0);
  if (kind == FloodKind.None) {
    checkEqual(work(kind), 1, "the work");
  } else {
    reserveHarts(vm, 2);
    const worker = createHart(vm, 1, 1);
    checkSuccess(startHart(worker), "HSM start");
    check(awaitOnline(worker), "the vCPU comes up");
    post(worker, VcpuCommand.Work, kind);
    check(flood(kind), "every step of the flood has the result that it must have");
    check(awaitIdle(worker), "the worker ends");
    checkEqual(commandResult(worker), 1, "its work");
  }
  endTest();
}

/** Steps of the flood until the host says stop. False if one of them had another result than it must have. */
function flood(kind: u64): bool {
  let right = true;
  for (let steps: u64 = 1; loadAcquire64(INTERRUPT_BOARD + BOARD_STOP) == 0; steps++) {
    switch (<u32>kind) {
      case FloodKind.Ipi:
        if (sendIpi(2, 0) != 0) right = false;
        break;
      case FloodKind.External:
        mmioWrite32(GUEST_IMSIC + PAGE_SIZE, FLOOD_IDENTITY);
        break;
      default:
        // Traps to the hypervisor, which gives it back as an exception.
        if (csrProbe(HSTATUS) == PROBE_OK) right = false;
    }
    storeRelease64(INTERRUPT_BOARD + BOARD_FLOOD, steps);
  }
  return right;
}

/** Works until the host says stop, and takes the interrupts of the flood. Returns 1 if the work came to what it must. */
export function work(kind: u64): u64 {
  let sum: u64 = 0;
  let rounds: u64 = 0;
  let taken: u64 = 0;
  if (kind == FloodKind.External) openFile();
  while (loadAcquire64(INTERRUPT_BOARD + BOARD_STOP) == 0) {
    for (let i: u64 = 0; i < WORK; i++) {
      sum += i;
      pause();
    }
    if (takeOne(kind)) storeRelease64(INTERRUPT_BOARD + BOARD_TAKEN, ++taken);
    storeRelease64(INTERRUPT_BOARD + BOARD_WORK, ++rounds);
  }
  return sum == (rounds * WORK * (WORK - 1)) / 2 ? 1 : 0;
}

function takeOne(kind: u64): bool {
  if (kind == FloodKind.External) return csrSwap(STOPEI, 0) != 0;
  if (kind != FloodKind.Ipi || !softwareInterruptPending()) return false;
  clearSoftwareInterrupt();
  return true;
}
