import { existsSync, globSync, readdirSync } from "node:fs";
import path from "node:path";
import { Failure, UsageError } from "../failure.ts";
import { debianPackages } from "./debian-archive.ts";

/** Kernels: Debian's own, or what a user names. */

export interface Kernel {
  /** A raw Image, as QEMU and the hypervisor take it. */
  image: string;
  /** Folder with the modules (as kernel/fs/ext4/ext4.ko.xz); undefined for a user's kernel. */
  modules: string | undefined;
}

/** The suite of Debian's stable kernel, 6.12; and that of its newest, which changes. */
export const STABLE_SUITE = "trixie";
export const NEWEST_SUITE = "sid";

/**
 * The kernel that Debian's meta package names now, or named when it was fetched.
 *
 * @throws Failure
 */
export async function debianKernel(suite: string, log: (line: string) => void): Promise<Kernel> {
  const set = { suite, names: ["linux-image-riscv64"], dependencies: /^linux-(image|binary|modules)-\d/ };
  const packages = await debianPackages(set, log);
  // Older packages have the image in boot/, newer ones beside the modules.
  const find = (pattern: string): string | undefined =>
    packages.flatMap(({ folder }) => globSync(pattern, { cwd: folder }).map((file) => path.join(folder, file)))[0];
  const image = find("boot/vmlinu[xz]-*") ?? find("usr/lib/modules/*/vmlinu[xz]");
  const modules = find("usr/lib/modules/*/kernel") ?? find("lib/modules/*/kernel");
  if (image === undefined)
    throw new Failure(`the kernel packages of Debian ${suite} have no kernel where one is expected`);
  return { image, modules };
}

/**
 * A kernel that the user chose: an Image, or a source tree with its build in arch/riscv/boot.
 *
 * @throws UsageError if it is neither
 */
export function chosenKernel(choice: string): Kernel {
  const candidates = [choice, path.join(choice, "arch", "riscv", "boot", "Image")];
  const image = candidates.find((file) => existsSync(file) && !isFolder(file));
  if (image === undefined) {
    throw new UsageError(`"${choice}" is neither a kernel image nor a kernel tree with arch/riscv/boot/Image`);
  }
  return { image, modules: undefined };
}

function isFolder(file: string): boolean {
  try {
    readdirSync(file);
    return true;
  } catch {
    return false;
  }
}
