/* The door of the hypervisor to the machine, HS-mode only: hypervisor/riscv/hw.ts says what each function does. */
#pragma once
#include "door.h"
#define HART_FAULT_CAUSE 40 /* hypervisor/hart.ts; 16 below is hart.recovery */

/*
 * One instruction that may fault: trap.S continues at label 2 with hart.recovery = 0 and hart.faultCause set. `faulted`
 * must not share a register with an input.
 */
#define TRY(instruction, result, faulted, ...)                                                                          \
  __asm__ volatile("la %1, 2f\n sd %1, 16(tp)\n li %1, 1\n" instruction "\n sd zero, 16(tp)\n li %1, 0\n2:"             \
                   : "=&r"(result), "=&r"(faulted) : __VA_ARGS__ : "memory")
#define CSR_TRY(n) case n: TRY("csrr %0, " #n, value, faulted, "r"(0)); break;
door u32 hw_csrExists(u32 csr) { u64 value, faulted = 0; CSR_SWITCH(CSR_TRY) return !faulted; }

/* The guest's trap is still being handled: what a fault overwrites of it is put back. */
#define GUEST_TRAP_CSRS(X) X(sstatus) X(hstatus) X(sepc) X(scause) X(stval) X(htval) X(htinst)
#define KEEP_CSR(name) u64 name; __asm__ volatile("csrr %0, " #name : "=r"(name));
#define PUT_BACK_CSR(name) __asm__ volatile("csrw " #name ", %0" ::"r"(name));
door s64 hw_fetchGuestHalf(u64 gva) {
  u64 half, faulted;
  GUEST_TRAP_CSRS(KEEP_CSR)
  TRY(WITH_EXTENSION("h", "hlvx.hu %0, (%2)"), half, faulted, "r"(gva));
  if (LIKELY(!faulted)) return (s64)half;
  GUEST_TRAP_CSRS(PUT_BACK_CSR)
  return -1 - (s64)hw_read64(hart_register + HART_FAULT_CAUSE);
}

#define H_FENCE(code) __asm__ volatile(WITH_EXTENSION("h", code) ::"r"(vmid) : "memory")
door void hw_fence(void) { fence_asm("rw, rw"); }
door void hw_fenceWrites(void) { fence_asm("w, w"); }
door void hw_hfenceGvmaAll(void) { u64 vmid = 0; H_FENCE("hfence.gvma"); }
door void hw_hfenceGvmaVmid(u64 vmid) { H_FENCE("hfence.gvma zero, %0"); }
door void hw_hfenceVvmaAll(void) { u64 vmid = 0; H_FENCE("hfence.vvma"); }
door s64 hw_sbiCall(u64 eid, u64 fid, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 valueOut) {
  return sbi_call(eid, fid, a0, a1, a2, a3, a4, 0, valueOut);
}
/* trap.S */
__attribute__((noreturn)) void hart_end(u64 a0, u64 a1, u64 device, u64 value, u64 a4, u64 a5, u64 fid, u64 eid);
door void hw_endHart(u64 eid, u64 fid, u64 a0, u64 a1, u64 device, u32 value) {
  hart_end(a0, a1, device, value, 0, 0, fid, eid);
}

/* extension-state.S */
void fp_save(u64 area), fp_restore(u64 area), vector_save(u64 area), vector_restore(u64 area);
door void hw_fpSave(u64 area) { fp_save(area); }
door void hw_fpRestore(u64 area) { fp_restore(area); }
door void hw_vectorSave(u64 area) { vector_save(area); }
door void hw_vectorRestore(u64 area) { vector_restore(area); }
