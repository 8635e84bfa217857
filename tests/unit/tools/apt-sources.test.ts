import assert from "node:assert/strict";
import { test } from "node:test";
import {
  deriveBackportsSource,
  offersSuite,
  parseListFile,
  parseSourcesFile,
} from "../../../tools/setup/apt-sources.ts";
import { canInstallOn, parseRelease } from "../../../tools/setup/debian.ts";

const CONTAINER = `Types: deb
# http://snapshot.example/archive/debian/20250520T000000Z
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`;

test("deb822: the backports come from the main source's mirror, with its keys", () => {
  const sources = parseSourcesFile(CONTAINER);
  assert.equal(sources.length, 2);
  assert(!offersSuite(sources, "bookworm-backports"));
  const derived = deriveBackportsSource(sources, "bookworm");
  assert.deepEqual(parseSourcesFile(derived), [
    {
      types: ["deb"],
      uris: ["http://mirror.example/debian"],
      suites: ["bookworm-backports"],
      components: ["main"],
      signedBy: "/usr/share/keyrings/debian-archive-keyring.gpg",
    },
  ]);
  assert(offersSuite(parseSourcesFile(derived), "bookworm-backports"));
});

test("deb822: a key inside the stanza is kept as it is", () => {
  const key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY865UxYJKw\n -----END PGP PUBLIC KEY BLOCK-----";
  const text = `Enabled: yes\ntypes: deb deb-src\nURIs: https://a.example/debian/\n  https://b.example/debian/\nSuites: bookworm\nComponents: main contrib\nSigned-By:${key}\n`;
  const [source] = parseSourcesFile(text);
  assert.deepEqual(source.uris, ["https://a.example/debian/", "https://b.example/debian/"]);
  assert.equal(source.signedBy, key);
  const [derived] = parseSourcesFile(deriveBackportsSource([source], "bookworm"));
  assert.equal(derived.signedBy, key);
  assert.deepEqual(derived.uris, ["https://a.example/debian/"]);
});

test("deb822: disabled stanzas do not count", () => {
  const sources = parseSourcesFile(
    `${CONTAINER}\n \nEnabled: no\nTypes: deb\nURIs: u\nSuites: bookworm-backports\nComponents: main\n`,
  );
  assert(!offersSuite(sources, "bookworm-backports"));
});

test("one-line sources are read with their options, comments are not", () => {
  const sources = parseListFile(`# deb http://old.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/a.gpg] http://mirror.example/debian bookworm main contrib # as installed
deb-src http://mirror.example/debian bookworm-backports main
deb http://mirror.example/debian bookworm-updates main
`);
  assert.equal(sources.length, 3);
  assert.deepEqual(sources[0], {
    types: ["deb"],
    uris: ["http://mirror.example/debian"],
    suites: ["bookworm"],
    components: ["main", "contrib"],
    signedBy: "/etc/apt/keyrings/a.gpg",
  });
  assert(!offersSuite(sources, "bookworm-backports"), "sources of source packages offer no binaries");
  assert.match(deriveBackportsSource(sources, "bookworm"), /^Signed-By: \/etc\/apt\/keyrings\/a\.gpg$/m);
});

test("a source without keys gives one without keys", () => {
  const derived = deriveBackportsSource(parseListFile("deb http://mirror.example/debian stable main"), "bookworm");
  assert.doesNotMatch(derived, /Signed-By/);
  assert.match(derived, /^Suites: bookworm-backports$/m);
});

test("without a source of the release nothing is invented", () => {
  const sources = parseListFile("deb http://mirror.example/debian-security bookworm-security main");
  assert.throws(() => deriveBackportsSource(sources, "bookworm"), /no source for bookworm main/);
});

test("releases: Debian 12 and later, and those without a number", () => {
  const debian12 = parseRelease(
    'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nID=debian\n',
  );
  assert.deepEqual(debian12, { id: "debian", version: 12, codename: "bookworm" });
  assert(canInstallOn(debian12));
  assert(canInstallOn(parseRelease("ID=debian\nVERSION_CODENAME=forky\n")));
  assert(!canInstallOn(parseRelease('ID=debian\nVERSION_ID="11"\nVERSION_CODENAME=bullseye\n')));
  assert(!canInstallOn(parseRelease('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n')));
});
