# Start code and trap vector of a test VM, VS-mode: a0 = hart id, a1 = opaque. The frame is workloads/lib/trap-frame.ts.
#include "assembly.inc"
.equ FRAME_SIZE, 8*34
.equ FRAME_STATUS, 8*32
.equ FRAME_PROBE, 8*33

.section .text.start, "ax"
function _start
  clear_bss
  la sp, image_BootStackTop
  la t0, main
  j enter
function image_SecondaryEntry
  mv sp, a1
  la t0, secondaryMain
enter:
  la t1, image_TrapEntry
  csrw stvec, t1
  csrw sscratch, zero
  csrw sie, zero
  csrci sstatus, 2
  li t1, 0x2200                      # FS and VS = Initial, where the hart has them
  csrs sstatus, t1
  mv tp, zero
  jalr t0
1:wfi
  j 1b

.text
.balign 4
function image_TrapEntry
  addi sp, sp, -FRAME_SIZE
  caller_saved sd, sp
  callee_saved sd, sp
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
  caller_saved ld, sp
  callee_saved ld, sp
  ld tp, 8*4(sp)
  ld sp, 8*2(sp)
  sret

# Patterns: a0 = content of register 0 and source of the status fields, a1 = what each register adds.
.option arch, +f, +d, +v
.macro fill_fp n
  fmv.d.x f\n, a0
  add a0, a0, a1
.endm
.macro compare_fp n
  fmv.x.d t1, f\n
  xor t1, t1, a0
  or t0, t0, t1
  add a0, a0, a1
.endm
.macro fill_vector n
  vmv.v.x v\n, a0
  add a0, a0, a1
.endm
.macro compare_vector n              # v0 is compared first, then it takes the result
  vmsne.vx v0, v\n, a0
  vcpop.m t1, v0
  or t0, t0, t1
  add a0, a0, a1
.endm
function fp_fill
  andi t0, a0, 0x7f
  fscsr t0
  each_register fill_fp
  ret
function fp_differs
  frcsr t0
  andi t1, a0, 0x7f
  xor t0, t0, t1
  each_register compare_fp
  mv a0, t0
  ret
function vector_fill
  vsetvli t0, zero, e64, m1, tu, mu
  andi t0, a0, 7
  csrw vcsr, t0
  each_register fill_vector
  ret
function vector_differs              # a2: vl, vtype and vcsr have to be vector_fill's too
  csrr t1, vl
  csrr t2, vtype
  csrr t3, vcsr
  vsetvli t0, zero, e64, m1, tu, mu
  xor t0, t0, t1                     # the most elements there are
  andi t1, a0, 7
  xor t1, t1, t3
  xori t2, t2, 0x18                  # e64, m1
  or t0, t0, t1
  or t0, t0, t2
  neg a2, a2
  and t0, t0, a2
  each_register compare_vector
  mv a0, t0
  ret

.bss
.balign 16
.global image_BootStackBottom, image_BootStackTop
image_BootStackBottom: .skip BOOT_STACK_SIZE
image_BootStackTop:
