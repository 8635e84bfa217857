/*
 * The flavour that records: what comes in through the door, and a digest of what goes out, in a log that lies in the image. The
 * wrapper of each primitive and of each entry is generated from their declarations (tools/build/recording-door.ts); the format is
 * written down in docs/debugging.md. One hart only.
 */
#pragma once
#include "hw.h"

#define RECORD_ROOM 32 /* a tag, a digest and a value always fit, or nothing is added any more */
struct record_log { u64 used, full, digest, reserved; u8 bytes[]; };
extern struct record_log record_log __asm__("image_RecordLog"); /* the door's image_RecordLog is an address of constants */
extern const char image_End[];
#define record_alone __attribute__((noinline)) static void

/* Mixes a word that goes out into the digest. */
record_alone record_word(u64 word) {
  u32 h = ((u32)record_log.digest ^ (u32)word) * 0x9e3779b1u;
  h = ((h << 15 | h >> 17) ^ (u32)(word >> 32)) * 0x85ebca77u;
  record_log.digest = h ^ h >> 13;
}
record_alone record_bytes(u64 from, u64 length) {
  struct record_log* log = &record_log;
  log->full |= length > (u64)image_End - (u64)log->bytes - RECORD_ROOM - log->used;
  if (log->full) return;
  memcpy(log->bytes + log->used, (const void*)from, length);
  log->used += length;
}
/* Seven bits a byte, the lowest first. */
record_alone record_value(u64 value) {
  u8 bytes[10];
  u64 length = 0;
  for (; value > 127; value >>= 7) bytes[length++] = (u8)(value | 128);
  bytes[length++] = (u8)value;
  record_bytes((u64)bytes, length);
}
/* What happens: a primitive, an entry or an exit, and the highest byte of the digest so far. */
record_alone record_tag(u32 tag) {
  u8 bytes[2] = {(u8)tag, (u8)(record_log.digest >> 24)};
  record_bytes((u64)bytes, 2);
}
/* hypervisor/hart.ts: context of a guest, context that was entered last, context of the user-mode helper. */
#define HART_WORD(hart, offset) (*(u64*)((hart) + (offset)))
/* The context that has left the registers: the helper's while it is at work. */
static inline const u64* record_context(void) {
  u64 helper = HART_WORD(hart_register, 80);
  return (const u64*)(HART_WORD(hart_register, 24) == helper + 1 && helper ? helper : HART_WORD(hart_register, 0));
}
/* The record of the hart, and the registers of the context that trap.S has saved, or 0. */
record_alone record_entry(u32 tag) {
  const u64* context = record_context();
  record_tag(tag);
  record_value(hart_register);
  record_value((u64)context);
  for (u32 n = 1; context && n < 32; n++) record_value(context[n]);
}
/* Of the host, trap.S may still have s0-s11 and gp in the machine. */
#define CALLER_SAVED 0xf003fcf6u
record_alone record_exit(u32 tag, u32 action) {
  const u64* context = *(const u64**)hart_register;
  record_word((u64)context);
  for (u32 n = 1; context && n < 32; n++)
    if (context[0] || CALLER_SAVED >> n & 1) record_word(context[n]);
  record_tag(tag);
  record_value(action);
}
