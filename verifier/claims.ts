/** Claims of a token (docs/evidence.md). Labels below -65536 are for private use (RFC 8392) and assigned there. */

export const CLAIM_ISSUER = 1;
export const CLAIM_CONFIRMATION = 8;
export const CLAIM_NONCE = 10;
export const CLAIM_PROFILE = 265;
export const CLAIM_REGISTERS = -75001;
export const CLAIM_HASH = -75002;
export const CLAIM_DEVELOPMENT = -75003;

export const TOKEN_PROFILE = "tag:salus,2026:cove-tvm";
/** SHA-384 in IANA's table of COSE algorithms. */
export const COSE_SHA384 = -43;

/** Protected header: { 1 (alg): -8 (EdDSA) }. */
export const COSE_HEADER = Uint8Array.of(0xa1, 0x01, 0x27);
/** Tags 61 (CWT, RFC 8392) and 18 (COSE_Sign1, RFC 9052). */
export const TOKEN_TAGS = Uint8Array.of(0xd8, 0x3d, 0xd2);
