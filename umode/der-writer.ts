import { hexDigit } from "./cbor-writer";

/**
 * Writes DER from the last byte to the first, so that every length is known when it is written.
 *
 *     low                      at                     end
 *      |        free            |  what is written     |
 */
@unmanaged
export class DerWriter {
  low: usize;
  at: usize;
  /** 1 once something did not fit; nothing is written from then on. */
  full: u32;

  begin(low: usize, end: usize): void {
    this.low = low;
    this.at = end;
    this.full = 0;
  }

  /** Makes room for `count` bytes; false if there is none. */
  private room(count: u64): bool {
    if (this.full != 0 || <u64>(this.at - this.low) < count) {
      this.full = 1;
      return false;
    }
    this.at -= <usize>count;
    return true;
  }

  /** The low `count` bytes of `value`, most significant first. */
  constant(value: u64, count: u64): void {
    if (!this.room(count)) return;
    for (let i = count; i != 0; i--) {
      store<u8>(this.at + <usize>(i - 1), <u8>value);
      value >>= 8;
    }
  }

  bytes(from: usize, count: u64): void {
    if (!this.room(count)) return;
    memory.copy(this.at, from, <usize>count);
  }

  /** `count` bytes as twice as many lower-case hex digits. */
  hex(from: usize, count: u64): void {
    for (let i = count; i != 0; i--) {
      const byte = <u64>load<u8>(from + <usize>(i - 1));
      this.constant((hexDigit(byte >> 4) << 8) | hexDigit(byte & 15), 2);
    }
  }

  /** Tag and length of everything that was written since the writer was at `end`. */
  wrap(tag: u64, end: usize): void {
    const length = <u64>(end - this.at);
    if (length < 0x80) this.constant(length, 1);
    else if (length < 0x100) this.constant(0x8100 | length, 2);
    else this.constant(0x82_0000 | length, 3);
    this.constant(tag, 1);
  }
}
