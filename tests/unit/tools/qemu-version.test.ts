import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { compareVersions, findOnPath, inspectQemu, locateQemu, parseQemuVersion } from "../../../tools/qemu/locate.ts";
import { inspectMachine } from "../../../tools/setup/requirements.ts";

const folder = mkdtempSync(path.join(tmpdir(), "salus-qemu-"));
after(() => rmSync(folder, { recursive: true }));

/** A program that answers as a QEMU of this version, with or without firmware. */
function fakeQemu(name: string, version: string, firmware: boolean): string {
  const data = path.join(folder, `${name}-data`);
  mkdirSync(data);
  if (firmware) writeFileSync(path.join(data, "opensbi-riscv64-generic-fw_dynamic.bin"), "");
  const file = path.join(folder, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\nif [ "$1" = --version ]; then echo '${version}'; else echo '${data}'; fi\n`);
  chmodSync(file, 0o755);
  return file;
}

test("versions are read from what QEMU says", () => {
  const debian = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright (c) 2003-2025\n";
  assert.deepEqual(parseQemuVersion(debian), { major: 10, minor: 0, patch: 2 });
  assert.deepEqual(parseQemuVersion("QEMU emulator version 9.2.50 (v9.2.0-1-g1234)"), {
    major: 9,
    minor: 2,
    patch: 50,
  });
  assert.deepEqual(parseQemuVersion("QEMU emulator version 11.0"), { major: 11, minor: 0, patch: 0 });
  assert.equal(parseQemuVersion("Python 3.11.2"), undefined);
});

test("versions are compared as numbers", () => {
  const version = (text: string) => parseQemuVersion(`QEMU emulator version ${text}`)!;
  assert(compareVersions(version("9.2.0"), version("10.0.0")) < 0);
  assert(compareVersions(version("10.0.2"), version("10.0.10")) < 0);
  assert.equal(compareVersions(version("10.0.2"), version("10.0.2")), 0);
  assert(compareVersions(version("10.1.0"), version("10.0.9")) > 0);
});

test("an executable and a source tree are found, anything else is refused", () => {
  const qemu = fakeQemu("qemu-a", "QEMU emulator version 10.0.2", true);
  assert.equal(locateQemu(qemu), qemu);
  const tree = path.join(folder, "tree");
  mkdirSync(path.join(tree, "build"), { recursive: true });
  const built = path.join(tree, "build", "qemu-system-riscv64");
  writeFileSync(built, "#!/bin/sh\n", { mode: 0o755 });
  assert.equal(locateQemu(tree), built);
  assert.throws(() => locateQemu(path.join(folder, "qemu-a-data")), /neither an executable nor a QEMU source tree/);
});

test("programs are found in the folders of the PATH, folders and plain files are not programs", () => {
  mkdirSync(path.join(folder, "first", "tool"), { recursive: true });
  mkdirSync(path.join(folder, "second"));
  writeFileSync(path.join(folder, "second", "tool"), "", { mode: 0o644 });
  mkdirSync(path.join(folder, "third"));
  writeFileSync(path.join(folder, "third", "tool"), "", { mode: 0o755 });
  const searchPath = ["first", "", "second", "third"].map((name) => name && path.join(folder, name)).join(":");
  assert.equal(findOnPath("tool", searchPath), path.join(folder, "third", "tool"));
  assert.equal(findOnPath("other", searchPath), undefined);
});

test("programs that are not there are named as missing", async (t) => {
  const all = ["compiler", "ssh", "openssl"] as const;
  assert.deepEqual((await inspectMachine(["compiler", "openssl"])).missing, []);
  const path = process.env["PATH"];
  t.after(() => (process.env["PATH"] = path));
  process.env["PATH"] = folder;
  const missing = (await inspectMachine(all)).missing.map(({ need, what }) => [need, what]);
  assert.deepEqual(missing, [
    ["compiler", "riscv64-unknown-elf-gcc"],
    ["ssh", "ssh and ssh-keygen"],
    ["openssl", "openssl"],
  ]);
});

test("a QEMU that is too old, without firmware or no QEMU is named as missing", async () => {
  const whatIsMissing = async (qemu: string) => (await inspectMachine(["qemu"], qemu)).missing.map(({ what }) => what);
  const good = fakeQemu("good", "QEMU emulator version 10.0.2 (Debian)", true);
  assert.deepEqual(await whatIsMissing(good), []);
  assert.equal((await inspectQemu(good)).firmware, `${good}-data/opensbi-riscv64-generic-fw_dynamic.bin`);
  const old = fakeQemu("old", "QEMU emulator version 7.2.15 (Debian)", true);
  assert.deepEqual(await whatIsMissing(old), [`qemu-system-riscv64 10.0 or newer (${old} is 7.2.15)`]);
  const bare = fakeQemu("bare", "QEMU emulator version 10.1.0", false);
  assert.match((await whatIsMissing(bare))[0], /^OpenSBI for QEMU/);
  await assert.rejects(
    inspectQemu(fakeQemu("other", "GNU bash", true)),
    /is not a QEMU that runs here: it says: GNU bash/,
  );
});
