import { sign, type KeyObject } from "node:crypto";
import { ID_SIZE, PUBLIC_KEY_HEAD, keyId } from "../../verifier/key-derivation.ts";
import * as oid from "../../verifier/oids.ts";
import * as der from "./der.ts";

/** X.509 certificates as docs/evidence.md describes them, part by part, so that a test can make each part wrong. */

export interface Extension {
  oid: string;
  critical?: boolean;
  /** DER of the value. */
  value: Uint8Array;
}

/** What is signed; everything but `extensions` is DER or plain bytes. */
export interface CertificateParts {
  serial: Uint8Array;
  issuer: Uint8Array;
  subject: Uint8Array;
  publicKey: Uint8Array;
  extensions: Extension[];
  validity?: Uint8Array;
  algorithm?: Uint8Array;
}

export const ALGORITHM = der.sequence(der.objectIdentifier(oid.ED25519));
export const FOREVER = validity("180322235959Z", "99991231235959Z");

export function validity(from: string, to: string): Buffer {
  const time = (text: string): Buffer => der.element(text.length === 13 ? der.UTC_TIME : der.GENERALIZED_TIME, text);
  return der.sequence(time(from), time(to));
}

/** A certificate, signed with `issuerKey`. */
export function certificate(parts: CertificateParts, issuerKey: KeyObject): Buffer {
  const algorithm = parts.algorithm ?? ALGORITHM;
  const tbs = der.sequence(
    der.constructed(0, der.element(der.INTEGER, Uint8Array.of(2))),
    der.element(der.INTEGER, parts.serial),
    algorithm,
    parts.issuer,
    parts.validity ?? FOREVER,
    parts.subject,
    publicKeyInfo(parts.publicKey),
    der.constructed(3, der.sequence(...parts.extensions.map(extension))),
  );
  return signed(tbs, issuerKey, algorithm);
}

/** SEQUENCE { tbs, algorithm, signature }. */
export function signed(tbs: Uint8Array, key: KeyObject, algorithm: Uint8Array = ALGORITHM): Buffer {
  return der.sequence(tbs, algorithm, der.bits(0, sign(null, tbs, key)));
}

function extension({ oid, critical, value }: Extension): Buffer {
  const mark = critical ? [der.element(der.BOOLEAN, Uint8Array.of(0xff))] : [];
  return der.sequence(der.objectIdentifier(oid), ...mark, der.octets(value));
}

export function publicKeyInfo(key: Uint8Array): Buffer {
  return Buffer.concat([PUBLIC_KEY_HEAD, key]);
}

/** The name of a key: one RDN serialNumber, the hex digits of its id. */
export function nameOfKey(publicKey: Uint8Array): Buffer {
  const text = der.element(der.PRINTABLE_STRING, keyId(publicKey).toString("hex"));
  return der.sequence(der.element(der.SET, der.sequence(der.objectIdentifier(oid.SERIAL_NUMBER_ATTRIBUTE), text)));
}

/** A positive serial number of 20 bytes. */
export function serialFrom(bytes: Uint8Array): Buffer {
  const serial = Buffer.from(bytes.subarray(0, ID_SIZE));
  serial[0] = (serial[0] & 0x3f) | 0x40;
  return serial;
}

export function keyUsage(unused: number, bits: number): Extension {
  return { oid: oid.KEY_USAGE, critical: true, value: der.bits(unused, Uint8Array.of(bits)) };
}

export const KEY_USAGE_CERTIFICATES = keyUsage(2, 0x04);
export const KEY_USAGE_TVM = keyUsage(2, 0x84);
export const KEY_USAGE_EVIDENCE = keyUsage(7, 0x80);

/** Basic constraints of a CA, or, with false, of somebody who is none. */
export function basicConstraints(ca: boolean, pathLength?: number): Extension {
  const parts = ca ? [der.element(der.BOOLEAN, Uint8Array.of(0xff))] : [];
  if (pathLength !== undefined) parts.push(der.element(der.INTEGER, Uint8Array.of(pathLength)));
  return { oid: oid.BASIC_CONSTRAINTS, critical: true, value: der.sequence(...parts) };
}

export function authorityKey(publicKey: Uint8Array): Extension {
  return { oid: oid.AUTHORITY_KEY_IDENTIFIER, value: der.sequence(der.implicit(0, keyId(publicKey))) };
}

export function subjectKey(publicKey: Uint8Array): Extension {
  return { oid: oid.SUBJECT_KEY_IDENTIFIER, value: der.octets(keyId(publicKey)) };
}
