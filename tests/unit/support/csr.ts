import { generateKeyPairSync, sign, type KeyObject } from "node:crypto";

/** Certification requests as guests make them (PKCS#10 with an Ed25519 key), and the means to make wrong ones. */

/** One DER element. */
export function der(tag: number, ...contents: Uint8Array[]): Uint8Array {
  const content = Buffer.concat(contents);
  const { length } = content;
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Uint8Array.from([tag, ...head]), content]);
}

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);
const COMMON_NAME = Uint8Array.from([0x55, 0x04, 0x03]);
export const ED25519 = der(0x30, der(0x06, Uint8Array.from([0x2b, 0x65, 0x70])));

/** A Name with one RDN: CN = `text`. */
export function commonName(text: string): Uint8Array {
  return der(0x30, der(0x31, der(0x30, der(0x06, COMMON_NAME), der(0x0c, ascii(text)))));
}

export interface CsrParts {
  version?: Uint8Array;
  subject?: Uint8Array;
  algorithm?: Uint8Array;
  publicKey?: Uint8Array;
  attributes?: Uint8Array;
  signatureAlgorithm?: Uint8Array;
  signature?: Uint8Array;
}

/** The raw public key of an Ed25519 key. */
export function rawPublicKey(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ format: "der", type: "spki" })).subarray(12);
}

/** A request with these parts in place of the proper ones. */
export function makeCsr(parts: CsrParts = {}, keys = generateKeyPairSync("ed25519")): Uint8Array {
  const zero = Uint8Array.from([0]);
  const info = der(
    0x30,
    parts.version ?? der(0x02, zero),
    parts.subject ?? commonName("guest"),
    der(0x30, parts.algorithm ?? ED25519, der(0x03, zero, parts.publicKey ?? rawPublicKey(keys.publicKey))),
    parts.attributes ?? der(0xa0),
  );
  return signedCsr(info, keys.privateKey, parts);
}

/** A request with `info`, whatever it is, in the place of what is signed. */
export function signedCsr(info: Uint8Array, key: KeyObject, parts: CsrParts = {}): Uint8Array {
  const signature = parts.signature ?? new Uint8Array(sign(null, info, key));
  return der(0x30, info, parts.signatureAlgorithm ?? ED25519, der(0x03, Uint8Array.from([0]), signature));
}
