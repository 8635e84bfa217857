import { HELPER_REQUEST } from "./layout";

/**
 * The request page: what the hypervisor asks, in memory that the helper can only read. Nothing in it is a guest's but the nonce and, for
 * RequestKind.KeyCertificate and Token, the public key.
 *
 *     0 u32 kind   4 u32 flags   8 u64 bytes of input
 *     64 nonce (64)   128 public key (32)   160 id of the issuer (20)   184 id of the subject (20)   208 serial number (20)
 *     256 measurement registers (8 x 48)
 */
export const REQUEST_KIND: u64 = 0;
export const REQUEST_FLAGS: u64 = 4;
export const REQUEST_INPUT_LENGTH: u64 = 8;
export const REQUEST_NONCE: u64 = 64;
export const REQUEST_PUBLIC_KEY: u64 = 128;
export const REQUEST_ISSUER: u64 = 160;
export const REQUEST_SUBJECT: u64 = 184;
export const REQUEST_SERIAL: u64 = 208;
export const REQUEST_REGISTERS: u64 = 256;

export const NONCE_SIZE: u64 = 64;
export const KEY_SIZE: u64 = 32;
export const ID_SIZE: u64 = 20;
export const DIGEST_SIZE: u64 = 48;
export const REGISTERS: u64 = 8;

export const enum RequestKind {
  /** Evidence certificate for the CSR in the input. */
  CsrCertificate = 1,
  /** Evidence certificate for the public key. */
  KeyCertificate = 2,
  /** Certificate of a TVM's attestation key. */
  TvmCertificate = 3,
  /** CWT for the public key. */
  Token = 4,
}

/** Flag: the platform's keys come from the development root. */
export const REQUEST_DEVELOPMENT: u32 = 1;

/** Address of the field at `offset`, for the helper. */
// @ts-ignore: decorator
@inline
export function field(offset: u64): usize {
  return <usize>(HELPER_REQUEST + offset);
}
