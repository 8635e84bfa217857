import {
  authorityKeyId,
  basicConstraints,
  DIGITAL_SIGNATURE,
  extension,
  keyUsage,
  readCertificate,
} from "./certificate.ts";
import { Freshness, TcbInfo } from "./dice-schema.ts";
import { keyId } from "./key-derivation.ts";
import { REGISTERS } from "./measurement.ts";
import * as oid from "./oids.ts";
import { equalBytes, isForever, nameOfKey, readFwids } from "./profile.ts";
import { Refusal } from "./refusal.ts";

/** What evidence says, whatever its format. */
export interface Statement {
  /** What is signed, and the signature. */
  signed: Uint8Array;
  signature: Uint8Array;
  nonce: Uint8Array;
  /** The key that the guest asked for. */
  publicKey: Uint8Array;
  /** All registers by index. */
  registers: Uint8Array[];
  /** What a token says of the root; a certificate leaves that to its chain. */
  development: boolean | undefined;
}

export const NONCE_SIZE = 64;

/**
 * Reads an evidence certificate that the key `issuer` should have signed; the signature is not checked.
 *
 * @throws Refusal
 */
export function readEvidenceCertificate(der: Uint8Array, issuer: Uint8Array): Statement {
  const what = "the evidence certificate";
  const certificate = readCertificate(der, what);
  const refuse = (why: string): never => {
    throw new Refusal("profile", `${what}: ${why}`);
  };
  const order = [
    oid.KEY_USAGE,
    oid.BASIC_CONSTRAINTS,
    oid.AUTHORITY_KEY_IDENTIFIER,
    oid.FRESHNESS,
    oid.TCB_INFO_OF_EVIDENCE,
  ];
  if ([...certificate.extensions.keys()].join() !== order.join()) refuse("it does not have the extensions of one");
  if (!isForever(certificate)) refuse("its validity is not the one that Salus writes");
  if (keyUsage(certificate, what) !== DIGITAL_SIGNATURE) refuse("its key usage is another one");
  const constraints = basicConstraints(certificate, what);
  if (constraints.cA || constraints.pathLenConstraint !== undefined) refuse("it is that of a CA");
  if (
    !equalBytes(certificate.issuer, nameOfKey(issuer)) ||
    !equalBytes(authorityKeyId(certificate, what), keyId(issuer))
  ) {
    throw new Refusal("signature", `${what} was issued by another key than the chain's: it is another TVM's`);
  }
  const freshness = extension(certificate, what, oid.FRESHNESS, false, Freshness);
  const nonce = new Uint8Array(freshness.nonce.buffer);
  if (nonce.length !== NONCE_SIZE) refuse(`a nonce of ${nonce.length} bytes`);
  const info = extension(certificate, what, oid.TCB_INFO_OF_EVIDENCE, false, TcbInfo);
  if (info.flags) refuse("flags where none belong");
  return {
    signed: certificate.signed,
    signature: certificate.signature,
    nonce,
    publicKey: certificate.publicKey,
    registers: readFwids(info, REGISTERS, what),
    development: undefined,
  };
}
