import { spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../failure.ts";
import { findOnPath } from "../qemu/locate.ts";
import { lastLines } from "../qemu/protocol.ts";
import { buildFolder } from "../repository.ts";
import { deriveBackportsSource, offersSuite, parseListFile, parseSourcesFile, type AptSource } from "./apt-sources.ts";
import type { Need } from "./requirements.ts";

/** Installs Debian packages: Debian 12 with QEMU and OpenSBI from its backports, newer releases as they are. */

export interface Release {
  id: string;
  /** 0 for testing and unstable, which have no number. */
  version: number;
  codename: string;
}

const PACKAGES: Record<Need, string[]> = {
  compiler: ["gcc-riscv64-unknown-elf"],
  nativeCompiler: ["gcc", "libc6-dev"],
  qemu: ["qemu-system-riscv", "opensbi"],
  ssh: ["openssh-client"],
  openssl: ["openssl"],
  fileSystemMaker: ["e2fsprogs"],
};
const SOURCES_FOLDER = "/etc/apt/sources.list.d";
const BACKPORTS_FILE = path.join(SOURCES_FOLDER, "salus-backports.sources");
const LOCK_SECONDS = 300;
const LOCK_MESSAGE = /could not get lock|unable to lock|is held by process/i;

/** Reads the text of /etc/os-release. */
export function parseRelease(text: string): Release {
  const value = (name: string): string =>
    new RegExp(`^${name}=(["']?)(.*)\\1$`, "m").exec(text)?.[2].trim().toLowerCase() ?? "";
  return { id: value("ID"), version: Number(value("VERSION_ID") || 0), codename: value("VERSION_CODENAME") };
}

/** True for releases whose packages, or backports, are new enough. */
export function canInstallOn(release: Release): boolean {
  return release.id === "debian" && (release.version >= 12 || release.version === 0) && release.codename !== "";
}

/**
 * Installs the packages for `needs`.
 *
 * @param log receives progress, a sentence each
 * @throws Failure
 */
export async function installOnDebian(release: Release, needs: Need[], log: (line: string) => void): Promise<void> {
  const apt = new Apt();
  // QEMU 10 is in the backports of Debian 12 and in Debian 13.
  const backports = release.version === 12 && needs.includes("qemu") ? `${release.codename}-backports` : undefined;
  let update = false;
  if (backports !== undefined && !offersSuite(readSources(), backports)) {
    log(`adding ${backports} to the package sources (${BACKPORTS_FILE})`);
    await apt.writeFile(BACKPORTS_FILE, deriveBackportsSource(readSources(), release.codename));
    update = true;
  }
  const packages = needs.flatMap((need) => PACKAGES[need]);
  if (update || !(await apt.knows(packages))) {
    log("reading the package lists (apt-get update)");
    await apt.get(["update"]);
    update = true;
  }
  for (const need of needs) {
    log(`installing ${PACKAGES[need].join(" and ")} (apt-get install)`);
    const install = ["install", "--yes", "--no-install-recommends"];
    if (need === "qemu" && backports !== undefined) install.push("--target-release", backports);
    try {
      await apt.get([...install, ...PACKAGES[need]]);
    } catch (error) {
      // Old package lists name files that the mirror no longer has.
      if (update) throw error;
      await apt.get(["update"]);
      update = true;
      await apt.get([...install, ...PACKAGES[need]]);
    }
  }
}

/** All enabled package sources of this machine. */
export function readSources(): AptSource[] {
  const files = existsSync(SOURCES_FOLDER)
    ? readdirSync(SOURCES_FOLDER).map((name) => path.join(SOURCES_FOLDER, name))
    : [];
  return ["/etc/apt/sources.list", ...files].flatMap((file) => {
    if (!existsSync(file)) return [];
    if (file.endsWith(".sources")) return parseSourcesFile(readFileSync(file, "utf8"));
    return file.endsWith(".list") ? parseListFile(readFileSync(file, "utf8")) : [];
  });
}

/** Runs apt as root, without questions; what it says goes to build/setup.log. */
class Apt {
  readonly #asRoot: string[];
  readonly #logFile = path.join(buildFolder, "setup.log");

  constructor() {
    if (process.getuid?.() === 0) this.#asRoot = [];
    else if (findOnPath("sudo") !== undefined) this.#asRoot = process.stdin.isTTY ? ["sudo"] : ["sudo", "-n"];
    else
      throw new Failure(
        "packages have to be installed, which needs root or sudo; run once as root: node bin/salus.js setup",
      );
    mkdirSync(buildFolder, { recursive: true });
    writeFileSync(this.#logFile, "");
  }

  async get(args: string[]): Promise<void> {
    const command = ["apt-get", "-q", "-o", `DPkg::Lock::Timeout=${LOCK_SECONDS}`, ...args];
    const deadline = Date.now() + LOCK_SECONDS * 1000;
    for (;;) {
      const { status, output } = await this.#run(["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", ...command]);
      if (status === 0) return;
      // apt waits for dpkg's lock by itself, but not for that of the package lists.
      if (!LOCK_MESSAGE.test(output) || Date.now() > deadline) {
        const said = lastLines(output.trimEnd().split("\n"), 12);
        throw new Failure(`"apt-get ${args.join(" ")}" failed; all of it is in ${this.#logFile}, the end is:\n${said}`);
      }
      await sleep(3000);
    }
  }

  /** True if the package lists have a version to install of each package. */
  async knows(packages: string[]): Promise<boolean> {
    const { output } = await this.#run(["env", "LC_ALL=C", "apt-cache", "policy", ...packages], "", false);
    return (output.match(/^ {2}Candidate: (?!\(none\))/gm) ?? []).length === packages.length;
  }

  async writeFile(file: string, content: string): Promise<void> {
    const { status, output } = await this.#run(["tee", file], content);
    if (status !== 0) throw new Failure(`${file} cannot be written: ${output.trim()}`);
  }

  async #run(command: string[], input = "", asRoot = true): Promise<{ status: number | null; output: string }> {
    const [program, ...args] = asRoot ? [...this.#asRoot, ...command] : command;
    appendFileSync(this.#logFile, `\n$ ${command.join(" ")}\n`);
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
    child.stdin.on("error", () => {});
    child.stdin.end(input);
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        appendFileSync(this.#logFile, text);
      });
    }
    const status = await new Promise<number | null>((resolve, reject) => {
      child.on("error", (error) => reject(new Failure(`${program} could not be started: ${error.message}`)));
      child.on("close", resolve);
    });
    return { status, output };
  }
}
