/* The part of the door to the machine that the hypervisor (hw.h) and the test VMs (workload.h) share. */
#pragma once
#include "door-lists.h" /* generated: FOR_EACH_CSR(X) from hypervisor/riscv/csr.ts, FOR_EACH_IMAGE_SYMBOL(X) from hw.ts */
#include "wasm-rt.h"

#define door static inline __attribute__((always_inline))
#define fence_asm(sets) __asm__ volatile("fence " sets ::: "memory")
#define WITH_EXTENSION(extension, code) ".option push\n.option arch, +" extension "\n" code "\n.option pop"
__attribute__((error("this argument must be a compile-time constant of the list"))) extern void not_constant(void);

/* ---- CSRs: a switch on a constant folds to one instruction. */
#define CSR_SWITCH(FOR_ONE) switch (csr) { FOR_EACH_CSR(FOR_ONE) default: not_constant(); }
#define CSR_READ(n) case n: __asm__ volatile("csrr %0, " #n : "=r"(value)); break;
#define CSR_WRITE(n) case n: __asm__ volatile("csrw " #n ", %0" ::"rK"(value)); break;
#define CSR_SWAP(n) case n: __asm__ volatile("csrrw %0, " #n ", %1" : "=r"(old) : "rK"(value)); break;
#define CSR_SET(n) case n: __asm__ volatile("csrs " #n ", %0" ::"rK"(mask)); break;
#define CSR_CLEAR(n) case n: __asm__ volatile("csrc " #n ", %0" ::"rK"(mask)); break;
door u64 hw_csrRead(u32 csr) { u64 value = 0; CSR_SWITCH(CSR_READ) return value; }
door void hw_csrWrite(u32 csr, u64 value) { CSR_SWITCH(CSR_WRITE) }
door u64 hw_csrSwap(u32 csr, u64 value) { u64 old = 0; CSR_SWITCH(CSR_SWAP) return old; }
door void hw_csrSet(u32 csr, u64 mask) { CSR_SWITCH(CSR_SET) }
door void hw_csrClear(u32 csr, u64 mask) { CSR_SWITCH(CSR_CLEAR) }

/* ---- Memory that others can touch: exactly one access each. */
door u32 hw_read8(u64 hpa) { return *(volatile u8*)hpa; }
door u32 hw_read16(u64 hpa) { return *(volatile u16*)hpa; }
door u32 hw_read32(u64 hpa) { return *(volatile u32*)hpa; }
door u64 hw_read64(u64 hpa) { return *(volatile u64*)hpa; }
door void hw_write8(u64 hpa, u32 value) { *(volatile u8*)hpa = (u8)value; }
door void hw_write16(u64 hpa, u32 value) { *(volatile u16*)hpa = (u16)value; }
door void hw_write32(u64 hpa, u32 value) { *(volatile u32*)hpa = value; }
door void hw_write64(u64 hpa, u64 value) { *(volatile u64*)hpa = value; }
door u32 hw_loadAcquire32(u64 hpa) { u32 value = hw_read32(hpa); fence_asm("r, rw"); return value; }
door u64 hw_loadAcquire64(u64 hpa) { u64 value = hw_read64(hpa); fence_asm("r, rw"); return value; }
door void hw_storeRelease32(u64 hpa, u32 value) { fence_asm("rw, w"); hw_write32(hpa, value); }
door void hw_storeRelease64(u64 hpa, u64 value) { fence_asm("rw, w"); hw_write64(hpa, value); }
/* lr.w sign-extends: so is what it is compared with. */
#define DEFINE_CAS(type, signed_type, name, width)                                                                        \
  door type name(u64 hpa, type expected, type desired) {                                                                  \
    u64 old, failed;                                                                                                      \
    __asm__ volatile("1: lr." width ".aq %0, (%2)\n bne %0, %3, 2f\n sc." width ".aqrl %1, %4, (%2)\n bnez %1, 1b\n2:"    \
                     : "=&r"(old), "=&r"(failed) : "r"(hpa), "r"((s64)(signed_type)expected), "r"(desired) : "memory");   \
    return (type)old;                                                                                                     \
  }
#define DEFINE_AMO(type, name, instruction)                                                              \
  door type name(u64 hpa, type value) {                                                                  \
    u64 old;                                                                                             \
    __asm__ volatile(instruction ".aqrl %0, %2, (%1)" : "=r"(old) : "r"(hpa), "r"(value) : "memory");    \
    return (type)old;                                                                                    \
  }
DEFINE_CAS(u32, s32, hw_cas32, "w")
DEFINE_CAS(u64, s64, hw_cas64, "d")
DEFINE_AMO(u32, hw_swap32, "amoswap.w")
DEFINE_AMO(u64, hw_swap64, "amoswap.d")
DEFINE_AMO(u32, hw_add32, "amoadd.w")
DEFINE_AMO(u64, hw_add64, "amoadd.d")
DEFINE_AMO(u64, hw_or64, "amoor.d")
DEFINE_AMO(u64, hw_and64, "amoand.d")

/* memory.c is compiled alone: no caller's knowledge reaches into it, and it touches each byte once. */
#define ALONE(call) do { __asm__ volatile("" ::: "memory"); call; __asm__ volatile("" ::: "memory"); } while (0)
door void hw_copyBytes(u64 to, u64 from, u64 length) { ALONE(memcpy((void*)to, (const void*)from, length)); }
door void hw_zeroBytes(u64 hpa, u64 length) { ALONE(memset((void*)hpa, 0, length)); }
door void hw_cboZero(u64 hpa) { __asm__ volatile(WITH_EXTENSION("zicboz", "cbo.zero (%0)") ::"r"(hpa) : "memory"); }

/* ---- Device registers: ordered against each other and against memory that the device reads or writes. */
#define DEFINE_MMIO(type, wide, read, write)                                                          \
  door wide read(u64 hpa) { wide value = *(volatile type*)hpa; fence_asm("i, ir"); return value; }    \
  door void write(u64 hpa, wide value) { fence_asm("w, o"); *(volatile type*)hpa = (type)value; fence_asm("o, w"); }
DEFINE_MMIO(u8, u32, hw_mmioRead8, hw_mmioWrite8)
DEFINE_MMIO(u32, u32, hw_mmioRead32, hw_mmioWrite32)
DEFINE_MMIO(u64, u64, hw_mmioRead64, hw_mmioWrite64)

/* ---- Ordering and translation caches. */
door void hw_fenceI(void) { __asm__ volatile("fence.i" ::: "memory"); }
door void hw_pause(void) { __asm__ volatile(".insn i 0x0f, 0, x0, x0, 0x010" ::: "memory"); }
door void hw_sfenceVma(void) { __asm__ volatile("sfence.vma" ::: "memory"); }

/* ---- This hart: its record is in tp, which the compiler treats as a variable of its own. */
register u64 hart_register __asm__("tp");
door u64 hw_hartRecord(void) { return hart_register; }
door void hw_setHartRecord(u64 record) { hart_register = record; }
door u64 hw_stackPointer(void) { u64 sp; __asm__ volatile("mv %0, sp" : "=r"(sp)); return sp; }

/* ---- This image: symbols of image.ld and of the start code, named after the members of ImageSymbol. */
#define IMAGE_SYMBOL(number, symbol) case number: { extern const char symbol[]; return (u64)symbol; }
#define IMAGE_PROGRAM_COUNTER(number) case number: { u64 pc; __asm__ volatile("auipc %0, 0" : "=r"(pc)); return pc; }
door u64 hw_imageAddress(u32 symbol) {
  switch (symbol) { FOR_EACH_IMAGE_SYMBOL(IMAGE_SYMBOL, IMAGE_PROGRAM_COUNTER) default: not_constant(); }
  return 0;
}

/* ---- The environment below: SBI. */
door s64 sbi_call(u64 eid, u64 fid, u64 x0, u64 x1, u64 x2, u64 x3, u64 x4, u64 x5, u64 value_out) {
  register u64 a0 __asm__("a0") = x0, a1 __asm__("a1") = x1, a2 __asm__("a2") = x2, a3 __asm__("a3") = x3;
  register u64 a4 __asm__("a4") = x4, a5 __asm__("a5") = x5, a6 __asm__("a6") = fid, a7 __asm__("a7") = eid;
  __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a6), "r"(a7) : "memory");
  if (value_out) hw_write64(value_out, a1);
  return (s64)a0;
}
