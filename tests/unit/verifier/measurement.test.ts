import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import {
  configurationRegister,
  pagesRegister,
  platformImage,
  platformRegister,
  REGION_CONFIDENTIAL,
  REGION_INTERRUPT_FILES,
  words,
} from "../../../verifier/index.ts";

/** The rules of the registers, each written out once more. */

const sha384 = (...parts: Uint8Array[]): Buffer => {
  const hash = createHash("sha384");
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const zeros = Buffer.alloc(48);
const page = (fill: number): Buffer => Buffer.alloc(4096, fill);
const word = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
};

test("pages in their order, the last one filled up, addresses in the hash", () => {
  const bytes = Buffer.concat([page(1), page(2).subarray(0, 100)]);
  const first = sha384(zeros, word(0x8020_0000n), page(1));
  const last = Buffer.concat([page(2).subarray(0, 100), Buffer.alloc(3996)]);
  const second = sha384(first, word(0x8020_1000n), last);
  assert.deepEqual(pagesRegister([{ gpa: 0x8020_0000n, bytes }]), second);
  const third = sha384(second, word(0x8020_2000n), Buffer.alloc(4096));
  assert.deepEqual(pagesRegister([{ gpa: 0x8020_0000n, bytes, pages: 3 }]), third);
  assert.deepEqual(
    pagesRegister([
      { gpa: 0x8020_0000n, bytes },
      { gpa: 0x8020_2000n, bytes: page(0) },
    ]),
    third,
  );
  assert.notDeepEqual(pagesRegister([{ gpa: 0x8020_1000n, bytes }]), second);
  assert.deepEqual(pagesRegister([]), zeros);
});

test("entry, argument, interrupt files, regions, vCPUs", () => {
  const region = { start: 0x1000n, end: 0x3000n, type: REGION_CONFIDENTIAL };
  const layout = [1n, 0x1000n, 0x3000n, 1n, 2n, 0n, 1n].map(word);
  const start = sha384(sha384(zeros, word(5n)), word(6n));
  const configuration = { entry: 5n, argument: 6n, regions: [region], vcpus: [1, 0] };
  assert.deepEqual(configurationRegister(configuration), sha384(start, ...layout));
  const interruptFiles = {
    base: 7n,
    groupBits: 1,
    groupShift: 24,
    hartBits: 3,
    guestBits: 2,
    files: [{ vcpu: 0, address: 9n }],
  };
  const geometry = [7n, 1n | (24n << 32n), 3n | (2n << 32n), 0n, 9n];
  const files = geometry.reduce((register, value) => sha384(register, word(value)), start);
  assert.deepEqual(configurationRegister({ ...configuration, interruptFiles }), sha384(files, ...layout));
});

test("regions are sorted, and neighbours of one type are one", () => {
  const a = { start: 0x1000n, end: 0x2000n, type: REGION_CONFIDENTIAL };
  const b = { start: 0x2000n, end: 0x3000n, type: REGION_CONFIDENTIAL };
  const files = { ...b, type: REGION_INTERRUPT_FILES };
  const register = (...regions: (typeof a)[]): Buffer =>
    configurationRegister({ entry: 0n, argument: 0n, regions, vcpus: [0] });
  assert.deepEqual(register(b, a), register({ ...a, end: b.end }));
  assert.notDeepEqual(register(a, files), register(a, b));
  assert.deepEqual(register(files, a), register(a, files));
});

test("text and constants of an ELF file, without what can be written", () => {
  const parts: [flags: number, fill: number][] = [
    [5, 0x11],
    [4, 0x22],
    [6, 0x33],
  ];
  const head = Buffer.alloc(64 + 56 * parts.length);
  head.write("\x7fELF\x02\x01", "latin1");
  head.writeBigUInt64LE(64n, 32);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(parts.length, 56);
  parts.forEach(([flags], index) => {
    const at = 64 + 56 * index;
    head.writeUInt32LE(1, at);
    head.writeUInt32LE(flags, at + 4);
    head.writeBigUInt64LE(BigInt(head.length + 10 * index), at + 8);
    head.writeBigUInt64LE(10n, at + 32);
  });
  const elf = Buffer.concat([head, ...parts.map(([, fill]) => Buffer.alloc(10, fill))]);
  const image = Buffer.concat([Buffer.alloc(10, 0x11), Buffer.alloc(10, 0x22)]);
  assert.deepEqual(platformImage(elf), image);
  assert.deepEqual(platformRegister(image), sha384(zeros, sha384(image)));
  for (const bad of [Buffer.alloc(0), Buffer.alloc(64), elf.subarray(0, 63)]) {
    assert.throws(() => platformImage(bad), /not a 64-bit/);
  }
});

test("words are little-endian", () => assert.equal(words(1, 2n).toString("hex"), "01000000000000000200000000000000"));
