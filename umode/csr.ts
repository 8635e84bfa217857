import { ed25519Verify } from "../crypto/ed25519";
import { DerCursor } from "./der-reader";
import { HELPER_OUTPUT } from "./layout";
import { KEY_SIZE } from "./request";
import { workspace } from "./workspace";

/**
 * A certification request (PKCS#10, RFC 2986), version 0, for an Ed25519 key (RFC 8410):
 *
 *     SEQUENCE { SEQUENCE { INTEGER 0, Name, SEQUENCE { SEQUENCE { OID }, BIT STRING key }, [0] attributes }, SEQUENCE { OID }, BIT STRING }
 *
 * Subject and public key are all that is used. The subject is copied as it is, so it has to be a proper DER Name that is not empty. The signature shows that whoever
 * made the request holds the key.
 */
@unmanaged
export class Csr {
  /** The whole Name, with its tag. */
  subject: usize;
  subjectLength: u64;
  publicKey: usize;
  /** What is signed: the CertificationRequestInfo with its tag. */
  signed: usize;
  signedLength: u64;
  signature: usize;
}

const SEQUENCE: u32 = 0x30;
const SET: u32 = 0x31;
const INTEGER: u32 = 0x02;
const BIT_STRING: u32 = 0x03;
const OBJECT_IDENTIFIER: u32 = 0x06;
const ATTRIBUTES: u32 = 0xa0;
/** 1.3.101.112 */
const ED25519: u64 = 0x2b6570;
const SIGNATURE_SIZE: u64 = 64;

/** Reads the request of `length` bytes at `at` into `csr`. False if it is not exactly that. */
export function readCsr(at: usize, length: u64, csr: Csr): bool {
  const all = workspace(0);
  const request = workspace(1);
  const info = workspace(2);
  const item = workspace(3);
  all.over(at, length);
  if (!all.take(SEQUENCE, request) || !all.done()) return false;
  csr.signed = request.at;
  if (!request.take(SEQUENCE, info)) return false;
  csr.signedLength = <u64>(request.at - csr.signed);

  if (!info.take(INTEGER, item) || !item.is(0, 1)) return false;
  csr.subject = info.at;
  if (!info.take(SEQUENCE, item) || !checkName(item)) return false;
  csr.subjectLength = <u64>(info.at - csr.subject);
  if (!info.take(SEQUENCE, item)) return false;
  const inner = workspace(4);
  if (!takeAlgorithm(item, inner)) return false;
  if (!item.take(BIT_STRING, inner) || !item.done() || inner.length() != KEY_SIZE + 1 || inner.tag() != 0) return false;
  csr.publicKey = inner.at + 1;
  if (!info.take(ATTRIBUTES, item) || !info.done() || !checkAttributes(item)) return false;

  if (!takeAlgorithm(request, inner)) return false;
  if (!request.take(BIT_STRING, inner) || !request.done()) return false;
  csr.signature = inner.at + 1;
  return inner.length() == SIGNATURE_SIZE + 1 && inner.tag() == 0;
}

/** Whether the request is signed with the key that it is about. The output, in which nothing is yet, is the scratch memory. */
export function isSignedByItsKey(csr: Csr): bool {
  return ed25519Verify(csr.publicKey, csr.signed, csr.signedLength, csr.signature, <usize>HELPER_OUTPUT);
}

/** SEQUENCE { OID id-Ed25519 }, without parameters. */
function takeAlgorithm(from: DerCursor, inner: DerCursor): bool {
  const identifier = workspace(5);
  return (
    from.take(SEQUENCE, inner) && inner.take(OBJECT_IDENTIFIER, identifier) && inner.done() && identifier.is(ED25519, 3)
  );
}

/** A Name: RDNs, each a SET of attributes in the order that DER wants, each a SEQUENCE of an OID and a string. */
function checkName(name: DerCursor): bool {
  const rdn = workspace(5);
  if (name.done()) return false;
  while (!name.done()) {
    if (!name.take(SET, rdn) || rdn.done() || !checkRdn(rdn)) return false;
  }
  return true;
}

function checkRdn(rdn: DerCursor): bool {
  const attribute = workspace(6);
  const part = workspace(7);
  let before: usize = 0;
  let beforeEnd: usize = 0;
  while (!rdn.done()) {
    const start = rdn.at;
    if (!rdn.take(SEQUENCE, attribute)) return false;
    if (!attribute.take(OBJECT_IDENTIFIER, part) || !isIdentifier(part)) return false;
    if (!isStringTag(attribute.tag()) || !attribute.take(attribute.tag(), part) || !attribute.done()) return false;
    if (before != 0 && !inOrder(before, beforeEnd, start, rdn.at)) return false;
    before = start;
    beforeEnd = rdn.at;
  }
  return true;
}

/** An OID is not empty, its last byte ends an arc, and no arc begins with a zero digit. */
function isIdentifier(identifier: DerCursor): bool {
  let first = true;
  for (let at = identifier.at; at < identifier.end; at++) {
    const byte = <u32>load<u8>(at);
    if (first && byte == 0x80) return false;
    first = byte < 0x80;
  }
  return first && !identifier.done();
}

/** UTF8String, PrintableString, TeletexString, IA5String, BMPString. */
function isStringTag(tag: u32): bool {
  return tag == 0x0c || tag == 0x13 || tag == 0x14 || tag == 0x16 || tag == 0x1e;
}

/** Whether the encoding [a, aEnd) comes before [b, bEnd) (X.690, 11.6), and is another one. */
function inOrder(a: usize, aEnd: usize, b: usize, bEnd: usize): bool {
  while (a < aEnd && b < bEnd) {
    const left = load<u8>(a);
    const right = load<u8>(b);
    if (left != right) return left < right;
    a++;
    b++;
  }
  return a == aEnd && b < bEnd;
}

/** Attributes are not used, but have to be elements. */
function checkAttributes(attributes: DerCursor): bool {
  const attribute = workspace(6);
  while (!attributes.done()) if (!attributes.take(SEQUENCE, attribute)) return false;
  return true;
}
