import {
  HSTATUS,
  HSTATUS_SPVP,
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

/** MODE of vstvec: exceptions go to BASE in every mode. */
const TVEC_MODE: u64 = 3;

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
  csrWrite(VSSTATUS, trappedStatus(csrRead(VSSTATUS), csrRead(SSTATUS)));
  csrWrite(VSCAUSE, cause);
  csrWrite(VSTVAL, tval);
  csrWrite(VSEPC, csrRead(SEPC));
  csrWrite(SEPC, csrRead(VSTVEC) & ~TVEC_MODE);
  csrSet(SSTATUS, SSTATUS_SPP);
  csrSet(HSTATUS, HSTATUS_SPVP);
}
