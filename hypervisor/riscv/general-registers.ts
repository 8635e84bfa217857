/**
 * How everything begins that holds the general registers of a hart: register n at 8 * n, where the assembly of `machine/riscv` stores it (the macros
 * of assembly.inc). What the slot of x0 holds is said by each.
 */
@unmanaged
export class GeneralRegisters {
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

  /** General register `index` (0-31); x0 reads 0. */
  gpr(index: u32): u64 {
    return index == 0 ? 0 : load<u64>(changetype<usize>(this) + ((<usize>index) << 3));
  }

  /** Writes general register `index` (0-31); x0 stays 0. */
  setGpr(index: u32, value: u64): void {
    if (index != 0) store<u64>(changetype<usize>(this) + ((<usize>index) << 3), value);
  }
}
