import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { buildArtifacts, type Flavour } from "../../tools/artifacts.ts";
import { pem } from "../../tools/dice/index.ts";
import { packHostImage } from "../../tools/image/host-image.ts";
import {
  askForEvidence,
  guestPolicy,
  isLogged,
  nonceArgument,
  type AskedEvidence,
} from "../../tools/qemu/asked-evidence.ts";
import { addHandover, provisionDevice, type ProvisionedDevice } from "../../tools/qemu/dice.ts";
import { locateQemu } from "../../tools/qemu/locate.ts";
import { DEFAULT_MACHINE, qemuArguments } from "../../tools/qemu/machine.ts";
import { runQemu } from "../../tools/qemu/runner.ts";
import { splitElements } from "../../verifier/der.ts";
import {
  readEvidenceFile,
  readPolicy,
  readRoots,
  verifyEvidence,
  type CheckName,
  type Evidence,
  type Expectations,
} from "../../verifier/index.ts";

/** Evidence that a guest on the machine made, carried out over the console, and every way in which it must not be believed. */

const qemu = locateQemu(process.env["QEMU"]);
assert(qemu !== undefined, "QEMU is missing; to install it, run: node bin/salus.js setup");
const flavour: Flavour = process.env["SALUS_FLAVOUR"] === "debug" ? "debug" : "release";
const artifacts = await buildArtifacts({ flavour, log: () => {} });
const folder = mkdtempSync(path.join(tmpdir(), "salus-evidence-"));
after(() => rmSync(folder, { recursive: true }));

const TIMEOUT_SECONDS = 90;
const { hypervisor } = artifacts;
const machine = { ...DEFAULT_MACHINE, memoryMiB: 512 };
const policy = readPolicy(JSON.stringify(guestPolicy(readFileSync(hypervisor), readFileSync(artifacts.guest))));

/** Boots up to the first evidence; without a device there is no handover. */
async function evidenceOf(hostImage: string, asked: AskedEvidence, device?: ProvisionedDevice): Promise<Evidence[]> {
  return readEvidenceFile(Buffer.from(await consoleOf(hostImage, asked, device)));
}

async function consoleOf(hostImage: string, asked: AskedEvidence, device?: ProvisionedDevice): Promise<string> {
  const image = { file: hostImage, bytes: statSync(hostImage).size };
  const boot = { hypervisor, hostImage: image, arguments: nonceArgument(asked) };
  const result = await runQemu({
    executable: qemu!,
    arguments: device ? await addHandover(qemu!, machine, boot, device) : qemuArguments(machine, boot),
    timeoutSeconds: TIMEOUT_SECONDS,
    until: (line) => line === "EVIDENCE: end",
  });
  const said = device ? "salus: DICE handover taken from the previous stage" : "salus: no DICE handover";
  assert(
    result.lines.some((line) => line.startsWith(said)),
    `Salus does not say "${said}":\n${result.lines.slice(-20).join("\n")}`,
  );
  return result.lines.join("\n");
}

describe("evidence of a run", { timeout: 4 * TIMEOUT_SECONDS * 1000 }, () => {
  let device: ProvisionedDevice;
  let asked: AskedEvidence;
  let expected: Expectations;
  /** What the console showed, and the evidence in it. */
  let log: string;
  let evidence: Evidence[];
  /** The same of a guest of which one byte is another, on the same device. */
  let other: Evidence[];

  before(async () => {
    device = provisionDevice(hypervisor, folder);
    asked = askForEvidence(hypervisor, artifacts.guest, device.root, folder);
    const roots = readRoots(readFileSync(device.root, "utf8"));
    expected = { nonce: Buffer.from(asked.nonce, "hex"), roots, policy };
    log = await consoleOf(artifacts.hostImage, asked, device);
    evidence = readEvidenceFile(Buffer.from(log));
    other = await evidenceOf(changedImage(), asked, device);
  });

  function refuses(one: Evidence, check: CheckName, reason: RegExp, changes: Partial<Expectations> = {}): void {
    const verdict = verifyEvidence(one, { ...expected, ...changes });
    assert(!verdict.trusted);
    const failed = verdict.checks.filter(({ passed }) => passed === false);
    assert(
      failed.some(({ name, detail }) => name === check && reason.test(detail)),
      JSON.stringify(failed),
    );
  }

  test("certificate and token are believed: registers 0, 2 and 3 are as predicted from the files", () => {
    assert.deepEqual(
      evidence.map(({ kind }) => kind),
      ["certificate", "token"],
    );
    for (const one of evidence) {
      const verdict = verifyEvidence(one, expected);
      assert(verdict.trusted, JSON.stringify(verdict.checks, undefined, 1));
      // Register 18, by the PCR's number, was extended by the guest.
      assert.match(verdict.says!.registers[5], /^4d783cdfa8d6bc12/);
    }
  });

  test("one changed byte in one page: another register 2, another key", () => {
    for (const one of other) refuses(one, "registers", /^register 2 is /);
    const [first, second] = [evidence[0], other[0]].map((one) => verifyEvidence(one, expected).says!);
    assert.notEqual(first.attestationKey, second.attestationKey);
    assert.equal(first.registers[3], second.registers[3]);
  });

  test("a replayed nonce", () => {
    for (const one of evidence) refuses(one, "nonce", /replay/, { nonce: Buffer.alloc(64, 1) });
  });

  test("a truncated chain", () => {
    const chain = splitElements(evidence[0].chain);
    for (let length = 0; length < chain.length; length++) {
      const cut = { ...evidence[0], chain: Buffer.concat(chain.slice(0, length)) };
      assert(!verifyEvidence(cut, expected).trusted);
    }
    refuses({ ...evidence[0], chain: chain[0] }, "chain", /cut off/);
  });

  test("another TVM's evidence with this one's chain, and the other way round", () => {
    evidence.forEach(({ kind, bytes, chain }, index) => {
      refuses({ kind, bytes: other[index].bytes, chain }, "signature", /another TVM's/);
      refuses({ kind, bytes, chain: other[index].chain }, "signature", /another TVM's/);
    });
  });

  test("a swapped register, in what is signed", () => {
    for (const one of evidence) {
      const says = verifyEvidence(one, expected).says!;
      const bytes = Buffer.from(one.bytes);
      const [two, three] = [2, 3].map((index) => Buffer.from(says.registers[index], "hex"));
      const [at, then] = [bytes.indexOf(two), bytes.indexOf(three)];
      assert(at > 0 && then > 0);
      three.copy(bytes, at);
      two.copy(bytes, then);
      refuses({ ...one, bytes }, "signature", /not signed by/);
    }
  });

  test("the host's log explains the registers, and another guest's file does not", () => {
    const guest = readFileSync(artifacts.guest);
    const verdicts = evidence.map((one) => verifyEvidence(one, expected));
    assert(isLogged(verdicts, log, guest));
    guest[guest.length - 1] ^= 1;
    assert(!isLogged(verdicts, log, guest));
    assert(!isLogged(verdicts, log.replace(/MEASURED: vcpu 0x0/, "MEASURED: vcpu 0x1"), readFileSync(artifacts.guest)));
  });

  test("a machine without a handover: the development root", async () => {
    const [certificate, token] = await evidenceOf(artifacts.hostImage, asked);
    for (const one of [certificate, token]) {
      refuses(one, "development root", /proves nothing/);
      const verdict = verifyEvidence(one, { ...expected, roots: [], allowDevelopmentRoot: true });
      assert(verdict.trusted, JSON.stringify(verdict.checks, undefined, 1));
    }
  });

  test("another hypervisor, by what the stage before measured", () => {
    const elf = readFileSync(hypervisor);
    elf[0x2000] ^= 1;
    const changed = readPolicy(JSON.stringify(guestPolicy(elf, readFileSync(artifacts.guest))));
    for (const one of evidence) refuses(one, "registers", /hypervisor is another one/, { policy: changed });
  });

  test("OpenSSL reads and verifies what the machine made", () => {
    const file = (name: string, certificates: readonly Uint8Array[]): string => {
      const full = path.join(folder, name);
      writeFileSync(full, certificates.map(pem).join(""));
      return full;
    };
    const chain = file("chain.pem", splitElements(evidence[0].chain));
    const leaf = file("evidence.pem", [evidence[0].bytes]);
    const args = ["verify", "-ignore_critical", "-x509_strict", "-CAfile", device.root, "-untrusted", chain, leaf];
    assert.match(execFileSync("openssl", args, { encoding: "utf8", stdio: "pipe" }), /: OK/);
    const text = execFileSync("openssl", ["x509", "-in", leaf, "-noout", "-text"], { encoding: "utf8" });
    assert.match(text, /2\.23\.133\.5\.4:/);
  });
});

/** The host image with a guest whose greeting has another letter. */
function changedImage(): string {
  const image = readFileSync(artifacts.hostImage);
  const guest = readFileSync(artifacts.guest);
  const place = guest.indexOf(Buffer.from("Hello world", "utf16le")) >= 0 ? "utf16le" : "latin1";
  const at = guest.indexOf(Buffer.from("Hello world", place));
  assert(at > 0, "the guest's greeting is not in its image");
  const host = image.subarray(0, image.length - guest.length);
  guest[at] += 1;
  const file = path.join(folder, "changed.bin");
  writeFileSync(file, packHostImage(host, guest));
  return file;
}
