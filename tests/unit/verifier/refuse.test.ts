import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { encode, rfc8949EncodeOptions } from "cborg";
import * as dice from "../../../tools/dice/index.ts";
import * as der from "../../../tools/dice/der.ts";
import * as claim from "../../../verifier/claims.ts";
import * as oid from "../../../verifier/oids.ts";
import { readRoots, type Evidence } from "../../../verifier/index.ts";
import * as f from "./fixture.ts";

/** Evidence that must not be believed, each with one thing wrong. */

const parts = () => dice.evidenceCertificateParts(f.tvm, f.registers, f.nonce, f.request);
const tvmParts = () => dice.tvmCertificateParts(f.platform, f.tvm, f.registers, false);

/** Evidence certificate with other parts, signed as it should be. */
function evidenceWith(changes: Partial<dice.CertificateParts>): Evidence {
  return f.certificateEvidence({ bytes: dice.certificate({ ...parts(), ...changes }, f.tvm.key) });
}

function tvmWith(changes: Partial<dice.CertificateParts>): Evidence {
  const certificate = dice.certificate({ ...tvmParts(), ...changes }, f.platform.key);
  return f.certificateEvidence({ chain: Buffer.concat([certificate, ...f.handover.chain]) });
}

function platformWith(certificate: Uint8Array): Evidence {
  return f.certificateEvidence({ chain: Buffer.concat([f.tvmCertificate, certificate, f.device.certificate]) });
}

/** The extensions with the one at `index` replaced. */
function extensionsWith(all: dice.Extension[], index: number, ...instead: dice.Extension[]): dice.Extension[] {
  return all.toSpliced(index, 1, ...instead);
}

function tokenWith(change: (claims: Map<number, unknown>) => void): Evidence {
  const claims = dice.tokenClaims(f.tvm, f.registers, f.nonce, f.guest.publicKey, false);
  change(claims);
  return f.tokenEvidence({ bytes: dice.signToken(dice.encodeClaims(claims), f.tvm.key) });
}

describe("what a hostile host would try", () => {
  test("evidence of a TVM with one changed byte in one page", () => {
    const changed = f.registers.with(2, dice.sha512(Buffer.from("another page")).subarray(0, 48));
    const tvm = dice.tvmLayer(f.platform, changed, false);
    const chain = Buffer.concat([dice.tvmCertificate(f.platform, tvm, changed, false), ...f.handover.chain]);
    const bytes = dice.evidenceCertificate(tvm, changed, f.nonce, f.request);
    f.refuses({ kind: "certificate", bytes, chain }, "registers", /^register 2 is /);
    const claims = dice.tokenClaims(tvm, changed, f.nonce, f.guest.publicKey, false);
    const token = dice.signToken(dice.encodeClaims(claims), tvm.key);
    f.refuses({ kind: "token", bytes: token, chain }, "registers", /^register 2 is /);
  });

  test("a replay: the nonce is another one", () => {
    const nonce = Buffer.from(f.nonce);
    nonce[63] ^= 1;
    f.refuses(f.certificateEvidence(), "nonce", /replay/, { nonce });
    f.refuses(f.tokenEvidence(), "nonce", /replay/, { nonce });
  });

  test("a chain that is cut off, at each place", () => {
    const all = [f.tvmCertificate, ...f.handover.chain];
    f.refuses(f.certificateEvidence({ chain: Buffer.alloc(0) }), "chain", /no certificate of the key/);
    f.refuses(f.certificateEvidence({ chain: all[0] }), "chain", /cut off/);
    f.refuses(f.certificateEvidence({ chain: Buffer.concat(all.slice(0, 2)) }), "root", /cut off/);
    f.refuses(f.certificateEvidence({ chain: Buffer.concat(all.slice(1)) }), "profile", /extensions/);
    f.refuses(f.certificateEvidence({ chain: Buffer.concat([all[0], all[2]]) }), "chain", /another issuer/);
    f.refuses(f.certificateEvidence({ chain: Buffer.concat([all[0], all[2], all[1]]) }), "chain", /another issuer/);
    f.refuses(f.certificateEvidence({ chain: f.chain.subarray(0, -1) }), "encoding", /longer than what it is in/);
  });

  test("another TVM's evidence, with this TVM's chain and with its own", () => {
    const registers = f.registers.with(3, Buffer.alloc(48, 7));
    const other = dice.tvmLayer(f.platform, registers, false);
    const bytes = dice.evidenceCertificate(other, registers, f.nonce, f.request);
    f.refuses(f.certificateEvidence({ bytes }), "signature", /another TVM's/);
    const chain = Buffer.concat([dice.tvmCertificate(f.platform, other, registers, false), ...f.handover.chain]);
    f.refuses({ kind: "certificate", bytes, chain }, "registers", /^register 3/);
    const claims = dice.tokenClaims(other, registers, f.nonce, f.guest.publicKey, false);
    const token = dice.signToken(dice.encodeClaims(claims), other.key);
    f.refuses(f.tokenEvidence({ bytes: token }), "signature", /another TVM's/);
  });

  test("swapped registers, and static registers that the chain does not have", () => {
    const swapped = f.registers.with(2, f.registers[3]).with(3, f.registers[2]);
    f.refuses(
      f.certificateEvidence({ bytes: dice.evidenceCertificate(f.tvm, swapped, f.nonce, f.request) }),
      "registers",
      /register 2 differs from the chain's; register 3 differs/,
    );
    f.refuses(
      tokenWith((claims) => claims.set(claim.CLAIM_REGISTERS, swapped)),
      "registers",
      /register 2 differs/,
    );
    // A guest that broke the helper and signs what its host expects, with its own key:
    const registers = f.registers.with(2, Buffer.alloc(48, 9));
    const evil = dice.tvmLayer(f.platform, registers, false);
    const chain = Buffer.concat([dice.tvmCertificate(f.platform, evil, registers, false), ...f.handover.chain]);
    const bytes = dice.evidenceCertificate(evil, f.registers, f.nonce, f.request);
    f.refuses({ kind: "certificate", bytes, chain }, "registers", /register 2 differs from the chain's/);
  });

  test("the development root, in every disguise", () => {
    const marked = dice.tvmCertificate(f.development, f.developmentTvm, f.registers, true);
    const bytes = dice.evidenceCertificate(f.developmentTvm, f.registers, f.nonce, f.request);
    f.refuses({ kind: "certificate", bytes, chain: marked }, "development root", /proves nothing/);
    f.refuses({ kind: "certificate", bytes, chain: marked }, "root", /development/);
    const unmarked = dice.tvmCertificate(f.development, f.developmentTvm, f.registers, false);
    const allowed = { allowDevelopmentRoot: true };
    f.refuses({ kind: "certificate", bytes, chain: unmarked }, "profile", /not marked/, allowed);
    const longer = Buffer.concat([marked, ...f.handover.chain]);
    f.refuses({ kind: "certificate", bytes, chain: longer }, "chain", /no issuers/, allowed);
    const chain = Buffer.concat([dice.tvmCertificate(f.platform, f.tvm, f.registers, true), ...f.handover.chain]);
    f.refuses(f.certificateEvidence({ chain }), "profile", /marked as development/, allowed);
    assert.throws(() => readRoots(dice.pem(dice.authorityCertificate(f.development, f.development))), /nobody's root/);
    const claims = dice.tokenClaims(f.developmentTvm, f.registers, f.nonce, f.guest.publicKey, false);
    const token = dice.signToken(dice.encodeClaims(claims), f.developmentTvm.key);
    f.refuses({ kind: "token", bytes: token, chain: marked }, "profile", /do not agree/, allowed);
    f.refuses(
      tokenWith((one) => one.set(claim.CLAIM_DEVELOPMENT, true)),
      "profile",
      /do not agree/,
      allowed,
    );
  });

  test("another maker, another hypervisor, a hypervisor that was started in debug mode", () => {
    f.refuses(f.certificateEvidence(), "root", /root that you trust/, {
      roots: readRoots(dice.pem(dice.makeMaker().certificate)),
    });
    f.refuses(f.certificateEvidence(), "root", /no root was given/, { roots: [] });
    for (const [hash, mode, check, reason] of [
      [Buffer.alloc(64, 1), 1, "registers", /hypervisor is another one/],
      [f.codeHash, 2, "profile", /debug mode/],
      [f.codeHash, 0, "profile", /debug mode/],
    ] as const) {
      const handover = dice.makeHandover(f.device, hash, mode);
      const tvm = dice.tvmLayer(handover.platform, f.registers, false);
      const chain = Buffer.concat([dice.tvmCertificate(handover.platform, tvm, f.registers, false), ...handover.chain]);
      const bytes = dice.evidenceCertificate(tvm, f.registers, f.nonce, f.request);
      f.refuses({ kind: "certificate", bytes, chain }, check, reason);
    }
    f.refuses(platformWith(dice.authorityCertificate(f.device.uds, f.platform)), "profile", /24 is missing/);
  });

  test("evidence for somebody else's key", () => {
    f.refuses(f.certificateEvidence(), "key", /for another key/, { key: f.tvm.publicKey });
    f.refuses(f.tokenEvidence(), "key", /for another key/, { key: f.tvm.publicKey });
  });

  test("an evidence certificate as the TVM's, and the other way round", () => {
    const evidence = f.certificateEvidence().bytes;
    f.refuses(f.certificateEvidence({ bytes: f.tvmCertificate }), "profile", /extensions/);
    const chain = Buffer.concat([evidence, f.chain]);
    f.refuses(f.certificateEvidence({ chain }), "profile", /extensions/);
  });

  test("a TVM that makes itself a platform", () => {
    // Its key signs certificates: one more CA below it has to be refused.
    const inner = dice.tvmLayer(f.tvm, f.registers, false);
    const fake = dice.tvmCertificate(f.tvm, inner, f.registers, false);
    const chain = Buffer.concat([fake, f.chain]);
    const bytes = dice.evidenceCertificate(inner, f.registers, f.nonce, f.request);
    f.refuses({ kind: "certificate", bytes, chain }, "chain", /allows fewer certificates/);
  });
});

describe("signatures and keys", () => {
  test("bits changed all over evidence and chain", () => {
    for (const evidence of [f.certificateEvidence(), f.tokenEvidence()]) {
      for (const part of ["bytes", "chain"] as const) {
        for (let at = 0; at < evidence[part].length; at += 11) {
          const changed = Buffer.from(evidence[part]);
          changed[at] ^= 1 << (at % 8);
          const verdict = f.verdictOf({ ...evidence, [part]: changed });
          assert(!verdict.trusted, `believed: ${evidence.kind}, ${part}, byte ${at}`);
        }
      }
    }
  });

  test("a signature with S + L, or with R of another encoding", () => {
    const L = 2n ** 252n + 27742317777372353535851937790883648493n;
    for (const evidence of [f.certificateEvidence(), f.tokenEvidence()]) {
      const bytes = Buffer.from(evidence.bytes);
      const s = bytes.subarray(bytes.length - 32);
      const value = BigInt("0x" + Buffer.from(s).reverse().toString("hex")) + L;
      Buffer.from(value.toString(16).padStart(64, "0"), "hex").reverse().copy(s);
      f.refuses({ ...evidence, bytes }, "signature", /not signed by/);
    }
  });

  test("keys of small order and keys that are none, wherever a key stands", () => {
    for (const hex of SMALL_ORDER) {
      const key = Buffer.from(hex, "hex");
      f.refuses(evidenceWith({ publicKey: key }), "profile", /small order/);
      f.refuses(tvmWith({ publicKey: key }), "profile", /small order/);
      f.refuses(
        tokenWith((claims) => {
          const cose = new Map<number, unknown>([
            [1, 1],
            [-1, 6],
            [-2, key],
          ]);
          claims.set(claim.CLAIM_CONFIRMATION, new Map([[1, cose]]));
        }),
        "profile",
        /small order/,
      );
    }
  });
});

describe("certificates", () => {
  test("another key usage", () => {
    for (const usage of [dice.KEY_USAGE_TVM, dice.KEY_USAGE_CERTIFICATES, dice.keyUsage(3, 0x28)]) {
      f.refuses(evidenceWith({ extensions: extensionsWith(parts().extensions, 0, usage) }), "profile", /key usage/);
    }
    for (const usage of [dice.KEY_USAGE_EVIDENCE, dice.KEY_USAGE_CERTIFICATES]) {
      f.refuses(tvmWith({ extensions: extensionsWith(tvmParts().extensions, 0, usage) }), "profile", /key usage/);
    }
    const uncritical = { ...dice.KEY_USAGE_EVIDENCE, critical: false };
    f.refuses(
      evidenceWith({ extensions: extensionsWith(parts().extensions, 0, uncritical) }),
      "profile",
      /not critical/,
    );
  });

  test("basic constraints of somebody else", () => {
    const ca = dice.basicConstraints(true, 0);
    f.refuses(evidenceWith({ extensions: extensionsWith(parts().extensions, 1, ca) }), "profile", /of a CA/);
    for (const other of [dice.basicConstraints(true), dice.basicConstraints(true, 1), dice.basicConstraints(false)]) {
      f.refuses(tvmWith({ extensions: extensionsWith(tvmParts().extensions, 1, other) }), "profile", /pathLen 0/);
    }
  });

  test("authorities that may not be", () => {
    const make = (...extensions: dice.Extension[]): Evidence =>
      platformWith(
        dice.certificate(
          {
            serial: Buffer.alloc(20, 0x41),
            issuer: dice.nameOfKey(f.device.uds.publicKey),
            subject: dice.nameOfKey(f.platform.publicKey),
            publicKey: f.platform.publicKey,
            extensions,
          },
          f.device.uds.key,
        ),
      );
    const usage = dice.KEY_USAGE_CERTIFICATES;
    const authority = dice.authorityKey(f.device.uds.publicKey);
    const subject = dice.subjectKey(f.platform.publicKey);
    const input = dice.openDiceInput({ code: f.codeHash, mode: 1 });
    f.accepts(make(usage, dice.basicConstraints(true, 1), authority, subject, input));
    f.accepts(
      make(usage, dice.basicConstraints(true), authority, subject, input, { oid: "1.2.3", value: der.octets(f.nonce) }),
    );
    f.refuses(make(usage, dice.basicConstraints(true, 0), authority, subject, input), "chain", /fewer certificates/);
    f.refuses(make(usage, dice.basicConstraints(false), authority, subject, input), "profile", /not that of a CA/);
    f.refuses(
      make(dice.KEY_USAGE_EVIDENCE, dice.basicConstraints(true), authority, subject, input),
      "profile",
      /may not sign/,
    );
    f.refuses(
      make(usage, dice.basicConstraints(true), dice.authorityKey(f.guest.publicKey), subject, input),
      "chain",
      /another key/,
    );
    f.refuses(
      make(usage, dice.basicConstraints(true), authority, subject, input, {
        oid: "1.2.3",
        critical: true,
        value: der.octets(f.nonce),
      }),
      "profile",
      /unknown critical/,
    );
  });

  test("validity that is over, not yet, upside down, or not Salus's", () => {
    const now = new Date("2026-06-01T00:00:00Z");
    const cases: [string, string, RegExp][] = [
      ["180322235959Z", "250101000000Z", /expired/],
      ["300101000000Z", "99991231235959Z", /not valid yet/],
      ["300101000000Z", "250101000000Z", /ends before it begins/],
      ["180322235959Z", "99991231235958Z", /not the one that Salus writes/],
    ];
    for (const [from, to, reason] of cases) {
      const validity = dice.validity(from, to);
      f.refuses(evidenceWith({ validity }), "profile", /not the one that Salus writes/, { now });
      f.refuses(tvmWith({ validity }), "profile", reason, { now });
    }
  });

  test("extensions: twice, too many, missing, in another order, with other criticality", () => {
    const all = parts().extensions;
    const cases: [dice.Extension[], RegExp][] = [
      [[...all, all[4]], /two extensions/],
      [[...all.slice(0, 3), all[3], all[3], all[4]], /two extensions/],
      [[...all, { oid: "1.2.3", value: der.octets(f.nonce) }], /extensions of one/],
      [all.slice(0, 4), /extensions of one/],
      [[all[0], all[1], all[2], all[4], all[3]], /extensions of one/],
      [extensionsWith(all, 4, { ...all[4], critical: true }), /2.23.133.5.4 is critical/],
      [extensionsWith(all, 4, { ...all[4], oid: oid.TCB_INFO }), /extensions of one/],
    ];
    for (const [extensions, reason] of cases) f.refuses(evidenceWith({ extensions }), "profile", reason);
  });

  test("fewer registers, other hashes, other flags, another nonce's length", () => {
    const info = (value: Uint8Array): Evidence =>
      evidenceWith({ extensions: extensionsWith(parts().extensions, 4, { oid: oid.TCB_INFO_OF_EVIDENCE, value }) });
    f.refuses(info(dice.tcbInfo(f.registers.slice(0, 7))), "profile", /7 registers/);
    f.refuses(info(dice.tcbInfo(f.registers.with(7, Buffer.alloc(32)))), "profile", /not a SHA-384/);
    f.refuses(info(dice.tcbInfo(f.registers, 0x50)), "profile", /flags where none/);
    const nonce = dice.freshness(f.nonce.subarray(0, 32));
    f.refuses(evidenceWith({ extensions: extensionsWith(parts().extensions, 3, nonce) }), "profile", /32 bytes/);
    const flags = { oid: oid.TCB_INFO, value: dice.tcbInfo(f.registers.slice(0, 4), 0x10) };
    f.refuses(tvmWith({ extensions: extensionsWith(tvmParts().extensions, 4, flags) }), "profile", /other flags/);
  });

  test("names and identifiers of other keys", () => {
    f.refuses(evidenceWith({ issuer: dice.nameOfKey(f.guest.publicKey) }), "signature", /another TVM's/);
    f.refuses(tvmWith({ subject: dice.nameOfKey(f.guest.publicKey) }), "profile", /name of its key/);
    f.refuses(tvmWith({ serial: Buffer.alloc(20, 0x42) }), "profile", /serial number/);
    f.refuses(tvmWith({ serial: Buffer.alloc(21, 0x42) }), "profile", /serial number/);
    f.refuses(evidenceWith({ serial: Buffer.alloc(20, 0x82) }), "profile", /serial number/);
    f.refuses(evidenceWith({ serial: Buffer.alloc(1) }), "profile", /serial number/);
  });

  test("another algorithm", () => {
    const rsa = der.sequence(der.objectIdentifier("1.2.840.113549.1.1.11"), der.element(5));
    f.refuses(evidenceWith({ algorithm: rsa }), "profile", /not Ed25519/);
    const parameters = der.sequence(der.objectIdentifier(oid.ED25519), der.element(5));
    f.refuses(evidenceWith({ algorithm: parameters }), "profile", /parameters/);
    const x25519 = der.sequence(der.objectIdentifier("1.3.101.110"));
    f.refuses(evidenceWith({ algorithm: x25519 }), "profile", /not Ed25519/);
  });
});

describe("tokens", () => {
  test("claims that are missing, other, or too many", () => {
    const cases: [(claims: Map<number, unknown>) => void, RegExp][] = [
      [(claims) => claims.delete(claim.CLAIM_PROFILE), /profile/],
      [(claims) => claims.set(claim.CLAIM_PROFILE, "tag:other"), /profile/],
      [(claims) => claims.delete(claim.CLAIM_NONCE), /nonce/],
      [(claims) => claims.set(claim.CLAIM_NONCE, f.nonce.subarray(1)), /nonce/],
      [(claims) => claims.set(claim.CLAIM_REGISTERS, f.registers.slice(1)), /registers/],
      [(claims) => claims.set(claim.CLAIM_HASH, -16), /registers/],
      [(claims) => claims.set(claim.CLAIM_DEVELOPMENT, false), /development claim/],
      [(claims) => claims.delete(claim.CLAIM_CONFIRMATION), /COSE_Key/],
      [(claims) => claims.set(claim.CLAIM_CONFIRMATION, new Map([[2, "key"]])), /COSE_Key/],
      [(claims) => claims.set(4, 1), /do not belong/],
    ];
    for (const [change, reason] of cases) f.refuses(tokenWith(change), "profile", reason);
  });

  test("another algorithm, other headers, other tags", () => {
    const payload = dice.encodeClaims(dice.tokenClaims(f.tvm, f.registers, f.nonce, f.guest.publicKey, false));
    const es256 = dice.signToken(payload, f.tvm.key, Uint8Array.of(0xa1, 0x01, 0x26));
    f.refuses(f.tokenEvidence({ bytes: es256 }), "profile", /not EdDSA/);
    const good = f.tokenEvidence().bytes;
    const untagged = good.subarray(claim.TOKEN_TAGS.length);
    f.refuses(f.tokenEvidence({ bytes: untagged }), "encoding", /tags/);
    const items = [claim.COSE_HEADER, new Map([[4, f.nonce]]), payload, good.subarray(-64)];
    const unprotected = Buffer.concat([claim.TOKEN_TAGS, encode(items, rfc8949EncodeOptions)]);
    f.refuses(f.tokenEvidence({ bytes: unprotected }), "profile", /not protected/);
  });

  test("CBOR in another encoding, with something behind it, or with a key twice", () => {
    const good = f.tokenEvidence().bytes;
    f.refuses(f.tokenEvidence({ bytes: Buffer.concat([good, Uint8Array.of(0)]) }), "encoding", /the token: /);
    const sign = (hex: string): Evidence =>
      f.tokenEvidence({ bytes: dice.signToken(Buffer.from(hex, "hex"), f.tvm.key) });
    const claims = Buffer.from(
      dice.encodeClaims(dice.tokenClaims(f.tvm, f.registers, f.nonce, f.guest.publicKey, false)),
    ).toString("hex");
    assert(claims.startsWith("a601"));
    f.refuses(sign(claims.replace("a601", "b80601")), "encoding", /payload/);
    f.refuses(sign(claims.replace("a601", "a61801")), "encoding", /payload/);
    f.refuses(sign(claims.replace("a601", "a7010001")), "encoding", /payload/);
    f.refuses(sign(claims.replace("a601", "bf01") + "ff"), "encoding", /payload/);
    f.refuses(sign(claims + "00"), "encoding", /payload/);
    const first = claims.slice(2, 2 + 2 * (1 + 42));
    f.refuses(sign("a6" + claims.slice(2 + first.length) + first), "encoding", /deterministic/);
  });
});

/** All encodings of points whose order divides 8 (RFC 7748's cofactor), and those beyond the prime. */
const SMALL_ORDER = [
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  "0100000000000000000000000000000000000000000000000000000000000080",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];
