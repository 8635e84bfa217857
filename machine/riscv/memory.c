/* memset, memcpy and memmove: eight 64-bit words a turn where the addresses allow it. Compiled alone, never inlined. */
#include <stddef.h>
#include <stdint.h>

typedef uint64_t __attribute__((may_alias)) word;
enum { WORD = sizeof(word), BLOCK = 8 * WORD };

#define COPY_BLOCK(to, from)                                                                   \
  do {                                                                                         \
    word a = (from)[0], b = (from)[1], c = (from)[2], d = (from)[3];                           \
    word e = (from)[4], f = (from)[5], g = (from)[6], h = (from)[7];                           \
    (to)[0] = a, (to)[1] = b, (to)[2] = c, (to)[3] = d, (to)[4] = e, (to)[5] = f, (to)[6] = g, (to)[7] = h; \
  } while (0)

void* memset(void* start, int value, size_t length) {
  uint8_t* to = start;
  uint8_t* end = to + length;
  while (to < end && (uintptr_t)to % WORD) *to++ = (uint8_t)value;
  word pattern = (uint8_t)value * 0x0101010101010101u;
  for (; (size_t)(end - to) >= BLOCK; to += BLOCK) {
    word* w = (word*)to;
    w[0] = w[1] = w[2] = w[3] = w[4] = w[5] = w[6] = w[7] = pattern;
  }
  for (; (size_t)(end - to) >= WORD; to += WORD) *(word*)to = pattern;
  while (to < end) *to++ = (uint8_t)value;
  return start;
}

void* memcpy(void* start, const void* source, size_t length) {
  uint8_t* to = start;
  uint8_t* end = to + length;
  const uint8_t* from = source;
  if (((uintptr_t)to ^ (uintptr_t)from) % WORD == 0) {
    while (to < end && (uintptr_t)to % WORD) *to++ = *from++;
    for (; (size_t)(end - to) >= BLOCK; to += BLOCK, from += BLOCK) COPY_BLOCK((word*)to, (const word*)from);
    for (; (size_t)(end - to) >= WORD; to += WORD, from += WORD) *(word*)to = *(const word*)from;
  }
  while (to < end) *to++ = *from++;
  return start;
}

void* memmove(void* start, const void* source, size_t length) {
  if ((uintptr_t)start - (uintptr_t)source >= length) return memcpy(start, source, length);
  uint8_t* to = (uint8_t*)start + length;
  const uint8_t* from = (const uint8_t*)source + length;
  if (((uintptr_t)to ^ (uintptr_t)from) % WORD == 0) {
    while (to > (uint8_t*)start && (uintptr_t)to % WORD) *--to = *--from;
    for (; (size_t)(to - (uint8_t*)start) >= BLOCK; ) {
      to -= BLOCK, from -= BLOCK;
      COPY_BLOCK((word*)to, (const word*)from);
    }
  }
  while (to > (uint8_t*)start) *--to = *--from;
  return start;
}
