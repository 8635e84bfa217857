import {
  authorityKeyId,
  basicConstraints,
  DIGITAL_SIGNATURE,
  extension,
  KEY_CERT_SIGN,
  keyUsage,
  readCertificate,
  subjectKeyId,
  type Certificate,
} from "./certificate.ts";
import { splitElements } from "./der.ts";
import { OpenDiceInput, TcbInfo } from "./dice-schema.ts";
import { developmentRootKey, ID_SIZE, keyId } from "./key-derivation.ts";
import * as oid from "./oids.ts";
import { equalBytes, isForever, nameOfKey, readFwids } from "./profile.ts";
import { Refusal } from "./refusal.ts";
import type { TrustAnchor } from "./roots.ts";
import { verifySignature } from "./signature.ts";

/** The issuer chain of evidence: from the certificate of the TVM's key up to a root that the caller trusts. */

/** What a chain says, all of it signed. */
export interface Identity {
  /** The TVM's attestation key. */
  publicKey: Uint8Array;
  /** Registers 0 to 3. */
  registers: Uint8Array[];
  /** The chain ends at the development root, which everybody can sign for. */
  development: boolean;
  /** What the stage before measured of the hypervisor, SHA-512; not with a development root. */
  codeHash: Uint8Array | undefined;
  /** Who vouches, root first, for people. */
  path: string[];
}

const MAX_CHAIN_BYTES = 16 * 1024;
const MAX_CERTIFICATES = 8;
const STATIC_REGISTERS = 4;
const MODE_NORMAL = 1;
/** BIT STRING of DiceTcbInfo's flags: notSecure and debug. */
const FLAGS_DEVELOPMENT = Uint8Array.of(0x04, 0x50);
const AUTHORITY_EXTENSIONS = new Set([
  oid.KEY_USAGE,
  oid.BASIC_CONSTRAINTS,
  oid.AUTHORITY_KEY_IDENTIFIER,
  oid.SUBJECT_KEY_IDENTIFIER,
  oid.OPEN_DICE_INPUT,
]);

/**
 * Reads and checks a chain: certificates one after the other, that of the TVM's key first, each issued by the next and the last by one of `anchors`.
 * A chain of the development root is returned as such: whether it may count is not decided here.
 *
 * @throws Refusal
 */
export function checkChain(bytes: Uint8Array, anchors: readonly TrustAnchor[], now: Date): Identity {
  if (bytes.length > MAX_CHAIN_BYTES) throw new Refusal("encoding", "the chain is longer than any");
  const parts = splitElements(bytes);
  if (parts.length === 0) throw new Refusal("chain", "there is no certificate of the key that signed the evidence");
  if (parts.length > MAX_CERTIFICATES) throw new Refusal("chain", `${parts.length} certificates are too many`);
  const names = parts.map(
    (_, index) => ["the TVM's certificate", "the platform's certificate"][index] ?? `certificate ${index}`,
  );
  const certificates = parts.map((part, index) => readCertificate(part, names[index]));
  certificates.forEach((certificate, index) => checkValidity(certificate, names[index], now));

  const tvm = checkTvmCertificate(certificates[0]);
  const developmentKey = developmentRootKey();
  const development = equalBytes(certificates[0].issuer, nameOfKey(developmentKey));
  if (tvm.development !== development) {
    const [claim, truth] = development ? ["not marked as such", "the"] : ["marked as development", "no"];
    throw new Refusal("profile", `the TVM's certificate is ${claim} but issued by ${truth} development root`);
  }
  if (development) {
    if (certificates.length > 1) throw new Refusal("chain", "the development root has no issuers");
    checkIssued(certificates[0], names[0], { key: developmentKey, keyId: keyId(developmentKey) });
    return { ...tvm, codeHash: undefined, path: ["development root", shortName(tvm.publicKey)] };
  }
  if (certificates.length === 1) {
    throw new Refusal("chain", "the chain is cut off: the platform's certificate is missing");
  }
  const anchor = checkPath(certificates, names, anchors);
  const path = [anchor.name, ...certificates.map(({ publicKey }) => shortName(publicKey)).reverse()];
  return { ...tvm, codeHash: stageInput(certificates, names), path };
}

/** Issuer by issuer up to an anchor. The last certificate may be that of the anchor itself. */
function checkPath(
  certificates: readonly Certificate[],
  names: readonly string[],
  anchors: readonly TrustAnchor[],
): TrustAnchor {
  for (let index = 0; index < certificates.length; index++) {
    const certificate = certificates[index];
    if (index > 0) checkAuthority(certificate, names[index], index - 1);
    const anchor = anchors.find((candidate) => equalBytes(candidate.publicKey, certificate.publicKey));
    if (anchor && index === certificates.length - 1 && index > 1) return anchor;
    const issuer = certificates[index + 1];
    if (issuer) {
      checkIssued(certificate, names[index], {
        key: issuer.publicKey,
        keyId: subjectKeyId(issuer, names[index + 1]),
        name: issuer.subject,
      });
    }
  }
  const last = certificates.at(-1)!;
  const lastName = names[certificates.length - 1];
  if (anchors.length === 0) throw new Refusal("root", "no root was given: --root PEM");
  const anchor = anchors.find((candidate) => verifySignature(last.signature, last.signed, candidate.publicKey));
  if (!anchor) throw new Refusal("root", `${lastName} is not signed by a root that you trust; or the chain is cut off`);
  if (anchor.certificate) {
    const limit = anchor.certificate.pathLength;
    if (limit !== undefined && certificates.length > limit) {
      throw new Refusal("chain", "the chain is longer than its root allows");
    }
  }
  checkIssued(last, lastName, {
    key: anchor.publicKey,
    keyId: anchor.certificate?.subjectKeyId,
    name: anchor.certificate?.subject,
  });
  return anchor;
}

interface Issuer {
  key: Uint8Array;
  keyId?: Uint8Array | undefined;
  name?: Uint8Array | undefined;
}

function checkIssued(certificate: Certificate, what: string, issuer: Issuer): void {
  if (issuer.name && !equalBytes(certificate.issuer, issuer.name)) {
    throw new Refusal("chain", `${what} names another issuer than the next certificate's subject`);
  }
  if (issuer.keyId && !equalBytes(authorityKeyId(certificate, what), issuer.keyId)) {
    throw new Refusal("chain", `${what} names another key than its issuer's`);
  }
  if (!verifySignature(certificate.signature, certificate.signed, issuer.key)) {
    throw new Refusal("chain", `the signature of ${what} is not its issuer's`);
  }
}

/** A certificate of a stage before the TVM: `below` other CA certificates hang on it. */
function checkAuthority(certificate: Certificate, what: string, below: number): void {
  const constraints = basicConstraints(certificate, what);
  if (!constraints.cA) throw new Refusal("profile", `${what} is not that of a CA`);
  if (constraints.pathLenConstraint !== undefined && below + 1 > constraints.pathLenConstraint) {
    throw new Refusal("chain", `${what} allows fewer certificates below it`);
  }
  if ((keyUsage(certificate, what) & KEY_CERT_SIGN) === 0) {
    throw new Refusal("profile", `${what}: its key may not sign certificates`);
  }
  for (const [id, { critical }] of certificate.extensions) {
    if (critical && !AUTHORITY_EXTENSIONS.has(id))
      throw new Refusal("profile", `${what}: unknown critical extension ${id}`);
  }
}

/** What the stages before were measured as. All of them must have been in normal mode. Returns the code hash of the platform. */
function stageInput(certificates: readonly Certificate[], names: readonly string[]): Uint8Array {
  let codeHash: Uint8Array | undefined;
  for (let index = 1; index < certificates.length; index++) {
    const certificate = certificates[index];
    if (index > 1 && !certificate.extensions.has(oid.OPEN_DICE_INPUT)) continue;
    const input = extension(certificate, names[index], oid.OPEN_DICE_INPUT, true, OpenDiceInput);
    if (input.mode !== MODE_NORMAL) throw new Refusal("profile", `${names[index]} is of a stage in debug mode`);
    if (index === 1 && input.codeHash) codeHash = new Uint8Array(input.codeHash.buffer);
  }
  if (!codeHash) throw new Refusal("profile", "the platform's certificate does not say which hypervisor was measured");
  return codeHash;
}

/** The first certificate, whose every part is ours. */
function checkTvmCertificate(certificate: Certificate): Omit<Identity, "codeHash" | "path"> {
  const what = "the TVM's certificate";
  const refuse = (why: string): never => {
    throw new Refusal("profile", `${what}: ${why}`);
  };
  const order = [
    oid.KEY_USAGE,
    oid.BASIC_CONSTRAINTS,
    oid.AUTHORITY_KEY_IDENTIFIER,
    oid.SUBJECT_KEY_IDENTIFIER,
    oid.TCB_INFO,
  ];
  if ([...certificate.extensions.keys()].join() !== order.join()) refuse("it does not have the extensions of one");
  if (!isForever(certificate)) refuse("its validity is not the one that Salus writes");
  if (keyUsage(certificate, what) !== (DIGITAL_SIGNATURE | KEY_CERT_SIGN)) refuse("its key usage is another one");
  const constraints = basicConstraints(certificate, what);
  if (!constraints.cA || constraints.pathLenConstraint !== 0) refuse("its basic constraints are not CA, pathLen 0");
  const id = keyId(certificate.publicKey);
  if (!equalBytes(certificate.subject, nameOfKey(certificate.publicKey)))
    refuse("its subject is not the name of its key");
  if (!equalBytes(subjectKeyId(certificate, what), id)) refuse("its key identifier is not that of its key");
  const serial = Buffer.from(id);
  serial[0] = (serial[0] & 0x3f) | 0x40;
  if (certificate.serial.length !== ID_SIZE || !equalBytes(certificate.serial, serial))
    refuse("its serial number is not that of its key");
  const info = extension(certificate, what, oid.TCB_INFO, false, TcbInfo);
  const flags = info.flags && new Uint8Array(info.flags.buffer);
  if (flags && !equalBytes(flags, FLAGS_DEVELOPMENT)) refuse("DiceTcbInfo has other flags than notSecure and debug");
  return {
    publicKey: certificate.publicKey,
    registers: readFwids(info, STATIC_REGISTERS, what),
    development: flags !== undefined,
  };
}

function checkValidity({ notBefore, notAfter }: Certificate, what: string, now: Date): void {
  if (notAfter < notBefore) throw new Refusal("profile", `${what} ends before it begins`);
  if (now < notBefore) throw new Refusal("profile", `${what} is not valid yet`);
  if (now > notAfter) throw new Refusal("profile", `${what} has expired`);
}

function shortName(publicKey: Uint8Array): string {
  return keyId(publicKey).toString("hex").slice(0, 16);
}
