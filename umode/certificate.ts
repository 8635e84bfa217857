import { Csr } from "./csr";
import { DerWriter } from "./der-writer";
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
  REQUEST_SERIAL,
  REQUEST_SUBJECT,
  field,
} from "./request";
import { writer } from "./workspace";

/**
 * X.509 certificates (RFC 5280, RFC 8410), as docs/evidence.md describes them. A certificate is built at the end of the output, signed there, and moved to its start.
 *
 *     SEQUENCE { SEQUENCE tbs { ... }, SEQUENCE { OID }, BIT STRING }
 */

const SEQUENCE: u64 = 0x30;
const SET: u64 = 0x31;
const INTEGER: u64 = 0x02;
const OCTET_STRING: u64 = 0x04;
const PRINTABLE_STRING: u64 = 0x13;
/** [0] and, constructed, [3] and [6]. */
const CONTEXT_0: u64 = 0x80;
const CONSTRUCTED_3: u64 = 0xa3;
const CONTEXT_6: u64 = 0xa6;
const SIGNATURE_SIZE: u64 = 64;
/** Signature algorithm, and tag, length and unused bits of the signature. */
const ALGORITHM_AND_HEAD: u64 = 10;
const AFTER_TBS: u64 = ALGORITHM_AND_HEAD + SIGNATURE_SIZE;
/** Registers that a TVM certificate shows: those that do not change once the TVM runs. */
const STATIC_REGISTERS: u64 = 4;

// Object identifiers with tag and length, as numbers.
const OID_KEY_USAGE: u64 = 0x0603_551d_0f;
const OID_BASIC_CONSTRAINTS: u64 = 0x0603_551d_13;
const OID_AUTHORITY_KEY: u64 = 0x0603_551d_23;
const OID_SUBJECT_KEY: u64 = 0x0603_551d_0e;
const X509_OID_BYTES: u64 = 5;
/** 2.23.133.5.4.11, tcg-dice-TcbFreshness. */
const OID_FRESHNESS: u64 = 0x0606_6781_0505_040b;
/** 2.23.133.5.4.1, tcg-dice-TcbInfo. */
const OID_TCB_INFO: u64 = 0x0606_6781_0505_0401;
/** 2.23.133.5.4, under which the callers of ATST look for it. */
const OID_TCB_INFO_ATST: u64 = 0x06_0567_8105_0504;

/** Evidence certificate for the key of a CSR. Returns its length, 0 if it does not fit. */
export function csrCertificate(csr: Csr): u64 {
  const out = begin();
  evidenceExtensions(out);
  publicKeyInfo(out, csr.publicKey);
  out.bytes(csr.subject, csr.subjectLength);
  return finish(out);
}

/** Evidence certificate for a key alone: its subject is the name of the key. */
export function keyCertificate(): u64 {
  const out = begin();
  evidenceExtensions(out);
  publicKeyInfo(out, field(REQUEST_PUBLIC_KEY));
  nameOfKey(out, field(REQUEST_SUBJECT));
  return finish(out);
}

/** Certificate of a TVM's attestation key, signed with the platform's. */
export function tvmCertificate(): u64 {
  const out = begin();
  const end = out.at;
  const development = (load<u32>(field(REQUEST_FLAGS)) & REQUEST_DEVELOPMENT) != 0;
  // flags [7]: notSecure, debug
  if (development) out.constant(0x8702_0450, 4);
  tcbInfo(out, end, STATIC_REGISTERS, OID_TCB_INFO, 8);
  let at = out.at;
  out.bytes(field(REQUEST_SUBJECT), ID_SIZE);
  out.wrap(OCTET_STRING, at);
  extension(out, at, OID_SUBJECT_KEY, X509_OID_BYTES, false);
  authorityKey(out);
  at = out.at;
  // CA, pathLen 0
  out.constant(0x3006_0101_ff02_0100, 8);
  extension(out, at, OID_BASIC_CONSTRAINTS, X509_OID_BYTES, true);
  // digitalSignature, keyCertSign
  keyUsage(out, 0x0302_0284);
  wrapExtensions(out, end);
  publicKeyInfo(out, field(REQUEST_PUBLIC_KEY));
  nameOfKey(out, field(REQUEST_SUBJECT));
  return finish(out);
}

function begin(): DerWriter {
  const out = writer();
  out.begin(<usize>HELPER_OUTPUT, <usize>(HELPER_OUTPUT + HELPER_AREA - AFTER_TBS));
  return out;
}

function evidenceExtensions(out: DerWriter): void {
  const end = out.at;
  tcbInfo(out, end, REGISTERS, OID_TCB_INFO_ATST, 7);
  let at = out.at;
  out.bytes(field(REQUEST_NONCE), NONCE_SIZE);
  out.wrap(OCTET_STRING, at);
  out.wrap(SEQUENCE, at);
  extension(out, at, OID_FRESHNESS, 8, false);
  authorityKey(out);
  at = out.at;
  // no CA
  out.wrap(SEQUENCE, at);
  extension(out, at, OID_BASIC_CONSTRAINTS, X509_OID_BYTES, true);
  // digitalSignature
  keyUsage(out, 0x0302_0780);
  wrapExtensions(out, end);
}

/** DiceTcbInfo: fwids [6] of the first `count` registers, before what was written of it since `end`. */
function tcbInfo(out: DerWriter, end: usize, count: u64, oid: u64, oidBytes: u64): void {
  const list = out.at;
  for (let i = count; i != 0; i--) {
    out.bytes(field(REQUEST_REGISTERS + (i - 1) * DIGEST_SIZE), DIGEST_SIZE);
    // SEQUENCE { OID 2.16.840.1.101.3.4.2.2 (SHA-384), OCTET STRING }
    out.constant(0x65_0304_0202_0430, 7);
    out.constant(0x303d_0609_6086_4801, 8);
  }
  out.wrap(CONTEXT_6, list);
  out.wrap(SEQUENCE, end);
  extension(out, end, oid, oidBytes, false);
}

function authorityKey(out: DerWriter): void {
  const end = out.at;
  out.bytes(field(REQUEST_ISSUER), ID_SIZE);
  out.wrap(CONTEXT_0, end);
  out.wrap(SEQUENCE, end);
  extension(out, end, OID_AUTHORITY_KEY, X509_OID_BYTES, false);
}

function keyUsage(out: DerWriter, bits: u64): void {
  const end = out.at;
  out.constant(bits, 4);
  extension(out, end, OID_KEY_USAGE, X509_OID_BYTES, true);
}

/** Makes an Extension of the value that was written since `end`. */
function extension(out: DerWriter, end: usize, oid: u64, oidBytes: u64, critical: bool): void {
  out.wrap(OCTET_STRING, end);
  if (critical) out.constant(0x0101ff, 3);
  out.constant(oid, oidBytes);
  out.wrap(SEQUENCE, end);
}

function wrapExtensions(out: DerWriter, end: usize): void {
  out.wrap(SEQUENCE, end);
  out.wrap(CONSTRUCTED_3, end);
}

/** SubjectPublicKeyInfo of an Ed25519 key. */
function publicKeyInfo(out: DerWriter, key: usize): void {
  out.bytes(key, KEY_SIZE);
  out.constant(0x2b65_7003_2100, 6);
  out.constant(0x302a_3005_0603, 6);
}

/** One RDN serialNumber: the id as a PrintableString of hex digits. */
function nameOfKey(out: DerWriter, id: usize): void {
  const end = out.at;
  out.hex(id, ID_SIZE);
  out.wrap(PRINTABLE_STRING, end);
  // 2.5.4.5
  out.constant(0x0603_5504_05, 5);
  out.wrap(SEQUENCE, end);
  out.wrap(SET, end);
  out.wrap(SEQUENCE, end);
}

/** Writes what comes before the subject, signs, and moves the certificate to the start of the output. Returns its length, 0 if it does not fit. */
function finish(out: DerWriter): u64 {
  const tbsEnd = <usize>(HELPER_OUTPUT + HELPER_AREA - AFTER_TBS);
  validity(out);
  nameOfKey(out, field(REQUEST_ISSUER));
  algorithm(out);
  // The hypervisor made it positive and in the fewest bytes.
  let at = out.at;
  out.bytes(field(REQUEST_SERIAL), ID_SIZE);
  out.wrap(INTEGER, at);
  // [0] version 3
  out.constant(0xa003_0201_02, 5);
  out.wrap(SEQUENCE, tbsEnd);
  if (out.full != 0) return 0;

  const tbs = out.at;
  const end = tbsEnd + <usize>AFTER_TBS;
  const signature = end - <usize>SIGNATURE_SIZE;
  hypercall(Hypercall.Sign, <u64>tbs, <u64>(tbsEnd - tbs), <u64>signature);
  store<u8>(tbsEnd, 0x30);
  store<u8>(tbsEnd + 1, 0x05);
  store<u8>(tbsEnd + 2, 0x06);
  store<u8>(tbsEnd + 3, 0x03);
  store<u8>(tbsEnd + 4, 0x2b);
  store<u8>(tbsEnd + 5, 0x65);
  store<u8>(tbsEnd + 6, 0x70);
  store<u8>(tbsEnd + 7, 0x03);
  store<u8>(tbsEnd + 8, <u8>SIGNATURE_SIZE + 1);
  store<u8>(tbsEnd + 9, 0x00);
  out.wrap(SEQUENCE, end);
  if (out.full != 0) return 0;
  at = out.at;
  memory.copy(<usize>HELPER_OUTPUT, at, end - at);
  return <u64>(end - at);
}

/** AlgorithmIdentifier Ed25519. */
function algorithm(out: DerWriter): void {
  out.constant(0x30_0506_032b_6570, 7);
}

/** From the day that the Open Profile for DICE uses to the end of time (RFC 5280, 4.1.2.5): the machine has no clock that could be trusted. */
function validity(out: DerWriter): void {
  const end = out.at;
  // GeneralizedTime 99991231235959Z
  out.constant(0x3233_3539_3539_5a, 7);
  out.constant(0x3939_3939_3132_3331, 8);
  out.constant(0x180f, 2);
  // UTCTime 180322235959Z
  out.constant(0x3335_3935_395a, 6);
  out.constant(0x31_3830_3332_3232, 7);
  out.constant(0x170d, 2);
  out.wrap(SEQUENCE, end);
}
