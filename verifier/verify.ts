import { checkChain, type Identity } from "./chain.ts";
import { keyId } from "./key-derivation.ts";
import { meets, type Policy } from "./policy.ts";
import { equalBytes } from "./profile.ts";
import { CHECKS, type CheckName, Refusal } from "./refusal.ts";
import type { TrustAnchor } from "./roots.ts";
import { verifySignature } from "./signature.ts";
import { readEvidenceCertificate, type Statement } from "./statement.ts";
import { readToken } from "./token.ts";

/** Decides whether evidence is to be believed. Everything in `Evidence` is an attacker's to choose. */

export interface Evidence {
  kind: "certificate" | "token";
  bytes: Uint8Array;
  /** DER certificates one after the other: the TVM's, the platform's, its issuers'. */
  chain: Uint8Array;
}

export interface Expectations {
  /** The nonce that was given to the guest for this evidence, 64 bytes. */
  nonce: Uint8Array;
  roots: readonly TrustAnchor[];
  policy: Policy;
  /** The key that the evidence must be about, if it is known. */
  key?: Uint8Array | undefined;
  allowDevelopmentRoot?: boolean;
  now?: Date;
}

export interface Check {
  name: CheckName;
  /** undefined: not looked at, because an earlier one failed. */
  passed: boolean | undefined;
  detail: string;
}

export interface Verdict {
  trusted: boolean;
  checks: Check[];
  /** What the evidence says; worth nothing unless it is trusted. */
  says?: {
    /** The key that the guest holds: a channel to the guest is one to the holder of this key. */
    publicKey: string;
    attestationKey: string;
    nonce: string;
    registers: string[];
    codeHash: string | undefined;
    development: boolean;
    path: string[];
  };
}

/** Checks everything, and says what it found. Never throws for what the evidence is. */
export function verifyEvidence(evidence: Evidence, expected: Expectations): Verdict {
  const results = new Map<CheckName, Check>();
  const note = (name: CheckName, passed: boolean, detail: string): void =>
    void results.set(name, { name, passed, detail });
  let identity: Identity;
  let statement: Statement;
  try {
    identity = checkChain(evidence.chain, expected.roots, expected.now ?? new Date());
    statement = (evidence.kind === "token" ? readToken : readEvidenceCertificate)(evidence.bytes, identity.publicKey);
    checkSignature(statement, identity);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    note(error.check, false, error.message);
    return { trusted: false, checks: allChecks(results) };
  }
  note("encoding", true, evidence.kind === "token" ? "deterministic CBOR, DER" : "DER");
  note("profile", true, evidence.kind === "token" ? "COSE_Sign1 with Salus's claims" : "X.509 as Salus writes it");
  note("root", !identity.development || expected.allowDevelopmentRoot === true, identity.path[0]);
  note("chain", true, identity.path.join(" > "));
  note("signature", true, `of the TVM's key ${keyId(identity.publicKey).toString("hex")}`);
  const fresh = equalBytes(statement.nonce, expected.nonce);
  note(
    "nonce",
    fresh,
    fresh ? "the one that was asked with" : "another one: this is an answer to somebody else, or a replay",
  );
  noteKey(note, statement, expected.key);
  noteRegisters(note, statement, identity, expected.policy);
  noteDevelopment(note, identity, expected.allowDevelopmentRoot === true);
  const checks = allChecks(results);
  return { trusted: checks.every(({ passed }) => passed === true), checks, says: said(statement, identity) };
}

function checkSignature(statement: Statement, identity: Identity): void {
  if (!verifySignature(statement.signature, statement.signed, identity.publicKey)) {
    throw new Refusal("signature", "the evidence is not signed by the TVM's key");
  }
  if (statement.development !== undefined && statement.development !== identity.development) {
    throw new Refusal("profile", "token and chain do not agree about the development root");
  }
}

type Note = (name: CheckName, passed: boolean, detail: string) => void;

function noteKey(note: Note, { publicKey }: Statement, expected: Uint8Array | undefined): void {
  const hex = Buffer.from(publicKey).toString("hex");
  if (!expected) note("key", true, `${hex} (talk to its holder only)`);
  else note("key", equalBytes(publicKey, expected), equalBytes(publicKey, expected) ? hex : `for another key: ${hex}`);
}

function noteRegisters(note: Note, statement: Statement, identity: Identity, policy: Policy): void {
  const wrong: string[] = [];
  const open: string[] = [];
  identity.registers.forEach((digest, index) => {
    // What the guest could have made its helper sign does not count: the chain's registers were signed without any input of a guest.
    if (!equalBytes(digest, statement.registers[index])) wrong.push(`register ${index} differs from the chain's`);
  });
  statement.registers.forEach((digest, index) => {
    const hex = Buffer.from(digest).toString("hex");
    if (policy.registers[index] === undefined) open.push(String(index));
    else if (!meets(policy.registers[index], digest)) wrong.push(`register ${index} is ${hex.slice(0, 32)}…`);
  });
  if (identity.codeHash && !meets(policy.codeHash, identity.codeHash)) {
    wrong.push(`the hypervisor is another one: ${Buffer.from(identity.codeHash).toString("hex").slice(0, 32)}…`);
  }
  const detail = `as expected${open.length > 0 ? `; not checked: ${open.join(", ")}` : ""}`;
  note("registers", wrong.length === 0, wrong.length === 0 ? detail : wrong.join("; "));
}

function noteDevelopment(note: Note, identity: Identity, allowed: boolean): void {
  if (!identity.development) note("development root", true, "none");
  else if (allowed) note("development root", true, "allowed: anybody could have made this evidence");
  else note("development root", false, "everybody has its keys: this evidence proves nothing");
}

/** All checks in their order; those that were not reached are open. */
function allChecks(results: Map<CheckName, Check>): Check[] {
  return CHECKS.map((name) => results.get(name) ?? { name, passed: undefined, detail: "not looked at" });
}

function said(statement: Statement, identity: Identity): NonNullable<Verdict["says"]> {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  return {
    publicKey: hex(statement.publicKey),
    attestationKey: hex(identity.publicKey),
    nonce: hex(statement.nonce),
    registers: statement.registers.map(hex),
    codeHash: identity.codeHash && hex(identity.codeHash),
    development: identity.development,
    path: identity.path,
  };
}
