import { createHash, type KeyObject } from "node:crypto";
import { CDI_SIZE, derive, privateKeyOf, publicKeyOf, seedOf } from "../../verifier/key-derivation.ts";

/** Layers of DICE: two CDIs, the key that follows from the first, and how the next layer's follow from them. */

export interface Layer {
  attestation: Buffer;
  sealing: Buffer;
  key: KeyObject;
  publicKey: Buffer;
}

export const MODE_NORMAL = 1;
export const MODE_DEBUG = 2;

/** Inputs of a stage: 64 bytes each; what is left out is zero. */
export interface Inputs {
  code?: Uint8Array;
  configuration?: Uint8Array;
  authority?: Uint8Array;
  mode: number;
}

export function layer(attestation: Uint8Array, sealing: Uint8Array): Layer {
  const key = privateKeyOf(seedOf(attestation));
  return { attestation: Buffer.from(attestation), sealing: Buffer.from(sealing), key, publicKey: publicKeyOf(key) };
}

/** The layer that comes after `from`. */
export function nextLayer(from: Layer, attestation: Inputs, sealing: Inputs): Layer {
  return layer(
    derive(from.attestation, saltOf(attestation), "CDI_Attest", CDI_SIZE),
    derive(from.sealing, saltOf(sealing), "CDI_Seal", CDI_SIZE),
  );
}

/** The layer of a TVM, from the platform's and the TVM's registers by index. */
export function tvmLayer(platform: Layer, registers: readonly Uint8Array[], development: boolean): Layer {
  const mode = development ? MODE_DEBUG : MODE_NORMAL;
  const code = sha512(registers[0], registers[2]);
  const attestation = { code, configuration: sha512(registers[1], registers[3]), mode };
  return nextLayer(platform, attestation, { code, configuration: sha512(registers[3]), mode });
}

export function sha512(...parts: Uint8Array[]): Buffer {
  const hash = createHash("sha512");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

function saltOf({ code, configuration, authority, mode }: Inputs): Buffer {
  const zeros = Buffer.alloc(64);
  return sha512(code ?? zeros, configuration ?? zeros, authority ?? zeros, Uint8Array.of(mode), zeros);
}
