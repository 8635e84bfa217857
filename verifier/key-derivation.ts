import { createHash, createPrivateKey, createPublicKey, hkdfSync, type KeyObject } from "node:crypto";

/** Key derivation of the Open Profile for DICE: HKDF-SHA-512 with the profile's salts, and Ed25519 keys. */

export const CDI_SIZE = 32;
export const ID_SIZE = 20;

const ASYM_SALT = Buffer.from(
  "63b6a04d2c077fc10f639f21da793844356cc2b0b441b3a77124035c03f8e1be6035d31f282821a7450a02222ab1b3cff1679b05ab1ca5d1affb789ccd2b0b3b",
  "hex",
);
const ID_SALT = Buffer.from(
  "dbdbaebc8020da9ff0dd5a24c83aa5a54286dfc263031e329b4da148430659fe62cdb5b7e1e00fc680306711eb444af77209359496fcff1db9520ba51c7b29ea",
  "hex",
);
/** What precedes the seed in PKCS #8, and the public key in SubjectPublicKeyInfo (RFC 8410). */
const PRIVATE_KEY_HEAD = Buffer.from("302e020100300506032b657004220420", "hex");
export const PUBLIC_KEY_HEAD = Buffer.from("302a300506032b6570032100", "hex");

export function derive(key: Uint8Array, salt: Uint8Array, info: string, length: number): Buffer {
  return Buffer.from(hkdfSync("sha512", key, salt, info, length));
}

/** Seed of the key pair that belongs to an attestation CDI. */
export function seedOf(attestationCdi: Uint8Array): Buffer {
  return derive(attestationCdi, ASYM_SALT, "Key Pair", 32);
}

/** Id of a public key: 20 bytes, the highest bit clear. */
export function keyId(publicKey: Uint8Array): Buffer {
  const id = derive(publicKey, ID_SALT, "ID", ID_SIZE);
  id[0] &= 0x7f;
  return id;
}

export function privateKeyOf(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PRIVATE_KEY_HEAD, seed]), format: "der", type: "pkcs8" });
}

/** The 32 bytes of the public key. */
export function publicKeyOf(key: KeyObject): Buffer {
  const der = createPublicKey(key).export({ format: "der", type: "spki" });
  return der.subarray(PUBLIC_KEY_HEAD.length);
}

/** CDIs of the development root: everybody can compute them. */
export const DEVELOPMENT_ROOT = {
  attestation: developmentCdi("CDI_Attest"),
  sealing: developmentCdi("CDI_Seal"),
} as const;

function developmentCdi(name: string): Buffer {
  return createHash("sha512").update(`Salus development root, ${name}`).digest().subarray(0, CDI_SIZE);
}

/** Public key of the development root. */
export function developmentRootKey(): Buffer {
  return publicKeyOf(privateKeyOf(seedOf(DEVELOPMENT_ROOT.attestation)));
}
