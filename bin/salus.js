#!/usr/bin/env node
/**
 * Starts the `salus` command on any machine with Node 18 or newer, git and nothing else.
 *
 * The tools are TypeScript, run as it stands by the Node that package-lock.json pins (npm package node-linux-*). This
 * launcher is plain JavaScript without packages: it installs the pinned packages when they are missing or older than the
 * lock file, and hands over.
 */

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const repository = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const nodeModules = path.join(repository, "node_modules");
const runtimePackage = `node-linux-${process.arch}`;
const runtime = path.join(nodeModules, runtimePackage, "bin", "node");

function fail(message) {
  process.stderr.write(`salus: ${message}\n`);
  process.exit(1);
}

/** The "packages" table of a lock file, or null if the file is missing or not readable as one. */
function lockedPackages(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8")).packages ?? null;
  } catch {
    return null;
  }
}

/**
 * True if node_modules holds what package-lock.json asks for. Compares contents, not times: a git checkout gives the lock
 * file a new time without a change.
 */
function packagesAreInstalled() {
  const wanted = lockedPackages(path.join(repository, "package-lock.json"));
  if (wanted === null) fail("package-lock.json is missing or damaged; restore it with: git checkout package-lock.json");
  const present = lockedPackages(path.join(nodeModules, ".package-lock.json"));
  if (present === null || !existsSync(runtime)) return false;
  return Object.entries(wanted).every(([name, entry]) => {
    if (name === "") return true;
    // Of the packages that depend on the platform only this one's is installed.
    if (entry.optional && !name.endsWith(`/${runtimePackage}`)) return true;
    return present[name]?.version === entry.version && present[name]?.integrity === entry.integrity;
  });
}

function installPackages() {
  process.stderr.write("salus: installing the packages of package-lock.json (npm ci), once ...\n");
  const npmArguments = ["ci", "--include=dev", "--include=optional", "--ignore-scripts", "--loglevel=error"];
  npmArguments.push("--no-audit", "--no-fund", "--no-update-notifier");
  // npm's messages go to stderr: stdout belongs to the command that was asked for.
  const npm = spawnSync("npm", npmArguments, { cwd: repository, stdio: ["ignore", 2, 2] });
  if (npm.error?.code === "ENOENT")
    fail("npm is not on the PATH; it comes with Node, and is needed once to install packages");
  if (npm.error) fail(`npm ci could not be started: ${npm.error.message}`);
  if (npm.signal) process.exit(128 + constants.signals[npm.signal]);
  if (npm.status !== 0) fail("npm ci failed: its message is above");
  if (!existsSync(runtime)) fail(`npm ci did not install ${runtimePackage}, the Node that runs the tools`);
}

/**
 * Installs the one library that the pinned Node needs and that a minimal Debian lacks.
 *
 * @param problem what the dynamic linker said
 */
function installLibatomic(problem) {
  const asRoot = process.getuid() === 0 ? [] : ["sudo"];
  const aptGet = (...args) => {
    const command = [...asRoot, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", ...args];
    return spawnSync(command[0], command.slice(1), { stdio: ["inherit", 2, 2] }).status === 0;
  };
  const install = ["-o", "DPkg::Lock::Timeout=300", "install", "--yes", "--no-install-recommends", "libatomic1"];
  process.stderr.write("salus: installing libatomic1 (apt-get), which Node needs ...\n");
  if (!existsSync("/etc/debian_version") || !(aptGet(...install) || (aptGet("update") && aptGet(...install)))) {
    fail(`${problem}\nsalus: the Node that runs the tools needs libatomic (on Debian: apt-get install libatomic1)`);
  }
}

/** What the dynamic linker has against starting the pinned Node, or null. */
function missingLibatomic() {
  const attempt = spawnSync(runtime, ["--version"], { encoding: "utf8" });
  return attempt.status !== 0 && attempt.stderr?.includes("libatomic") ? attempt.stderr.trim() : null;
}

/** Runs the command, passes signals on to it, and ends as it ended. */
function handOver() {
  const main = path.join(repository, "tools", "cli", "main.ts");
  const command = spawn(runtime, [main, ...process.argv.slice(2)], { stdio: "inherit" });
  command.on("error", (error) => fail(`${runtime} could not be started: ${error.message}`));
  // A terminal sends SIGINT to both processes, `kill` to this one only: the command stands being told twice.
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, () => command.kill(signal));
  command.on("exit", (status, signal) => {
    for (const name of signals) process.removeAllListeners(name);
    // The dynamic linker's status; packages that somebody else installed have not been tried.
    const problem = status === 127 ? missingLibatomic() : null;
    if (problem !== null) {
      installLibatomic(problem);
      handOver();
      return;
    }
    if (signal === null) process.exit(status ?? 1);
    process.kill(process.pid, signal);
  });
}

if (Number(process.versions.node.split(".")[0]) < 18) fail(`Node 18 or newer is needed, this is ${process.version}`);
if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch)) {
  fail(`Salus is built and tested on Linux x64 or arm64, this is ${process.platform} ${process.arch}`);
}
if (!packagesAreInstalled()) {
  installPackages();
  const problem = missingLibatomic();
  if (problem !== null) installLibatomic(problem);
}
handOver();
