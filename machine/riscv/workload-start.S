# Start code and trap vector of a test VM, VS-mode: a0 = hart id, a1 = opaque. The frame is workloads/lib/trap-frame.ts.
#include "context.inc"

.equ FRAME_SIZE, 8*34
.equ FRAME_STATUS, 8*32
.equ FRAME_PROBE, 8*33

.section .text.start, "ax"
.global _start, secondary_entry, trap_entry, ecall_with_frame
.type _start, @function
_start:
  la t0, bss_start
  la t1, image_end
1:sd zero, 0(t0)
  sd zero, 8(t0)
  addi t0, t0, 16
  bltu t0, t1, 1b
  la sp, boot_stack_top
  la t0, main
  j enter
.size _start, . - _start
.type secondary_entry, @function
secondary_entry:
  mv sp, a1
  la t0, secondaryMain
enter:
  la t1, trap_entry
  csrw stvec, t1
  csrw sscratch, zero
  csrw sie, zero
  csrci sstatus, 2
  mv tp, zero
  jalr t0
1:wfi
  j 1b
.size secondary_entry, . - secondary_entry

.text
.balign 4
.type trap_entry, @function
trap_entry:
  addi sp, sp, -FRAME_SIZE
  save_caller_saved sp
  save_callee_saved sp
  addi t0, sp, FRAME_SIZE
  csrr t1, sepc
  csrr t2, sstatus
  csrrw t3, sscratch, zero
  csrr t4, scause
  sd t0, 8*2(sp)
  sd t1, 8*0(sp)
  sd t2, FRAME_STATUS(sp)
  sd t3, FRAME_PROBE(sp)
  sd tp, 8*4(sp)
  beqz t3, 1f
  bltz t4, 1f
  sd t3, 8*0(sp)                     # an exception that a probe waits for: it continues with scause in t0
  sd t4, 8*5(sp)
  sd zero, FRAME_PROBE(sp)
  j 2f
1:mv a0, sp
  call trap
2:ld t0, 8*0(sp)
  ld t1, FRAME_STATUS(sp)
  ld t2, FRAME_PROBE(sp)
  csrw sepc, t0
  csrw sstatus, t1
  csrw sscratch, t2
  load_caller_saved sp
  load_callee_saved sp
  ld tp, 8*4(sp)
  ld sp, 8*2(sp)
  sret
.size trap_entry, . - trap_entry

.type ecall_with_frame, @function
ecall_with_frame:                    # a0 = frame of 32 words
  addi sp, sp, -FRAME_SIZE
  save_callee_saved sp
  sd ra, 8*1(sp)
  sd tp, 8*4(sp)
  sd a0, 8*5(sp)
  mv t6, a0                          # the last one that load_caller_saved loads
  ld tp, 8*4(t6)
  load_callee_saved t6
  load_caller_saved t6
  ecall
  sd t0, 8*6(sp)
  ld t0, 8*5(sp)
  save_caller_saved t0
  save_callee_saved t0
  sd tp, 8*4(t0)
  ld t1, 8*6(sp)
  sd t1, 8*5(t0)
  load_callee_saved sp
  ld ra, 8*1(sp)
  ld tp, 8*4(sp)
  addi sp, sp, FRAME_SIZE
  ret
.size ecall_with_frame, . - ecall_with_frame

.bss
.balign 16
.global boot_stack_bottom, boot_stack_top
boot_stack_bottom: .skip BOOT_STACK_SIZE
boot_stack_top:
