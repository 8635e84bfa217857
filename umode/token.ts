import { hypercall } from "./hw";
import { HELPER_AREA, HELPER_OUTPUT, Hypercall } from "./layout";
import {
  DIGEST_SIZE,
  ID_SIZE,
  KEY_SIZE,
  NONCE_SIZE,
  REGISTERS,
  REQUEST_DEVELOPMENT,
  REQUEST_FLAGS,
  REQUEST_ISSUER,
  REQUEST_NONCE,
  REQUEST_PUBLIC_KEY,
  REQUEST_REGISTERS,
  field,
} from "./request";
import { CborWriter } from "./cbor-writer";
import { cborWriter } from "./workspace";

/**
 * Evidence as a CWT (RFC 8392) in COSE_Sign1 (RFC 9052) with the claims of docs/evidence.md, in deterministic encoding.
 *
 * What is signed and what is handed out differ in what stands before the payload only:
 *
 *     84 6a "Signature1" 43 a10127 40          | 59 LLLL payload
 *               d8 3d  d2 84 43 a10127 a0      | 59 LLLL payload 58 40 signature
 */

const SIGNED_PREFIX: u64 = 17;
const TOKEN_PREFIX: u64 = 9;
const PAYLOAD_HEAD: u64 = 3;
const SIGNATURE_SIZE: u64 = 64;

const CLAIM_ISSUER: u64 = 1;
const CLAIM_CONFIRMATION: u64 = 8;
const CLAIM_NONCE: u64 = 10;
const CLAIM_PROFILE: u64 = 265;
/** Private claims: -1 - label. */
const CLAIM_REGISTERS: u64 = 75001 - 1;
const CLAIM_HASH: u64 = 75002 - 1;
const CLAIM_DEVELOPMENT: u64 = 75003 - 1;
/** COSE algorithm SHA-384: -43. */
const SHA384: u64 = 42;

/** Makes the token; returns its length, 0 if it does not fit. */
export function token(): u64 {
  const out = cborWriter();
  const start = <usize>HELPER_OUTPUT;
  const payload = start + <usize>(SIGNED_PREFIX + PAYLOAD_HEAD);
  out.begin(payload, <usize>(HELPER_OUTPUT + HELPER_AREA - SIGNATURE_SIZE - 2));
  claims(out);
  if (out.full != 0) return 0;
  const end = out.at;
  const length = <u64>(end - payload);

  out.begin(start, payload);
  out.array(4);
  out.text("Signature1");
  protectedHeader(out);
  out.head(2, 0);
  out.raw(0x59, 1);
  out.raw(length, 2);
  hypercall(Hypercall.Sign, <u64>start, <u64>(end - start), <u64>(end + 2));
  store<u8>(end, 0x58);
  store<u8>(end + 1, <u8>SIGNATURE_SIZE);

  const first = start + <usize>(SIGNED_PREFIX - TOKEN_PREFIX);
  out.begin(first, payload - <usize>PAYLOAD_HEAD);
  // Tags 61 (CWT) and 18 (COSE_Sign1)
  out.raw(0xd83d_d2, 3);
  out.array(4);
  protectedHeader(out);
  out.map(0);
  const total = <u64>(end - first) + 2 + SIGNATURE_SIZE;
  memory.copy(start, first, <usize>total);
  return total;
}

/** { 1: EdDSA } as a byte string. */
function protectedHeader(out: CborWriter): void {
  out.raw(0x43a1_0127, 4);
}

function claims(out: CborWriter): void {
  const development = (load<u32>(field(REQUEST_FLAGS)) & REQUEST_DEVELOPMENT) != 0;
  out.map(development ? 7 : 6);
  out.unsigned(CLAIM_ISSUER);
  out.hex(field(REQUEST_ISSUER), ID_SIZE);
  out.unsigned(CLAIM_CONFIRMATION);
  out.map(1);
  out.unsigned(1);
  // COSE_Key { kty: OKP, crv: Ed25519, x }
  out.map(3);
  out.unsigned(1);
  out.unsigned(1);
  out.negative(0);
  out.unsigned(6);
  out.negative(1);
  out.bytes(field(REQUEST_PUBLIC_KEY), KEY_SIZE);
  out.unsigned(CLAIM_NONCE);
  out.bytes(field(REQUEST_NONCE), NONCE_SIZE);
  out.unsigned(CLAIM_PROFILE);
  out.text("tag:salus,2026:cove-tvm");
  out.negative(CLAIM_REGISTERS);
  out.array(REGISTERS);
  for (let i: u64 = 0; i < REGISTERS; i++) out.bytes(field(REQUEST_REGISTERS + i * DIGEST_SIZE), DIGEST_SIZE);
  out.negative(CLAIM_HASH);
  out.negative(SHA384);
  if (!development) return;
  out.negative(CLAIM_DEVELOPMENT);
  out.raw(0xf5, 1);
}
