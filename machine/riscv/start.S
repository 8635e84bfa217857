# Where the firmware starts a hart: HS-mode, satp = 0, interrupts off, a0 = hart id, a1 = device tree or opaque.
#include "assembly.inc"
.equ HART_STACK_TOP, 8               # hypervisor/hart.ts

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

.bss
.balign 4096
.global image_BootHart, image_BootStackBottom, image_BootStackTop
image_BootHart: .skip 4096
image_BootStackBottom: .skip BOOT_STACK_SIZE
image_BootStackTop:
