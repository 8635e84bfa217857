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
