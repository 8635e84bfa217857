import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { repository } from "../../../tools/repository.ts";
import { Crypto, cryptoModule, type HashVariant } from "../support/crypto.ts";
import { oracle } from "./oracle.ts";

/** Published vectors: NIST CAVP, RFC 4231, RFC 5869, RFC 8032, Wycheproof. */

const crypto = new Crypto(await cryptoModule());
const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));
const vectors = (name: string): string => readFileSync(path.join(repository, "tests/vectors", name), "utf8");

const VARIANTS: [string, HashVariant][] = [
  ["plain", 0],
  ["Zbb", 1],
  ["Zknh", 2],
];

for (const bits of [384, 512] as const) {
  describe(`NIST CAVP, SHA-${bits}`, () => {
    test("short messages", () => {
      const text = vectors(`nist/SHA${bits}ShortMsg.rsp`);
      const cases = [...text.matchAll(/^Len = (\d+)\nMsg = ([0-9a-f]+)\nMD = ([0-9a-f]+)$/gm)];
      assert.equal(cases.length, 129);
      for (const [, length, message, digest] of cases) {
        for (const [name, variant] of VARIANTS) {
          const actual = crypto.hash(bits, hex(message.slice(0, Number(length) / 4)), variant).toString("hex");
          assert.equal(actual, digest, `${length} bits, ${name}`);
        }
      }
    });

    test("Monte Carlo", () => {
      const text = vectors(`nist/SHA${bits}Monte.rsp`);
      let seed = hex(/^Seed = ([0-9a-f]+)$/m.exec(text)![1]);
      const digests = [...text.matchAll(/^MD = ([0-9a-f]+)$/gm)].map(([, digest]) => digest);
      assert.equal(digests.length, 100);
      digests.forEach((expected, count) => {
        const variant = VARIANTS[count % VARIANTS.length][1];
        let last: Uint8Array[] = [seed, seed, seed];
        for (let i = 0; i < 1000; i++) last = [last[1], last[2], crypto.hash(bits, Buffer.concat(last), variant)];
        seed = last[2];
        assert.equal(Buffer.from(seed).toString("hex"), expected, `count ${count}`);
      });
    });
  });
}

describe("HMAC-SHA-512", () => {
  test("RFC 4231", () => {
    const cases: [Uint8Array, Uint8Array, string?][] = [
      [
        new Uint8Array(20).fill(0x0b),
        Buffer.from("Hi There"),
        "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
      ],
      [
        Buffer.from("Jefe"),
        Buffer.from("what do ya want for nothing?"),
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
      ],
      [new Uint8Array(20).fill(0xaa), new Uint8Array(50).fill(0xdd)],
      [Uint8Array.from({ length: 25 }, (_, i) => i + 1), new Uint8Array(50).fill(0xcd)],
      [new Uint8Array(131).fill(0xaa), Buffer.from("Test Using Larger Than Block-Size Key - Hash Key First")],
    ];
    for (const [key, message, tag] of cases) {
      const actual = crypto.hmac(key, message);
      assert.deepEqual(actual, oracle.hmac(key, message));
      if (tag !== undefined) assert.equal(actual.toString("hex"), tag);
    }
  });

  test("Wycheproof", () => {
    const file = JSON.parse(vectors("wycheproof/hmac_sha512_test.json")) as {
      testGroups: { tests: { tcId: number; key: string; msg: string; tag: string; result: string }[] }[];
    };
    let count = 0;
    for (const { tests } of file.testGroups) {
      for (const { tcId, key, msg, tag, result } of tests) {
        const actual = crypto.hmac(hex(key), hex(msg)).toString("hex").slice(0, tag.length);
        assert.equal(actual === tag, result === "valid", `test ${tcId}`);
        count++;
      }
    }
    assert.equal(count, 174);
  });
});

describe("HKDF-SHA-512", () => {
  // The RFC gives results for SHA-256 and SHA-1 only: its inputs, with Node's results.
  test("inputs of RFC 5869", () => {
    const range = (from: number, to: number): Uint8Array =>
      Uint8Array.from({ length: to - from + 1 }, (_, i) => from + i);
    const cases: [Uint8Array, Uint8Array, Uint8Array, number][] = [
      [new Uint8Array(22).fill(0x0b), range(0, 0x0c), range(0xf0, 0xf9), 42],
      [range(0, 0x4f), range(0x60, 0xaf), range(0xb0, 0xff), 82],
      [new Uint8Array(22).fill(0x0b), new Uint8Array(), new Uint8Array(), 42],
      [new Uint8Array(11).fill(0x0b), range(0, 0x0c), range(0xf0, 0xf9), 42],
    ];
    for (const [ikm, salt, info, length] of cases) {
      assert.deepEqual(crypto.hkdf(salt, ikm, info, length), oracle.hkdf(salt, ikm, info, length));
    }
  });

  test("Wycheproof", () => {
    const file = JSON.parse(vectors("wycheproof/hkdf_sha512_test.json")) as {
      testGroups: {
        tests: { tcId: number; ikm: string; salt: string; info: string; size: number; okm: string; result: string }[];
      }[];
    };
    let count = 0;
    for (const { tests } of file.testGroups) {
      for (const { tcId, ikm, salt, info, size, okm, result } of tests) {
        const actual = crypto.hkdf(hex(salt), hex(ikm), hex(info), size)?.toString("hex");
        assert.equal(actual, result === "valid" ? okm : undefined, `test ${tcId}`);
        count++;
      }
    }
    assert.equal(count, 83);
  });
});

describe("Ed25519", () => {
  test("RFC 8032, 7.1", () => {
    const cases = [
      [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
      ],
      [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
      ],
      [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
      ],
      [
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
      ],
    ];
    for (const [seed, key, message, signature] of cases) {
      assert.equal(crypto.publicKey(hex(seed)).toString("hex"), key);
      assert.equal(crypto.sign(hex(seed), hex(key), hex(message)).toString("hex"), signature);
      assert.ok(crypto.verify(hex(key), hex(message), hex(signature)));
    }
  });

  test("Wycheproof", () => {
    const file = JSON.parse(vectors("wycheproof/ed25519_test.json")) as {
      testGroups: {
        publicKey: { pk: string };
        tests: { tcId: number; msg: string; sig: string; result: string }[];
      }[];
    };
    let count = 0;
    for (const { publicKey, tests } of file.testGroups) {
      for (const { tcId, msg, sig, result } of tests) {
        // Signatures of another length are no signatures; here a length cannot even be said.
        if (sig.length !== 128) assert.equal(result, "invalid", `test ${tcId}`);
        else assert.equal(crypto.verify(hex(publicKey.pk), hex(msg), hex(sig)), result === "valid", `test ${tcId}`);
        count++;
      }
    }
    assert.equal(count, 151);
  });
});
