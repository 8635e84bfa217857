/* The door of the test VMs to the machine, VS-mode: workloads/lib/hw.ts says what each function does. */
#pragma once
#include "door.h"

door void hw_fence(void) { fence_asm("iorw, iorw"); }
door void hw_wfi(void) { __asm__ volatile("wfi" ::: "memory"); }
door void hw_markStart(void) { __asm__ volatile("slti x0, x0, 0x5a1" ::: "memory"); }
door void hw_markEnd(void) { __asm__ volatile("slti x0, x0, 0x5a2" ::: "memory"); }
door void hw_parkForever(void) { for (;;) hw_wfi(); }
door s64 hw_ecall(u64 eid, u64 fid, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5, u64 valueOut) {
  return sbi_call(eid, fid, a0, a1, a2, a3, a4, a5, valueOut);
}

/* workload-start.S: loads every register but sp from frame[1..31], ecall, stores every register but sp back. */
void ecall_with_frame(u64* frame);
static u64 ecall_preserves(u64 eid, u64 fid, u64 a0, u64 a1, u64 result) {
  u64 before[32], after[32], changed = 0;
  for (u64 n = 0; n < 32; n++) before[n] = n * 0x0123456789abcdef;
  before[10] = a0, before[11] = a1, before[16] = fid, before[17] = eid;
  for (u64 n = 0; n < 32; n++) after[n] = before[n];
  ecall_with_frame(after);
  hw_write64(result, after[10]), hw_write64(result + 8, after[11]);
  for (u64 n = 0; n < 32; n++) changed |= (u64)(before[n] != after[n]) << n;
  return changed & ~(3 << 10);
}
door u64 hw_ecallPreserves(u64 eid, u64 fid, u64 a0, u64 a1, u64 resultOut) {
  return ecall_preserves(eid, fid, a0, a1, resultOut);
}

/* ---- Probes: the trap vector finds label 1 in sscratch, and continues there with scause in t0. */
#define PROBE(instruction, ...)                                                                                     \
  ({ u64 cause;                                                                                                     \
     __asm__ volatile("la t0, 1f\n csrw sscratch, t0\n" instruction "\n csrw sscratch, zero\n li t0, -1\n1: mv %0, t0" \
                      : "=r"(cause) : __VA_ARGS__ : "ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a0", "a1", "a2",  \
                        "a3", "a4", "a5", "a6", "a7", "memory");                                                    \
     cause; })
#define BY_WIDTH(before, after, ...)                                                                  \
  (width == 1 ? PROBE(before "b" after, __VA_ARGS__) : width == 2 ? PROBE(before "h" after, __VA_ARGS__) \
   : width == 4 ? PROBE(before "w" after, __VA_ARGS__) : PROBE(before "d" after, __VA_ARGS__))
#define CSR_PROBE(n) case n: return PROBE("csrr t1, " #n, "r"(0));
door u64 hw_csrProbe(u32 csr) { CSR_SWITCH(CSR_PROBE) return 0; }
door u64 hw_probeLoad(u64 address, u32 width) { return BY_WIDTH("l", " t1, (%1)", "r"(address)); }
door u64 hw_probeStore(u64 address, u32 width, u64 value) { return BY_WIDTH("s", " %2, (%1)", "r"(address), "r"(value)); }
door u64 hw_probeCall(u64 address) { return PROBE("jalr %1", "r"(address)); }
door u64 hw_probeWfi(void) { return PROBE("wfi", "r"(0)); }
door u64 hw_probeCboInval(u64 address) { return PROBE(WITH_EXTENSION("zicbom", "cbo.inval (%1)"), "r"(address)); }

/* ---- Exactly this one instruction, on a0 and a1 (which the compressed forms can name). */
#define DEFINE_LOAD_BY(name, code)                                                                            \
  door u64 name(u64 address) {                                                                                \
    register u64 a0 __asm__("a0"), a1 __asm__("a1") = address;                                                \
    __asm__ volatile(code : "=r"(a0) : "r"(a1) : "t0", "t1", "memory");                                       \
    return a0;                                                                                                \
  }
#define DEFINE_STORE_BY(name, code)                                                                           \
  door void name(u64 address, u64 value) {                                                                    \
    register u64 a0 __asm__("a0") = value, a1 __asm__("a1") = address;                                        \
    __asm__ volatile(code ::"r"(a0), "r"(a1) : "t0", "t1", "memory");                                         \
  }
#define WIDE(operation) ".option push\n.option norvc\n" operation " a0, 0(a1)\n.option pop"
#define SHORT(operation) operation " a0, 0(a1)"
#define ON_SP(operation) \
  "csrrci t0, sstatus, 2\n andi t0, t0, 2\n mv t1, sp\n mv sp, a1\n" operation " a0, 0(sp)\n mv sp, t1\n csrs sstatus, t0"
DEFINE_LOAD_BY(hw_instLb, WIDE("lb")) DEFINE_LOAD_BY(hw_instLbu, WIDE("lbu")) DEFINE_LOAD_BY(hw_instLh, WIDE("lh"))
DEFINE_LOAD_BY(hw_instLhu, WIDE("lhu")) DEFINE_LOAD_BY(hw_instLw, WIDE("lw")) DEFINE_LOAD_BY(hw_instLwu, WIDE("lwu"))
DEFINE_LOAD_BY(hw_instLd, WIDE("ld")) DEFINE_LOAD_BY(hw_instCLw, SHORT("c.lw")) DEFINE_LOAD_BY(hw_instCLd, SHORT("c.ld"))
DEFINE_LOAD_BY(hw_instCLwSp, ON_SP("c.lwsp")) DEFINE_LOAD_BY(hw_instCLdSp, ON_SP("c.ldsp"))
DEFINE_STORE_BY(hw_instSb, WIDE("sb")) DEFINE_STORE_BY(hw_instSh, WIDE("sh")) DEFINE_STORE_BY(hw_instSw, WIDE("sw"))
DEFINE_STORE_BY(hw_instSd, WIDE("sd")) DEFINE_STORE_BY(hw_instCSw, SHORT("c.sw")) DEFINE_STORE_BY(hw_instCSd, SHORT("c.sd"))
DEFINE_STORE_BY(hw_instCSwSp, ON_SP("c.swsp")) DEFINE_STORE_BY(hw_instCSdSp, ON_SP("c.sdsp"))

/* ---- Patterns in the floating point and vector registers (workload-start.S): each register holds STEP more. */
enum { STEP = 0x1234567 };
void fp_fill(u64 seed, u64 step), vector_fill(u64 seed, u64 step);
u64 fp_differs(u64 seed, u64 step), vector_differs(u64 seed, u64 step, u64 exact);
door void hw_fpFill(u64 seed) { fp_fill(seed, STEP); }
door u32 hw_fpMatches(u64 seed) { return fp_differs(seed, STEP) == 0; }
door u32 hw_fpIsZero(void) { return fp_differs(0, 0) == 0; }
door void hw_vectorFill(u64 seed) { vector_fill(seed, STEP); }
door u32 hw_vectorMatches(u64 seed) { return vector_differs(seed, STEP, 1) == 0; }
door u32 hw_vectorIsZero(void) { return vector_differs(0, 0, 0) == 0; }
