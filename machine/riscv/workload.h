/* The door of the test VMs to the machine, VS-mode: workloads/lib/hw.ts says what each function does. */
#pragma once
#include "door.h"

door void hw_fence(void) { fence_asm("iorw, iorw"); }
door void hw_wfi(void) { __asm__ volatile("wfi" ::: "memory"); }
door void hw_parkForever(void) { for (;;) hw_wfi(); }
door s64 hw_ecall(u64 eid, u64 fid, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5, u64 valueOut) {
  return sbi_call(eid, fid, a0, a1, a2, a3, a4, a5, valueOut);
}

/* workload-start.S: loads every register but sp from frame[1..31], ecall, stores every register but sp back. */
void ecall_with_frame(u64* frame);
static u64 hw_ecallPreserves_body(u64 eid, u64 fid, u64 a0, u64 a1, u64 result) {
  u64 frame[32], changed = 0;
  for (u64 n = 0; n < 32; n++) frame[n] = n * 0x0123456789abcdef;
  frame[10] = a0, frame[11] = a1, frame[16] = fid, frame[17] = eid;
  ecall_with_frame(frame);
  i64_store(result, frame[10]), i64_store(result + 8, frame[11]);
  frame[10] = 10 * 0x0123456789abcdef, frame[11] = 11 * 0x0123456789abcdef;
  frame[16] -= fid - 16 * 0x0123456789abcdef, frame[17] -= eid - 17 * 0x0123456789abcdef;
  for (u64 n = 3; n < 32; n++) changed |= (u64)(frame[n] != n * 0x0123456789abcdef) << n;
  return changed | (u64)(frame[1] != 0x0123456789abcdef) << 1;
}
door u64 hw_ecallPreserves(u64 eid, u64 fid, u64 a0, u64 a1, u64 resultOut) {
  return hw_ecallPreserves_body(eid, fid, a0, a1, resultOut);
}

/* ---- Probes: the trap vector finds label 1 in sscratch, and continues there with scause in t0. */
#define PROBE(instruction, cause, ...)                                                                             \
  __asm__ volatile("la t0, 1f\n csrw sscratch, t0\n" instruction "\n csrw sscratch, zero\n li t0, -1\n1: mv %0, t0" \
                   : "=r"(cause) : __VA_ARGS__ : "t0", "t1", "memory")
#define WIDTH_SWITCH(on_one, on_two, on_four, on_eight) \
  switch (width) { case 1: on_one; break; case 2: on_two; break; case 4: on_four; break; default: on_eight; }
#define CSR_PROBE(n) case n: PROBE("csrr t1, " #n, cause, "r"(0)); break;
door u64 hw_csrProbe(u32 csr) { u64 cause = 0; CSR_SWITCH(CSR_PROBE) return cause; }
door u64 hw_probeLoad(u64 address, u32 width) {
  u64 cause;
  WIDTH_SWITCH(PROBE("lb t1, (%1)", cause, "r"(address)), PROBE("lh t1, (%1)", cause, "r"(address)),
               PROBE("lw t1, (%1)", cause, "r"(address)), PROBE("ld t1, (%1)", cause, "r"(address)))
  return cause;
}
door u64 hw_probeStore(u64 address, u32 width, u64 value) {
  u64 cause;
  WIDTH_SWITCH(PROBE("sb %2, (%1)", cause, "r"(address), "r"(value)), PROBE("sh %2, (%1)", cause, "r"(address), "r"(value)),
               PROBE("sw %2, (%1)", cause, "r"(address), "r"(value)), PROBE("sd %2, (%1)", cause, "r"(address), "r"(value)))
  return cause;
}
door u64 hw_probeCall(u64 address) {
  register u64 cause __asm__("s1"), target __asm__("s2") = address;
  __asm__ volatile("la t0, 1f\n csrw sscratch, t0\n jalr s2\n csrw sscratch, zero\n li t0, -1\n1: mv s1, t0"
                   : "=r"(cause) : "r"(target)
                   : "ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "memory");
  return cause;
}
door u64 hw_probeWfi(void) { u64 cause; PROBE("wfi", cause, "r"(0)); return cause; }
door u64 hw_probeCboInval(u64 address) {
  u64 cause;
  PROBE(WITH_EXTENSION("zicbom", "cbo.inval (%1)"), cause, "r"(address));
  return cause;
}

/* ---- Exactly this one instruction, on a0 and a1 (which the compressed forms can name). */
#define DEFINE_INST_LOAD(name, code)                                                                       \
  door u64 name(u64 address) {                                                                             \
    register u64 a0 __asm__("a0"), a1 __asm__("a1") = address;                                             \
    __asm__ volatile(code : "=r"(a0) : "r"(a1) : "t0", "t1", "memory");                                    \
    return a0;                                                                                             \
  }
#define DEFINE_INST_STORE(name, code)                                                                      \
  door void name(u64 address, u64 value) {                                                                 \
    register u64 a0 __asm__("a0") = value, a1 __asm__("a1") = address;                                     \
    __asm__ volatile(code ::"r"(a0), "r"(a1) : "t0", "t1", "memory");                                      \
  }
#define WIDE(code) ".option push\n.option norvc\n" code "\n.option pop"
#define ON_SP(code) "csrrci t0, sstatus, 2\n andi t0, t0, 2\n mv t1, sp\n mv sp, a1\n" code "\n mv sp, t1\n csrs sstatus, t0"
DEFINE_INST_LOAD(hw_instLb, WIDE("lb a0, 0(a1)"))
DEFINE_INST_LOAD(hw_instLbu, WIDE("lbu a0, 0(a1)"))
DEFINE_INST_LOAD(hw_instLh, WIDE("lh a0, 0(a1)"))
DEFINE_INST_LOAD(hw_instLhu, WIDE("lhu a0, 0(a1)"))
DEFINE_INST_LOAD(hw_instLw, WIDE("lw a0, 0(a1)"))
DEFINE_INST_LOAD(hw_instLwu, WIDE("lwu a0, 0(a1)"))
DEFINE_INST_LOAD(hw_instLd, WIDE("ld a0, 0(a1)"))
DEFINE_INST_LOAD(hw_instCLw, "c.lw a0, 0(a1)")
DEFINE_INST_LOAD(hw_instCLd, "c.ld a0, 0(a1)")
DEFINE_INST_LOAD(hw_instCLwSp, ON_SP("c.lwsp a0, 0(sp)"))
DEFINE_INST_LOAD(hw_instCLdSp, ON_SP("c.ldsp a0, 0(sp)"))
DEFINE_INST_STORE(hw_instSb, WIDE("sb a0, 0(a1)"))
DEFINE_INST_STORE(hw_instSh, WIDE("sh a0, 0(a1)"))
DEFINE_INST_STORE(hw_instSw, WIDE("sw a0, 0(a1)"))
DEFINE_INST_STORE(hw_instSd, WIDE("sd a0, 0(a1)"))
DEFINE_INST_STORE(hw_instCSw, "c.sw a0, 0(a1)")
DEFINE_INST_STORE(hw_instCSd, "c.sd a0, 0(a1)")
DEFINE_INST_STORE(hw_instCSwSp, ON_SP("c.swsp a0, 0(sp)"))
DEFINE_INST_STORE(hw_instCSdSp, ON_SP("c.sdsp a0, 0(sp)"))

/* ---- Patterns in the floating point and vector registers, through the save areas of extension-state.S. */
enum { FP_WORDS = 33, VECTOR_HEADER = 4, MOST_VLENB = 128, VECTOR_WORDS = VECTOR_HEADER + 32 * MOST_VLENB / 8 };
void fp_save(u64* area);
void fp_restore(const u64* area);
void vector_save(u64* area);
void vector_restore(const u64* area);
door u64 pattern(u64 seed, u64 index) { return (seed + index) * 0x9e3779b97f4a7c15 ^ index; }
static u64 vector_words(void) {
  u64 vlenb = hw_csrRead(0xc22);
  if (vlenb > MOST_VLENB) UNREACHABLE;
  return VECTOR_HEADER + 32 * vlenb / 8;
}
/* vl short of the most, e16, m2; vcsr is 3 bits, fcsr 8 (of which 5 is no rounding mode to compute with). */
static u64 vector_pattern(u64 seed, u64 index, u64 words) {
  const u64 header[VECTOR_HEADER] = {0, (words - VECTOR_HEADER) / 4 - 1, 9, seed & 7};
  return index < VECTOR_HEADER ? header[index] : pattern(seed, index);
}
static u64 fp_pattern(u64 seed, u64 index) { return index < 32 ? pattern(seed, index) : seed & 0x7f; }
static void fp_fill(u64 seed) {
  u64 area[FP_WORDS];
  for (u64 i = 0; i < FP_WORDS; i++) area[i] = fp_pattern(seed, i);
  fp_restore(area);
}
static u32 fp_compare(u64 seed, bool with_zero) {
  u64 area[FP_WORDS], difference = 0;
  fp_save(area);
  for (u64 i = 0; i < FP_WORDS; i++) difference |= area[i] ^ (with_zero ? 0 : fp_pattern(seed, i));
  return difference == 0;
}
static void vector_fill(u64 seed) {
  u64 area[VECTOR_WORDS], words = vector_words();
  for (u64 i = 0; i < words; i++) area[i] = vector_pattern(seed, i, words);
  vector_restore(area);
}
static u32 vector_compare(u64 seed, bool with_zero) {
  u64 area[VECTOR_WORDS], words = vector_words(), difference = 0;
  vector_save(area);
  for (u64 i = with_zero ? VECTOR_HEADER : 0; i < words; i++)
    difference |= area[i] ^ (with_zero ? 0 : vector_pattern(seed, i, words));
  return difference == 0;
}
door void hw_fpFill(u64 seed) { fp_fill(seed); }
door u32 hw_fpMatches(u64 seed) { return fp_compare(seed, false); }
door u32 hw_fpIsZero(void) { return fp_compare(0, true); }
door void hw_vectorFill(u64 seed) { vector_fill(seed); }
door u32 hw_vectorMatches(u64 seed) { return vector_compare(seed, false); }
door u32 hw_vectorIsZero(void) { return vector_compare(0, true); }
