import { ed25519 } from "@noble/curves/ed25519.js";

/**
 * Ed25519 as RFC 8032 wants it, and stricter where implementations differ: keys and R in their one encoding, S < L, and no key of small order, for which
 * one signature fits many messages.
 */

/** Whether `key` can be somebody's public key. */
export function isPublicKey(key: Uint8Array): boolean {
  if (key.length !== 32) return false;
  try {
    return !ed25519.Point.fromBytes(key, false).isSmallOrder();
  } catch {
    return false;
  }
}

/** Whether `signature` is that of `message` by `key`. */
export function verifySignature(signature: Uint8Array, message: Uint8Array, key: Uint8Array): boolean {
  if (signature.length !== 64 || !isPublicKey(key)) return false;
  try {
    return ed25519.verify(signature, message, key, { zip215: false });
  } catch {
    return false;
  }
}
