import assert from "node:assert/strict";
import { test } from "node:test";
import { CpioArchive } from "../../../tools/linux/cpio.ts";

interface Entry {
  mode: number;
  content: string;
  device: [number, number];
}

/** Reads an archive by the format's own description. */
function read(bytes: Buffer): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  for (let at = 0; ;) {
    assert.equal(bytes.toString("latin1", at, at + 6), "070701");
    const field = (index: number): number =>
      parseInt(bytes.toString("latin1", at + 6 + 8 * index, at + 14 + 8 * index), 16);
    const [mode, size, nameSize] = [field(1), field(6), field(11)];
    const name = bytes.toString("utf8", at + 110, at + 110 + nameSize - 1);
    assert.equal(bytes[at + 110 + nameSize - 1], 0);
    const start = (at + 110 + nameSize + 3) & ~3;
    if (name === "TRAILER!!!") return entries;
    assert(!entries.has(name), `${name} twice`);
    entries.set(name, { mode, content: bytes.toString("utf8", start, start + size), device: [field(9), field(10)] });
    at = (start + size + 3) & ~3;
  }
}

const archive = new CpioArchive()
  .folder("root", 0o700)
  .file("init", "#!/bin/sh\n", 0o755)
  .file("usr/share/a", Buffer.from("abc"))
  .file("usr/share/b", "")
  .link("bin", "usr/bin")
  .device("dev/console", 5, 1);

test("an archive has its files, links and devices, and each folder once, before what is in it", () => {
  const entries = read(archive.bytes());
  assert.deepEqual(
    [...entries.keys()],
    ["root", "init", "usr", "usr/share", "usr/share/a", "usr/share/b", "bin", "dev", "dev/console"],
  );
  const modes = Object.fromEntries([...entries].map(([name, { mode }]) => [name, mode.toString(8)]));
  assert.equal(modes["root"], "40700");
  assert.equal(modes["init"], "100755");
  assert.equal(modes["usr/share/a"], "100644");
  assert.equal(modes["bin"], "120777");
  assert.equal(modes["dev/console"], "20600");
  assert.equal(entries.get("usr/share/a")!.content, "abc");
  assert.equal(entries.get("bin")!.content, "usr/bin");
  assert.deepEqual(entries.get("dev/console")!.device, [5, 1]);
});
