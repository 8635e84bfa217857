import { EID_COVG, sbi } from "./sbi";
import { textAt, textLength } from "./text";
import { write8 } from "./hw";

/** Attestation as a guest or host sees it: ATST of the original Salus, and COVG 6 to 10. Each call returns the error if negative, else the value. */

export const EID_ATST: u64 = 0x41545354;

export const enum AtstFunction {
  GetCapabilities = 0,
  GetEvidence = 1,
  ExtendMeasurement = 2,
  ReadMeasurement = 3,
  /** The first number that means nothing. */
  End = 4,
}

export const enum CovgAttestation {
  GetCapabilities = 6,
  ExtendMeasurement = 7,
  GetEvidence = 8,
  RetrieveSecret = 9,
  ReadMeasurement = 10,
}

/** Formats of evidence: ATST and COVG number them differently; the issuer chain is the same for both. */
export const ATST_DICE_TCB_INFO: u64 = 0;
export const COVG_CBOR: u64 = 1;
export const COVG_X509: u64 = 2;
export const ISSUER_CHAIN: u64 = 16;

export const CAPABILITIES_SIZE: u64 = 144;
export const DIGEST_SIZE: u64 = 48;
export const NONCE_SIZE: u64 = 64;
export const KEY_SIZE: u64 = 32;
/** PCR numbers. */
export const PCR_PAGES: u64 = 2;
export const PCR_CONFIGURATION: u64 = 3;
export const PCR_SECOND_RUNTIME: u64 = 18;

export function attestationCapabilities(gpa: u64, length: u64): i64 {
  return sbi(EID_ATST, AtstFunction.GetCapabilities, gpa, length);
}

export function extendMeasurement(digest: u64, length: u64, pcr: u64): i64 {
  return sbi(EID_ATST, AtstFunction.ExtendMeasurement, digest, length, pcr);
}

export function readMeasurement(gpa: u64, length: u64, pcr: u64): i64 {
  return sbi(EID_ATST, AtstFunction.ReadMeasurement, gpa, length, pcr);
}

export function getEvidence(csr: u64, length: u64, nonce: u64, format: u64, out: u64, room: u64): i64 {
  return sbi(EID_ATST, AtstFunction.GetEvidence, csr, length, nonce, format, out, room);
}

export function getEvidenceForKey(key: u64, nonce: u64, format: u64, out: u64, room: u64): i64 {
  return sbi(EID_COVG, CovgAttestation.GetEvidence, key, KEY_SIZE, nonce, format, out, room);
}

/** A certification request for an Ed25519 key with the subject CN=guestvm.salus.test, and where in it the key is. */
export const TEST_CSR: string =
  "\
30819c3050020100301d311b301906035504030c126775657374766d2e73616c75732e74657374302a300506032b6570032100d6c9e25880191f8b060f4aa627\
97034acadc96936cead70c23597864dc01d387a000300506032b6570034100a0355a7c1326749f01cbaa5aec8fdd05620d806afeff945fd1f68270259139e37e\
b3f191ee8c030ba9694e5c47cae98adeff9413b56768093604226ee114260d";
export const TEST_CSR_KEY: u64 = 51;

/** Writes the bytes of a literal of lower-case hex digits to `to`; returns their number. */
export function putHexBytes(to: u64, hex: string): u64 {
  const count = textLength(hex) >>> 1;
  for (let i: u32 = 0; i < count; i++) write8(to + <u64>i, (digitAt(hex, 2 * i) << 4) | digitAt(hex, 2 * i + 1));
  return <u64>count;
}

function digitAt(hex: string, index: u32): u32 {
  const character = textAt(hex, index);
  return character < 0x3a ? character - 0x30 : character - 0x57;
}
