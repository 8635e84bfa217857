import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../../tools/failure.ts";
import { parseUris, sourceText } from "../../../tools/linux/debian-archive.ts";
import { parseListFile, parseSourcesFile } from "../../../tools/setup/apt-sources.ts";

const CHECKSUM = "4add476d2b185c5b487c285b38d790f0881a7e4a8e2ddde835f917e770eb8633";

test("what apt would fetch: names, files, sizes and checksums", () => {
  const text = `'http://mirror.example/pool/main/b/busybox/busybox-static_1.37.0-6%2bb9_riscv64.deb' busybox-static_1%3a1.37.0-6+b9_riscv64.deb 941532 SHA256:${CHECKSUM}\nsomething else\n`;
  assert.deepEqual(parseUris(text), [
    {
      name: "busybox-static",
      file: "busybox-static_1%3a1.37.0-6+b9_riscv64.deb",
      bytes: 941532,
      checksum: CHECKSUM,
    },
  ]);
  assert.deepEqual(parseUris("Reading package lists..."), []);
});

test("another suite comes from this machine's mirror, with its keys", () => {
  const own = parseSourcesFile(`Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/keys.gpg
`);
  const others = parseListFile(
    "deb http://other.example/apt nodistro main\ndeb http://mirror.example/debian bookworm-backports main\n",
  );
  const text = sourceText([...others, ...own], "trixie");
  const [derived] = parseSourcesFile(text);
  assert.deepEqual(derived, {
    types: ["deb"],
    uris: ["http://mirror.example/debian"],
    suites: ["trixie"],
    components: ["main"],
    signedBy: "/usr/share/keyrings/keys.gpg",
  });
  assert.match(text, /^Architectures: riscv64$/m);
  assert.throws(() => sourceText(others.slice(0, 1), "trixie"), Failure);
});
