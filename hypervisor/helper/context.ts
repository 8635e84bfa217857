import { GeneralRegisters } from "../riscv/general-registers";

/**
 * The registers of the user-mode helper of one hart, in a page of its own: as in a vCPU's record, the slot of x0 being 1: it counts as saved, like a TVM's (vm/vcpu.ts). The helper's address space holds
 * the page too (not for the helper), because machine/riscv/start.S saves the registers before it changes satp. So it holds nothing else that matters.
 */
@unmanaged
export class HelperContext extends GeneralRegisters {
  // ---- constant after boot; start.S knows the offsets
  /** satp of the helper's address space, and our own. */
  helperSatp: u64;
  ownSatp: u64;
  /** The hart record. */
  hart: usize;

  // ---- where its pages are (hpa)
  request: u64;
  input: u64;
  output: u64;
  scratch: u64;
  stack: u64;
  /** The record of what it is doing (helper/run.ts), which is not in this page. */
  run: usize;
}
