import { Hart, thisHart } from "./hart";
import { GeneralRegisters } from "./riscv/general-registers";

/**
 * The entry of the hypervisor that records (docs/debugging.md): the hypervisor as it is, and what writes down what comes in through the door and
 * digests what goes out. The wrappers that call it, around each primitive and each entry, are generated (tools/build/recording-door.ts, which has the
 * format). One hart only. Nothing here may call a primitive that is wrapped: it would record itself for ever.
 */

export { boot, bootSecondary, helperTrap, panicAssert, panicTrap, panicWasm, trap } from "./main";

/** The log, from image_RecordLog to the end of the image; its bytes follow these fields. Nobody clears it: RAM of a machine just made is zero. */
@unmanaged
class RecordLog {
  used: u64;
  /** 1: something did not fit, and nothing is added any more. */
  full: u64;
  /** Over everything that went out since boot. */
  digest: u64;
  /** First byte after the log, set by the first entry. */
  end: u64;

  /** Where `length` more bytes go, 0 if they do not fit. */
  add(length: u64): usize {
    const start = <u64>changetype<usize>(this) + offsetof<RecordLog>();
    if (length > this.end - start - this.used) this.full = 1;
    if (this.full != 0) return 0;
    const at = start + this.used;
    this.used += length;
    return <usize>at;
  }

  addByte(byte: u32): void {
    const at = this.add(1);
    if (at != 0) store<u8>(at, byte);
  }

  addBytes(from: u64, length: u64): void {
    const at = this.add(length);
    if (at != 0) memory.copy(at, <usize>from, <usize>length);
  }
}

/** Mixes a word that goes out into the digest. */
export function recordWord(log: RecordLog, word: u64): void {
  let h = ((<u32>log.digest) ^ (<u32>word)) * 0x9e3779b1;
  h = (rotl<u32>(h, 15) ^ (<u32>(word >> 32))) * 0x85ebca77;
  log.digest = h ^ (h >> 13);
}

/** What happens: a primitive, an entry or an exit, and the highest byte of the digest so far. */
export function recordTag(log: RecordLog, tag: u32): void {
  log.addByte(tag);
  log.addByte((<u32>log.digest) >> 24);
}

/** Seven bits a byte, the lowest first. */
export function recordValue(log: RecordLog, value: u64): void {
  let left = value;
  for (; left > 127; left >>= 7) log.addByte((<u32>(left | 128)) & 0xff);
  log.addByte(<u32>left);
}

export function recordBytes(log: RecordLog, from: u64, length: u64): void {
  log.addBytes(from, length);
}

/** The record of the hart, and the registers of the context that trap.S has saved, or 0. */
export function recordEntry(log: RecordLog, end: u64, tag: u32): void {
  const hart = thisHart();
  const context = contextOf(hart);
  log.end = end;
  recordTag(log, tag);
  recordValue(log, <u64>changetype<usize>(hart));
  recordValue(log, <u64>context);
  if (context == 0) return;
  for (let n: u32 = 1; n < 32; n++) recordValue(log, changetype<GeneralRegisters>(context).gpr(n));
}

/** The context that has left the registers: the helper's while it is at work. */
function contextOf(hart: Hart): usize {
  const helper = changetype<usize>(hart.helper);
  return helper != 0 && hart.entered == helper + 1 ? helper : hart.current;
}

/** Of the host, trap.S may still have s0-s11 and gp in the machine. */
const CALLER_SAVED: u32 = 0xf003fcf6;

/** The registers that the current context is entered with go out, and what the hart does next. */
export function recordExit(log: RecordLog, tag: u32, action: u32): void {
  const context = changetype<GeneralRegisters>(thisHart().current);
  recordWord(log, <u64>changetype<usize>(context));
  if (changetype<usize>(context) != 0) {
    // Slot 0 of a TVM's vCPU: trap.S has saved all.
    const savedAtEntry = context.zero != 0;
    for (let n: u32 = 1; n < 32; n++) {
      if (savedAtEntry || ((CALLER_SAVED >> n) & 1) != 0) recordWord(log, context.gpr(n));
    }
  }
  recordTag(log, tag);
  recordValue(log, <u64>action);
}
