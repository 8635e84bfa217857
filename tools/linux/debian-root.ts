import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  openSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { withLock } from "../build/build-lock.ts";
import { Failure } from "../failure.ts";
import { DEFAULT_MACHINE, qemuArguments } from "../qemu/machine.ts";
import { lastLines } from "../qemu/protocol.ts";
import { runQemu } from "../qemu/runner.ts";
import { readSources } from "../setup/debian.ts";
import { ensureTools } from "../setup/index.ts";
import { cacheFolder } from "./cache.ts";
import { debianPackages, sourceText, type Package, type PackageSet } from "./debian-archive.ts";
import { buildInitramfs } from "./initramfs.ts";
import { debianKernel, STABLE_SUITE } from "./kernel.ts";
import { readTar, tarEnd, tarFile, tarFolder, tarLink } from "./tar.ts";

/**
 * The disk of a Debian system: packages from the archive, laid onto an ext4 file system and configured by their own scripts inside an emulated machine (on
 * the bare machine: Salus has no part in it), so that nobody needs to be root here.
 */

const WANTED = ["?essential", "?priority(required)", "apt", "systemd-sysv", "udev", "kmod", "openssh-server"];
const USEFUL = ["iproute2", "iputils-ping", "procps", "less", "systemd-timesyncd", "systemd-resolved"];
const DISK_BYTES = 3 * 1024 ** 3;
const TIMEOUT_SECONDS = 1500;
const DONE = "salus: the root file system is complete";

const run = promisify(execFile);

/**
 * Path of the raw image; some minutes the first time.
 *
 * @param authorizedKeys public keys that may log in as root, a line each
 * @throws Failure
 */
export async function debianRoot(qemu: string, authorizedKeys: string, log: (line: string) => void): Promise<string> {
  const folder = cacheFolder(`debian-${STABLE_SUITE}`);
  const image = path.join(folder, "root.img");
  return withLock(path.join(folder, "root.lock"), async () => {
    if (existsSync(image)) return image;
    const { fileSystemMaker } = await ensureTools({ needs: ["fileSystemMaker"], log });
    const set = {
      suite: STABLE_SUITE,
      names: [...WANTED, ...USEFUL],
      dependencies: "all" as const,
      packed: true,
    } satisfies PackageSet;
    const packages = await debianPackages(set, log);
    const work = path.join(folder, "root-work");
    rmSync(work, { recursive: true, force: true });
    mkdirSync(work, { recursive: true });
    const contents = path.join(work, "contents.tar");
    const draft = path.join(work, "root.img");
    log(`laying out ${packages.length} packages`);
    await writeContents(contents, packages, authorizedKeys);
    await makeFileSystem(fileSystemMaker!, draft);
    log("configuring them in an emulated machine: this takes some minutes, once");
    await install(qemu, contents, draft, log);
    renameSync(draft, image);
    rmSync(work, { recursive: true });
    return image;
  });
}

/** All packages' files, dpkg's records of them, and our settings, as one archive. */
async function writeContents(file: string, packages: Package[], authorizedKeys: string): Promise<void> {
  const output = openSync(file, "w");
  const put = (bytes: Buffer): void => void writeSync(output, bytes);
  for (const name of ["bin", "lib", "sbin"]) put(tarLink(name, `usr/${name}`));
  const records: Buffer[] = [];
  let status = "";
  for (const { archive } of packages) {
    const [files, control] = [await tarOf(archive, "--fsys-tarfile"), await tarOf(archive, "--ctrl-tarfile")];
    const { entries, body } = readTar(files);
    put(body);
    const record = packageRecord(entries, readTar(control).entries);
    status += record.stanza;
    records.push(...record.files);
  }
  put(Buffer.concat(records));
  put(tarFile("var/lib/dpkg/status", status));
  put(tarFile("var/lib/dpkg/available", ""));
  put(tarFile("var/lib/dpkg/info/format", "1\n"));
  put(settings(authorizedKeys));
  put(tarEnd());
  closeSync(output);
}

async function tarOf(archive: string, part: string): Promise<Buffer> {
  const { stdout } = await run("dpkg-deb", [part, archive], { encoding: "buffer", maxBuffer: 1 << 30 });
  return stdout;
}

type Entries = ReturnType<typeof readTar>["entries"];

/** What dpkg writes when it has unpacked a package: a stanza of its status file, and files of /var/lib/dpkg/info. */
export function packageRecord(files: Entries, control: Entries): { stanza: string; files: Buffer[] } {
  const fields = control.find(({ name }) => name === "./control")!.content.toString();
  const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, "m").exec(fields)?.[1];
  const name = field("Package")! + (field("Multi-Arch") === "same" ? `:${field("Architecture")}` : "");
  const place = (file: string): string => `var/lib/dpkg/info/${name}.${file}`;
  const written = control
    .filter((entry) => entry.type === "0" && !["./control", "./conffiles"].includes(entry.name))
    .map((entry) => {
      const script = entry.content.subarray(0, 2).toString() === "#!";
      return tarFile(place(entry.name.slice(2)), entry.content, script ? 0o755 : 0o644);
    });
  const list = files.map((entry) => entry.name.replace(/^\./, "").replace(/\/$/, "") || "/.").join("\n");
  written.push(tarFile(place("list"), `${list}\n`));

  const conffiles =
    control
      .find((entry) => entry.name === "./conffiles")
      ?.content.toString()
      .trim()
      .split("\n") ?? [];
  const sums = conffiles.flatMap((line) => {
    const content = files.find((entry) => entry.name === `.${line}`)?.content;
    return content ? [` ${line} ${createHash("md5").update(content).digest("hex")}\n`] : [];
  });
  const conffilesField = sums.length > 0 ? `Conffiles:\n${sums.join("")}` : "";
  const stanza = `${fields.trimEnd().replace(/^(Package: .*)$/m, "$1\nStatus: install ok unpacked")}\n${conffilesField}\n`;
  return { stanza, files: written };
}

/** What makes it a machine that one can log into, and that finds its packages where this one does. The password is root's name. */
function settings(authorizedKeys: string): Buffer {
  const network = "[Match]\nName=e*\n\n[Network]\nDHCP=yes\n";
  return Buffer.concat([
    tarFile("etc/apt/sources.list.d/debian.sources", sourceText(readSources(), STABLE_SUITE)),
    tarFile("etc/default/locale", "LANG=C.UTF-8\n"),
    tarFile("etc/hostname", "salus-host\n"),
    tarFile("etc/hosts", "127.0.0.1 localhost salus-host\n"),
    tarFile("etc/fstab", "/dev/vda / ext4 rw,relatime 0 1\n"),
    tarFolder("etc/systemd/network"),
    tarFile("etc/systemd/network/20-wired.network", network),
    tarFolder("etc/ssh/sshd_config.d"),
    tarFile("etc/ssh/sshd_config.d/root.conf", "PermitRootLogin yes\n"),
    tarFolder("root", 0o700),
    tarFolder("root/.ssh", 0o700),
    tarFile("root/.ssh/authorized_keys", authorizedKeys, 0o600),
  ]);
}

async function makeFileSystem(maker: string, file: string): Promise<void> {
  const image = openSync(file, "w");
  ftruncateSync(image, DISK_BYTES);
  closeSync(image);
  await run(maker, ["-q", "-F", "-t", "ext4", "-L", "rootfs", file]);
}

/** The machine whose small system unpacks the archive (its first disk) onto the file system (its second) and has dpkg configure it. */
async function install(qemu: string, contents: string, root: string, log: (line: string) => void): Promise<void> {
  const kernel = await debianKernel(STABLE_SUITE, log);
  const initrd = await buildInitramfs({ kernel, authorizedKeys: "", log });
  const size = (file: string): number => statSync(file).size;
  const machine = { ...DEFAULT_MACHINE, memoryMiB: 1024, iommu: false };
  const result = await runQemu({
    executable: qemu,
    arguments: qemuArguments(machine, {
      hostImage: { file: kernel.image, bytes: size(kernel.image) },
      initrd: { file: initrd, bytes: size(initrd) },
      arguments: "console=ttyS0,115200 salus.install",
      disks: [
        { file: contents, format: "raw" },
        { file: root, format: "raw" },
      ],
    }),
    timeoutSeconds: TIMEOUT_SECONDS,
    onLine: (line) => {
      if (/^(Setting up|salus: )/.test(line)) log(`  ${line}`);
    },
  });
  if (!result.lines.includes(DONE)) {
    throw new Failure(`the Debian system could not be configured:\n${lastLines(result.lines)}`);
  }
}
