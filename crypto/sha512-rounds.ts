import { reverseBytes64, rotateRight64, sha512Sigma0, sha512Sigma1, sha512Sum0, sha512Sum1 } from "./hw";

/** The compression function of SHA-512 and SHA-384 (FIPS 180-4, 6.4.2), in a version for each set of instructions. */

export const enum Sha512Variant {
  /** rv64im */
  Plain = 0,
  /** With rotations and byte reversal. */
  Zbb = 1,
  /** With an instruction for each sigma, and Zbb. */
  Zknh = 2,
}

// All three take eight words at `state`, 128 bytes of room at `block`, and the block of the message at `data`; all 8-byte aligned.

export function compressPlain(state: usize, block: usize, data: usize): void {
  compress(state, block, data, Sha512Variant.Plain);
}

export function compressZbb(state: usize, block: usize, data: usize): void {
  compress(state, block, data, Sha512Variant.Zbb);
}

export function compressZknh(state: usize, block: usize, data: usize): void {
  compress(state, block, data, Sha512Variant.Zknh);
}

/**
 * The compression function: changes the eight words at `state` by the block at `data`, with room for a block at `block`. It is done in five turns of sixteen rounds, with the last sixteen words of the
 * message schedule in locals. Measured against all eighty rounds unrolled and a schedule in memory: both are slower.
 *
 * Maj(x, y, z) is y ^ ((x ^ y) & (y ^ z)), and the next round's y ^ z is this round's x ^ y: s and t take turns.
 */
// @ts-ignore: decorator
@inline
function compress(state: usize, block: usize, data: usize, variant: Sha512Variant): void {
  // A loop of its own, so that the masks of the byte swap stay in registers.
  for (let offset: usize = 0; offset < TURN_SIZE; offset += 8) {
    store<u64>(block + offset, reversed(load<u64>(data + offset), variant));
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
  let a = load<u64>(state, 0);
  let b = load<u64>(state, 8);
  let c = load<u64>(state, 16);
  let d = load<u64>(state, 24);
  let e = load<u64>(state, 32);
  let f = load<u64>(state, 40);
  let g = load<u64>(state, 48);
  let h = load<u64>(state, 56);
  let s = b ^ c;
  let constants = changetype<usize>(ROUND_CONSTANTS);
  const end = constants + CONSTANTS_SIZE;
  while (true) {
    h += bigSigma1(e, variant) + choose(e, f, g) + load<u64>(constants, 0) + w0;
    d += h;
    let t = a ^ b;
    h += bigSigma0(a, variant) + (b ^ (s & t));
    g += bigSigma1(d, variant) + choose(d, e, f) + load<u64>(constants, 8) + w1;
    c += g;
    s = h ^ a;
    g += bigSigma0(h, variant) + (a ^ (t & s));
    f += bigSigma1(c, variant) + choose(c, d, e) + load<u64>(constants, 16) + w2;
    b += f;
    t = g ^ h;
    f += bigSigma0(g, variant) + (h ^ (s & t));
    e += bigSigma1(b, variant) + choose(b, c, d) + load<u64>(constants, 24) + w3;
    a += e;
    s = f ^ g;
    e += bigSigma0(f, variant) + (g ^ (t & s));
    d += bigSigma1(a, variant) + choose(a, b, c) + load<u64>(constants, 32) + w4;
    h += d;
    t = e ^ f;
    d += bigSigma0(e, variant) + (f ^ (s & t));
    c += bigSigma1(h, variant) + choose(h, a, b) + load<u64>(constants, 40) + w5;
    g += c;
    s = d ^ e;
    c += bigSigma0(d, variant) + (e ^ (t & s));
    b += bigSigma1(g, variant) + choose(g, h, a) + load<u64>(constants, 48) + w6;
    f += b;
    t = c ^ d;
    b += bigSigma0(c, variant) + (d ^ (s & t));
    a += bigSigma1(f, variant) + choose(f, g, h) + load<u64>(constants, 56) + w7;
    e += a;
    s = b ^ c;
    a += bigSigma0(b, variant) + (c ^ (t & s));
    h += bigSigma1(e, variant) + choose(e, f, g) + load<u64>(constants, 64) + w8;
    d += h;
    t = a ^ b;
    h += bigSigma0(a, variant) + (b ^ (s & t));
    g += bigSigma1(d, variant) + choose(d, e, f) + load<u64>(constants, 72) + w9;
    c += g;
    s = h ^ a;
    g += bigSigma0(h, variant) + (a ^ (t & s));
    f += bigSigma1(c, variant) + choose(c, d, e) + load<u64>(constants, 80) + w10;
    b += f;
    t = g ^ h;
    f += bigSigma0(g, variant) + (h ^ (s & t));
    e += bigSigma1(b, variant) + choose(b, c, d) + load<u64>(constants, 88) + w11;
    a += e;
    s = f ^ g;
    e += bigSigma0(f, variant) + (g ^ (t & s));
    d += bigSigma1(a, variant) + choose(a, b, c) + load<u64>(constants, 96) + w12;
    h += d;
    t = e ^ f;
    d += bigSigma0(e, variant) + (f ^ (s & t));
    c += bigSigma1(h, variant) + choose(h, a, b) + load<u64>(constants, 104) + w13;
    g += c;
    s = d ^ e;
    c += bigSigma0(d, variant) + (e ^ (t & s));
    b += bigSigma1(g, variant) + choose(g, h, a) + load<u64>(constants, 112) + w14;
    f += b;
    t = c ^ d;
    b += bigSigma0(c, variant) + (d ^ (s & t));
    a += bigSigma1(f, variant) + choose(f, g, h) + load<u64>(constants, 120) + w15;
    e += a;
    s = b ^ c;
    a += bigSigma0(b, variant) + (c ^ (t & s));
    constants += TURN_SIZE;
    if (constants == end) break;
    w0 += smallSigma1(w14, variant) + w9 + smallSigma0(w1, variant);
    w1 += smallSigma1(w15, variant) + w10 + smallSigma0(w2, variant);
    w2 += smallSigma1(w0, variant) + w11 + smallSigma0(w3, variant);
    w3 += smallSigma1(w1, variant) + w12 + smallSigma0(w4, variant);
    w4 += smallSigma1(w2, variant) + w13 + smallSigma0(w5, variant);
    w5 += smallSigma1(w3, variant) + w14 + smallSigma0(w6, variant);
    w6 += smallSigma1(w4, variant) + w15 + smallSigma0(w7, variant);
    w7 += smallSigma1(w5, variant) + w0 + smallSigma0(w8, variant);
    w8 += smallSigma1(w6, variant) + w1 + smallSigma0(w9, variant);
    w9 += smallSigma1(w7, variant) + w2 + smallSigma0(w10, variant);
    w10 += smallSigma1(w8, variant) + w3 + smallSigma0(w11, variant);
    w11 += smallSigma1(w9, variant) + w4 + smallSigma0(w12, variant);
    w12 += smallSigma1(w10, variant) + w5 + smallSigma0(w13, variant);
    w13 += smallSigma1(w11, variant) + w6 + smallSigma0(w14, variant);
    w14 += smallSigma1(w12, variant) + w7 + smallSigma0(w15, variant);
    w15 += smallSigma1(w13, variant) + w8 + smallSigma0(w0, variant);
  }
  store<u64>(state, load<u64>(state, 0) + a, 0);
  store<u64>(state, load<u64>(state, 8) + b, 8);
  store<u64>(state, load<u64>(state, 16) + c, 16);
  store<u64>(state, load<u64>(state, 24) + d, 24);
  store<u64>(state, load<u64>(state, 32) + e, 32);
  store<u64>(state, load<u64>(state, 40) + f, 40);
  store<u64>(state, load<u64>(state, 48) + g, 48);
  store<u64>(state, load<u64>(state, 56) + h, 56);
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

// The functions of FIPS 180-4, 4.1.3. `variant` is a constant where they are used, so that one branch of each is left.

// @ts-ignore: decorator
@inline
function reversed(x: u64, variant: Sha512Variant): u64 {
  return variant == Sha512Variant.Plain ? bswap<u64>(x) : reverseBytes64(x);
}

// @ts-ignore: decorator
@inline
function rotated(x: u64, amount: u32, variant: Sha512Variant): u64 {
  return variant == Sha512Variant.Plain ? rotr<u64>(x, amount) : rotateRight64(x, amount);
}

// @ts-ignore: decorator
@inline
function bigSigma0(x: u64, variant: Sha512Variant): u64 {
  if (variant == Sha512Variant.Zknh) return sha512Sum0(x);
  return rotated(x, 28, variant) ^ rotated(x, 34, variant) ^ rotated(x, 39, variant);
}

// @ts-ignore: decorator
@inline
function bigSigma1(x: u64, variant: Sha512Variant): u64 {
  if (variant == Sha512Variant.Zknh) return sha512Sum1(x);
  return rotated(x, 14, variant) ^ rotated(x, 18, variant) ^ rotated(x, 41, variant);
}

// @ts-ignore: decorator
@inline
function smallSigma0(x: u64, variant: Sha512Variant): u64 {
  if (variant == Sha512Variant.Zknh) return sha512Sigma0(x);
  return rotated(x, 1, variant) ^ rotated(x, 8, variant) ^ (x >> 7);
}

// @ts-ignore: decorator
@inline
function smallSigma1(x: u64, variant: Sha512Variant): u64 {
  if (variant == Sha512Variant.Zknh) return sha512Sigma1(x);
  return rotated(x, 19, variant) ^ rotated(x, 61, variant) ^ (x >> 6);
}

/** Ch(x, y, z), with one operation less than its definition. */
// @ts-ignore: decorator
@inline
function choose(x: u64, y: u64, z: u64): u64 {
  return z ^ (x & (y ^ z));
}
