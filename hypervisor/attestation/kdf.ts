import { hkdf } from "../../crypto/hkdf";
import { literalChar, literalLength } from "../lib/literal";
import { read8, write8, write64 } from "../riscv/hw";

/**
 * Key derivation of the Open Profile for DICE: HKDF-SHA-512 with a constant salt or a digest as salt, and a text as info.
 *
 * Everything lies in memory of our own: `scratch` is always SCRATCH_BYTES of it, the work pages of the hart.
 */

export const CDI_SIZE: u64 = 32;
export const ID_SIZE: u64 = 20;
export const SALT_SIZE: u64 = 64;

/** Scratch of everything here: a page for info, salt and what callers put there, and a page for the cryptography, which leaves it zero. */
export const SCRATCH_BYTES: u64 = 8192;
const INFO: u64 = 0;
const SALT: u64 = 64;
/** First byte that callers may use, and the first that they may not. */
export const SCRATCH_FREE: u64 = 128;
export const CRYPTO: u64 = 4096;

/** `length` <= 64 bytes at `out` from `keyLength` bytes at `key`, the 64-byte salt at `salt`, and `info` (at most 64 characters). */
export function derive(out: u64, length: u64, key: u64, keyLength: u64, salt: u64, info: string, scratch: u64): void {
  const characters = <u64>literalLength(info);
  for (let i: u64 = 0; i < characters; i++) write8(scratch + INFO + i, literalChar(info, <usize>i));
  hkdf(
    <usize>salt,
    SALT_SIZE,
    <usize>key,
    keyLength,
    <usize>(scratch + INFO),
    characters,
    <usize>out,
    length,
    <usize>(scratch + CRYPTO),
  );
}

/** Seed of a layer's key pair from its CDI. */
export function deriveSeed(out: u64, cdi: u64, scratch: u64): void {
  const salt = scratch + SALT;
  putWords(salt, 0x63b6a04d2c077fc1, 0x0f639f21da793844, 0x356cc2b0b441b3a7, 0x7124035c03f8e1be);
  putWords(salt + 32, 0x6035d31f282821a7, 0x450a02222ab1b3cf, 0xf1679b05ab1ca5d1, 0xaffb789ccd2b0b3b);
  derive(out, CDI_SIZE, cdi, CDI_SIZE, salt, "Key Pair", scratch);
}

/** Id of a public key: 20 bytes, the highest bit clear. */
export function deriveId(out: u64, publicKey: u64, scratch: u64): void {
  const salt = scratch + SALT;
  putWords(salt, 0xdbdbaebc8020da9f, 0xf0dd5a24c83aa5a5, 0x4286dfc263031e32, 0x9b4da148430659fe);
  putWords(salt + 32, 0x62cdb5b7e1e00fc6, 0x80306711eb444af7, 0x7209359496fcff1d, 0xb9520ba51c7b29ea);
  derive(out, ID_SIZE, publicKey, CDI_SIZE, salt, "ID", scratch);
  write8(out, read8(out) & 0x7f);
}

/** Four words, each most significant byte first. */
function putWords(at: u64, a: u64, b: u64, c: u64, d: u64): void {
  write64(at, bswap<u64>(a));
  write64(at + 8, bswap<u64>(b));
  write64(at + 16, bswap<u64>(c));
  write64(at + 24, bswap<u64>(d));
}
