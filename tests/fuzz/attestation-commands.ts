import { createPrivateKey, createPublicKey } from "node:crypto";
import { makeCsr } from "../unit/support/csr.ts";
import { Atst, CovgAttestation, Eid } from "../unit/support/simulated/sbi.ts";
import type { Command } from "./command.ts";

/** Where a public key, a request or a digest is, a nonce, and room for the answer: in one page, or over its end. What is read twice in one call does not overlap. */
const INPUTS = [0n, 0x100n, 0x3f8n];
const NONCES = [0x500n, 0x7f8n, 0xfe8n];
const OUTPUTS = [0n, 0x100n, 0x3f8n, 0xff8n];
const FORMATS = [0n, 1n, 2n, 16n, 16n, 3n];
const ATST_REGISTERS = [0n, 1n, 2n, 3n, 17n, 17n, 18n, 20n, 21n];
const COVG_REGISTERS = [0n, 1n, 2n, 3n, 4n, 4n, 5n, 7n, 8n];
/** Evidence takes a thousand times as long as another call: of that many calls that could be evidence, one is. */
const EVIDENCE_IN = { host: 12, tvm: 3 };

/**
 * A call of the attestation of a host (ATST), or of a TVM (ATST or COVG). `memory`: two pages of the caller's, in which there need not be
 * anything: a key, a digest or a nonce may be any bytes, a certification request may not.
 */
export function attestationCall(
  random: (limit: number) => number,
  hart: number,
  memory: bigint,
  fromHost: boolean,
): Command {
  const pick = <T>(list: readonly T[]): T => list[random(list.length)];
  const output = (): bigint => memory + pick(OUTPUTS);
  const input = (): bigint => memory + pick(INPUTS);
  const covg = !fromHost && random(2) === 0;
  const call = (fid: number, ...args: bigint[]): Command => ({
    hart,
    do: "call",
    eid: covg ? Eid.covg : Eid.atst,
    fid,
    args,
  });
  const functions = covg ? CovgAttestation : Atst;
  const register = pick(covg ? COVG_REGISTERS : ATST_REGISTERS);
  switch (random(covg ? 5 : 4)) {
    case 0:
      return call(functions.capabilities, output(), pick([144n, 336n, 336n, 1024n, 8n]));
    case 1:
      return call(functions.extend, input(), pick([48n, 48n, 48n, 47n]), register);
    case 2:
      return call(functions.read, output(), pick([48n, 48n, 64n, 47n]), register);
    case 3:
      if (random(fromHost ? EVIDENCE_IN.host : EVIDENCE_IN.tvm) > 0)
        return call(functions.read, output(), 48n, register);
      return call(
        functions.evidence,
        ...[input(), pick([32n, 32n, 200n]), memory + pick(NONCES), pick(FORMATS)],
        ...[output(), pick([0x1000n, 0x1000n, 100n])],
      );
    default:
      return call(CovgAttestation.secret);
  }
}

/** PKCS#8 of an Ed25519 key, without the 32 bytes of the key. */
const KEY_HEAD = Buffer.from("302e020100300506032b657004220420", "hex");
/** Signed with a key that is always the same, so that runs repeat. */
const REQUEST = ((): Uint8Array => {
  const privateKey = createPrivateKey({
    key: Buffer.concat([KEY_HEAD, Buffer.alloc(32, 7)]),
    format: "der",
    type: "pkcs8",
  });
  return makeCsr({}, { privateKey, publicKey: createPublicKey(privateKey) });
})();

/** What a guest does to get a certificate: it writes a request into the page `memory`, a word at a time, and asks. Every fourth request has a wrong bit. */
export function certificationPlan(random: (limit: number) => number, memory: bigint): ((hart: number) => Command)[] {
  const request = Buffer.alloc(Math.ceil(REQUEST.length / 8) * 8);
  request.set(REQUEST);
  if (random(4) === 0) request[random(REQUEST.length)] ^= 1 << random(8);
  const steps: ((hart: number) => Command)[] = [];
  for (let at = 0; at < request.length; at += 8) {
    const value = request.readBigUInt64LE(at);
    steps.push((hart) => ({ hart, do: "store", at: memory + BigInt(at), value }));
  }
  const args = [memory, BigInt(REQUEST.length), memory + 0x800n, 0n, memory, 0x1000n];
  steps.push((hart) => ({ hart, do: "call", eid: Eid.atst, fid: Atst.evidence, args }));
  return steps;
}
