/**
 * Reads DER (X.690, 10): definite lengths in the fewest bytes, tags of one byte. A cursor goes over the elements of one constructed value and never leaves it.
 */
@unmanaged
export class DerCursor {
  at: usize;
  end: usize;

  over(start: usize, length: u64): void {
    this.at = start;
    this.end = start + <usize>length;
  }

  done(): bool {
    return this.at == this.end;
  }

  /** Tag of the next element, 0 at the end. */
  tag(): u32 {
    return this.at == this.end ? 0 : <u32>load<u8>(this.at);
  }

  /** Steps over the next element, which must have the tag; `content` then goes over its contents. False if it is not there or malformed. */
  take(tag: u32, content: DerCursor): bool {
    let at = this.at;
    const end = this.end;
    if (end - at < 2 || <u32>load<u8>(at) != tag || (tag & 0x1f) == 0x1f) return false;
    let length = <u64>load<u8>(at + 1);
    at += 2;
    if (length >= 0x80) {
      const count = length & 0x7f;
      // Nothing that is read here is longer than 65,535 bytes.
      if (count == 0 || count > 2 || <u64>(end - at) < count) return false;
      length = 0;
      for (let i: u64 = 0; i < count; i++) length = (length << 8) | (<u64>load<u8>(at + <usize>i));
      if (length < 0x80 || (count == 2 && length < 0x100)) return false;
      at += <usize>count;
    }
    if (<u64>(end - at) < length) return false;
    content.at = at;
    content.end = at + <usize>length;
    this.at = content.end;
    return true;
  }

  /** Whether all that is left is the low `count` bytes of `value`, most significant first. */
  is(value: u64, count: u64): bool {
    if (<u64>(this.end - this.at) != count) return false;
    for (let i: u64 = 0; i < count; i++) {
      if (<u64>load<u8>(this.at + <usize>i) != ((value >> ((count - 1 - i) << 3)) & 0xff)) return false;
    }
    return true;
  }

  length(): u64 {
    return <u64>(this.end - this.at);
  }
}
