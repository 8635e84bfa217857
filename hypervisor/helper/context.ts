/**
 * The registers of the user-mode helper of one hart, in a page of its own: register n at 8 * n, as in a vCPU's record. The helper's address space holds
 * the page too (not for the helper), because machine/riscv/start.S saves the registers before it changes satp. So it holds nothing else that matters.
 */
@unmanaged
export class HelperContext {
  /** Slot of x0: the context counts as saved, like that of a TVM's vCPU (vm/vcpu.ts). */
  zero: u64;
  ra: u64;
  sp: u64;
  gp: u64;
  tp: u64;
  t0: u64;
  t1: u64;
  t2: u64;
  s0: u64;
  s1: u64;
  a0: u64;
  a1: u64;
  a2: u64;
  a3: u64;
  a4: u64;
  a5: u64;
  a6: u64;
  a7: u64;
  s2: u64;
  s3: u64;
  s4: u64;
  s5: u64;
  s6: u64;
  s7: u64;
  s8: u64;
  s9: u64;
  s10: u64;
  s11: u64;
  t3: u64;
  t4: u64;
  t5: u64;
  t6: u64;

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
