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

  /**
   * The compression function on the block at `data` (8-byte aligned): five turns of sixteen rounds, with the last sixteen words of the
   * message schedule in locals. Measured against all eighty rounds unrolled and a schedule in memory: both are slower.
   *
   * Maj(x, y, z) is y ^ ((x ^ y) & (y ^ z)), and the next round's y ^ z is this round's x ^ y: s and t take turns.
   */
  private compress(data: usize): void {
    const block = this.block();
    // A loop of its own, so that the masks of the byte swap stay in registers.
    for (let offset: usize = 0; offset < TURN_SIZE; offset += 8) {
      store<u64>(block + offset, bswap<u64>(load<u64>(data + offset)));
    }
    let w0 = load<u64>(block, 0);
    let w1 = load<u64>(block, 8);
    let w2 = load<u64>(block, 16);
    let w3 = load<u64>(block, 24);
    let w4 = load<u64>(block, 32);
    let w5 = load<u64>(block, 40);
    let w6 = load<u64>(block, 48);
    let w7 = load<u64>(block, 56);
    let w8 = load<u64>(block, 64);
    let w9 = load<u64>(block, 72);
    let w10 = load<u64>(block, 80);
    let w11 = load<u64>(block, 88);
    let w12 = load<u64>(block, 96);
    let w13 = load<u64>(block, 104);
    let w14 = load<u64>(block, 112);
    let w15 = load<u64>(block, 120);
    let a = this.h0;
    let b = this.h1;
    let c = this.h2;
    let d = this.h3;
    let e = this.h4;
    let f = this.h5;
    let g = this.h6;
    let h = this.h7;
    let s = b ^ c;
    let constants = changetype<usize>(ROUND_CONSTANTS);
    const end = constants + CONSTANTS_SIZE;
    while (true) {
      h += bigSigma1(e) + choose(e, f, g) + load<u64>(constants, 0) + w0;
      d += h;
      let t = a ^ b;
      h += bigSigma0(a) + (b ^ (s & t));
      g += bigSigma1(d) + choose(d, e, f) + load<u64>(constants, 8) + w1;
      c += g;
      s = h ^ a;
      g += bigSigma0(h) + (a ^ (t & s));
      f += bigSigma1(c) + choose(c, d, e) + load<u64>(constants, 16) + w2;
      b += f;
      t = g ^ h;
      f += bigSigma0(g) + (h ^ (s & t));
      e += bigSigma1(b) + choose(b, c, d) + load<u64>(constants, 24) + w3;
      a += e;
      s = f ^ g;
      e += bigSigma0(f) + (g ^ (t & s));
      d += bigSigma1(a) + choose(a, b, c) + load<u64>(constants, 32) + w4;
      h += d;
      t = e ^ f;
      d += bigSigma0(e) + (f ^ (s & t));
      c += bigSigma1(h) + choose(h, a, b) + load<u64>(constants, 40) + w5;
      g += c;
      s = d ^ e;
      c += bigSigma0(d) + (e ^ (t & s));
      b += bigSigma1(g) + choose(g, h, a) + load<u64>(constants, 48) + w6;
      f += b;
      t = c ^ d;
      b += bigSigma0(c) + (d ^ (s & t));
      a += bigSigma1(f) + choose(f, g, h) + load<u64>(constants, 56) + w7;
      e += a;
      s = b ^ c;
      a += bigSigma0(b) + (c ^ (t & s));
      h += bigSigma1(e) + choose(e, f, g) + load<u64>(constants, 64) + w8;
      d += h;
      t = a ^ b;
      h += bigSigma0(a) + (b ^ (s & t));
      g += bigSigma1(d) + choose(d, e, f) + load<u64>(constants, 72) + w9;
      c += g;
      s = h ^ a;
      g += bigSigma0(h) + (a ^ (t & s));
      f += bigSigma1(c) + choose(c, d, e) + load<u64>(constants, 80) + w10;
      b += f;
      t = g ^ h;
      f += bigSigma0(g) + (h ^ (s & t));
      e += bigSigma1(b) + choose(b, c, d) + load<u64>(constants, 88) + w11;
      a += e;
      s = f ^ g;
      e += bigSigma0(f) + (g ^ (t & s));
      d += bigSigma1(a) + choose(a, b, c) + load<u64>(constants, 96) + w12;
      h += d;
      t = e ^ f;
      d += bigSigma0(e) + (f ^ (s & t));
      c += bigSigma1(h) + choose(h, a, b) + load<u64>(constants, 104) + w13;
      g += c;
      s = d ^ e;
      c += bigSigma0(d) + (e ^ (t & s));
      b += bigSigma1(g) + choose(g, h, a) + load<u64>(constants, 112) + w14;
      f += b;
      t = c ^ d;
      b += bigSigma0(c) + (d ^ (s & t));
      a += bigSigma1(f) + choose(f, g, h) + load<u64>(constants, 120) + w15;
      e += a;
      s = b ^ c;
      a += bigSigma0(b) + (c ^ (t & s));
      constants += TURN_SIZE;
      if (constants == end) break;
      w0 += smallSigma1(w14) + w9 + smallSigma0(w1);
      w1 += smallSigma1(w15) + w10 + smallSigma0(w2);
      w2 += smallSigma1(w0) + w11 + smallSigma0(w3);
      w3 += smallSigma1(w1) + w12 + smallSigma0(w4);
      w4 += smallSigma1(w2) + w13 + smallSigma0(w5);
      w5 += smallSigma1(w3) + w14 + smallSigma0(w6);
      w6 += smallSigma1(w4) + w15 + smallSigma0(w7);
      w7 += smallSigma1(w5) + w0 + smallSigma0(w8);
      w8 += smallSigma1(w6) + w1 + smallSigma0(w9);
      w9 += smallSigma1(w7) + w2 + smallSigma0(w10);
      w10 += smallSigma1(w8) + w3 + smallSigma0(w11);
      w11 += smallSigma1(w9) + w4 + smallSigma0(w12);
      w12 += smallSigma1(w10) + w5 + smallSigma0(w13);
      w13 += smallSigma1(w11) + w6 + smallSigma0(w14);
      w14 += smallSigma1(w12) + w7 + smallSigma0(w15);
      w15 += smallSigma1(w13) + w8 + smallSigma0(w0);
    }
    this.h0 += a;
    this.h1 += b;
    this.h2 += c;
    this.h3 += d;
    this.h4 += e;
    this.h5 += f;
    this.h6 += g;
    this.h7 += h;
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

/** Starts a SHA-512. */
export function sha512Init(state: Sha512State): void {
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

/**
 * Round constants: the first 64 bits of the fractional parts of the cube roots of the first 80 primes (FIPS 180-4, 4.2.3).
 * A literal is the dialect's one form of constant data, so each constant is four UTF-16 units, the low one first:
 * 0x428a2f98d728ae22 begins the table.
 */
const ROUND_CONSTANTS: string =
  "\
\uae22\ud728\u2f98\u428a\u65cd\u23ef\u4491\u7137\u3b2f\uec4d\ufbcf\ub5c0\udbbc\u8189\udba5\ue9b5\
\ub538\uf348\uc25b\u3956\ud019\ub605\u11f1\u59f1\u4f9b\uaf19\u82a4\u923f\u8118\uda6d\u5ed5\uab1c\
\u0242\ua303\uaa98\ud807\u6fbe\u4570\u5b01\u1283\ub28c\u4ee4\u85be\u2431\ub4e2\ud5ff\u7dc3\u550c\
\u896f\uf27b\u5d74\u72be\u96b1\u3b16\ub1fe\u80de\u1235\u25c7\u06a7\u9bdc\u2694\ucf69\uf174\uc19b\
\u4ad2\u9ef1\u69c1\ue49b\u25e3\u384f\u4786\uefbe\ud5b5\u8b8c\u9dc6\u0fc1\u9c65\u77ac\ua1cc\u240c\
\u0275\u592b\u2c6f\u2de9\ue483\u6ea6\u84aa\u4a74\ufbd4\ubd41\ua9dc\u5cb0\u53b5\u8311\u88da\u76f9\
\udfab\uee66\u5152\u983e\u3210\u2db4\uc66d\ua831\u213f\u98fb\u27c8\ub003\u0ee4\ubeef\u7fc7\ubf59\
\u8fc2\u3da8\u0bf3\uc6e0\ua725\u930a\u9147\ud5a7\u826f\ue003\u6351\u06ca\u6e70\u0a0e\u2967\u1429\
\u2ffc\u46d2\u0a85\u27b7\uc926\u5c26\u2138\u2e1b\u2aed\u5ac4\u6dfc\u4d2c\ub3df\u9d95\u0d13\u5338\
\u63de\u8baf\u7354\u650a\ub2a8\u3c77\u0abb\u766a\uaee6\u47ed\uc92e\u81c2\u353b\u1482\u2c85\u9272\
\u0364\u4cf1\ue8a1\ua2bf\u3001\ubc42\u664b\ua81a\u9791\ud0f8\u8b70\uc24b\ube30\u0654\u51a3\uc76c\
\u5218\ud6ef\ue819\ud192\ua910\u5565\u0624\ud699\u202a\u5771\u3585\uf40e\ud1b8\u32bb\ua070\u106a\
\ud0c8\ub8d2\uc116\u19a4\uab53\u5141\u6c08\u1e37\ueb99\udf8e\u774c\u2748\u48a8\ue19b\ubcb5\u34b0\
\u5a63\uc5c9\u0cb3\u391c\u8acb\ue341\uaa4a\u4ed8\ue373\u7763\uca4f\u5b9c\ub8a3\ud6b2\u6ff3\u682e\
\ub2fc\u5def\u82ee\u748f\u2f60\u4317\u636f\u78a5\uab72\ua1f0\u7814\u84c8\u39ec\u1a64\u0208\u8cc7\
\u1e28\u2363\ufffa\u90be\ubde9\ude82\u6ceb\ua450\u7915\ub2c6\ua3f7\ubef9\u532b\ue372\u78f2\uc671\
\u619c\uea26\u3ece\uca27\uc207\u21c0\ub8c7\ud186\ueb1e\ucde0\u7dd6\ueada\ud178\uee6e\u4f7f\uf57d\
\u6fba\u7217\u67aa\u06f0\u98a6\ua2c8\u7dc5\u0a63\u0dae\ubef9\u9804\u113f\u471b\u131c\u0b35\u1b71\
\u7d84\u2304\u77f5\u28db\u2493\u40c7\uab7b\u32ca\ubebc\u15c9\ube0a\u3c9e\u0d4c\u9c10\u67c4\u431d\
\u42b6\ucb3e\ud4be\u4cc5\u7e2a\ufc65\u299c\u597f\ufaec\u3ad6\u6fab\u5fcb\u5817\u4a47\u198c\u6c44";

/** Bytes of round constants that one turn of sixteen rounds uses (and of a block), and all of them. */
const TURN_SIZE: usize = 128;
const CONSTANTS_SIZE: usize = 640;

/** Adds `length` bytes at `data` (any alignment) to the message. */
export function sha512Update(state: Sha512State, data: usize, length: u64): void {
  state.update(data, length);
}

/** Ends the message, stores the digest (digestSize bytes, any alignment) at `digest` and wipes the state. */
export function sha512Final(state: Sha512State, digest: usize): void {
  state.final(digest);
}

// The functions of FIPS 180-4, 4.1.3.

// @ts-ignore: decorator
@inline
function bigSigma0(x: u64): u64 {
  return rotr<u64>(x, 28) ^ rotr<u64>(x, 34) ^ rotr<u64>(x, 39);
}

// @ts-ignore: decorator
@inline
function bigSigma1(x: u64): u64 {
  return rotr<u64>(x, 14) ^ rotr<u64>(x, 18) ^ rotr<u64>(x, 41);
}

// @ts-ignore: decorator
@inline
function smallSigma0(x: u64): u64 {
  return rotr<u64>(x, 1) ^ rotr<u64>(x, 8) ^ (x >> 7);
}

// @ts-ignore: decorator
@inline
function smallSigma1(x: u64): u64 {
  return rotr<u64>(x, 19) ^ rotr<u64>(x, 61) ^ (x >> 6);
}

/** Ch(x, y, z), with one operation less than its definition. */
// @ts-ignore: decorator
@inline
function choose(x: u64, y: u64, z: u64): u64 {
  return z ^ (x & (y ^ z));
}
