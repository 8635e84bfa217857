# Where the firmware starts a hart: HS-mode, satp = 0, interrupts off, a0 = hart id, a1 = device tree or opaque.
#include "assembly.inc"
.equ HART_STACK_TOP, 8               # hypervisor/hart.ts
.equ CONTEXT_HELPER_SATP, 8*32       # hypervisor/helper/context.ts
.equ CONTEXT_OWN_SATP, 8*33
.equ CONTEXT_HART, 8*34
.equ CONTEXT_ADDRESS, 0x8000         # where the helper's address space has the context

.macro prepare_traps
  la t0, image_TrapEntry
  csrw stvec, t0
  csrw sscratch, zero
  csrw sie, zero
.endm

.section .text.start, "ax"
function _start
  prepare_traps
  clear_bss
  la tp, image_BootHart
  la sp, image_BootStackTop
  sd sp, HART_STACK_TOP(tp)
  call boot
  j act

function image_SecondaryEntry        # a1 = the hart's record
  prepare_traps
  mv tp, a1
  ld sp, HART_STACK_TOP(tp)
  call bootSecondary
  j act

# The way to the user-mode helper and back, in the one page of our text that its address space holds too (for us, not for it): satp
# changes here. sp = the helper's context, which has the same contents at CONTEXT_ADDRESS there.
function enter_helper
  ld t0, CONTEXT_HELPER_SATP(sp)
  la t1, helper_trap
  csrw stvec, t1
  csrw satp, t0
  sfence.vma
  li sp, CONTEXT_ADDRESS
  csrw sscratch, sp
  callee_saved ld, sp
  caller_saved ld, sp
  ld tp, 8*4(sp)
  ld sp, 8*2(sp)
  sret
.balign 4
helper_trap:
  csrrw sp, sscratch, sp
  caller_saved sd, sp
  callee_saved sd, sp
  csrrw t0, sscratch, zero
  sd t0, 8*2(sp)
  sd tp, 8*4(sp)
  ld t0, CONTEXT_OWN_SATP(sp)
  ld tp, CONTEXT_HART(sp)
  csrw satp, t0
  sfence.vma
  la t1, image_TrapEntry
  csrw stvec, t1
  ld sp, HART_STACK_TOP(tp)
  j helper_trapped
.global first_page_end
first_page_end:

.bss
.balign 4096
.global image_BootHart, image_BootStackBottom, image_BootStackTop
image_BootHart: .skip 4096
image_BootStackBottom: .skip BOOT_STACK_SIZE
image_BootStackTop:
