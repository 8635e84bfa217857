import { createHash, createHmac, createPrivateKey, createPublicKey, hkdfSync, sign, verify } from "node:crypto";

/** What Node's own cryptography (OpenSSL) says. */

const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");
const SPKI = Buffer.from("302a300506032b6570032100", "hex");

const privateKey = (seed: Uint8Array) =>
  createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: "der", type: "pkcs8" });

export const oracle = {
  hash: (bits: 384 | 512, message: Uint8Array): Buffer => createHash(`sha${bits}`).update(message).digest(),
  hmac: (key: Uint8Array, message: Uint8Array): Buffer => createHmac("sha512", key).update(message).digest(),
  hkdf: (salt: Uint8Array, ikm: Uint8Array, info: Uint8Array, length: number): Buffer =>
    Buffer.from(hkdfSync("sha512", ikm, salt, info, length)),
  publicKey: (seed: Uint8Array): Buffer =>
    createPublicKey(privateKey(seed)).export({ format: "der", type: "spki" }).subarray(SPKI.length),
  sign: (seed: Uint8Array, message: Uint8Array): Buffer => sign(null, message, privateKey(seed)),
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    const key = createPublicKey({ key: Buffer.concat([SPKI, publicKey]), format: "der", type: "spki" });
    return verify(null, message, key, signature);
  },
};
