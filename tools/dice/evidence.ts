import { encode, rfc8949EncodeOptions, type EncodeOptions } from "cborg";
import { sign, type KeyObject } from "node:crypto";
import * as claim from "../../verifier/claims.ts";
import { keyId, publicKeyOf } from "../../verifier/key-derivation.ts";
import * as oid from "../../verifier/oids.ts";
import {
  ALGORITHM,
  authorityKey,
  basicConstraints,
  certificate,
  type CertificateParts,
  type Extension,
  KEY_USAGE_EVIDENCE,
  KEY_USAGE_TVM,
  nameOfKey,
  publicKeyInfo,
  serialFrom,
  signed,
  subjectKey,
} from "./certificate.ts";
import * as der from "./der.ts";
import { type Layer, sha512 } from "./layer.ts";

/** What the machine makes (umode/), made in Node: the oracle of the verifier's tests and of the machine's. */

/** Registers that a TVM certificate shows. */
const STATIC_REGISTERS = 4;

/** SEQUENCE { [6] { FWID ... } [7] flags }. */
export function tcbInfo(registers: readonly Uint8Array[], flags?: number): Buffer {
  const algorithm = der.objectIdentifier(oid.SHA384);
  const list = registers.map((digest) => der.sequence(algorithm, der.octets(digest)));
  const mark = flags === undefined ? [] : [der.implicit(7, Uint8Array.of(4, flags))];
  return der.sequence(der.constructed(6, ...list), ...mark);
}

/** notSecure and debug. */
export const FLAGS_DEVELOPMENT = 0x50;

export function tvmCertificateParts(
  platform: Layer,
  tvm: Layer,
  registers: readonly Uint8Array[],
  development: boolean,
): CertificateParts {
  return {
    serial: serialFrom(keyId(tvm.publicKey)),
    issuer: nameOfKey(platform.publicKey),
    subject: nameOfKey(tvm.publicKey),
    publicKey: tvm.publicKey,
    extensions: [
      KEY_USAGE_TVM,
      basicConstraints(true, 0),
      authorityKey(platform.publicKey),
      subjectKey(tvm.publicKey),
      {
        oid: oid.TCB_INFO,
        value: tcbInfo(registers.slice(0, STATIC_REGISTERS), development ? FLAGS_DEVELOPMENT : undefined),
      },
    ],
  };
}

/** The first certificate of the issuer chain. */
export function tvmCertificate(
  platform: Layer,
  tvm: Layer,
  registers: readonly Uint8Array[],
  development: boolean,
): Buffer {
  return certificate(tvmCertificateParts(platform, tvm, registers, development), platform.key);
}

export function freshness(nonce: Uint8Array): Extension {
  return { oid: oid.FRESHNESS, value: der.sequence(der.octets(nonce)) };
}

/** What a guest asks for: the key that the evidence shall be about, and for a CSR the subject and the request as it was given. */
export interface Subject {
  publicKey: Uint8Array;
  /** The CSR; without it, evidence is for the key alone. */
  request?: Uint8Array;
  name?: Uint8Array;
}

export function evidenceCertificateParts(
  tvm: Layer,
  registers: readonly Uint8Array[],
  nonce: Uint8Array,
  subject: Subject,
): CertificateParts {
  return {
    serial: serialFrom(sha512(nonce, subject.request ?? subject.publicKey)),
    issuer: nameOfKey(tvm.publicKey),
    subject: subject.name ?? nameOfKey(subject.publicKey),
    publicKey: subject.publicKey,
    extensions: [
      KEY_USAGE_EVIDENCE,
      basicConstraints(false),
      authorityKey(tvm.publicKey),
      freshness(nonce),
      { oid: oid.TCB_INFO_OF_EVIDENCE, value: tcbInfo(registers) },
    ],
  };
}

/** Evidence as a certificate. */
export function evidenceCertificate(
  tvm: Layer,
  registers: readonly Uint8Array[],
  nonce: Uint8Array,
  subject: Subject,
): Buffer {
  return certificate(evidenceCertificateParts(tvm, registers, nonce, subject), tvm.key);
}

/** A certification request (PKCS #10) of `key` for one common name. */
export function certificationRequest(key: KeyObject, commonName: string): Subject {
  const publicKey = publicKeyOf(key);
  const value = der.element(der.UTF8_STRING, commonName);
  const name = der.sequence(der.element(der.SET, der.sequence(der.objectIdentifier("2.5.4.3"), value)));
  const info = der.sequence(
    der.element(der.INTEGER, Uint8Array.of(0)),
    name,
    publicKeyInfo(publicKey),
    der.constructed(0),
  );
  return { publicKey, name, request: signed(info, key, ALGORITHM) };
}

/** Claims of a token by label. */
export function tokenClaims(
  tvm: Layer,
  registers: readonly Uint8Array[],
  nonce: Uint8Array,
  publicKey: Uint8Array,
  development: boolean,
): Map<number, unknown> {
  const key = new Map<number, unknown>([
    [1, 1],
    [-1, 6],
    [-2, publicKey],
  ]);
  const claims = new Map<number, unknown>([
    [claim.CLAIM_ISSUER, keyId(tvm.publicKey).toString("hex")],
    [claim.CLAIM_CONFIRMATION, new Map([[1, key]])],
    [claim.CLAIM_NONCE, nonce],
    [claim.CLAIM_PROFILE, claim.TOKEN_PROFILE],
    [claim.CLAIM_REGISTERS, registers],
    [claim.CLAIM_HASH, claim.COSE_SHA384],
  ]);
  if (development) claims.set(claim.CLAIM_DEVELOPMENT, true);
  return claims;
}

/** Evidence as a token: COSE_Sign1 over `payload`. */
export function signToken(payload: Uint8Array, key: KeyObject, header: Uint8Array = claim.COSE_HEADER): Buffer {
  const signature = sign(null, encode(["Signature1", header, new Uint8Array(0), payload], options), key);
  return Buffer.concat([claim.TOKEN_TAGS, encode([header, new Map(), payload, signature], options)]);
}

export function encodeClaims(claims: Map<number, unknown>): Uint8Array {
  return encode(claims, options);
}

const options: EncodeOptions = rfc8949EncodeOptions;

/** Evidence as it goes over the console. */
export function consoleLines(set: {
  nonce?: Uint8Array;
  certificate?: Uint8Array;
  token?: Uint8Array;
  chain: Uint8Array;
}): string {
  const lines = Object.entries(set).flatMap(([kind, bytes]) =>
    bytes === undefined ? [] : bytesInLines(bytes).map((hex) => `EVIDENCE: ${kind} ${hex}`),
  );
  return [...lines, "EVIDENCE: end", ""].join("\n");
}

function bytesInLines(bytes: Uint8Array): string[] {
  return (
    Buffer.from(bytes)
      .toString("hex")
      .match(/.{1,128}/g) ?? []
  );
}
