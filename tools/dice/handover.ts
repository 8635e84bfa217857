import { encode, rfc8949EncodeOptions } from "cborg";
import { randomBytes } from "node:crypto";
import * as oid from "../../verifier/oids.ts";
import {
  authorityKey,
  basicConstraints,
  certificate,
  type Extension,
  KEY_USAGE_CERTIFICATES,
  nameOfKey,
  serialFrom,
  subjectKey,
} from "./certificate.ts";
import { keyId } from "../../verifier/key-derivation.ts";
import * as der from "./der.ts";
import { type Inputs, layer, type Layer, MODE_NORMAL, nextLayer } from "./layer.ts";

/**
 * What a boot loader that speaks DICE would leave for Salus: a device whose maker certified its key, and the CDIs and certificate of the stage that
 * Salus is.
 *
 *     maker's root -> device (UDS) -> platform: Salus, as measured
 */

/** A key that vouches for devices, and its own certificate. */
export interface Maker {
  root: Layer;
  certificate: Buffer;
}

/** A device with its unique secret. */
export interface Device {
  uds: Layer;
  certificate: Buffer;
}

export interface Handover {
  platform: Layer;
  /** DER: the platform's certificate, then the device's. */
  chain: Buffer[];
  /** The CBOR map that goes into the machine's memory. */
  bytes: Uint8Array;
}

/** Handover labels of the Open Profile for DICE. */
const LABEL_ATTESTATION = 1;
const LABEL_SEALING = 2;
const LABEL_CHAIN = 3;

/** A maker whose keys follow from `seed` (32 bytes). */
export function makeMaker(seed: Uint8Array = randomBytes(32)): Maker {
  const root = layer(seed, seed);
  return { root, certificate: authorityCertificate(root, root) };
}

/** A device of `maker`, whose secret is `secret` (32 bytes). */
export function makeDevice(maker: Maker, secret: Uint8Array = randomBytes(32)): Device {
  const uds = layer(secret, secret);
  return { uds, certificate: authorityCertificate(maker.root, uds) };
}

/**
 * The handover of `device` to a hypervisor.
 *
 * @param codeHash SHA-512 of the hypervisor (`platformCode` of verifier/measurement.ts)
 */
export function makeHandover(device: Device, codeHash: Uint8Array, mode: number = MODE_NORMAL): Handover {
  const inputs: Inputs = { code: codeHash, mode };
  const platform = nextLayer(device.uds, inputs, { mode });
  const chain = [authorityCertificate(device.uds, platform, openDiceInput(inputs)), device.certificate];
  return { platform, chain, bytes: encodeHandover(platform, chain) };
}

/** CBOR of a handover. */
export function encodeHandover(platform: Layer, chain: readonly Uint8Array[]): Uint8Array {
  const map = new Map<number, Uint8Array | readonly Uint8Array[]>([
    [LABEL_ATTESTATION, platform.attestation],
    [LABEL_SEALING, platform.sealing],
    [LABEL_CHAIN, chain],
  ]);
  return encode(map, rfc8949EncodeOptions);
}

/** Certificate of a stage before Salus, or of Salus itself. */
export function authorityCertificate(issuer: Layer, subject: Layer, ...more: Extension[]): Buffer {
  return certificate(
    {
      serial: serialFrom(keyId(subject.publicKey)),
      issuer: nameOfKey(issuer.publicKey),
      subject: nameOfKey(subject.publicKey),
      publicKey: subject.publicKey,
      extensions: [
        KEY_USAGE_CERTIFICATES,
        basicConstraints(true),
        authorityKey(issuer.publicKey),
        subjectKey(subject.publicKey),
        ...more,
      ],
    },
    issuer.key,
  );
}

/** Open DICE Input: what a stage was measured as. */
export function openDiceInput({ code, configuration, authority, mode }: Inputs): Extension {
  const hash = (tag: number, value: Uint8Array | undefined): Buffer[] =>
    value ? [der.constructed(tag, der.octets(value))] : [];
  const value = der.sequence(
    ...hash(0, code),
    ...hash(2, configuration),
    ...hash(4, authority),
    der.constructed(6, der.element(der.ENUMERATED, Uint8Array.of(mode))),
  );
  return { oid: oid.OPEN_DICE_INPUT, critical: true, value };
}

/** PEM (RFC 7468) of a certificate. */
export function pem(certificate: Uint8Array): string {
  const base64 = Buffer.from(certificate).toString("base64");
  return `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{1,64}/g, "$&\n")}-----END CERTIFICATE-----\n`;
}
