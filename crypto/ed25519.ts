import { wipeStack } from "./hw";
import { copyFew, constantTimeEqual, loadWord, wipe } from "./memory";
import {
  BASE_WIDTH,
  POINT_SIZE,
  POINT_WIDTH,
  pointDecode,
  pointEncode,
  pointHasSmallOrder,
  pointMultiplyBase,
  pointMultiplyTwo,
  pointNegate,
  TWO_SCRATCH,
} from "./point25519";
import { scalarDigits, scalarIsReduced, scalarMultiplyAdd, scalarReduce, scalarSparseDigits } from "./scalar25519";
import { Sha512State, sha512Final, sha512Init, sha512Update } from "./sha512";

/**
 * Ed25519 (RFC 8032, 5.1): keys, signatures, and their check by the strict rules.
 *
 * Pointers are to memory that nobody else writes meanwhile, at any alignment; `scratch` is ED25519_SCRATCH bytes, 8-byte aligned. Making keys and
 * signatures takes the same instructions and touches the same addresses for all seeds; all that was secret is wiped before the return.
 */

export const ED25519_SEED_SIZE: u64 = 32;
export const ED25519_PUBLIC_KEY_SIZE: u64 = 32;
export const ED25519_SIGNATURE_SIZE: u64 = 64;

// Scratch: numbers first, then a hash state, then points and what the functions on them need.
const EXPANDED: usize = 0;
const PREFIX: usize = 32;
const NONCE: usize = 64;
const CHALLENGE: usize = 128;
const RESULT: usize = 192;
const DIGITS: usize = 256;
const BASE_DIGITS: usize = 512;
const HASH: usize = 768;
const POINT: usize = 1024;
const SECOND_POINT: usize = POINT + POINT_SIZE;
const REST: usize = SECOND_POINT + POINT_SIZE;

/** Bytes of scratch of every function here: what `pointMultiplyTwo` needs is the most. */
export const ED25519_SCRATCH: u64 = <u64>(REST + TWO_SCRATCH);

/** Stores the public key of the 32-byte seed at `seed`, 32 bytes at `out`. */
export function ed25519PublicKey(seed: usize, out: usize, scratch: usize): void {
  expandSeed(seed, scratch);
  multiplyBaseAndEncode(out, scratch + EXPANDED, scratch);
  wipe(scratch, ED25519_SCRATCH);
  wipeStack();
}

/**
 * Stores the signature of `messageLength` bytes at `message`, 64 bytes at `signature`, which may overlap neither of them. `publicKey` has to be
 * the key that belongs to the seed: a signature with another one would give the secret away.
 */
export function ed25519Sign(
  seed: usize,
  publicKey: usize,
  message: usize,
  messageLength: u64,
  signature: usize,
  scratch: usize,
): void {
  const hash = changetype<Sha512State>(scratch + HASH);
  const nonce = scratch + NONCE;
  expandSeed(seed, scratch);
  sha512Init(hash);
  sha512Update(hash, scratch + PREFIX, 32);
  sha512Update(hash, message, messageLength);
  sha512Final(hash, nonce);
  scalarReduce(nonce, scratch + REST);
  multiplyBaseAndEncode(signature, nonce, scratch);
  hashChallenge(signature, publicKey, message, messageLength, scratch);
  scalarMultiplyAdd(scratch + RESULT, scratch + CHALLENGE, scratch + EXPANDED, nonce, scratch + REST);
  copyFew(signature + 32, scratch + RESULT, 32);
  wipe(scratch, ED25519_SCRATCH);
  wipeStack();
}

/**
 * True if the 64 bytes at `signature` are a signature of the message by the key. Strict: refused are
 * - S that is not below L, so that nobody can make a second signature of a first (RFC 8032, 5.1.7);
 * - a key or an R that is not the one encoding of its point (y of at least p, or the sign of x = 0), or of no point at all;
 * - a key or an R of small order, for which signatures of all messages can be made by anybody;
 * - everything for which S B = R + k A does not hold as it stands, without a factor of 8.
 */
export function ed25519Verify(
  publicKey: usize,
  message: usize,
  messageLength: u64,
  signature: usize,
  scratch: usize,
): bool {
  const point = scratch + POINT;
  const result = scratch + SECOND_POINT;
  const rest = scratch + REST;
  const s = scratch + RESULT;
  for (let i: usize = 0; i < 32; i += 8) store<u64>(s + i, loadWord(signature + 32 + i));
  if (!scalarIsReduced(s)) return false;
  if (!pointDecode(point, publicKey, rest)) return false;
  if (pointHasSmallOrder(point, rest)) return false;
  pointNegate(point, rest);
  hashChallenge(signature, publicKey, message, messageLength, scratch);
  scalarSparseDigits(scratch + DIGITS, scratch + CHALLENGE, POINT_WIDTH);
  scalarSparseDigits(scratch + BASE_DIGITS, s, BASE_WIDTH);
  pointMultiplyTwo(result, scratch + BASE_DIGITS, point, scratch + DIGITS, rest);
  // The encoding of S B - k A is the one that R may have.
  if (pointHasSmallOrder(result, rest)) return false;
  pointEncode(s, result, rest);
  return constantTimeEqual(s, signature, 32);
}

/** The secret scalar (EXPANDED, clamped) and the secret prefix of nonces (PREFIX). */
function expandSeed(seed: usize, scratch: usize): void {
  const hash = changetype<Sha512State>(scratch + HASH);
  const expanded = scratch + EXPANDED;
  sha512Init(hash);
  sha512Update(hash, seed, ED25519_SEED_SIZE);
  sha512Final(hash, expanded);
  store<u8>(expanded, load<u8>(expanded) & 0xf8);
  store<u8>(expanded + 31, (load<u8>(expanded + 31) & 0x7f) | 0x40);
}

/** CHALLENGE = SHA-512(R || A || message) modulo L, with R the first half of the signature. */
function hashChallenge(signature: usize, publicKey: usize, message: usize, messageLength: u64, scratch: usize): void {
  const hash = changetype<Sha512State>(scratch + HASH);
  sha512Init(hash);
  sha512Update(hash, signature, 32);
  sha512Update(hash, publicKey, ED25519_PUBLIC_KEY_SIZE);
  sha512Update(hash, message, messageLength);
  sha512Final(hash, scratch + CHALLENGE);
  scalarReduce(scratch + CHALLENGE, scratch + REST);
}

/** Stores the encoding of `scalar` B, for 4 words below 2^255. */
function multiplyBaseAndEncode(out: usize, scalar: usize, scratch: usize): void {
  scalarDigits(scratch + DIGITS, scalar);
  pointMultiplyBase(scratch + POINT, scratch + DIGITS, scratch + REST);
  pointEncode(out, scratch + POINT, scratch + REST);
}
