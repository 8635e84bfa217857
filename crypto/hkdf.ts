import { HMAC_SCRATCH, HmacState, hmacSha512 } from "./hmac";
import { wipeStack } from "./hw";
import { copyFew, wipe } from "./memory";
import { SHA512_DIGEST_SIZE } from "./sha512";

/** HKDF (RFC 5869) with SHA-512. Scratch is zero after each call. */

/** Bytes of scratch, 8-byte aligned: HMAC, the last block of output, the counter, the pseudorandom key. */
export const HKDF_SCRATCH: u64 = HMAC_SCRATCH + 64 + 8 + 64;

/** Most bytes that one expansion gives. */
export const HKDF_MAX_OUTPUT: u64 = 255 * SHA512_DIGEST_SIZE;

/** The 64-byte pseudorandom key at `prk` from a salt (which may be empty: `saltLength` 0) and input key material. */
export function hkdfExtract(
  salt: usize,
  saltLength: u64,
  ikm: usize,
  ikmLength: u64,
  prk: usize,
  scratch: usize,
): void {
  hmacSha512(salt, saltLength, ikm, ikmLength, prk, scratch);
}

/**
 * `length` bytes at `out` from the 64-byte pseudorandom key at `prk` and `infoLength` bytes at `info`. `out` may not overlap them.
 * Returns false, with nothing written, if length > HKDF_MAX_OUTPUT.
 */
export function hkdfExpand(prk: usize, info: usize, infoLength: u64, out: usize, length: u64, scratch: usize): bool {
  if (length > HKDF_MAX_OUTPUT) return false;
  const state = changetype<HmacState>(scratch);
  const block = scratch + <usize>HMAC_SCRATCH;
  const counter = block + <usize>SHA512_DIGEST_SIZE;
  let done: u64 = 0;
  for (let index: u32 = 1; done < length; index++) {
    state.begin(prk, SHA512_DIGEST_SIZE);
    if (index > 1) state.update(block, SHA512_DIGEST_SIZE);
    state.update(info, infoLength);
    store<u8>(counter, <u8>index);
    state.update(counter, 1);
    state.final(block);
    const rest = length - done;
    copyFew(out + <usize>done, block, rest < SHA512_DIGEST_SIZE ? rest : SHA512_DIGEST_SIZE);
    done += SHA512_DIGEST_SIZE;
  }
  wipe(block, SHA512_DIGEST_SIZE + 8);
  wipeStack();
  return true;
}

/** Extract and expand in one call. Returns false, with nothing written, if length > HKDF_MAX_OUTPUT. */
export function hkdf(
  salt: usize,
  saltLength: u64,
  ikm: usize,
  ikmLength: u64,
  info: usize,
  infoLength: u64,
  out: usize,
  length: u64,
  scratch: usize,
): bool {
  if (length > HKDF_MAX_OUTPUT) return false;
  const prk = scratch + <usize>(HMAC_SCRATCH + SHA512_DIGEST_SIZE + 8);
  hkdfExtract(salt, saltLength, ikm, ikmLength, prk, scratch);
  hkdfExpand(prk, info, infoLength, out, length, scratch);
  wipe(prk, SHA512_DIGEST_SIZE);
  return true;
}
