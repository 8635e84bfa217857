import { csrRead, csrSet, write64 } from "../lib/hw";
import { endLine, print, printDecimal, printHex, printSigned } from "../lib/console";
import { addSharedPages, addZeroPages, blockPages, cpuRun, PageType, removePages, tvmInitiateFence } from "../lib/covh";
import { CovgFunction } from "../lib/covg";
import { deadlineIn, deadlineInMs, hasPassed, PATIENCE } from "../lib/deadline";
import { armTimer, clearSoftwareInterrupt, NEVER, SIE_TIMER } from "../lib/interrupts";
import { guestCsr, guestRegister, setGuestRegister } from "../lib/nacl";
import { check, checkSuccess } from "../lib/protocol";
import { HUGE_PAGE_SIZE, PAGE_SIZE } from "../lib/records";
import {
  EID_COVG,
  EID_DBCN,
  EID_HSM,
  EID_IPI,
  EID_LEGACY_PUTCHAR,
  EID_SRST,
  HsmFunction,
  SBI_INVALID_PARAM,
  SBI_NOT_SUPPORTED,
} from "../lib/sbi";
import { DEMOTE_PAGE, PING, PROMOTE_PAGE, SHARED_WINDOW, SHARED_WINDOW_PAGES } from "../lib/tvm-map";
import { Reg } from "../lib/assembler";
import {
  EXC_ECALL_VS,
  EXC_INST_GUEST_PAGE,
  EXC_LOAD_GUEST_PAGE,
  EXC_STORE_GUEST_PAGE,
  EXC_VIRTUAL_INST,
  HTINST,
  HTVAL,
  SCAUSE,
  SCAUSE_INTERRUPT,
  SIE,
  STVAL,
} from "../../hypervisor/riscv/csr";
import { serveMmio } from "./devices";
import { serveConsole } from "./guest-console";
import { serveDemotePage, servePromotePage } from "./huge-pages";
import { Exit, lastExit } from "./state";
import { Outcome, Tvm, WindowPage } from "./tvm";

/** Runs vCPUs and does for them what a host must: the reference of what each exit means. */

/** Milliseconds that a guest may run before the host's timer takes it out. */
const TIME_SLICE: u64 = 20;

/** Runs a vCPU once and notes its exit. */
export function runOnce(tvm: Tvm, vcpu: u64): Exit {
  const exit = lastExit();
  const result = cpuRun(tvm.id, vcpu);
  exit.count++;
  recordExit(exit, result, csrRead(SCAUSE), csrRead(STVAL));
  return exit;
}

/** Fills `exit` from the result of CpuRun, the host's scause and stval after it, and the shared memory. */
export function recordExit(exit: Exit, result: i64, cause: u64, value: u64): void {
  exit.error = result < 0 ? result : 0;
  exit.terminated = result > 0 ? 1 : 0;
  exit.cause = cause;
  exit.value = value;
  exit.htval = guestCsr(HTVAL);
  exit.htinst = guestCsr(HTINST);
  exit.gpa = (exit.htval << 2) | (exit.value & 3);
}

/** Runs a vCPU and serves its exits until one needs more than service. */
export function runUntilOutcome(tvm: Tvm, vcpu: u64): Outcome {
  csrSet(SIE, SIE_TIMER);
  const deadline = deadlineIn(PATIENCE);
  let outcome: Outcome = Outcome.Continue;
  while (outcome == Outcome.Continue) {
    if (hasPassed(deadline)) {
      outcome = Outcome.TimedOut;
      break;
    }
    armTimer(deadlineInMs(TIME_SLICE));
    outcome = serveExit(tvm, vcpu, runOnce(tvm, vcpu));
  }
  armTimer(NEVER);
  return outcome;
}

/** Runs vCPU 0 and serves its exits up to a WFI (Continue) or its end. */
export function runUntilWfi(tvm: Tvm): Outcome {
  csrSet(SIE, SIE_TIMER);
  const deadline = deadlineIn(PATIENCE);
  let outcome: Outcome = Outcome.Continue;
  let waiting = false;
  while (outcome == Outcome.Continue && !waiting) {
    if (hasPassed(deadline)) return Outcome.TimedOut;
    armTimer(deadlineInMs(TIME_SLICE));
    const exit = runOnce(tvm, 0);
    waiting = exit.error == 0 && exit.cause == EXC_VIRTUAL_INST;
    outcome = serveExit(tvm, 0, exit);
  }
  armTimer(NEVER);
  return outcome;
}

/** Serves one exit of `vcpu` that happened on this hart. */
export function serveExit(tvm: Tvm, vcpu: u64, exit: Exit): Outcome {
  if (exit.error != 0) {
    reportRunFailure(exit);
    return Outcome.RunFailed;
  }
  if ((exit.cause & SCAUSE_INTERRUPT) != 0) {
    clearSoftwareInterrupt();
    return Outcome.Continue;
  }
  tvm.exits++;
  if (exit.cause == EXC_ECALL_VS) return serveCall(tvm, vcpu, exit);
  if (exit.terminated != 0) return Outcome.Fatal;
  switch (<u32>exit.cause) {
    case <u32>EXC_VIRTUAL_INST:
      // WFI: a host that has nothing else to do runs it again.
      return Outcome.Continue;
    case <u32>EXC_INST_GUEST_PAGE:
    case <u32>EXC_LOAD_GUEST_PAGE:
    case <u32>EXC_STORE_GUEST_PAGE:
      return exit.htinst != 0 ? serveMmio(tvm, exit) : serveFault(tvm, exit.gpa);
    default:
      return Outcome.Unknown;
  }
}

function reportRunFailure(exit: Exit): void {
  print("  CpuRun failed: ");
  printSigned(exit.error);
  endLine();
}

/** A page fault: shared window, huge-page ranges, or a zero page from the pool. */
function serveFault(tvm: Tvm, gpa: u64): Outcome {
  if (tvm.manualFaults != 0) return Outcome.Fault;
  const page = gpa & ~(PAGE_SIZE - 1);
  const index = (page - SHARED_WINDOW) / PAGE_SIZE;
  if (page >= SHARED_WINDOW && index < SHARED_WINDOW_PAGES) {
    const state = tvm.windowPage(index);
    tvm.setWindowPage(index, state | WindowPage.Populated);
    if ((state & WindowPage.Shared) != 0) return serveSharedPage(tvm, page, index);
  }
  const huge = gpa & ~(HUGE_PAGE_SIZE - 1);
  if (huge == PROMOTE_PAGE && tvm.promoteSource != 0) return servePromotePage(tvm);
  if (huge == DEMOTE_PAGE && tvm.demoteSource != 0) return serveDemotePage(tvm);
  return giveZeroPage(tvm, page) ? Outcome.Continue : Outcome.Unknown;
}

function serveSharedPage(tvm: Tvm, page: u64, index: u64): Outcome {
  const source = tvm.window + index * PAGE_SIZE;
  if (index == 0) write64(source, PING);
  return checkSuccess(addSharedPages(tvm.id, source, PageType.Page4K, 1, page), "AddSharedPages")
    ? Outcome.Continue
    : Outcome.Unknown;
}

/** Maps the next pool page at `gpa`. */
export function giveZeroPage(tvm: Tvm, gpa: u64): bool {
  if (!check(tvm.poolNext < tvm.poolEnd, "the pool of zero pages lasts")) return false;
  const source = tvm.poolNext;
  tvm.poolNext += PAGE_SIZE;
  return checkSuccess(addZeroPages(tvm.id, source, PageType.Page4K, 1, gpa), "AddZeroPages");
}

function serveCall(tvm: Tvm, vcpu: u64, exit: Exit): Outcome {
  const eid = guestRegister(Reg.A7);
  const fid = guestRegister(Reg.A6);
  if (eid == EID_SRST) {
    tvm.shutdown = 1;
    tvm.shutdownReason = guestRegister(Reg.A1);
    return Outcome.Shutdown;
  }
  if (eid == EID_HSM) return serveHartCall(tvm, vcpu, fid, exit);
  // A vCPU that is not running has got an interrupt: this host runs every vCPU anyway.
  if (eid == EID_IPI) return Outcome.Continue;
  if (eid == EID_COVG) return serveGuestCall(tvm, fid);
  if (eid == EID_DBCN || eid == EID_LEGACY_PUTCHAR) return serveConsole(tvm, eid, fid);
  print("  guest call of unknown extension ");
  printHex(eid);
  endLine();
  answer(SBI_NOT_SUPPORTED, 0);
  return exit.terminated != 0 ? Outcome.Fatal : Outcome.Unknown;
}

function serveHartCall(tvm: Tvm, vcpu: u64, fid: u64, exit: Exit): Outcome {
  if (fid == HsmFunction.Start) {
    tvm.noteStart(guestRegister(Reg.A0));
    return Outcome.Continue;
  }
  if (fid == HsmFunction.Stop && exit.terminated != 0) {
    tvm.noteStop(vcpu);
    return Outcome.Stopped;
  }
  return Outcome.Continue;
}

/** COVG: MMIO ranges and interrupts are only told to the host; sharing waits for its answer. */
function serveGuestCall(tvm: Tvm, fid: u64): Outcome {
  const gpa = guestRegister(Reg.A0);
  const length = guestRegister(Reg.A1);
  switch (<u32>fid) {
    case CovgFunction.AddMmioRegion:
    case CovgFunction.RemoveMmioRegion:
      tvm.mmioStart = gpa;
      tvm.mmioLength = length;
      return Outcome.Continue;
    case CovgFunction.ShareMemory:
    case CovgFunction.UnshareMemory:
      if (tvm.manualSharing != 0) return Outcome.Sharing;
      return serveSharing(tvm, gpa, length, fid == CovgFunction.ShareMemory);
    default:
      return Outcome.Continue;
  }
}

/** Takes what is mapped in the range out of the TVM, then agrees. Only the shared window can be shared. */
function serveSharing(tvm: Tvm, gpa: u64, length: u64, share: bool): Outcome {
  const first = (gpa - SHARED_WINDOW) / PAGE_SIZE;
  const count = length / PAGE_SIZE;
  if (gpa < SHARED_WINDOW || first + count > SHARED_WINDOW_PAGES) {
    answer(SBI_INVALID_PARAM, 0);
    return Outcome.Continue;
  }
  let populated = false;
  for (let i: u64 = 0; i < count; i++) {
    if ((tvm.windowPage(first + i) & WindowPage.Populated) != 0) populated = true;
    tvm.setWindowPage(first + i, share ? WindowPage.Shared : 0);
  }
  if (populated) {
    checkSuccess(blockPages(tvm.id, gpa, length), "BlockPages");
    checkSuccess(tvmInitiateFence(tvm.id), "TvmInitiateFence");
    checkSuccess(removePages(tvm.id, gpa, length), "RemovePages");
  }
  answer(0, 0);
  return Outcome.Continue;
}

/** Result of a forwarded call. */
export function answer(error: i64, value: u64): void {
  setGuestRegister(Reg.A0, <u64>error);
  setGuestRegister(Reg.A1, value);
}

/** Says what a vCPU ended with, when that was not what the test wanted. */
export function describeOutcome(outcome: Outcome): void {
  const exit = lastExit();
  print("  vCPU ended with outcome ");
  printDecimal(<u64>outcome);
  print(", scause ");
  printHex(exit.cause);
  print(", stval ");
  printHex(exit.value);
  print(", htval ");
  printHex(exit.htval);
  print(", htinst ");
  printHex(exit.htinst);
  endLine();
}

/** Runs vCPU 0 to the guest's shutdown and checks that the guest is content. */
export function runToShutdown(tvm: Tvm): bool {
  const outcome = runUntilOutcome(tvm, 0);
  if (!check(outcome == Outcome.Shutdown, "the guest shuts down")) {
    describeOutcome(outcome);
    return false;
  }
  return check(tvm.shutdownReason == 0, "every test of the guest passed");
}
