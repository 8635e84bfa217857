import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { withLock } from "../build/build-lock.ts";
import { Failure } from "../failure.ts";
import { lastLines } from "../qemu/protocol.ts";
import { deriveSource, mainSource, type AptSource } from "../setup/apt-sources.ts";
import { readSources } from "../setup/debian.ts";
import { cacheFolder } from "./cache.ts";

/**
 * Packages for riscv64 of any suite of the archive that this machine's apt is set up for: fetched and verified by apt itself, with lists and
 * status of its own, so that nothing is installed here and nobody needs to be root.
 *
 *     <cache>/debian-<suite>/apt/          lists, configuration
 *                            packages/     *.deb
 *                            unpacked/     a folder for each package
 *                            sets.json     which packages belong together, with their checksums
 */

export interface Package {
  name: string;
  /** Folder with the package's files; empty in a set that stays packed. */
  folder: string;
  /** The .deb itself, in a set that stays packed. */
  archive: string;
  /** SHA-256 of the .deb, as apt verified it. */
  checksum: string;
}

interface Entry {
  name: string;
  file: string;
  checksum: string;
}

const ARCHITECTURE = "riscv64";
/** Suites by whose source this machine names its mirror, if it has none of its own release. */
const KNOWN_SUITES = ["trixie", "bookworm", "stable", "oldstable", "testing", "forky", "sid", "unstable"];
const run = promisify(execFile);

export interface PackageSet {
  /** Suite of the archive, as "trixie". */
  suite: string;
  names: string[];
  /**
   * Which of the packages that these depend on belong to the set. "all": everything that their programs need at run time. A pattern: those
   * whose names match, and in turn those that they depend on; what only an installation needs is left out.
   */
  dependencies: "all" | RegExp;
  /** The packages are wanted as they are; otherwise they are unpacked, and the .deb files are removed. */
  packed?: boolean;
}

/**
 * The packages of a set, unpacked: from the cache if it has them, else from the archive.
 *
 * @param log receives progress, a sentence each
 * @throws Failure if apt is missing, or the archive cannot be reached or has no such package
 */
export async function debianPackages(set: PackageSet, log: (line: string) => void): Promise<Package[]> {
  const folder = cacheFolder(`debian-${set.suite}`);
  return withLock(path.join(folder, "lock"), async () => {
    const key = `${[...set.names].sort().join(" ")} with ${String(set.dependencies)}${set.packed ? ", packed" : ""}`;
    const place = set.packed ? "packages" : "unpacked";
    const known = readSets(folder)[key];
    const complete = known?.every((entry) => existsSync(path.join(folder, place, entry.file)));
    const entries = known && complete ? known : await fetchPackages(folder, set, log);
    writeFileSync(path.join(folder, "sets.json"), JSON.stringify({ ...readSets(folder), [key]: entries }, null, 2));
    return entries.map(({ name, file, checksum }) => ({
      name,
      checksum,
      folder: set.packed ? "" : path.join(folder, "unpacked", file),
      archive: path.join(folder, "packages", file),
    }));
  });
}

function readSets(folder: string): Record<string, Entry[] | undefined> {
  try {
    return JSON.parse(readFileSync(path.join(folder, "sets.json"), "utf8")) as Record<string, Entry[]>;
  } catch {
    return {};
  }
}

async function fetchPackages(folder: string, set: PackageSet, log: (line: string) => void): Promise<Entry[]> {
  const { suite, names, dependencies } = set;
  const apt = new PrivateApt(folder, suite);
  await apt.update();
  const all =
    dependencies === "all" ? await allDependencies(apt, names) : await matchingDependencies(apt, names, dependencies);
  const { stdout } = await apt.run("apt-get", ["--print-uris", "download", ...all]);
  const entries = parseUris(stdout);
  if (entries.length === 0) throw new Failure(`Debian ${suite} has nothing to fetch for ${names.join(" ")}`);
  const megabytes = entries.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6;
  log(`fetching ${entries.length} packages of Debian ${suite} for riscv64, ${megabytes.toFixed(1)} MB`);
  await apt.run("apt-get", ["download", ...all]);
  for (const entry of entries) await (set.packed ? verify(folder, entry) : unpack(folder, entry));
  return entries.map(({ name, file, checksum }) => ({ name, file, checksum }));
}

/** What an installation of `names` on an empty system would install. */
async function allDependencies(apt: PrivateApt, names: string[]): Promise<string[]> {
  const { stdout } = await apt.run("apt-get", ["--simulate", "--no-install-recommends", "install", ...names]);
  return [...stdout.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name);
}

async function matchingDependencies(apt: PrivateApt, names: string[], pattern: RegExp): Promise<string[]> {
  const found = [...names];
  for (const name of found) {
    const { stdout } = await apt.run("apt-cache", ["depends", name]);
    for (const [, other] of stdout.matchAll(/Depends: ([^\s<]+)/g)) {
      if (pattern.test(other) && !found.includes(other)) found.push(other);
    }
  }
  return found;
}

/** Lines of --print-uris: 'address' file bytes SHA256:checksum. */
export function parseUris(text: string): (Entry & { bytes: number })[] {
  return [...text.matchAll(/^'[^']*' (\S+) (\d+) SHA256:([0-9a-f]{64})$/gm)].map(([, file, bytes, checksum]) => ({
    name: file.split("_")[0],
    file,
    bytes: Number(bytes),
    checksum,
  }));
}

/** The fetched .deb, if it is what the archive says. */
async function verify(folder: string, entry: Entry): Promise<string> {
  const archive = path.join(folder, "packages", entry.file);
  const checksum = createHash("sha256")
    .update(await readFile(archive))
    .digest("hex");
  if (checksum !== entry.checksum) throw new Failure(`${archive} has not the checksum that the archive says`);
  return archive;
}

/** Unpacks one .deb into its folder and removes it. The folder is there completely or not at all. */
async function unpack(folder: string, entry: Entry): Promise<void> {
  const target = path.join(folder, "unpacked", entry.file);
  if (existsSync(target)) return;
  const archive = await verify(folder, entry);
  const draft = `${target}.draft`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true });
  await run("dpkg-deb", ["--extract", archive, draft]);
  renameSync(draft, target);
  rmSync(archive);
}

/** apt with lists, status and cache of its own, for one suite and one architecture. */
class PrivateApt {
  readonly #folder: string;
  readonly #suite: string;
  readonly #options: string[];

  constructor(folder: string, suite: string) {
    const apt = path.join(folder, "apt");
    this.#folder = folder;
    this.#suite = suite;
    const packages = path.join(folder, "packages");
    for (const part of [
      path.join(apt, "lists", "partial"),
      path.join(apt, "sources"),
      path.join(packages, "partial"),
    ]) {
      mkdirSync(part, { recursive: true });
    }
    writeFileSync(path.join(apt, "status"), "");
    const settings = {
      "APT::Architecture": ARCHITECTURE,
      "APT::Architectures": ARCHITECTURE,
      "APT::Sandbox::User": "root",
      "APT::Update::Error-Mode": "any",
      "Acquire::Languages": "none",
      "Acquire::Retries": "2",
      // Testing and unstable are signed for a week only.
      "Acquire::Check-Valid-Until": "false",
      "Dir::State::lists": path.join(apt, "lists"),
      "Dir::State::status": path.join(apt, "status"),
      "Dir::Cache": apt,
      "Dir::Cache::archives": packages,
      "Dir::Etc::SourceList": "/dev/null",
      "Dir::Etc::SourceParts": path.join(apt, "sources"),
      "Dir::Etc::PreferencesParts": "/dev/null",
    };
    this.#options = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  }

  /** Reads the suite's list, if it has not been read in the last hour. */
  async update(): Promise<void> {
    const sources = path.join(this.#folder, "apt", "sources");
    const file = path.join(sources, "debian.sources");
    const text = sourceText(readSources(), this.#suite);
    const lists = path.join(this.#folder, "apt", "lists");
    const fresh = path.join(this.#folder, "apt", "fresh");
    if (existsSync(file) && readFileSync(file, "utf8") === text && isRecent(fresh)) return;
    rmSync(fresh, { force: true });
    for (const name of readdirSync(sources)) rmSync(path.join(sources, name));
    for (const name of readdirSync(lists)) rmSync(path.join(lists, name), { recursive: true });
    mkdirSync(path.join(lists, "partial"));
    writeFileSync(file, text);
    await this.run("apt-get", ["update"]);
    writeFileSync(fresh, String(Date.now()));
  }

  /** @throws Failure with apt's message */
  async run(program: "apt-get" | "apt-cache", args: string[]): Promise<{ stdout: string }> {
    const options = {
      cwd: path.join(this.#folder, "packages"),
      env: { ...process.env, LC_ALL: "C" },
      maxBuffer: 1 << 26,
    };
    try {
      return await run(program, ["-q", ...this.#options, ...args], options);
    } catch (error) {
      const { code, stderr = "", stdout = "" } = error as { code?: unknown; stderr?: string; stdout?: string };
      if (code === "ENOENT") throw new Failure(`${program} is missing: Debian's packages are fetched by it`);
      const said = lastLines(`${stdout}${stderr}`.trimEnd().split("\n"), 8);
      throw new Failure(
        `Debian's archive (${this.#suite}, ${ARCHITECTURE}) cannot be used; "${program} ${args[0]}" says:\n${said}`,
      );
    }
  }
}

function isRecent(file: string): boolean {
  try {
    return Date.now() - Number(readFileSync(file, "utf8")) < 3600_000;
  } catch {
    return false;
  }
}

/**
 * The source for `suite`, from the mirror and with the keys of this machine's.
 *
 * @throws Failure if this machine has no source of Debian
 */
export function sourceText(sources: AptSource[], suite: string): string {
  const main = mainSource(sources, [suite, ...KNOWN_SUITES]);
  if (!main) {
    throw new Failure(`apt has no source of a Debian release here, from which that of ${suite} could be derived`);
  }
  const comment = "# Written by Salus (tools/linux), for its own use of apt.";
  return deriveSource(main, comment, suite, [`Architectures: ${ARCHITECTURE}`]);
}
