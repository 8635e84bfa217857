/* The door of the hypervisor to the machine, HS-mode only: hypervisor/riscv/hw.ts says what each function does. */
#pragma once
#include "door.h"

#define HART_RECOVERY 16 /* offsets in the hart record: hypervisor/hart.ts */
#define HART_FAULT_CAUSE 40

/*
 * One instruction that may fault: trap.S continues at label 2 with hart.recovery = 0 and hart.faultCause set. What a trap
 * overwrites of the guest's state is put back, the guest's trap is still being handled.
 */
#define TRY(instruction, result, faulted, ...)                                                                   \
  __asm__ volatile(                                                                                              \
      "la %1, 2f\n sd %1, 16(tp)\n li %1, 1\n" instruction "\n sd zero, 16(tp)\n li %1, 0\n2:"                   \
      : "=&r"(result), "=&r"(faulted)                                                                            \
      : __VA_ARGS__                                                                                              \
      : "memory")
#define CSR_TRY(n) case n: TRY("csrr %0, " #n, value, faulted, "r"(0)); break;
door u32 hw_csrExists(u32 csr) {
  u64 value = 0, faulted = 0;
  CSR_SWITCH(CSR_TRY)
  return !faulted;
}

door s64 hw_fetchGuestHalf(u64 gva) {
  u64 half, faulted, sstatus, hstatus, sepc, scause, stval, htval, htinst;
  __asm__ volatile("csrr %0, sstatus\n csrr %1, 0x600\n csrr %2, sepc\n csrr %3, scause\n csrr %4, stval\n"
                   " csrr %5, 0x643\n csrr %6, 0x64a"
                   : "=r"(sstatus), "=r"(hstatus), "=r"(sepc), "=r"(scause), "=r"(stval), "=r"(htval), "=r"(htinst));
  TRY(WITH_EXTENSION("h", "hlvx.hu %0, (%2)"), half, faulted, "r"(gva));
  if (LIKELY(!faulted)) return (s64)half;
  __asm__ volatile("csrw sstatus, %0\n csrw 0x600, %1\n csrw sepc, %2\n csrw scause, %3\n csrw stval, %4\n"
                   " csrw 0x643, %5\n csrw 0x64a, %6" ::"r"(sstatus),
                   "r"(hstatus), "r"(sepc), "r"(scause), "r"(stval), "r"(htval), "r"(htinst));
  return -1 - (s64)i64_load(hart_register + HART_FAULT_CAUSE);
}

door void hw_fence(void) { fence_asm("rw, rw"); }
door void hw_fenceWrites(void) { fence_asm("w, w"); }
door void hw_hfenceGvmaAll(void) { __asm__ volatile(WITH_EXTENSION("h", "hfence.gvma") ::: "memory"); }
door void hw_hfenceGvmaVmid(u64 vmid) {
  __asm__ volatile(WITH_EXTENSION("h", "hfence.gvma zero, %0") ::"r"(vmid) : "memory");
}
door void hw_hfenceVvmaAll(void) { __asm__ volatile(WITH_EXTENSION("h", "hfence.vvma") ::: "memory"); }

door s64 hw_sbiCall(u64 eid, u64 fid, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 valueOut) {
  return sbi_call(eid, fid, a0, a1, a2, a3, a4, 0, valueOut);
}

/* extension-state.S */
void fp_save(u64 area);
void fp_restore(u64 area);
void vector_save(u64 area);
void vector_restore(u64 area);
door void hw_fpSave(u64 area) { fp_save(area); }
door void hw_fpRestore(u64 area) { fp_restore(area); }
door void hw_vectorSave(u64 area) { vector_save(area); }
door void hw_vectorRestore(u64 area) { vector_restore(area); }
