import assert from "node:assert/strict";
import { test } from "node:test";
import * as dice from "../../../tools/dice/index.ts";
import * as der from "../../../tools/dice/der.ts";
import { checkDer } from "../../../verifier/der.ts";
import { readCertificate } from "../../../verifier/certificate.ts";
import * as f from "./fixture.ts";

/** What is DER and what is only BER. */

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(" ", ""), "hex");

test("elements of every kind that certificates have", () => {
  for (const good of [
    "3000",
    "0101ff 020100",
    "020100 0201ff 02020080 0202ff7f 0a0103",
    "030100 0302 0780 0302 00ff 0400 0500",
    "0603551d0f 06062a864886f70d 060100",
    "0c02c3a4 130541 2e2c3a20 1600",
    "170d3138303332323233353935395a 180f39393939313233313233353935395a",
    "3000 3105 020100 0500 3103 020100 a003020102 8001ff",
  ]) {
    const contents = hex(good);
    if (good === "3000") checkDer(contents);
    else checkDer(der.sequence(contents));
  }
  checkDer(
    der.sequence(der.octets(new Uint8Array(127)), der.octets(new Uint8Array(128)), der.octets(new Uint8Array(256))),
  );
});

test("everything else", () => {
  const cases: [string, RegExp][] = [
    ["", /ends too soon/],
    ["30", /ends too soon/],
    ["3001", /longer than what it is in/],
    ["300000", /1 bytes follow/],
    ["3080 0000", /length that is not DER/],
    ["308100", /more bytes than it needs/],
    ["3082007f" + "00".repeat(127), /more bytes than it needs/],
    ["3083 000000", /length that is not DER/],
    ["3085 0000000000", /length that is not DER/],
    ["30ff", /length that is not DER/],
    ["3f8100 00", /tag of several bytes/],
    ["3001 05", /ends too soon/],
    ["3003 020200", /longer than what it is in/],
    ["010101", /BOOLEAN/],
    ["0100", /BOOLEAN/],
    ["0102ffff", /BOOLEAN/],
    ["0200", /INTEGER/],
    ["02020001", /INTEGER/],
    ["0202ff80", /INTEGER/],
    ["0a020001", /INTEGER/],
    ["0300", /BIT STRING/],
    ["030101", /BIT STRING/],
    ["030208ff", /BIT STRING/],
    ["03020781", /BIT STRING with bits/],
    ["23 80 03020000 0000", /length/],
    ["2304 03020000", /cannot be constructed/],
    ["2404 04020000", /cannot be constructed/],
    ["050100", /NULL/],
    ["0600", /cut short/],
    ["060180", /leading zero/],
    ["06022a86", /cut short/],
    ["06032a8001", /leading zero/],
    ["06062affffffff7f", /28 bits/],
    ["0c01ff", /UTF-8/],
    ["130140", /PrintableString/],
    ["170b3138303332323233353935", /UTCTime/],
    ["170d3138303332323233353935395b", /UTCTime/],
    ["18133939393931323331323335393539 2e355a3030", /GeneralizedTime/],
    ["0901 00", /no place/],
    ["1000", /no place/],
    ["7000", /cannot be constructed/],
    ["3106 020101 020100", /SET out of order/],
    ["3106 020100 020100", /SET out of order/],
    ["30".padEnd(2) + "", /ends too soon/],
  ];
  for (const [bad, reason] of cases) assert.throws(() => checkDer(hex(bad)), reason, bad);
});

test("levels and lengths have a limit", () => {
  let deep = der.element(5);
  for (let level = 0; level < 16; level++) deep = der.sequence(deep);
  checkDer(deep);
  assert.throws(() => checkDer(der.sequence(deep)), /more than 16 levels/);
  assert.throws(() => checkDer(der.octets(new Uint8Array(4097))), /more than any certificate/);
});

test("a certificate with one length in BER, with a default written out, or with a part too many", () => {
  const good = f.certificateEvidence().bytes;
  readCertificate(good, "it");
  assert.equal(good[0], 0x30);
  const long = Buffer.concat([hex("3083"), Uint8Array.of(0, good[2], good[3]), good.subarray(4)]);
  assert.throws(() => readCertificate(long, "it"), /length that is not DER/);
  const parts = dice.evidenceCertificateParts(f.tvm, f.registers, f.nonce, f.request);
  // critical BOOLEAN DEFAULT FALSE, written: Extension ::= SEQUENCE { OID, FALSE, OCTET STRING }.
  const value = dice.freshness(f.nonce).value;
  const sneaky = der.sequence(der.objectIdentifier("2.23.133.5.4.11"), hex("010100"), der.octets(value));
  const bytes = dice.certificate(parts, f.tvm.key);
  const plain = der.sequence(der.objectIdentifier("2.23.133.5.4.11"), der.octets(value));
  assert.throws(() => readCertificate(rebuild(bytes, plain, sneaky), "it"), /not in DER, or has parts/);
  const ca = der.sequence(der.objectIdentifier("2.5.29.19"), hex("0101ff"), der.octets(hex("3003010100")));
  const empty = der.sequence(der.objectIdentifier("2.5.29.19"), hex("0101ff"), der.octets(hex("3000")));
  f.refuses(
    f.certificateEvidence({ bytes: resign(rebuild(bytes, empty, ca)) }),
    "encoding",
    /parts that do not belong/,
  );
  // A fourth element behind the signature.
  const inner = bytes.subarray(4);
  assert.throws(() => readCertificate(der.sequence(inner, hex("0500")), "it"), /it/);
});

test("a name that is empty, or has an attribute that is no text", () => {
  const parts = dice.evidenceCertificateParts(f.tvm, f.registers, f.nonce, f.request);
  const attribute = der.sequence(der.objectIdentifier("2.5.4.3"), der.implicit(12, "guest"));
  const nothing = der.sequence(der.objectIdentifier("2.5.4.3"));
  const named = (inner: Uint8Array): Uint8Array =>
    dice.certificate({ ...parts, subject: der.sequence(der.element(der.SET, inner)) }, f.tvm.key);
  for (const bytes of [
    named(attribute),
    named(nothing),
    dice.certificate({ ...parts, subject: der.sequence() }, f.tvm.key),
  ]) {
    assert(!f.verdictOf(f.certificateEvidence({ bytes })).trusted);
  }
  f.refuses(f.certificateEvidence({ bytes: named(attribute) }), "encoding", /no text/);
});

test("trailing bytes: behind the certificate, in an extension's value, behind the evidence of a file", () => {
  const good = f.certificateEvidence().bytes;
  f.refuses(f.certificateEvidence({ bytes: Buffer.concat([good, Uint8Array.of(0)]) }), "encoding", /1 bytes follow/);
  const parts = dice.evidenceCertificateParts(f.tvm, f.registers, f.nonce, f.request);
  const extensions = parts.extensions.with(3, {
    oid: "2.23.133.5.4.11",
    value: Buffer.concat([dice.freshness(f.nonce).value, hex("0500")]),
  });
  const bytes = dice.certificate({ ...parts, extensions }, f.tvm.key);
  f.refuses(f.certificateEvidence({ bytes }), "encoding", /2 bytes follow/);
  f.refuses(f.certificateEvidence({ chain: Buffer.concat([f.chain, hex("00")]) }), "encoding", /ends too soon/);
});

/** The certificate with one piece of its DER replaced, lengths put right, unsigned. */
function rebuild(certificate: Uint8Array, piece: Uint8Array, instead: Uint8Array): Buffer {
  const walk = (bytes: Buffer): Buffer => {
    const parts: Buffer[] = [];
    for (let at = 0; at < bytes.length;) {
      const head = bytes[at + 1] < 0x80 ? 2 : 2 + (bytes[at + 1] & 0x7f);
      const length = head === 2 ? bytes[at + 1] : bytes.readUIntBE(at + 2, head - 2);
      const whole = bytes.subarray(at, at + head + length);
      const constructed = (bytes[at] & 0x20) !== 0;
      if (whole.equals(piece)) parts.push(Buffer.from(instead));
      else parts.push(constructed ? der.element(bytes[at], walk(whole.subarray(head))) : whole);
      at += whole.length;
    }
    return Buffer.concat(parts);
  };
  const changed = walk(Buffer.from(certificate));
  assert(!changed.equals(certificate), "the piece is not there");
  return changed;
}

/** Signs a certificate anew with the TVM's key. */
function resign(certificate: Buffer): Buffer {
  const body = certificate.subarray(4);
  const length = 4 + body.readUInt16BE(2);
  return dice.signed(body.subarray(0, length), f.tvm.key);
}
