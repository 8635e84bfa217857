import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import * as dice from "../../../tools/dice/index.ts";
import { keyId } from "../../../verifier/key-derivation.ts";
import * as f from "./fixture.ts";

/** What OpenSSL makes of our certificates: nothing in them needs our own verifier to be read or checked. */

const folder = mkdtempSync(path.join(tmpdir(), "salus-openssl-"));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, content: Uint8Array | string): string {
  const full = path.join(folder, name);
  writeFileSync(full, content);
  return full;
}

const openssl = (...args: string[]): string => execFileSync("openssl", args, { encoding: "utf8", stdio: "pipe" });

const evidence = f.certificateEvidence().bytes;
const files = {
  evidence: file("evidence.pem", dice.pem(evidence)),
  chain: file("chain.pem", [f.tvmCertificate, ...f.handover.chain].map(dice.pem).join("")),
  root: file("root.pem", dice.pem(f.maker.certificate)),
};

test("openssl verifies the chain", () => {
  // Open DICE Input is critical, and OpenSSL does not know it.
  const args = ["verify", "-ignore_critical", "-x509_strict", "-CAfile", files.root, "-untrusted", files.chain];
  assert.match(openssl(...args, files.evidence), /evidence\.pem: OK/);
});

test("openssl does not verify it with another root, without the chain, or with a changed byte", () => {
  const other = file("other.pem", dice.pem(dice.makeMaker().certificate));
  const changed = Buffer.from(evidence);
  changed[changed.length - 100] ^= 1;
  const wrong = file("wrong.pem", dice.pem(changed));
  for (const args of [
    ["-CAfile", other, "-untrusted", files.chain, files.evidence],
    ["-CAfile", files.root, files.evidence],
    ["-CAfile", files.root, "-untrusted", files.chain, wrong],
  ]) {
    assert.notEqual(spawnSync("openssl", ["verify", "-ignore_critical", ...args]).status, 0);
  }
});

test("openssl shows what is in them", () => {
  const text = openssl("x509", "-in", files.evidence, "-noout", "-text");
  const id = keyId(f.tvm.publicKey).toString("hex");
  assert.match(text, new RegExp(`Issuer: serialNumber ?= ?${id}`));
  assert.match(text, /Subject: CN ?= ?guest/);
  assert.match(text, /X509v3 Key Usage: critical\s+Digital Signature\n/);
  assert.match(text, /X509v3 Basic Constraints: critical\s+CA:FALSE/);
  assert.match(text, /Not After : Dec 31 23:59:59 9999 GMT/);
  assert.match(text, new RegExp(`Authority Key Identifier:\\s+${id.toUpperCase().match(/../g)!.join(":")}`));
  assert.match(text, /2\.23\.133\.5\.4:/);
  const tvm = openssl("x509", "-in", file("tvm.pem", dice.pem(f.tvmCertificate)), "-noout", "-text");
  assert.match(tvm, /Digital Signature, Certificate Sign/);
  assert.match(tvm, /CA:TRUE, pathlen:0/);
});

test("openssl's own parser finds all registers in DiceTcbInfo, the last extension", () => {
  const parsed = openssl("asn1parse", "-in", files.evidence);
  const lines = parsed.split("\n");
  const last = lines.findLastIndex((line) => line.includes("OBJECT            :2.23.133.5.4"));
  const dump = /\[HEX DUMP\]:([0-9A-F]+)/.exec(lines[last + 1])![1];
  const registers = [...dump.matchAll(/06096086480165030402020430([0-9A-F]{96})/g)];
  assert.deepEqual(
    registers.map(([, digest]) => digest.toLowerCase()),
    f.registers.map((digest) => digest.toString("hex")),
  );
  assert.match(lines[last + 2], /d=1/);
});

test("Node's X.509 agrees with it", () => {
  const certificate = new X509Certificate(evidence);
  const issuer = new X509Certificate(f.tvmCertificate);
  assert(certificate.verify(issuer.publicKey));
  assert(certificate.checkIssued(issuer));
  assert.equal(certificate.ca, false);
  assert.equal(issuer.ca, true);
  assert(issuer.verify(new X509Certificate(f.handover.chain[0]).publicKey));
});

test("openssl checks the CSR that the reference makes", () => {
  const request = Buffer.from(f.request.request!)
    .toString("base64")
    .replace(/.{1,64}/g, "$&\n");
  const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${request}-----END CERTIFICATE REQUEST-----\n`;
  const { status, stderr } = spawnSync("openssl", ["req", "-in", file("csr.pem", pem), "-verify", "-noout"], {
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
});
