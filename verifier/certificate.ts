import { AsnConvert } from "@peculiar/asn1-schema";
import {
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate as X509,
  KeyUsage,
  SubjectKeyIdentifier,
} from "@peculiar/asn1-x509";
import { checkDer, checkName, elementAt } from "./der.ts";
import * as oid from "./oids.ts";
import { Refusal } from "./refusal.ts";
import { isPublicKey } from "./signature.ts";

/** X.509 certificates for Ed25519 keys, read strictly: what is accepted has one encoding, and no part that was not looked at. */

export interface Certificate {
  /** The bytes that are signed, and the signature. */
  signed: Uint8Array;
  signature: Uint8Array;
  serial: Uint8Array;
  /** DER of the names. */
  issuer: Uint8Array;
  subject: Uint8Array;
  publicKey: Uint8Array;
  notBefore: Date;
  notAfter: Date;
  /** In the certificate's order; each OID once. */
  extensions: Map<string, { critical: boolean; value: Uint8Array }>;
}

/** Bits of keyUsage, the first of the BIT STRING highest. */
export const DIGITAL_SIGNATURE = 0x80;
export const KEY_CERT_SIGN = 0x04;

const VERSION_3 = 2;
const MAX_SERIAL_BYTES = 20;

/**
 * Reads a certificate.
 *
 * @param what what it should be, for messages
 * @throws Refusal
 */
export function readCertificate(der: Uint8Array, what: string): Certificate {
  checkDer(der);
  const { tbsCertificate: tbs, signatureAlgorithm, signatureValue } = parse(der, X509, what);
  const refuse = (why: string): never => {
    throw new Refusal("profile", `${what}: ${why}`);
  };
  if (Number(tbs.version) !== VERSION_3) refuse("not of version 3");
  for (const algorithm of [tbs.signature, signatureAlgorithm, tbs.subjectPublicKeyInfo.algorithm]) {
    if (algorithm.algorithm !== oid.ED25519) refuse(`${algorithm.algorithm} is not Ed25519`);
    if (algorithm.parameters !== undefined) refuse("an Ed25519 algorithm identifier with parameters (RFC 8410)");
  }
  if (tbs.issuerUniqueID || tbs.subjectUniqueID) refuse("a unique identifier, which RFC 5280 forbids");
  const serial = new Uint8Array(tbs.serialNumber);
  if (serial.length > MAX_SERIAL_BYTES || serial[0] >= 0x80 || serial.every((byte) => byte === 0)) {
    refuse("the serial number is not a positive one of 20 bytes at most");
  }
  const publicKey = new Uint8Array(tbs.subjectPublicKeyInfo.subjectPublicKey);
  if (!isPublicKey(publicKey)) refuse("its key is no Ed25519 public key, or one of small order");
  const extensions: Certificate["extensions"] = new Map();
  for (const { extnID, critical, extnValue } of tbs.extensions ?? []) {
    if (extensions.has(extnID)) refuse(`two extensions ${extnID}`);
    extensions.set(extnID, { critical, value: new Uint8Array(extnValue.buffer) });
  }
  const issuer = new Uint8Array(AsnConvert.serialize(tbs.issuer));
  const subject = new Uint8Array(AsnConvert.serialize(tbs.subject));
  checkName(issuer);
  checkName(subject);
  const body = elementAt(der, elementAt(der, 0, der.length).contents, der.length);
  return {
    signed: der.subarray(body.start, body.end),
    signature: new Uint8Array(signatureValue),
    serial,
    issuer,
    subject,
    publicKey,
    notBefore: tbs.validity.notBefore.getTime(),
    notAfter: tbs.validity.notAfter.getTime(),
    extensions,
  };
}

/**
 * The value of an extension, which must be there, with the criticality it should have.
 *
 * @throws Refusal
 */
export function extension<T>(
  certificate: Certificate,
  what: string,
  id: string,
  critical: boolean,
  type: new () => T,
): T {
  const found = certificate.extensions.get(id);
  if (!found) throw new Refusal("profile", `${what}: extension ${id} is missing`);
  if (found.critical !== critical) {
    throw new Refusal("profile", `${what}: extension ${id} is ${critical ? "not " : ""}critical`);
  }
  checkDer(found.value);
  return parse(found.value, type, `${what}, extension ${id}`);
}

/** The bits of keyUsage, with none beyond the first byte. */
export function keyUsage(certificate: Certificate, what: string): number {
  const usage = extension(certificate, what, oid.KEY_USAGE, true, KeyUsage).toNumber();
  // The library has the first bit lowest.
  let bits = 0;
  for (let bit = 0; bit < 16; bit++) if ((usage & (1 << bit)) !== 0) bits |= bit < 8 ? 0x80 >> bit : 0x100 << bit;
  return bits;
}

export function basicConstraints(certificate: Certificate, what: string): BasicConstraints {
  return extension(certificate, what, oid.BASIC_CONSTRAINTS, true, BasicConstraints);
}

export function subjectKeyId(certificate: Certificate, what: string): Uint8Array {
  return new Uint8Array(extension(certificate, what, oid.SUBJECT_KEY_IDENTIFIER, false, SubjectKeyIdentifier).buffer);
}

export function authorityKeyId(certificate: Certificate, what: string): Uint8Array {
  const found = extension(certificate, what, oid.AUTHORITY_KEY_IDENTIFIER, false, AuthorityKeyIdentifier);
  if (!found.keyIdentifier || found.authorityCertIssuer || found.authorityCertSerialNumber) {
    throw new Refusal("profile", `${what}: the issuer's key is not named by its identifier alone`);
  }
  return new Uint8Array(found.keyIdentifier.buffer);
}

/** Reads DER that `checkDer` has let through. What the library would write otherwise is not accepted: it may not have read all of it. */
function parse<T>(der: Uint8Array, type: new () => T, what: string): T {
  let value: T;
  let again: ArrayBuffer;
  try {
    value = AsnConvert.parse(der, type);
    again = AsnConvert.serialize(value);
  } catch (error) {
    throw new Refusal("encoding", `${what}: ${(error as Error).message}`);
  }
  if (Buffer.compare(der, new Uint8Array(again)) !== 0) {
    throw new Refusal("encoding", `${what} is not in DER, or has parts that do not belong there`);
  }
  return value;
}
