import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, statSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { Failure, UsageError } from "../failure.ts";

/** Which QEMU is used, and what it can do. */

export const QEMU_NAME = "qemu-system-riscv64";
/** The first release with the RISC-V IOMMU as a PCI device, AIA and CPU properties that Salus's machine uses. */
export const OLDEST_QEMU: Version = { major: 10, minor: 0, patch: 0 };
/** File that QEMU loads when no -bios is given. */
export const FIRMWARE_NAME = "opensbi-riscv64-generic-fw_dynamic.bin";

export interface Version {
  major: number;
  minor: number;
  patch: number;
}

const run = promisify(execFile);

/** Path of an executable file on the PATH, or undefined. */
export function findOnPath(name: string, searchPath = process.env["PATH"] ?? ""): string | undefined {
  return searchPath
    .split(path.delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => path.join(folder, name))
    .find(isExecutableFile);
}

/** True for a file that this process may execute. */
export function isExecutableFile(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/**
 * Path of the QEMU to use: `choice` is an executable, or a source tree with its build in build/; without it, the PATH's.
 *
 * @throws UsageError if the choice is neither
 */
export function locateQemu(choice: string | undefined): string | undefined {
  if (choice === undefined || choice === "") return findOnPath(QEMU_NAME);
  const candidates = [choice, path.join(choice, "build", QEMU_NAME)];
  if (!choice.includes(path.sep)) candidates.push(findOnPath(choice) ?? "");
  const found = candidates.find(isExecutableFile);
  if (found === undefined) {
    throw new UsageError(`"${choice}" is neither an executable nor a QEMU source tree with build/${QEMU_NAME}`);
  }
  return found;
}

/** The version in the first line of `qemu-system-riscv64 --version`; undefined if the text is not QEMU's. */
export function parseQemuVersion(text: string): Version | undefined {
  const match = /^QEMU emulator version (\d+)\.(\d+)(?:\.(\d+))?/m.exec(text);
  if (!match) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3] ?? 0) };
}

/** Negative, zero or positive as `a` is older than, the same as, or newer than `b`. */
export function compareVersions(a: Version, b: Version): number {
  return a.major - b.major || a.minor - b.minor || a.patch - b.patch;
}

export function formatVersion({ major, minor, patch }: Version): string {
  return `${major}.${minor}.${patch}`;
}

export interface QemuFacts {
  version: Version;
  /** The OpenSBI image that it boots by default, if it has one. */
  firmware: string | undefined;
}

/**
 * Asks a QEMU for its version and its firmware.
 *
 * @throws Failure if it does not run or is no QEMU
 */
export async function inspectQemu(executable: string): Promise<QemuFacts> {
  try {
    const [version, folders] = await Promise.all([run(executable, ["--version"]), run(executable, ["-L", "help"])]);
    const parsed = parseQemuVersion(version.stdout);
    if (!parsed) throw new Error(`it says: ${version.stdout.split("\n")[0]}`);
    const firmware = folders.stdout
      .split("\n")
      .filter((folder) => folder !== "")
      .map((folder) => path.join(folder, FIRMWARE_NAME))
      .find((file) => existsSync(file));
    return { version: parsed, firmware };
  } catch (error) {
    throw new Failure(`${executable} is not a QEMU that runs here: ${(error as Error).message.trim()}`);
  }
}
