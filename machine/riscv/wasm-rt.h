/*
 * What the C that wasm2c makes of TypeScript stands on, with the loads and stores that tools/build/c-source.ts generates.
 * wasm2c's own prelude and instance pointer are gone: a wasm address is the machine address, and tables are constants.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define EXPORTED __attribute__((used, externally_visible))
#define FUNC_PROLOGUE
#define FUNC_EPILOGUE

/* Every module exports these two. The numbers are codeTrapped's. */
void panicAssert(u64 message, u64 file, u32 line, u32 column);
void panicWasm(u32 kind);
enum wasm_trap_kind { TRAP_UNREACHABLE, TRAP_DIV_BY_ZERO, TRAP_INT_OVERFLOW, TRAP_CALL_INDIRECT };
__attribute__((noreturn, noinline, cold)) static void wasm_trap(enum wasm_trap_kind kind) {
  panicWasm(kind);
  for (;;) __asm__ volatile("wfi");
}
__attribute__((noreturn, noinline, cold)) static void env_abort(u64 message, u64 file, u32 line, u32 column) {
  panicAssert(message, file, line, column);
  for (;;) __asm__ volatile("wfi");
}
#define TRAP(kind) (wasm_trap(TRAP_##kind), 0)
#define UNREACHABLE TRAP(UNREACHABLE)

/* memory.c */
void* memset(void* to, int value, size_t length);
void* memcpy(void* to, const void* from, size_t length);
void* memmove(void* to, const void* from, size_t length);
static inline void memory_fill(u64 to, u32 value, u64 length) { memset((void*)to, (int)value, length); }
static inline void memory_copy(u64 to, u64 from, u64 length) { memmove((void*)to, (const void*)from, length); }

#define OR_TRAP(bad, kind, value) (UNLIKELY(bad) ? TRAP(kind) : (value))
#define DIV_S(result, least, x, y) \
  OR_TRAP((y) == 0, DIV_BY_ZERO, OR_TRAP((x) == (least) && (y) == -1, INT_OVERFLOW, (result)((x) / (y))))
#define REM_S(result, least, x, y) OR_TRAP((y) == 0, DIV_BY_ZERO, (x) == (least) && (y) == -1 ? 0 : (result)((x) % (y)))
#define I32_DIV_S(x, y) DIV_S(u32, INT32_MIN, (s32)x, (s32)y)
#define I64_DIV_S(x, y) DIV_S(u64, INT64_MIN, (s64)x, (s64)y)
#define I32_REM_S(x, y) REM_S(u32, INT32_MIN, (s32)x, (s32)y)
#define I64_REM_S(x, y) REM_S(u64, INT64_MIN, (s64)x, (s64)y)
#define DIV_U(x, y) OR_TRAP((y) == 0, DIV_BY_ZERO, (x) / (y))
#define REM_U(x, y) OR_TRAP((y) == 0, DIV_BY_ZERO, (x) % (y))
#define I32_ROTL(x, y) (((x) << ((y) & 31)) | ((x) >> (-(y) & 31)))
#define I64_ROTL(x, y) (((x) << ((y) & 63)) | ((x) >> (-(y) & 63)))
#define I32_ROTR(x, y) (((x) >> ((y) & 31)) | ((x) << (-(y) & 31)))
#define I64_ROTR(x, y) (((x) >> ((y) & 63)) | ((x) << (-(y) & 63)))

/* Bit counts without a library: the lowest bit alone for the trailing zeros, all bits below the highest for the leading. */
static inline u32 I64_POPCNT(u64 x) {
  x -= (x >> 1) & 0x5555555555555555;
  x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
  return (u32)((((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f) * 0x0101010101010101) >> 56);
}
static inline u32 I64_CTZ(u64 x) { return I64_POPCNT(~x & (x - 1)); }
static inline u32 I64_CLZ(u64 x) {
  for (u32 shift = 1; shift < 64; shift <<= 1) x |= x >> shift;
  return I64_POPCNT(~x);
}
#define I32_POPCNT(x) I64_POPCNT(x)
#define I32_CTZ(x) I64_CTZ((u64)(x) | (1ull << 32))
#define I32_CLZ(x) (I64_CLZ(x) - 32)

/* Indirect calls: the table is a constant, a type is a number. */
struct table_entry { u32 type; const void* function; };
#define CALLABLE(table, wanted, i) ((i) < sizeof(table) / sizeof((table)[0]) && (table)[i].type == (wanted))
#define CALL_INDIRECT(table, function_type, wanted, i, ...) \
  (LIKELY(CALLABLE(table, wanted, i)) || TRAP(CALL_INDIRECT), ((function_type)(table)[i].function)(__VA_ARGS__))
