import {
  HSTATUS,
  HSTATUS_SPVP,
  SCAUSE_INTERRUPT,
  SEPC,
  SSTATUS,
  SSTATUS_SIE,
  SSTATUS_SPIE,
  SSTATUS_SPP,
  VSCAUSE,
  VSEPC,
  VSSTATUS,
  VSTVAL,
  VSTVEC,
} from "../riscv/csr";
import { csrRead, csrSet, csrWrite } from "../riscv/hw";

/** MODE of vstvec: exceptions go to BASE in every mode, interrupts to BASE + 4 * cause if it is 1. */
const TVEC_MODE: u64 = 3;
const TVEC_VECTORED: u64 = 1;

/**
 * vsstatus after a trap into VS-mode (Privileged 12.1.1): SPP is the privilege that was interrupted, SPIE the old SIE, SIE off.
 * `sstatus` is that of the trap into HS-mode, whose SPP is the same privilege.
 */
export function trappedStatus(vsstatus: u64, sstatus: u64): u64 {
  const interruptsWereOn = (vsstatus & SSTATUS_SIE) != 0;
  const kept = vsstatus & ~(SSTATUS_SIE | SSTATUS_SPIE | SSTATUS_SPP);
  return kept | (interruptsWereOn ? SSTATUS_SPIE : 0) | (sstatus & SSTATUS_SPP);
}

/**
 * Makes the current vCPU take exception `cause` with `tval` at the instruction that trapped to us, exactly as if hardware had delegated
 * it: it goes on in VS-mode at the base of its vstvec.
 */
export function injectException(cause: u64, tval: u64): void {
  trapTo(csrRead(VSTVEC) & ~TVEC_MODE, cause, tval);
}

/** Makes the current vCPU, which can take interrupts now, take interrupt `cause` before its next instruction. */
export function injectInterrupt(cause: u64): void {
  const vector = csrRead(VSTVEC);
  const offset = (vector & TVEC_MODE) == TVEC_VECTORED ? cause << 2 : 0;
  trapTo((vector & ~TVEC_MODE) + offset, SCAUSE_INTERRUPT | cause, 0);
}

function trapTo(handler: u64, cause: u64, tval: u64): void {
  csrWrite(VSSTATUS, trappedStatus(csrRead(VSSTATUS), csrRead(SSTATUS)));
  csrWrite(VSCAUSE, cause);
  csrWrite(VSTVAL, tval);
  csrWrite(VSEPC, csrRead(SEPC));
  csrWrite(SEPC, handler);
  csrSet(SSTATUS, SSTATUS_SPP);
  csrSet(HSTATUS, HSTATUS_SPVP);
}
