import { createPublicKey, X509Certificate } from "node:crypto";
import { basicConstraints, keyUsage, KEY_CERT_SIGN, readCertificate, subjectKeyId } from "./certificate.ts";
import { developmentRootKey, PUBLIC_KEY_HEAD } from "./key-derivation.ts";
import * as oid from "./oids.ts";
import { equalBytes } from "./profile.ts";
import { Refusal } from "./refusal.ts";
import { isPublicKey } from "./signature.ts";

/** Roots that a verifier's user trusts. */

export interface TrustAnchor {
  /** For people. */
  name: string;
  publicKey: Uint8Array;
  /** What its certificate says; not for a bare public key. */
  certificate?: { subject: Uint8Array; subjectKeyId: Uint8Array | undefined; pathLength: number | undefined };
}

const BLOCK = /-----BEGIN ([A-Z ]+)-----[^-]+-----END \1-----/g;

/**
 * Reads roots from PEM: certificates and public keys, one or several.
 *
 * @throws Refusal (root) if that is not what it is, or if it is the development root
 */
export function readRoots(pem: string): TrustAnchor[] {
  const anchors = [...pem.matchAll(BLOCK)].map(([text, label]) => readRoot(text, label));
  if (anchors.length === 0) throw new Refusal("root", "there is no certificate and no public key in PEM");
  const development = developmentRootKey();
  if (anchors.some(({ publicKey }) => equalBytes(publicKey, development))) {
    throw new Refusal("root", "the development root is nobody's root: see --allow-development-root");
  }
  return anchors;
}

function readRoot(text: string, label: string): TrustAnchor {
  if (label === "CERTIFICATE") return fromCertificate(derOf(text));
  if (label === "PUBLIC KEY") return fromPublicKey(text);
  throw new Refusal("root", `a root is a certificate or a public key, not "${label}"`);
}

function derOf(text: string): Uint8Array {
  try {
    return new X509Certificate(text).raw;
  } catch (error) {
    throw new Refusal("root", `the root's certificate cannot be read: ${(error as Error).message}`);
  }
}

function fromCertificate(der: Uint8Array): TrustAnchor {
  const what = "the root's certificate";
  const certificate = readCertificate(der, what);
  const constraints = basicConstraints(certificate, what);
  if (!constraints.cA) throw new Refusal("root", `${what} is not that of a CA`);
  if (certificate.extensions.has(oid.KEY_USAGE) && (keyUsage(certificate, what) & KEY_CERT_SIGN) === 0) {
    throw new Refusal("root", `${what}: its key may not sign certificates`);
  }
  return {
    name: `root ${Buffer.from(certificate.publicKey).toString("hex").slice(0, 16)}`,
    publicKey: certificate.publicKey,
    certificate: {
      subject: certificate.subject,
      subjectKeyId: certificate.extensions.has(oid.SUBJECT_KEY_IDENTIFIER)
        ? subjectKeyId(certificate, what)
        : undefined,
      pathLength: constraints.pathLenConstraint,
    },
  };
}

function fromPublicKey(text: string): TrustAnchor {
  let der: Buffer;
  try {
    der = createPublicKey(text).export({ format: "der", type: "spki" });
  } catch (error) {
    throw new Refusal("root", `the root's key cannot be read: ${(error as Error).message}`);
  }
  const publicKey = new Uint8Array(der.subarray(PUBLIC_KEY_HEAD.length));
  if (!equalBytes(der.subarray(0, PUBLIC_KEY_HEAD.length), PUBLIC_KEY_HEAD) || !isPublicKey(publicKey)) {
    throw new Refusal("root", "the root's key is no Ed25519 public key, or one of small order");
  }
  return { name: `root ${Buffer.from(publicKey).toString("hex").slice(0, 16)}`, publicKey };
}
