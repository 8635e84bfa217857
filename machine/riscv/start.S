# Where the firmware starts a hart: HS-mode, satp = 0, interrupts off, a0 = hart id, a1 = device tree or opaque.

.section .text.start, "ax"
.global _start, secondary_entry
.type _start, @function
_start:
  la t0, trap_entry
  csrw stvec, t0
  csrw sscratch, zero
  csrw sie, zero
  la t0, bss_start
  la t1, image_end
1:sd zero, 0(t0)                     # .bss, the boot stack too: both ends are 16-byte aligned
  sd zero, 8(t0)
  addi t0, t0, 16
  bltu t0, t1, 1b
  la tp, boot_hart
  la sp, boot_stack_top
  sd sp, 8(tp)                       # hart.stackTop
  call boot
  j act
.size _start, . - _start

.type secondary_entry, @function
secondary_entry:                     # a1 = the hart's record
  la t0, trap_entry
  csrw stvec, t0
  csrw sscratch, zero
  csrw sie, zero
  mv tp, a1
  ld sp, 8(tp)                       # hart.stackTop
  call bootSecondary
  j act
.size secondary_entry, . - secondary_entry

.bss
.balign 4096
.global boot_hart, boot_stack_bottom, boot_stack_top
boot_hart: .skip 4096
boot_stack_bottom: .skip BOOT_STACK_SIZE
boot_stack_top:
