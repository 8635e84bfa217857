import assert from "node:assert/strict";
import { sha512, makeDevice, makeHandover, makeMaker, pem, tvmLayer, layer } from "../../../tools/dice/index.ts";
import * as dice from "../../../tools/dice/index.ts";
import { DEVELOPMENT_ROOT } from "../../../verifier/key-derivation.ts";
import {
  readPolicy,
  readRoots,
  verifyEvidence,
  type CheckName,
  type Evidence,
  type Expectations,
  type Verdict,
} from "../../../verifier/index.ts";

/** A machine, a TVM on it, and somebody who asks for evidence. */

const bytes = (text: string, length: number): Buffer => sha512(Buffer.from(text)).subarray(0, length);

export const maker = makeMaker(bytes("maker", 32));
export const device = makeDevice(maker, bytes("device", 32));
export const codeHash = bytes("hypervisor", 64);
export const handover = makeHandover(device, codeHash);
export const registers = Array.from({ length: 8 }, (_, index) => bytes(`register ${index}`, 48));
export const nonce = bytes("nonce", 64);
export const platform = handover.platform;
export const tvm = tvmLayer(platform, registers, false);
/** The guest's own key, for which it asks. */
export const guest = layer(bytes("guest", 32), bytes("guest", 32));

export const development = layer(DEVELOPMENT_ROOT.attestation, DEVELOPMENT_ROOT.sealing);
export const developmentTvm = tvmLayer(development, registers, true);

export const policy = readPolicy(
  JSON.stringify({
    codeHash: [codeHash.toString("hex")],
    registers: Object.fromEntries(registers.slice(0, 4).map((digest, index) => [index, [digest.toString("hex")]])),
  }),
);

export const expected: Expectations = { nonce, roots: readRoots(pem(maker.certificate)), policy };

export const request = dice.certificationRequest(guest.key, "guest");
export const tvmCertificate = dice.tvmCertificate(platform, tvm, registers, false);
export const chain = Buffer.concat([tvmCertificate, ...handover.chain]);

export function certificateEvidence(changes: Partial<Evidence> = {}): Evidence {
  const bytes = dice.evidenceCertificate(tvm, registers, nonce, request);
  return { kind: "certificate", bytes, chain, ...changes };
}

export function tokenEvidence(changes: Partial<Evidence> = {}): Evidence {
  const claims = dice.tokenClaims(tvm, registers, nonce, guest.publicKey, false);
  return { kind: "token", bytes: dice.signToken(dice.encodeClaims(claims), tvm.key), chain, ...changes };
}

export function verdictOf(evidence: Evidence): Verdict {
  return verifyEvidence(evidence, expected);
}

/** Asserts that all is well. */
export function accepts(evidence: Evidence, expectations: Partial<Expectations> = {}): Verdict {
  const verdict = verifyEvidence(evidence, { ...expected, ...expectations });
  assert(verdict.trusted, JSON.stringify(verdict.checks, undefined, 1));
  assert(verdict.checks.every(({ passed }) => passed));
  return verdict;
}

/** Asserts that `check` fails with a reason that matches, and that the evidence is not believed. */
export function refuses(
  evidence: Evidence,
  check: CheckName,
  reason: RegExp,
  expectations: Partial<Expectations> = {},
): Verdict {
  const verdict = verifyEvidence(evidence, { ...expected, ...expectations });
  assert(!verdict.trusted);
  const failed = verdict.checks.filter(({ passed }) => passed === false);
  assert(
    failed.some(({ name, detail }) => name === check && reason.test(detail)),
    `not refused for ${check}, ${String(reason)}: ${JSON.stringify(failed)}`,
  );
  return verdict;
}
