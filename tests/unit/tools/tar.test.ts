import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { packageRecord } from "../../../tools/linux/debian-root.ts";
import { readTar, tarEnd, tarFile, tarFolder, tarLink } from "../../../tools/linux/tar.ts";

const LONG = `usr/share/${"long-".repeat(30)}name`;
const own = Buffer.concat([
  tarFolder("etc"),
  tarFile("etc/file", "content\n", 0o600),
  tarFile("etc/empty", ""),
  tarLink("bin", "usr/bin"),
]);

test("what is written can be read, by us and by tar", () => {
  const archive = Buffer.concat([own, tarEnd()]);
  const { entries, body } = readTar(archive);
  assert.deepEqual(
    entries.map(({ name, type, content }) => [name, type, content.toString()]),
    [
      ["etc", "5", ""],
      ["etc/file", "0", "content\n"],
      ["etc/empty", "0", ""],
      ["bin", "2", ""],
    ],
  );
  assert.deepEqual(body, own, "without the end mark, so that another archive can follow");
  const listed = execFileSync("tar", ["-t", "-v", "--numeric-owner"], { input: archive, encoding: "utf8" });
  assert.match(listed, /^-rw------- 0\/0 +8 .* etc\/file$/m);
  assert.match(listed, /bin -> usr\/bin$/m);
});

test("names that are too long for a header come from GNU's entries", () => {
  const archive = execFileSync("tar", [
    "-c",
    "--format=gnu",
    "-f",
    "-",
    "--transform",
    `s,.*,${LONG},`,
    "package.json",
  ]);
  assert.deepEqual(
    readTar(archive).entries.map(({ name }) => name),
    [LONG],
  );
  assert.throws(() => tarFile(LONG, ""), RangeError);
});

const CONTROL =
  "Package: libthing1\nArchitecture: riscv64\nMulti-Arch: same\nVersion: 1\nDescription: a thing\n more of it\n";

test("a package is recorded as dpkg records one that it has unpacked", () => {
  const control = [
    { name: "./", type: "5", content: Buffer.alloc(0) },
    { name: "./control", type: "0", content: Buffer.from(CONTROL) },
    { name: "./conffiles", type: "0", content: Buffer.from("/etc/thing.conf\n/etc/gone\n") },
    { name: "./postinst", type: "0", content: Buffer.from("#!/bin/sh\n") },
  ];
  const files = [
    { name: "./", type: "5", content: Buffer.alloc(0) },
    { name: "./etc/", type: "5", content: Buffer.alloc(0) },
    { name: "./etc/thing.conf", type: "0", content: Buffer.from("a") },
  ];
  const record = packageRecord(files, control);
  assert.equal(
    record.stanza,
    "Package: libthing1\nStatus: install ok unpacked\nArchitecture: riscv64\nMulti-Arch: same\nVersion: 1\nDescription: a thing\n more of it\n" +
      "Conffiles:\n /etc/thing.conf 0cc175b9c0f1b6a831c399e269772661\n\n",
  );
  const { entries } = readTar(Buffer.concat([...record.files, tarEnd()]));
  assert.deepEqual(
    entries.map(({ name, content }) => [name, content.toString()]),
    [
      ["var/lib/dpkg/info/libthing1:riscv64.postinst", "#!/bin/sh\n"],
      ["var/lib/dpkg/info/libthing1:riscv64.list", "/.\n/etc\n/etc/thing.conf\n"],
    ],
  );
});
