import assert from "node:assert/strict";
import { createHash, createPrivateKey, createPublicKey, hkdfSync, type KeyObject } from "node:crypto";

/** What the attestation of a simulated machine must come to, computed with Node's own cryptography (docs/evidence.md). */

const ASYM_SALT = Buffer.from(
  "63b6a04d2c077fc10f639f21da793844356cc2b0b441b3a77124035c03f8e1be" +
    "6035d31f282821a7450a02222ab1b3cff1679b05ab1ca5d1affb789ccd2b0b3b",
  "hex",
);
const ID_SALT = Buffer.from(
  "dbdbaebc8020da9ff0dd5a24c83aa5a54286dfc263031e329b4da148430659fe" +
    "62cdb5b7e1e00fc680306711eb444af77209359496fcff1db9520ba51c7b29ea",
  "hex",
);

export const sha512 = (...parts: Uint8Array[]): Buffer => createHash("sha512").update(Buffer.concat(parts)).digest();
export const sha384 = (...parts: Uint8Array[]): Buffer => createHash("sha384").update(Buffer.concat(parts)).digest();

export function words(...values: (number | bigint)[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  values.forEach((value, index) => bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), 8 * index));
  return bytes;
}

function kdf(key: Uint8Array, salt: Uint8Array, info: string, length: number): Buffer {
  return Buffer.from(hkdfSync("sha512", key, salt, info, length));
}

/** A layer of DICE: public key and its id. */
export interface KeyPair {
  publicKey: KeyObject;
  raw: Buffer;
  id: Buffer;
}

export function publicKeyOf(raw: Uint8Array): KeyObject {
  const head = Buffer.from("302a300506032b6570032100", "hex");
  return createPublicKey({ key: Buffer.concat([head, raw]), format: "der", type: "spki" });
}

/** The attestation key that belongs to a CDI. */
export function keyOfCdi(cdi: Uint8Array): KeyPair {
  const seed = kdf(cdi, ASYM_SALT, "Key Pair", 32);
  const head = Buffer.from("302e020100300506032b657004220420", "hex");
  const secret = createPrivateKey({ key: Buffer.concat([head, seed]), format: "der", type: "pkcs8" });
  const publicKey = createPublicKey(secret);
  const raw = publicKey.export({ format: "der", type: "spki" }).subarray(12);
  return { publicKey, raw, id: idOf(raw) };
}

export function idOf(raw: Uint8Array): Buffer {
  const id = kdf(raw, ID_SALT, "ID", 20);
  id[0] &= 0x7f;
  return id;
}

export const DEVELOPMENT_SEALING_CDI = sha512(Buffer.from("Salus development root, CDI_Seal")).subarray(0, 32);
export const DEVELOPMENT_CDI = sha512(Buffer.from("Salus development root, CDI_Attest")).subarray(0, 32);

/** Attestation CDI of a VM with these registers on a platform with this CDI. */
export function cdiOfVm(platform: Uint8Array, registers: Uint8Array[], development = true): Buffer {
  const code = sha512(registers[0], registers[2]);
  const configuration = sha512(registers[1], registers[3]);
  const zero = Buffer.alloc(64);
  const inputs = Buffer.concat([code, configuration, zero, Uint8Array.from([development ? 2 : 1]), zero]);
  return kdf(platform, sha512(inputs), "CDI_Attest", 32);
}

/** Its sealing CDI, given the platform's: what it is configured to on this platform is no part of it. */
export function sealingCdiOfVm(platform: Uint8Array, registers: Uint8Array[], development = true): Buffer {
  const zero = Buffer.alloc(64);
  const mode = Uint8Array.from([development ? 2 : 1]);
  const inputs = Buffer.concat([sha512(registers[0], registers[2]), sha512(registers[3]), zero, mode, zero]);
  return kdf(platform, sha512(inputs), "CDI_Seal", 32);
}

/** An element of DER. */
export interface Element {
  tag: number;
  content: Buffer;
  /** With tag and length. */
  all: Buffer;
}

/** The elements that a constructed value consists of. */
export function elements(bytes: Uint8Array): Element[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const list: Element[] = [];
  for (let at = 0; at < buffer.length;) {
    const tag = buffer[at];
    let length = buffer[at + 1];
    let start = at + 2;
    if (length >= 0x80) {
      const count = length & 0x7f;
      length = buffer.readUIntBE(start, count);
      assert(length >= 0x80 && (count === 1 || length >= 0x100), "a length in more bytes than it needs");
      start += count;
    }
    assert(start + length <= buffer.length, "an element leaves the one around it");
    list.push({ tag, content: buffer.subarray(start, start + length), all: buffer.subarray(at, start + length) });
    at = start + length;
  }
  return list;
}

/** Extensions of a certificate by hex of their OID: critical, and the value. */
export function extensions(certificate: Uint8Array): Map<string, { critical: boolean; value: Buffer }> {
  const [whole] = elements(certificate);
  const [tbs] = elements(whole.content);
  const last = elements(tbs.content).at(-1)!;
  assert.equal(last.tag, 0xa3);
  const [list] = elements(last.content);
  return new Map(
    elements(list.content).map(({ content }) => {
      const parts = elements(content);
      return [parts[0].content.toString("hex"), { critical: parts.length === 3, value: parts.at(-1)!.content }];
    }),
  );
}

export const OID = {
  keyUsage: "551d0f",
  basicConstraints: "551d13",
  authorityKey: "551d23",
  subjectKey: "551d0e",
  freshness: "67810505040b",
  tcbInfo: "678105050401",
  tcbInfoAtst: "6781050504",
} as const;

/** Digests of a DiceTcbInfo. */
export function fwids(tcbInfo: Uint8Array): Buffer[] {
  const fields = elements(elements(tcbInfo)[0].content);
  const list = fields.find(({ tag }) => tag === 0xa6)!;
  return elements(list.content).map(({ content }) => {
    const [algorithm, digest] = elements(content);
    assert.equal(algorithm.content.toString("hex"), "608648016503040202");
    return digest.content;
  });
}

/** Splits certificates that lie one behind the other. */
export function certificates(chain: Uint8Array): Buffer[] {
  return elements(chain).map(({ all }) => all);
}
