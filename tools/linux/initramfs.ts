import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, realpathSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { Failure } from "../failure.ts";
import { buildFolder } from "../repository.ts";
import { CpioArchive } from "./cpio.ts";
import { debianPackages, type Package } from "./debian-archive.ts";
import { STABLE_SUITE, type Kernel } from "./kernel.ts";

/**
 * A small system for a host: busybox with a login on every console, dropbear for ssh, modules for disks and network, and a test of itself. What is ours
 * lies in tools/linux/initramfs/ as it will lie in the root folder.
 */

const OVERLAY = path.join(import.meta.dirname, "initramfs");
const PROGRAMS = ["busybox-static", "dropbear-bin"];
/** What dropbear is linked with. */
const LIBRARIES = ["libc.so.6", "libcrypt.so.1", "libgmp.so.10", "libtomcrypt.so.1", "libtommath.so.1", "libz.so.1"];
const LINKER = "ld-linux-riscv64-lp64d.so.1";
/** In the order in which they can be loaded. */
const MODULES = [
  ...["failover", "net_failover", "virtio_net", "e1000", "e1000e", "virtio_blk"],
  ...["nvme-auth", "nvme-core", "nvme", "crc32c_generic", "libcrc32c", "crc16", "mbcache", "jbd2", "ext4"],
];

export interface InitramfsOptions {
  /** Its modules are included. */
  kernel: Kernel;
  /** Public keys that may log in as root by ssh, a line each. */
  authorizedKeys: string;
  log: (line: string) => void;
}

/**
 * Path of the compressed archive; it is only made if nothing like it is there.
 *
 * @throws Failure
 */
export async function buildInitramfs(options: InitramfsOptions): Promise<string> {
  const set = { suite: STABLE_SUITE, names: PROGRAMS, dependencies: "all" } as const;
  const packages = await debianPackages(set, options.log);
  const bytes = compose(packages, options).bytes();
  const name = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
  const folder = path.join(buildFolder, "linux");
  const file = path.join(folder, `initramfs-${name}.cpio.gz`);
  if (existsSync(file)) return file;
  mkdirSync(folder, { recursive: true });
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, gzipSync(bytes, { level: 6 }));
  renameSync(draft, file);
  return file;
}

/** Path of Debian's static busybox for riscv64. */
export async function busyboxProgram(log: (line: string) => void): Promise<string> {
  const set = { suite: STABLE_SUITE, names: PROGRAMS, dependencies: "all" } as const;
  return fileOf(await debianPackages(set, log), "busybox");
}

function compose(packages: Package[], { kernel, authorizedKeys }: InitramfsOptions): CpioArchive {
  const archive = new CpioArchive();
  for (const folder of ["bin", "dev", "proc", "sys", "tmp", "run", "mnt", "root", "etc/dropbear", "var/log"]) {
    archive.folder(folder, folder === "root" ? 0o700 : 0o755);
  }
  // The kernel opens it for the first process, before anything is mounted.
  archive.device("dev/console", 5, 1).device("dev/null", 1, 3, 0o666);
  archive.file("bin/busybox", readFileSync(fileOf(packages, "busybox")), 0o755);
  archive.file("bin/dropbear", readFileSync(fileOf(packages, "dropbear")), 0o755);
  for (const name of LIBRARIES)
    archive.file(`lib/riscv64-linux-gnu/${name}`, readFileSync(fileOf(packages, name)), 0o755);
  archive.file(`lib/${LINKER}`, readFileSync(fileOf(packages, LINKER)), 0o755);

  for (const name of globSync("**", { cwd: OVERLAY, withFileTypes: true }).filter((entry) => entry.isFile())) {
    const file = path.join(name.parentPath, name.name);
    const content = readFileSync(file);
    archive.file(path.relative(OVERLAY, file), content, content.subarray(0, 2).toString() === "#!" ? 0o755 : 0o644);
  }
  if (authorizedKeys !== "")
    archive.folder("root/.ssh", 0o700).file("root/.ssh/authorized_keys", authorizedKeys, 0o600);
  if (kernel.modules !== undefined) addModules(archive, kernel.modules);
  return archive;
}

/** A kernel may have some of them built in, or not know them. */
function addModules(archive: CpioArchive, folder: string): void {
  const files = globSync("**/*.ko*", { cwd: folder });
  let order = "";
  for (const name of MODULES) {
    const file = files.find((candidate) => path.basename(candidate).split(".")[0] === name);
    if (file === undefined) continue;
    archive.file(`lib/modules/${path.basename(file)}`, readFileSync(path.join(folder, file)));
    order += `${path.basename(file)}\n`;
  }
  archive.file("lib/modules/order", order);
}

function fileOf(packages: Package[], name: string): string {
  for (const { folder } of packages) {
    const found = globSync(`**/${name}`, { cwd: folder, exclude: (file) => file.includes("usr/share") })
      .map((file) => path.join(folder, file))
      .find((file) => existsSync(file));
    if (found !== undefined) return realpathSync(found);
  }
  throw new Failure(`none of the packages ${packages.map((each) => each.name).join(", ")} has a file ${name}`);
}
