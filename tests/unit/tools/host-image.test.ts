import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { Failure } from "../../../tools/failure.ts";
import { GUEST_OFFSET, packHostImage, packHostImageFile } from "../../../tools/image/host-image.ts";

const folder = mkdtempSync(path.join(tmpdir(), "salus-image-"));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, content: Uint8Array | string): string {
  const full = path.join(folder, name);
  writeFileSync(full, content);
  return full;
}

test("the host is padded to 2 MiB and the guest follows", () => {
  const image = packHostImage(Uint8Array.of(1, 2, 3), Uint8Array.of(9, 8));
  assert.equal(GUEST_OFFSET, 0x20_0000);
  assert.equal(image.length, GUEST_OFFSET + 2);
  assert.deepEqual([...image.subarray(0, 4)], [1, 2, 3, 0]);
  assert(image.subarray(3, GUEST_OFFSET).every((byte) => byte === 0));
  assert.deepEqual([...image.subarray(GUEST_OFFSET)], [9, 8]);
});

test("a host of exactly 2 MiB fits, one byte more does not", () => {
  const guest = Uint8Array.of(1);
  assert.equal(packHostImage(new Uint8Array(GUEST_OFFSET), guest).length, GUEST_OFFSET + 1);
  assert.throws(() => packHostImage(new Uint8Array(GUEST_OFFSET + 1), guest), /2097153 bytes long: 1 bytes more/);
});

test("empty binaries are refused", () => {
  assert.throws(() => packHostImage(new Uint8Array(0), Uint8Array.of(1)), /the host's binary is empty/);
  assert.throws(() => packHostImage(Uint8Array.of(1), new Uint8Array(0)), /the guest's binary is empty/);
});

test("files are packed, into a folder that does not exist yet", () => {
  const output = path.join(folder, "new", "image.bin");
  const bytes = packHostImageFile(file("host", "host"), file("guest", "guest"), output);
  const image = readFileSync(output);
  assert.equal(image.length, bytes);
  assert.equal(image.toString("latin1", 0, 4), "host");
  assert.equal(image.toString("latin1", GUEST_OFFSET), "guest");
});

test("a missing file and an ELF file are refused with a sentence", () => {
  const guest = file("guest", "guest");
  const output = path.join(folder, "image.bin");
  assert.throws(() => packHostImageFile(path.join(folder, "none"), guest, output), Failure);
  assert.throws(() => packHostImageFile(file("elf", "\x7fELF..."), guest, output), /is an ELF file/);
});
