import { closeSync, existsSync, globSync, openSync, readdirSync, readSync } from "node:fs";
import path from "node:path";
import { Failure, UsageError } from "../failure.ts";
import { debianPackages } from "./debian-archive.ts";

/** Kernels: Debian's own, or what a user names. */

export interface Kernel {
  /** A raw Image, as QEMU and the hypervisor take it (checkImage). */
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

/**
 * Header of an Image (Documentation/arch/riscv/boot-image-header.rst), whose first half makes it an EFI application or a jump:
 *
 *     0  code 8 | 8  text_offset 8 | 16  image_size 8 | 24  flags 8 | 32  version 4 ... | 48  "RISCV" | 56  "RSC\x05"
 */
const HEADER_BYTES = 64;
const MAGIC_OFFSET = 56;
const MAGIC = "RSC\x05";
/** What people have in place of it, by its first bytes. */
const MISTAKEN: [start: string, offset: number, what: string][] = [
  ["\x1f\x8b", 0, "compressed by gzip: gunzip makes the Image of it"],
  ["\xfd7zXZ\0", 0, "compressed by xz: unxz makes the Image of it"],
  ["BZh", 0, "compressed by bzip2: bunzip2 makes the Image of it"],
  ["\x28\xb5\x2f\xfd", 0, "compressed by zstd: unzstd makes the Image of it"],
  ["\x02\x21\x4c\x18", 0, "compressed by lz4: unlz4 makes the Image of it"],
  ["\x04\x22\x4d\x18", 0, "compressed by lz4: unlz4 makes the Image of it"],
  ["zimg", 4, "a compressed EFI application (vmlinuz.efi): the kernel's build has the Image in arch/riscv/boot"],
  ["\x7fELF", 0, "an ELF file (vmlinux): the kernel's build has the Image in arch/riscv/boot"],
];

/**
 * A file that QEMU can lay into memory and the hypervisor can start as it is.
 *
 * @throws UsageError with a sentence that says what the file is
 */
export function checkImage(file: string): void {
  const header = Buffer.alloc(HEADER_BYTES);
  const opened = openSync(file, "r");
  try {
    readSync(opened, header, 0, HEADER_BYTES, 0);
  } finally {
    closeSync(opened);
  }
  const has = (text: string, offset: number): boolean =>
    header.toString("latin1", offset, offset + text.length) === text;
  if (has(MAGIC, MAGIC_OFFSET)) return;
  const mistaken = MISTAKEN.find(([start, offset]) => has(start, offset));
  throw new UsageError(
    `${file} is ${mistaken?.[2] ?? "no kernel for RISC-V: an Image has its name, RISCV, at byte 48"}`,
  );
}

function isFolder(file: string): boolean {
  try {
    readdirSync(file);
    return true;
  } catch {
    return false;
  }
}
