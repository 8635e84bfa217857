import path from "node:path";
import {
  compareVersions,
  findOnPath,
  FIRMWARE_NAME,
  formatVersion,
  inspectQemu,
  locateQemu,
  OLDEST_QEMU,
  QEMU_NAME,
} from "../qemu/locate.ts";
import { Failure } from "../failure.ts";

/** What this machine has of the programs that Salus is built and run with. */

export const COMPILER = "riscv64-unknown-elf-gcc";
/** The C compiler for this machine, which builds the benchmark's QEMU plugin. */
const NATIVE_COMPILER = "gcc";

/** Programs that are taken from the PATH by their names: how one gets into a machine, and makes the key for it; and a second opinion on certificates. */
const PROGRAMS = { ssh: ["ssh", "ssh-keygen"], openssl: ["openssl"] } as const;

/** Makes file systems; it may lie where only root looks. */
const FILE_SYSTEM_MAKER = "mke2fs";
const SYSTEM_FOLDERS = ["/usr/sbin", "/sbin"].join(path.delimiter);

export type Need = "compiler" | "nativeCompiler" | "qemu" | "ssh" | "openssl" | "fileSystemMaker";

export interface Found {
  compiler: string | undefined;
  nativeCompiler: string | undefined;
  qemu: string | undefined;
  fileSystemMaker: string | undefined;
}

export interface Missing {
  need: Need;
  /** What is missing, as the end of a sentence. */
  what: string;
  /** A person chose this program: no package replaces it. */
  chosen: boolean;
}

/**
 * Looks for what `needs` names. `qemuChoice` is the QEMU that was asked for, if one was.
 *
 * @throws UsageError if that is no QEMU
 */
export async function inspectMachine(
  needs: readonly Need[],
  qemuChoice?: string,
): Promise<{ found: Found; missing: Missing[] }> {
  const found: Found = {
    compiler: undefined,
    nativeCompiler: undefined,
    qemu: undefined,
    fileSystemMaker: undefined,
  };
  const missing: Missing[] = [];
  if (needs.includes("compiler")) {
    found.compiler = findOnPath(COMPILER);
    if (found.compiler === undefined) missing.push({ need: "compiler", what: COMPILER, chosen: false });
  }
  if (needs.includes("nativeCompiler")) {
    found.nativeCompiler = findOnPath(NATIVE_COMPILER);
    if (found.nativeCompiler === undefined) {
      missing.push({ need: "nativeCompiler", what: `${NATIVE_COMPILER} for this machine`, chosen: false });
    }
  }
  for (const need of ["ssh", "openssl"] as const) {
    if (!needs.includes(need) || PROGRAMS[need].every((program) => findOnPath(program) !== undefined)) continue;
    missing.push({ need, what: PROGRAMS[need].join(" and "), chosen: false });
  }
  if (needs.includes("fileSystemMaker")) {
    found.fileSystemMaker = findOnPath(FILE_SYSTEM_MAKER) ?? findOnPath(FILE_SYSTEM_MAKER, SYSTEM_FOLDERS);
    if (found.fileSystemMaker === undefined) {
      missing.push({ need: "fileSystemMaker", what: FILE_SYSTEM_MAKER, chosen: false });
    }
  }
  if (needs.includes("qemu")) {
    const what = await qemuShortcoming(locateQemu(qemuChoice), found);
    if (what !== undefined) missing.push({ need: "qemu", what, chosen: (qemuChoice ?? "") !== "" });
  }
  return { found, missing };
}

async function qemuShortcoming(executable: string | undefined, found: Found): Promise<string | undefined> {
  const oldest = `${OLDEST_QEMU.major}.${OLDEST_QEMU.minor}`;
  if (executable === undefined) return `${QEMU_NAME} ${oldest} or newer`;
  const facts = await inspectQemu(executable);
  if (compareVersions(facts.version, OLDEST_QEMU) < 0) {
    return `${QEMU_NAME} ${oldest} or newer (${executable} is ${formatVersion(facts.version)})`;
  }
  if (facts.firmware === undefined) return `OpenSBI for QEMU (${FIRMWARE_NAME} in a data folder of ${executable})`;
  found.qemu = executable;
  return undefined;
}

/** The error for a machine on which nothing can be installed for the user. */
export function pleaseInstall(missing: Missing[], why: string): Failure {
  return new Failure(`missing: ${missing.map(({ what }) => what).join("; ")}. ${why}`);
}
