import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import * as dice from "../../../tools/dice/index.ts";
import { keyId } from "../../../verifier/key-derivation.ts";
import { readEvidenceFile, readRoots, verifyEvidence } from "../../../verifier/index.ts";
import * as f from "./fixture.ts";

/** Evidence that has to be believed, in each form. */

test("a certificate for a CSR", () => {
  const { says } = f.accepts(f.certificateEvidence(), { key: f.guest.publicKey });
  assert(says);
  assert.equal(says.publicKey, f.guest.publicKey.toString("hex"));
  assert.equal(says.attestationKey, f.tvm.publicKey.toString("hex"));
  assert.equal(says.codeHash, f.codeHash.toString("hex"));
  assert.deepEqual(
    says.registers,
    f.registers.map((digest) => digest.toString("hex")),
  );
  assert.equal(says.development, false);
  assert.equal(says.path.length, 4);
});

test("a certificate for a key alone", () => {
  const bytes = dice.evidenceCertificate(f.tvm, f.registers, f.nonce, { publicKey: f.guest.publicKey });
  f.accepts(f.certificateEvidence({ bytes }));
});

test("a token", () => {
  f.accepts(f.tokenEvidence(), { key: f.guest.publicKey });
});

test("a chain that has its root too, and a root that is a bare public key", () => {
  f.accepts(f.certificateEvidence({ chain: Buffer.concat([f.chain, f.maker.certificate]) }));
  const key = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), f.maker.root.publicKey]).toString(
    "base64",
  );
  f.accepts(f.certificateEvidence(), {
    roots: readRoots(`-----BEGIN PUBLIC KEY-----\n${key}\n-----END PUBLIC KEY-----\n`),
  });
});

test("one of several roots is enough", () => {
  const other = dice.pem(dice.makeMaker().certificate);
  f.accepts(f.tokenEvidence(), { roots: readRoots(other + dice.pem(f.maker.certificate)) });
});

test("names of several attributes and any key come out as they went in", () => {
  for (let round = 0; round < 20; round++) {
    const { privateKey } = generateKeyPairSync("ed25519");
    const subject = dice.certificationRequest(privateKey, `guest ${round} äöü`);
    const bytes = dice.evidenceCertificate(f.tvm, f.registers, f.nonce, subject);
    const { says } = f.accepts(f.certificateEvidence({ bytes }));
    assert.equal(says?.publicKey, Buffer.from(subject.publicKey).toString("hex"));
  }
});

test("the development root, if it is allowed", () => {
  const chain = dice.tvmCertificate(f.development, f.developmentTvm, f.registers, true);
  const bytes = dice.evidenceCertificate(f.developmentTvm, f.registers, f.nonce, f.request);
  const { says } = f.accepts({ kind: "certificate", bytes, chain }, { allowDevelopmentRoot: true, roots: [] });
  assert.equal(says?.development, true);
  assert.equal(says.codeHash, undefined);
  const claims = dice.tokenClaims(f.developmentTvm, f.registers, f.nonce, f.guest.publicKey, true);
  const token = dice.signToken(dice.encodeClaims(claims), f.developmentTvm.key);
  f.accepts({ kind: "token", bytes: token, chain }, { allowDevelopmentRoot: true, roots: [] });
});

test("lines of a console, PEM, and DER certificates in a row are the same evidence", () => {
  const { bytes, chain } = f.certificateEvidence();
  const token = f.tokenEvidence().bytes;
  const lines = dice.consoleLines({ nonce: f.nonce, certificate: bytes, token, chain });
  const log = `OpenSBI\r\nguest: ${lines.replaceAll("\n", "\r\n")}Tellus - All OK\n`;
  const files: [Uint8Array, number][] = [
    [Buffer.from(log), 2],
    [Buffer.from([bytes, f.tvmCertificate, ...f.handover.chain].map(dice.pem).join("\n")), 1],
    [Buffer.concat([bytes, chain]), 1],
  ];
  for (const [file, count] of files) {
    const found = readEvidenceFile(file);
    assert.equal(found.length, count);
    for (const evidence of found) f.accepts(evidence);
  }
});

test("every certificate is re-encoded by nobody: a second verification says the same", () => {
  const evidence = f.certificateEvidence();
  assert.deepEqual(verifyEvidence(evidence, f.expected), verifyEvidence(evidence, f.expected));
});

test("TVMs with other registers have other keys; the development root's are known", () => {
  const keys = new Set([f.tvm.publicKey.toString("hex")]);
  for (let index = 0; index < 4; index++) {
    const changed = f.registers.with(index, Buffer.alloc(48, 1));
    keys.add(dice.tvmLayer(f.platform, changed, false).publicKey.toString("hex"));
  }
  assert.equal(keys.size, 5);
  const runtime = f.registers.with(5, Buffer.alloc(48, 1));
  assert(keys.has(dice.tvmLayer(f.platform, runtime, false).publicKey.toString("hex")));
  assert.equal(keyId(f.development.publicKey).toString("hex"), "5a2d45b3f234c546a8078f5c0439a821b6ca40ed");
});
