import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { UsageError } from "../failure.ts";
import type { Boot, Disk, Image } from "../qemu/machine.ts";
import { buildInitramfs } from "./initramfs.ts";
import { checkImage, chosenKernel, debianKernel, NEWEST_SUITE, STABLE_SUITE, type Kernel } from "./kernel.ts";
import { sshKey } from "./ssh-key.ts";

/** What a machine with Linux as its host starts. */

export interface LinuxChoice {
  /** "stable", "newest", or a path; stable by default. */
  kernel?: string | undefined;
  /** A user's own initial RAM disk. */
  initrd?: string | undefined;
  /** A disk with the system, and how it is found: by our small system or by the RAM disk of its own. */
  disk?: { image: Disk; by: "small system" | "own RAM disk" } | undefined;
  /** More arguments for the kernel. */
  append?: string | undefined;
  /** Memory that it may use, in MiB. */
  hostMemoryMiB?: number | undefined;
  /** Run the self-test on this many harts, and turn each one off and on so often. What it writes to the disk is forgotten. */
  check?: { harts: number; hotplug: number } | undefined;
}

/** A first console before the drivers, and the UART afterwards. */
const ARGUMENTS = ["earlycon=sbi", "console=ttyS0,115200"];

/**
 * Fetches and builds what was chosen.
 *
 * @throws Failure, UsageError
 */
export async function linuxBoot(choice: LinuxChoice, log: (line: string) => void): Promise<Boot> {
  if (choice.check && choice.initrd !== undefined) {
    throw new UsageError("the self-test comes with the small system: it does not go with a RAM disk of your own");
  }
  const kernel = await kernelFor(choice.kernel, log);
  checkImage(kernel.image);
  const initrd = choice.initrd ?? (await buildInitramfs({ kernel, authorizedKeys: sshKey()?.publicKey ?? "", log }));
  const args = [...ARGUMENTS];
  if (choice.disk) args.push(choice.disk.by === "small system" ? "salus.root=/dev/vda" : "root=LABEL=rootfs rw");
  if (choice.hostMemoryMiB !== undefined) args.push(`mem=${choice.hostMemoryMiB}M`);
  // systemd's account of its services would be among the lines of the test.
  if (choice.check && choice.disk) args.push("systemd.show_status=false");
  if (choice.check)
    args.push("salus.check", `salus.harts=${choice.check.harts}`, `salus.hotplug=${choice.check.hotplug}`);
  if (choice.append) args.push(choice.append);
  const boot: Boot = { hostImage: imageOf(kernel.image), initrd: imageOf(initrd), arguments: args.join(" ") };
  if (choice.disk) boot.disks = [choice.check ? { ...choice.disk.image, scratch: true } : choice.disk.image];
  return boot;
}

/**
 * The disk of a ready Debian image: a folder with image.qcow2 and initrd, as the original's scripts want it, or an image file that our small system starts.
 *
 * @throws UsageError
 */
export function debianChoice(choice: string): Pick<LinuxChoice, "disk" | "initrd"> {
  const [image, initrd] = [path.join(choice, "image.qcow2"), path.join(choice, "initrd")];
  if (existsSync(image) && existsSync(initrd)) {
    return { initrd, disk: { image: { file: image, format: "qcow2" }, by: "own RAM disk" } };
  }
  if (!statSync(choice, { throwIfNoEntry: false })?.isFile()) {
    throw new UsageError(`"${choice}" is neither a disk image nor a folder with image.qcow2 and initrd`);
  }
  return { disk: { image: diskOf(choice), by: "small system" } };
}

/**
 * The disk of a Buildroot tree (output/images/rootfs.ext2), or an image file; and the tree's kernel, if it has one.
 *
 * @throws UsageError
 */
export function buildrootChoice(choice: string): Pick<LinuxChoice, "disk" | "kernel"> {
  const images = path.join(choice, "output", "images");
  const file = [path.join(images, "rootfs.ext2"), path.join(images, "rootfs.ext4"), choice].find((each) =>
    statSync(each, { throwIfNoEntry: false })?.isFile(),
  );
  if (file === undefined)
    throw new UsageError(`"${choice}" is neither a disk image nor a Buildroot tree with its build`);
  const kernel = path.join(images, "Image");
  return {
    ...(existsSync(kernel) ? { kernel } : {}),
    disk: { image: diskOf(file), by: "small system" },
  };
}

function diskOf(file: string): Disk {
  return { file, format: file.endsWith(".qcow2") ? "qcow2" : "raw" };
}

async function kernelFor(choice: string | undefined, log: (line: string) => void): Promise<Kernel> {
  if (choice === undefined || choice === "" || choice === "stable") return debianKernel(STABLE_SUITE, log);
  return choice === "newest" ? debianKernel(NEWEST_SUITE, log) : chosenKernel(choice);
}

function imageOf(file: string): Image {
  const status = statSync(file, { throwIfNoEntry: false });
  if (!status?.isFile() || status.size === 0) throw new UsageError(`${file} is not a file that could be started`);
  return { file, bytes: status.size };
}
