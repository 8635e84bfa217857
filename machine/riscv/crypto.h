/* The door of the package crypto/: crypto/hw.ts says what each function does. None of it is volatile unless it has to happen. */
#pragma once
#include "door.h"

door u64 hw_multiplyHigh(u64 x, u64 y) { return (u64)(((unsigned __int128)x * y) >> 64); }
door u64 hw_opaque(u64 value) { __asm__ volatile("" : "+r"(value)); return value; }
door void hw_wipeBytes(u64 at, u64 length) { ALONE(memset((void*)at, 0, length)); }

/* A frame of its own, where the functions that were called before had theirs; the build counts it in the depth of the stack. */
__attribute__((noinline)) static void wipe_stack(void) {
  volatile u64 frame[128];
  for (u64 i = 0; i < 128; i++) frame[i] = 0;
}
door void hw_wipeStack(void) { wipe_stack(); }

/* All, unless a header before this one says less. */
#ifndef LAST_HASH_VARIANT
#define LAST_HASH_VARIANT 2
#endif
door u32 hw_lastHashVariant(void) { return LAST_HASH_VARIANT; }

#define ONE_OPERAND(extension, instruction) \
  u64 result; __asm__(WITH_EXTENSION(extension, instruction " %0, %1") : "=r"(result) : "r"(value)); return result;
door u64 hw_rotateRight64(u64 value, u32 amount) {
  u64 result;
  __asm__(WITH_EXTENSION("zbb", "rori %0, %1, %2") : "=r"(result) : "r"(value), "i"(amount));
  return result;
}
door u64 hw_reverseBytes64(u64 value) { ONE_OPERAND("zbb", "rev8") }
door u64 hw_sha512Sum0(u64 value) { ONE_OPERAND("zknh", "sha512sum0") }
door u64 hw_sha512Sum1(u64 value) { ONE_OPERAND("zknh", "sha512sum1") }
door u64 hw_sha512Sigma0(u64 value) { ONE_OPERAND("zknh", "sha512sig0") }
door u64 hw_sha512Sigma1(u64 value) { ONE_OPERAND("zknh", "sha512sig1") }
