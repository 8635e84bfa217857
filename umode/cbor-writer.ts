/** Writes CBOR (RFC 8949) in deterministic encoding, from the first byte on. */
@unmanaged
export class CborWriter {
  at: usize;
  end: usize;
  /** 1 once something did not fit; nothing is written from then on. */
  full: u32;

  begin(start: usize, end: usize): void {
    this.at = start;
    this.end = end;
    this.full = 0;
  }

  /** The low `count` bytes of `value`, most significant first. */
  raw(value: u64, count: u64): void {
    if (this.full != 0 || <u64>(this.end - this.at) < count) {
      this.full = 1;
      return;
    }
    for (let i: u64 = 0; i < count; i++) store<u8>(this.at + <usize>i, <u8>(value >> ((count - 1 - i) << 3)));
    this.at += <usize>count;
  }

  /** Major type and number, in the fewest bytes. */
  head(major: u64, value: u64): void {
    const type = major << 5;
    if (value < 24) this.raw(type | value, 1);
    else if (value < 0x100) this.raw(((type | 24) << 8) | value, 2);
    else if (value < 0x1_0000) this.raw(((type | 25) << 16) | value, 3);
    else {
      this.raw(type | 26, 1);
      this.raw(value, 4);
    }
  }

  unsigned(value: u64): void {
    this.head(0, value);
  }

  /** -1 - `value` */
  negative(value: u64): void {
    this.head(1, value);
  }

  array(count: u64): void {
    this.head(4, count);
  }

  map(count: u64): void {
    this.head(5, count);
  }

  bytes(from: usize, count: u64): void {
    this.head(2, count);
    for (let i: u64 = 0; i < count; i++) this.raw(<u64>load<u8>(from + <usize>i), 1);
  }

  /** An ASCII literal (static UTF-16 data, with its bytes in the word before it). */
  text(literal: string): void {
    const at = changetype<usize>(literal);
    const count = <u64>(load<u32>(at - 4) >> 1);
    this.head(3, count);
    for (let i: u64 = 0; i < count; i++) this.raw(<u64>load<u16>(at + <usize>(i << 1)), 1);
  }

  /** `count` bytes as a text of lower-case hex digits. */
  hex(from: usize, count: u64): void {
    this.head(3, count * 2);
    for (let i: u64 = 0; i < count; i++) {
      const byte = <u64>load<u8>(from + <usize>i);
      this.raw((hexDigit(byte >> 4) << 8) | hexDigit(byte & 15), 2);
    }
  }
}

/** Character of a digit, lower case. */
export function hexDigit(value: u64): u64 {
  return value < 10 ? 0x30 + value : 0x61 - 10 + value;
}
