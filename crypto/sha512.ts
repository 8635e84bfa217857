import { lastHashVariant } from "./hw";
import { compressPlain, compressZbb, compressZknh, Sha512Variant } from "./sha512-rounds";

/**
 * SHA-512 and SHA-384 (FIPS 180-4), streaming, without allocation: the caller gives the state record.
 *
 * The message is read with plain loads, so it must be memory that nobody else writes meanwhile.
 */
@unmanaged
export class Sha512State {
  h0: u64;
  h1: u64;
  h2: u64;
  h3: u64;
  h4: u64;
  h5: u64;
  h6: u64;
  h7: u64;
  /** Bytes hashed so far; a message is shorter than 2^61 bytes. */
  length: u64;
  /** Bytes of the digest: 48 or 64. */
  digestSize: u64;
  // The unfinished block: `length` modulo 128 bytes of it are filled.
  block0: u64;
  block1: u64;
  block2: u64;
  block3: u64;
  block4: u64;
  block5: u64;
  block6: u64;
  block7: u64;
  block8: u64;
  block9: u64;
  block10: u64;
  block11: u64;
  block12: u64;
  block13: u64;
  block14: u64;
  block15: u64;
  /** Sha512Variant: what the hart can do. The digest is the same. */
  variant: u64;

  // Raw memory is touched only here: the record owns its block, and the caller the message and the digest.

  private block(): usize {
    return changetype<usize>(this) + offsetof<Sha512State>("block0");
  }

  /** Adds `length` bytes at `data` (any alignment) to the message. */
  update(data: usize, length: u64): void {
    let filled = this.length & (SHA512_BLOCK_SIZE - 1);
    this.length += length;
    if (filled != 0) {
      const part = length < SHA512_BLOCK_SIZE - filled ? length : SHA512_BLOCK_SIZE - filled;
      this.copy(this.block() + <usize>filled, data, part);
      filled += part;
      data += <usize>part;
      length -= part;
      if (filled < SHA512_BLOCK_SIZE) return;
      this.compress(this.block());
    }

    const aligned = ((<u64>data) & WORD_MASK) == 0;
    for (; length >= SHA512_BLOCK_SIZE; length -= SHA512_BLOCK_SIZE) {
      if (!aligned) this.copy(this.block(), data, SHA512_BLOCK_SIZE);
      this.compress(aligned ? data : this.block());
      data += <usize>SHA512_BLOCK_SIZE;
    }
    this.copy(this.block(), data, length);
  }

  /** Ends the message, stores the digest (digestSize bytes) at `digest` and wipes the state. */
  final(digest: usize): void {
    const block = this.block();
    const filled = this.length & (SHA512_BLOCK_SIZE - 1);
    store<u8>(block + <usize>filled, 0x80);
    this.clear(block + <usize>filled + 1, SHA512_BLOCK_SIZE - filled - 1);
    if (filled >= LENGTH_OFFSET) {
      this.compress(block);
      this.clear(block, LENGTH_OFFSET);
    }
    // 128 bits of length, in bits; the upper half only takes what a byte count below 2^61 cannot have.
    this.block14 = 0;
    this.block15 = bswap<u64>(this.length << 3);
    this.compress(block);

    const size = this.digestSize;
    for (let offset: u64 = 0; offset < size; offset += 8) {
      this.storeBytes(digest + <usize>offset, load<u64>(changetype<usize>(this) + <usize>offset));
    }
    this.clear(changetype<usize>(this), <u64>offsetof<Sha512State>());
  }

  /** Takes in the block at `data` (8-byte aligned). */
  private compress(data: usize): void {
    const block = this.block();
    switch (min(<u32>this.variant, lastHashVariant())) {
      case Sha512Variant.Zbb:
        compressZbb(changetype<usize>(this), block, data);
        break;
      case Sha512Variant.Zknh:
        compressZknh(changetype<usize>(this), block, data);
        break;
      default:
        compressPlain(changetype<usize>(this), block, data);
    }
  }

  /** Stores a word big-endian at any alignment. */
  private storeBytes(address: usize, word: u64): void {
    for (let i: u64 = 0; i < 8; i++) store<u8>(address + <usize>i, <u8>(word >> (56 - (i << 3))));
  }

  /** Copies bytes, by words where both sides are aligned. */
  private copy(to: usize, from: usize, length: u64): void {
    let i: usize = 0;
    if ((((<u64>to) | (<u64>from)) & WORD_MASK) == 0) {
      for (; i + 8 <= <usize>length; i += 8) store<u64>(to + i, load<u64>(from + i));
    }
    for (; i < <usize>length; i++) store<u8>(to + i, load<u8>(from + i));
  }

  /** Zeroes bytes, by words where they are aligned. */
  private clear(address: usize, length: u64): void {
    const end = address + <usize>length;
    while (address < end && ((<u64>address) & WORD_MASK) != 0) store<u8>(address++, 0);
    for (; address + 8 <= end; address += 8) store<u64>(address, 0);
    while (address < end) store<u8>(address++, 0);
  }
}

export const SHA384_DIGEST_SIZE: u64 = 48;
export const SHA512_DIGEST_SIZE: u64 = 64;
/** Bytes of a block: the unit of the compression function, and the key block of HMAC. */
export const SHA512_BLOCK_SIZE: u64 = 128;

/** Where the length of the message stands in the last block. */
const LENGTH_OFFSET: u64 = 112;
const WORD_MASK: u64 = 7;

/** Starts a SHA-512. Where the hart can do more, `state.variant` may be set afterwards. */
export function sha512Init(state: Sha512State): void {
  state.variant = Sha512Variant.Plain;
  state.h0 = 0x6a09e667f3bcc908;
  state.h1 = 0xbb67ae8584caa73b;
  state.h2 = 0x3c6ef372fe94f82b;
  state.h3 = 0xa54ff53a5f1d36f1;
  state.h4 = 0x510e527fade682d1;
  state.h5 = 0x9b05688c2b3e6c1f;
  state.h6 = 0x1f83d9abfb41bd6b;
  state.h7 = 0x5be0cd19137e2179;
  state.length = 0;
  state.digestSize = SHA512_DIGEST_SIZE;
}

/** Starts a SHA-384: the same function with other initial values and a shorter digest. */
export function sha384Init(state: Sha512State): void {
  state.variant = Sha512Variant.Plain;
  state.h0 = 0xcbbb9d5dc1059ed8;
  state.h1 = 0x629a292a367cd507;
  state.h2 = 0x9159015a3070dd17;
  state.h3 = 0x152fecd8f70e5939;
  state.h4 = 0x67332667ffc00b31;
  state.h5 = 0x8eb44a8768581511;
  state.h6 = 0xdb0c2e0d64f98fa7;
  state.h7 = 0x47b5481dbefa4fa4;
  state.length = 0;
  state.digestSize = SHA384_DIGEST_SIZE;
}

/** Adds `length` bytes at `data` (any alignment) to the message. */
export function sha512Update(state: Sha512State, data: usize, length: u64): void {
  state.update(data, length);
}

/** Ends the message, stores the digest (digestSize bytes, any alignment) at `digest` and wipes the state. */
export function sha512Final(state: Sha512State, digest: usize): void {
  state.final(digest);
}
