/* memset (32 words a turn), memcpy and memmove (eight) where the addresses allow it. Compiled alone, never inlined. */
#include <stddef.h>
#include <stdint.h>

typedef uint64_t __attribute__((may_alias)) word;
typedef struct { word w[8]; } __attribute__((may_alias)) block;
#define ALIGNED(address) ((uintptr_t)(address) % sizeof(word) == 0)
#define COPY_BLOCK(to, from)                                                                                 \
  do {                                                                                                       \
    word a = from->w[0], b = from->w[1], c = from->w[2], d = from->w[3];                                     \
    word e = from->w[4], f = from->w[5], g = from->w[6], h = from->w[7];                                     \
    to->w[0] = a, to->w[1] = b, to->w[2] = c, to->w[3] = d, to->w[4] = e, to->w[5] = f, to->w[6] = g, to->w[7] = h; \
  } while (0)

void* memset(void* start, int value, size_t length) {
  uint8_t *to = start, *end = to + length;
  word x = (uint8_t)value * 0x0101010101010101u;
  while (to < end && !ALIGNED(to)) *to++ = (uint8_t)value;
  const block filled = {{x, x, x, x, x, x, x, x}};
  for (; (size_t)(end - to) >= 4 * sizeof(block); to += 4 * sizeof(block))
    ((block*)to)[0] = filled, ((block*)to)[1] = filled, ((block*)to)[2] = filled, ((block*)to)[3] = filled;
  for (; (size_t)(end - to) >= sizeof(block); to += sizeof(block)) *(block*)to = filled;
  for (; (size_t)(end - to) >= sizeof(word); to += sizeof(word)) *(word*)to = x;
  while (to < end) *to++ = (uint8_t)value;
  return start;
}

void* memcpy(void* start, const void* source, size_t length) {
  uint8_t *to = start, *end = to + length;
  const uint8_t* from = source;
  if (ALIGNED((uintptr_t)to ^ (uintptr_t)from)) {
    while (to < end && !ALIGNED(to)) *to++ = *from++;
    for (; (size_t)(end - to) >= sizeof(block); to += sizeof(block), from += sizeof(block))
      COPY_BLOCK(((block*)to), ((const block*)from));
    for (; (size_t)(end - to) >= sizeof(word); to += sizeof(word), from += sizeof(word)) *(word*)to = *(const word*)from;
  }
  while (to < end) *to++ = *from++;
  return start;
}

void* memmove(void* start, const void* source, size_t length) {
  if ((uintptr_t)start - (uintptr_t)source >= length) return memcpy(start, source, length);
  uint8_t* to = (uint8_t*)start + length;
  const uint8_t* from = (const uint8_t*)source + length;
  if (ALIGNED((uintptr_t)to ^ (uintptr_t)from)) {
    while (to > (uint8_t*)start && !ALIGNED(to)) *--to = *--from;
    while ((size_t)(to - (uint8_t*)start) >= sizeof(block)) {
      to -= sizeof(block), from -= sizeof(block);
      COPY_BLOCK(((block*)to), ((const block*)from));
    }
  }
  while (to > (uint8_t*)start) *--to = *--from;
  return start;
}
