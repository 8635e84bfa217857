import { decode, encode, rfc8949EncodeOptions, type DecodeOptions } from "cborg";
import * as claim from "./claims.ts";
import { keyId } from "./key-derivation.ts";
import { DIGEST_SIZE, REGISTERS } from "./measurement.ts";
import { equalBytes } from "./profile.ts";
import { Refusal } from "./refusal.ts";
import { isPublicKey } from "./signature.ts";
import { NONCE_SIZE, type Statement } from "./statement.ts";

/**
 * Tokens: CWT claims in COSE_Sign1 (docs/evidence.md), in deterministic encoding. COSE is four items in an array and four in what is signed, so that the CBOR
 * library is all that is needed.
 */

const MAX_TOKEN_BYTES = 4096;
const SIGNATURE_SIZE = 64;
/** COSE_Key: { kty: OKP, crv: Ed25519, x }. */
const KEY_TYPE = 1;
const KEY_CURVE = -1;
const KEY_X = -2;
const OKP = 1;
const ED25519 = 6;

const STRICT: DecodeOptions = {
  strict: true,
  useMaps: true,
  rejectDuplicateMapKeys: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowNaN: false,
  allowInfinity: false,
  allowBigInt: false,
};

/**
 * Reads a token that the key `issuer` should have signed; the signature is not checked.
 *
 * @throws Refusal
 */
export function readToken(bytes: Uint8Array, issuer: Uint8Array): Statement {
  if (bytes.length > MAX_TOKEN_BYTES) throw new Refusal("encoding", "the token is longer than any");
  const tags = claim.TOKEN_TAGS;
  if (!equalBytes(bytes.subarray(0, tags.length), tags)) {
    throw new Refusal("encoding", "not a CWT in COSE_Sign1: tags 61 and 18 are missing");
  }
  const parts = readCbor(bytes.subarray(tags.length), "the token");
  if (!Array.isArray(parts) || parts.length !== 4) refuse("it is not COSE_Sign1");
  const [header, unprotected, payload, signature] = parts as unknown[];
  if (!isBytes(header) || !equalBytes(header, claim.COSE_HEADER)) refuse("its algorithm is not EdDSA alone");
  if (!(unprotected instanceof Map) || unprotected.size !== 0) refuse("it has headers that are not protected");
  if (!isBytes(payload) || !isBytes(signature) || signature.length !== SIGNATURE_SIZE) refuse("it is not COSE_Sign1");
  const claims = readCbor(payload, "the token's payload");
  if (!(claims instanceof Map)) refuse("its payload is no map of claims");
  return {
    signed: encode(["Signature1", header, new Uint8Array(0), payload], rfc8949EncodeOptions),
    signature,
    ...readClaims(claims, issuer),
  };
}

function readClaims(claims: Map<unknown, unknown>, issuer: Uint8Array): Omit<Statement, "signed" | "signature"> {
  const rest = new Map(claims);
  const take = (label: number): unknown => {
    const value = rest.get(label);
    rest.delete(label);
    return value;
  };
  if (take(claim.CLAIM_PROFILE) !== claim.TOKEN_PROFILE) refuse(`its profile is not ${claim.TOKEN_PROFILE}`);
  if (take(claim.CLAIM_ISSUER) !== keyId(issuer).toString("hex")) {
    throw new Refusal("signature", "the token names another key than the chain's: it is another TVM's");
  }
  const nonce = take(claim.CLAIM_NONCE);
  if (!isBytes(nonce) || nonce.length !== NONCE_SIZE) refuse("its nonce is not 64 bytes");
  const registers = take(claim.CLAIM_REGISTERS);
  if (take(claim.CLAIM_HASH) !== claim.COSE_SHA384 || !isRegisters(registers))
    refuse("its registers are not 8 SHA-384 digests");
  const publicKey = readKey(take(claim.CLAIM_CONFIRMATION));
  const development = take(claim.CLAIM_DEVELOPMENT);
  if (development !== undefined && development !== true) refuse("a development claim is true or not there");
  if (rest.size !== 0) refuse(`it has claims that do not belong there: ${[...rest.keys()].map(String).join(", ")}`);
  return { nonce, publicKey, registers, development: development === true };
}

/** cnf: { 1: COSE_Key } of an Ed25519 key. */
function readKey(confirmation: unknown): Uint8Array {
  const key: unknown = confirmation instanceof Map && confirmation.size === 1 ? confirmation.get(1) : undefined;
  if (!(key instanceof Map) || key.size !== 3 || key.get(KEY_TYPE) !== OKP || key.get(KEY_CURVE) !== ED25519) {
    return refuse("its key is not an Ed25519 COSE_Key");
  }
  const x: unknown = key.get(KEY_X);
  if (!isBytes(x) || !isPublicKey(x)) return refuse("its key is no Ed25519 public key, or one of small order");
  return x;
}

function isRegisters(value: unknown): value is Uint8Array[] {
  return (
    Array.isArray(value) &&
    value.length === REGISTERS &&
    value.every((one) => isBytes(one) && one.length === DIGEST_SIZE)
  );
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array;
}

/** Deterministic CBOR (RFC 8949, 4.2), one item. */
function readCbor(bytes: Uint8Array, what: string): unknown {
  let value: unknown;
  let again: Uint8Array;
  try {
    value = decode(bytes, STRICT);
    again = encode(value, rfc8949EncodeOptions);
  } catch (error) {
    throw new Refusal("encoding", `${what}: ${(error as Error).message}`);
  }
  if (!equalBytes(bytes, again)) throw new Refusal("encoding", `${what} is not in deterministic CBOR`);
  return value;
}

function refuse(why: string): never {
  throw new Refusal("profile", `the token: ${why}`);
}
