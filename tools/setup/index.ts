import { readFileSync } from "node:fs";
import { canInstallOn, installOnDebian, parseRelease, type Release } from "./debian.ts";
import { inspectMachine, pleaseInstall, type Found, type Need } from "./requirements.ts";

/** Makes sure that the machine has the compiler and the emulator, and installs them where it knows how to. */

export type { Found, Need } from "./requirements.ts";

export interface SetupOptions {
  needs: readonly Need[];
  /** The QEMU that was asked for (an executable or a source tree): used, never replaced. */
  qemu?: string | undefined;
  /** Receives progress, a sentence each. */
  log: (line: string) => void;
  /** False: say what is missing, and install nothing. */
  install?: boolean;
}

/**
 * Returns the paths of what is needed; takes some 30 ms where all is there.
 *
 * @throws Failure with a sentence that says what to install, where this cannot
 */
export async function ensureTools(options: SetupOptions): Promise<Found> {
  const { found, missing } = await inspectMachine(options.needs, options.qemu);
  if (missing.length === 0) return found;
  if (missing.some(({ chosen }) => chosen))
    throw pleaseInstall(missing, "The QEMU that was asked for is not replaced.");
  if (options.install === false) throw pleaseInstall(missing, "To install it, run: node bin/salus.js setup");
  const release = readRelease();
  if (!release || !canInstallOn(release)) {
    throw pleaseInstall(
      missing,
      "Please install it from your distribution; Salus does so by itself on Debian 12 and later.",
    );
  }
  await installOnDebian(
    release,
    missing.map(({ need }) => need),
    options.log,
  );
  const now = await inspectMachine(options.needs, options.qemu);
  if (now.missing.length > 0) throw pleaseInstall(now.missing, "The packages were installed, but do not provide it.");
  return now.found;
}

function readRelease(): Release | undefined {
  try {
    return parseRelease(readFileSync("/etc/os-release", "utf8"));
  } catch {
    return undefined;
  }
}
