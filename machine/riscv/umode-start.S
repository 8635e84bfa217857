# Where the hypervisor enters the user-mode helper for each request: sp is set, every other register is zero.
#include "assembly.inc"
.equ HYPERCALL_PANIC, 0              # umode/protocol.ts

.section .text.start, "ax"
function _start
  call main
  li a7, HYPERCALL_PANIC             # main has said how the request ended and does not return
  ecall
