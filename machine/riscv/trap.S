# Trap entry and exit of the hypervisor. sscratch: the hart record while a guest runs, 0 while the hypervisor runs.
#include "assembly.inc"
.equ HART_CURRENT, 0                 # offsets in the hart record: hypervisor/hart.ts
.equ HART_STACK_TOP, 8
.equ HART_RECOVERY, 16
.equ HART_ENTERED, 24
.equ HART_SCRATCH, 32
.equ HART_FAULT_CAUSE, 40
.equ HART_STATE, 68
.equ HART_STACK_BOTTOM, 72
.equ HART_HELPER, 80
.equ DEVICE_PATIENCE, 1 << 24        # ticks
.equ HART_ONLINE, 2               # HartState
.equ HART_HALTED, 3
.equ EXC_ECALL_VS, 10
.equ ACTION_WAIT, 1
.equ ACTION_HELPER, 3

.text
.balign 64
function image_TrapEntry
  csrrw tp, sscratch, tp
  beqz tp, from_hypervisor
  sd sp, HART_SCRATCH(tp)
  ld sp, HART_CURRENT(tp)
  caller_saved sd, sp
  ld t0, HART_SCRATCH(tp)
  csrrw t1, sscratch, zero
  csrr t2, scause
  li t3, EXC_ECALL_VS
  sd t0, 8*2(sp)
  sd t1, 8*4(sp)
  bne t2, t3, from_guest_by_surprise

# An ecall: s0-s11 and gp stay in the registers, the compiled code preserves them. A TVM's (slot 0 of its context is 1) are
# also saved now: as soon as TypeScript lets its vCPU go, another hart may enter it, or get the memory of its context.
  ld t0, 0(sp)
  beqz t0, 1f
  callee_saved sd, sp
1:ld sp, HART_STACK_TOP(tp)
handle_ecall:
  call trap
  bnez a0, wait_in_ecall
  ld sp, HART_CURRENT(tp)
  ld t0, HART_ENTERED(tp)
  bne sp, t0, enter_other_or_tvm
enter_context:                       # sp = context, its callee-saved registers are loaded
  csrw sscratch, tp
  caller_saved ld, sp
  ld tp, 8*4(sp)
  ld sp, 8*2(sp)
  sret
enter_other_or_tvm:                  # hart.entered of a TVM is 1 more than its context
  addi t1, sp, 1
  beq t0, t1, enter_context
  andi t1, t0, 1
  bnez t1, enter_loading_all         # it is saved, and no more ours
  callee_saved sd, t0
enter_loading_all:
  ld t0, 0(sp)
  add t0, t0, sp
  sd t0, HART_ENTERED(tp)
  callee_saved ld, sp
  j enter_context
wait_in_ecall:
  li t0, ACTION_HELPER
  beq a0, t0, leave_for_helper
  call wait_or_stop
  j handle_ecall

# Action.Helper: the user-mode helper works for the vCPU. Its registers are saved at every trap, so it counts as saved like a TVM's vCPU; those
# that a host's ecall left in the machine go to its context first.
leave_for_helper:
  ld t0, HART_ENTERED(tp)
  andi t1, t0, 1
  bnez t1, 1f
  callee_saved sd, t0
1:ld sp, HART_HELPER(tp)
  addi t0, sp, 1
  sd t0, HART_ENTERED(tp)
  j enter_helper
.global helper_trapped
helper_trapped:                      # from start.S
  call helperTrap
  j act

# Anything else: all registers are saved, TypeScript may change them, all are loaded.
from_guest_by_surprise:
  callee_saved sd, sp
  ld sp, HART_STACK_TOP(tp)
handle_trap:
  call trap
.global act
act:                                 # also where boot and bootSecondary go with their action in a0
  bnez a0, 1f
  ld sp, HART_CURRENT(tp)
  j enter_loading_all
1:li t0, ACTION_HELPER
  beq a0, t0, leave_for_helper
  call wait_or_stop
  j handle_trap

# a0 = Action.Wait: returns when an interrupt is pending, with scause saying so. Action.Off: does not return.
wait_or_stop:
  li t0, ACTION_WAIT
  bne a0, t0, 1f
  wfi
  li t0, 1
  slli t0, t0, 63
  csrw scause, t0
  ret
1:li a7, 0x48534d                    # SBI HSM hart_stop
  li a6, 1
  li a2, 0

# endHart of hypervisor/riscv/hw.ts: a7, a6, a0, a1 = the last SBI call, a2 = a device register or 0, a3 = what it gets. What
# a guest left on the stacks and in the registers, which the firmware stores, goes first. Then the hart counts as halted.
function hart_end
  la t2, emergency_owner
  ld t0, 0(t2)
  bne t0, tp, 1f
  la t0, emergency_stack
  jal t3, zero_words
1:ld t0, HART_STACK_BOTTOM(tp)
  beqz t0, 2f                        # no guest yet
  ld t2, HART_STACK_TOP(tp)
  jal t3, zero_words
2:sd zero, HART_SCRATCH(tp)
  sd zero, HART_FAULT_CAUSE(tp)
  li t0, HART_ONLINE
  lw t1, HART_STATE(tp)
  fence rw, ow
  bne t0, t1, 3f
  li t0, HART_HALTED
  sw t0, HART_STATE(tp)
3:beqz a2, 4f
  sw a3, 0(a2)
  csrr t0, time                      # the device ends the machine: the firmware must not be quicker and say that all was well
  lui t1, DEVICE_PATIENCE >> 12
1:csrr t2, time
  sub t2, t2, t0
  bltu t2, t1, 1b
4:.irp n, 1, 2, 3, 5, 6, 7, 8, 9, 12, 13, 14, 15, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
  li x\n, 0
  .endr
  ecall
park:
  wfi
  j park
zero_words:                          # [t0, t2), not empty; returns to t3
  sd zero, 0(t0)
  addi t0, t0, 8
  bltu t0, t2, zero_words
  jr t3

# A trap of the hypervisor itself. sscratch was 0, so tp is the hart record again after the second swap.
from_hypervisor:
  csrrw tp, sscratch, tp
  sd t0, HART_SCRATCH(tp)
  ld t0, HART_RECOVERY(tp)
  beqz t0, emergency
  csrw sepc, t0
  csrr t0, scause
  sd t0, HART_FAULT_CAUSE(tp)
  sd zero, HART_RECOVERY(tp)
  ld t0, HART_SCRATCH(tp)
  sret

# No recovery: all registers go to the one emergency stack. A second hart that gets here waits for ever; a hart that
# gets here again (a fault while it panics) starts over, and panicTrap sees that it is panicking.
emergency:
  sd t1, HART_FAULT_CAUSE(tp)        # free: there is no recovery
  la t0, emergency_owner
1:lr.d t1, (t0)
  beq t1, tp, 2f
  bnez t1, park
  sc.d t1, tp, (t0)
  bnez t1, 1b
2:la t0, emergency_frame
  sd sp, 8*2(t0)
  mv sp, t0
  ld t0, HART_SCRATCH(tp)
  ld t1, HART_FAULT_CAUSE(tp)
  caller_saved sd, sp
  callee_saved sd, sp
  sd tp, 8*4(sp)
  csrr a0, scause
  csrr a1, sepc
  csrr a2, stval
  ld a3, 8*2(sp)
  mv a4, sp
  call panicTrap
  j park

.bss
.balign 16
emergency_stack: .skip EMERGENCY_STACK_SIZE
emergency_frame: .skip 8*32
emergency_owner: .skip 8
