/* The door of the user-mode helper to the hypervisor: umode/hw.ts says what it does. */
#pragma once
#include "door.h"

/* It hashes one request: the plain version will do. */
#define LAST_HASH_VARIANT 0

door u64 hw_hypercall(u64 number, u64 x0, u64 x1, u64 x2) {
  register u64 a0 __asm__("a0") = x0, a1 __asm__("a1") = x1, a2 __asm__("a2") = x2, a7 __asm__("a7") = number;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a7) : "memory");
  return a0;
}
