import { statSync } from "node:fs";
import { UsageError } from "../failure.ts";
import type { Boot, Image } from "../qemu/machine.ts";
import { buildInitramfs } from "./initramfs.ts";
import { chosenKernel, debianKernel, NEWEST_SUITE, STABLE_SUITE, type Kernel } from "./kernel.ts";
import { sshKey } from "./ssh-key.ts";

/** What a machine with Linux as its host starts. */

export interface LinuxChoice {
  /** "stable", "newest", or a path; stable by default. */
  kernel?: string | undefined;
  /** A user's own initial RAM disk. */
  initrd?: string | undefined;
  /** More arguments for the kernel. */
  append?: string | undefined;
  /** Memory that it may use, in MiB. */
  hostMemoryMiB?: number | undefined;
  /** Run the self-test on this many harts, and turn each one off and on so often. */
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
    throw new UsageError("the self-test is part of the small system: --check and --initrd do not go together");
  }
  const kernel = await kernelFor(choice.kernel, log);
  const initrd = choice.initrd ?? (await buildInitramfs({ kernel, authorizedKeys: sshKey()?.publicKey ?? "", log }));
  const args = [...ARGUMENTS];
  if (choice.hostMemoryMiB !== undefined) args.push(`mem=${choice.hostMemoryMiB}M`);
  if (choice.check)
    args.push("salus.check", `salus.harts=${choice.check.harts}`, `salus.hotplug=${choice.check.hotplug}`);
  if (choice.append) args.push(choice.append);
  return { hostImage: imageOf(kernel.image), initrd: imageOf(initrd), arguments: args.join(" ") };
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
