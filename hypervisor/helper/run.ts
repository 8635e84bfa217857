import { Hart, HartRequest } from "../hart";
import {
  EXC_ECALL_U,
  HIE,
  HSTATUS,
  HSTATUS_VSXL64,
  IRQ_SEI,
  IRQ_SSI,
  IRQ_STI,
  SCAUSE_INTERRUPT,
  SCOUNTEREN,
  SENVCFG,
  SEPC,
  SIE,
  SSTATUS,
  SSTATUS_UXL64,
  STIMECMP,
  TIME,
} from "../riscv/csr";
import { csrClear, csrRead, csrSet, csrSwap, csrWrite, write32, zeroBytes } from "../riscv/hw";
import { PAGE_SIZE } from "../riscv/pte";
import { zeroPages } from "../memory/zero";
import { sendRequest } from "../vm/hart-messages";
import { hasMessages } from "../vm/messages";
import { armHostTimer, hasGuestComparator, refreshFirmwareTimer, setFirmwareDeadline } from "../vm/timer";
import { externalInterrupt, softwareInterrupt } from "../vm/trap";
import { WaitReason } from "../vm/wait";
import { HelperStatus, Hypercall, HELPER_IMAGE, HELPER_STACK_PAGES, HELPER_STACK_TOP } from "../../umode/layout";
import { HelperContext } from "./context";
import { SigningKey, signForHelper } from "./sign";

/**
 * Running the user-mode helper: code of ours in U-mode, in an address space of its own (boot/helper-space.ts), for work on bytes that a guest chose. It
 * is entered like a vCPU and comes back by a trap; meanwhile the vCPU that it works for stays the current one, with its VS-level registers in
 * the machine, and the hart is in a state of waiting (WaitReason.Helper), in which it goes on serving other harts.
 *
 * Each request begins with fresh registers and zeroed memory, so nothing of an earlier one is left, whatever happened to it. The helper ends by saying so; an
 * exception, a hypercall that is none, or the end of its time end it too, with HelperStatus.Crashed.
 */
@unmanaged
export class HelperRun {
  // ---- what the vCPU had in the registers that the helper needs
  sepc: u64;
  sstatus: u64;
  hstatus: u64;
  scounteren: u64;
  senvcfg: u64;
  hie: u64;

  // ---- the request
  /** Key for Hypercall.Sign, null if it may not sign (any more): a request gets one signature. */
  key: SigningKey | null;
  /** HelperStatus, and bytes of output, once it has ended. */
  status: u64;
  length: u64;
  /** For whom: attestation/evidence.ts. */
  purpose: u32;
  reserved0: u32;
  outputGpa: u64;
  outputLength: u64;
  /** Requests that did not end by themselves. */
  crashes: u64;
}

const ECALL_LENGTH: u64 = 4;
const SIE_STIE: u64 = 1 << IRQ_STI;
/** A request takes a few milliseconds; a machine that is emulated on a busy computer needs more. In parts of a second. */
const TIME_PARTS: u64 = 2;

// @ts-ignore: decorator
@inline
export function helperRun(hart: Hart): HelperRun {
  return changetype<HelperRun>(hart.helper.run);
}

/**
 * Starts the helper on the request that is in its pages, for the current vCPU, which is in an ecall. `key` signs (once); null: nothing can be signed. When it
 * has ended, `helperTrapped` returns true, and status and length are in the run's record.
 */
export function startHelper(hart: Hart, key: SigningKey | null): void {
  const context = hart.helper;
  const run = helperRun(hart);
  run.key = key;
  zeroBytes(changetype<usize>(context), offsetof<HelperContext>("helperSatp"));
  context.sp = HELPER_STACK_TOP;
  zeroPages(context.output, 1);
  zeroPages(context.scratch, 1);
  zeroPages(context.stack, HELPER_STACK_PAGES);

  // U-mode with V = 0, no floating point or vectors, no access to counters. Interrupts of lower levels than ours do not exist there.
  run.sepc = csrSwap(SEPC, HELPER_IMAGE);
  run.sstatus = csrSwap(SSTATUS, SSTATUS_UXL64);
  run.hstatus = csrSwap(HSTATUS, HSTATUS_VSXL64);
  run.scounteren = csrSwap(SCOUNTEREN, 0);
  run.senvcfg = csrSwap(SENVCFG, 0);
  run.hie = csrSwap(HIE, 0);
  const deadline = csrRead(TIME) + hart.root.timebaseFrequency / TIME_PARTS;
  if (hasGuestComparator(hart.root)) csrWrite(STIMECMP, deadline);
  else setFirmwareDeadline(hart, deadline);
  csrSet(SIE, SIE_STIE);
  write32(hart.waitReasonAddress(), WaitReason.Helper);
}

/** A trap while the helper ran. Returns true if it has ended: the vCPU is as it was, and its call is to be answered. */
export function helperTrapped(hart: Hart, cause: u64): bool {
  if (cause == EXC_ECALL_U) return hypercall(hart);
  if ((cause & SCAUSE_INTERRUPT) == 0) return end(hart, HelperStatus.Crashed, 0);
  switch (<u32>min<u64>(cause & ~SCAUSE_INTERRUPT, 0xff)) {
    case <u32>IRQ_SEI:
      externalInterrupt(hart);
      return false;
    case <u32>IRQ_SSI:
      softwareInterrupt(hart);
      return false;
    default:
      // Its time is up. Nothing else is enabled.
      return end(hart, HelperStatus.Crashed, 0);
  }
}

function hypercall(hart: Hart): bool {
  const context = hart.helper;
  switch (context.a7) {
    case Hypercall.Sign: {
      const run = helperRun(hart);
      const key = run.key;
      run.key = null;
      if (key == null || !signForHelper(context, key, hart.workPages)) return end(hart, HelperStatus.Crashed, 0);
      context.a0 = 0;
      csrWrite(SEPC, csrRead(SEPC) + ECALL_LENGTH);
      return false;
    }
    case Hypercall.Done:
      if (context.a0 >= <u64>HelperStatus.Crashed || context.a1 > PAGE_SIZE) return end(hart, HelperStatus.Crashed, 0);
      return end(hart, context.a0, context.a1);
    default:
      return end(hart, HelperStatus.Crashed, 0);
  }
}

/** Gives the hart back to the vCPU. */
function end(hart: Hart, status: u64, length: u64): bool {
  const run = helperRun(hart);
  run.status = status;
  run.length = status == HelperStatus.Ok ? length : 0;
  run.key = null;
  if (status == HelperStatus.Crashed) run.crashes++;
  csrWrite(SEPC, run.sepc);
  csrWrite(SSTATUS, run.sstatus);
  csrWrite(HSTATUS, run.hstatus);
  csrWrite(SCOUNTEREN, run.scounteren);
  csrWrite(SENVCFG, run.senvcfg);
  csrWrite(HIE, run.hie);
  restoreTimer(hart);
  // A software interrupt for the host, whose TVM the helper worked for, has been waiting too.
  if (hart.vcpu != hart.hostVcpu && hasMessages(hart.hostVcpu)) sendRequest(hart, HartRequest.Reschedule);
  write32(hart.waitReasonAddress(), WaitReason.None);
  return true;
}

/** The comparator that ended the helper is the host's again. */
function restoreTimer(hart: Hart): void {
  if (!hasGuestComparator(hart.root)) return refreshFirmwareTimer(hart);
  csrClear(SIE, SIE_STIE);
  if (hart.vcpu != hart.hostVcpu) armHostTimer(hart.hostVcpu);
}
