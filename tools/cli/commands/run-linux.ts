import path from "node:path";
import { buildHypervisorOnly } from "../../artifacts.ts";
import { UsageError } from "../../failure.ts";
import { buildrootChoice, debianChoice, linuxBoot, type LinuxChoice } from "../../linux/boot.ts";
import { debianRoot } from "../../linux/debian-root.ts";
import { sshKey } from "../../linux/ssh-key.ts";
import { addHandover, provisionDevice } from "../../qemu/dice.ts";
import { qemuArguments, type Boot, type Machine } from "../../qemu/machine.ts";
import { Presenter } from "../../qemu/presenter.ts";
import { LINUX_ALL_OK } from "../../qemu/protocol.ts";
import { runQemu, startQemu } from "../../qemu/runner.ts";
import { ensureTools } from "../../setup/index.ts";
import { buildFolder } from "../../repository.ts";
import { coloursFor } from "../../terminal.ts";
import { machineFrom, qemuChoice, type LinuxFlags } from "../machine-options.ts";
import { progress } from "../report.ts";

const DEFAULT_SSH_PORT = 7722;
/** QEMU chooses. */
const ANY_PORT = 0;
const GDB_PORT = 1234;

/** What runs: a kernel with the small system, or with a disk that has one of its own. */
export type LinuxKind = "linux" | "debian" | "buildroot";

/**
 * `salus run linux`, `debian` and `buildroot`: a kernel under Salus, or on the bare machine, with this terminal as its console; with --check a self-test,
 * shown like any test.
 *
 * @returns true if all went well
 */
export async function runLinux(
  kind: LinuxKind,
  flags: LinuxFlags,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<boolean> {
  if (flags.check && kind === "buildroot")
    throw new UsageError("the self-test is for the small system and for systems that systemd starts, as Debian's");
  if (flags.guestImage !== undefined)
    throw new UsageError("--guest-image is for tellus; a kernel is given by --kernel");
  if (flags.record !== undefined)
    throw new UsageError("--record is for tellus: its log has room for minutes, not for a kernel");
  if (flags.bare && flags.dice) throw new UsageError("a bare machine has no hypervisor to take a DICE handover");
  const machine = machineFrom(flags);
  const tools = await ensureTools({
    needs: flags.bare ? ["qemu"] : ["compiler", "qemu"],
    qemu: qemuChoice(flags),
    log: progress,
  });
  const disk = await diskFor(kind, tools.qemu!, environment);
  const boot: Boot = await linuxBoot(
    {
      ...disk,
      kernel: flags.kernel ?? (environment["LINUX"] || disk.kernel),
      initrd: flags.initrd ?? disk.initrd,
      append: flags.append,
      hostMemoryMiB: flags.hostMemory,
      check: flags.check ? { harts: machine.harts, hotplug: 1 } : undefined,
    },
    progress,
  );
  if (!flags.bare) {
    boot.hypervisor = await buildHypervisorOnly({ flavour: flags.debug ? "debug" : "release", log: progress });
  }
  if (!machine.iommu && !flags.bare)
    progress("without an IOMMU no device reaches memory: disks and networks stay silent");
  // A self-test takes any port, but no network that stays silent.
  const usualPort = !flags.check ? DEFAULT_SSH_PORT : machine.iommu ? ANY_PORT : undefined;
  const sshPort = flags.sshPort === 0 ? undefined : (flags.sshPort ?? usualPort);
  if (sshPort !== undefined) boot.sshPort = sshPort;
  if (!flags.check) boot.reboots = true;
  const args = [...(await machineArguments(tools.qemu!, machine, boot, flags)), ...debuggerArguments(flags)];
  return flags.check ? checkLinux(tools.qemu!, args, flags) : useLinux(tools.qemu!, args, boot.sshPort);
}

/** QEMU's arguments, with --dice those of a machine with a handover. */
async function machineArguments(qemu: string, machine: Machine, boot: Boot, flags: LinuxFlags): Promise<string[]> {
  const { hypervisor } = boot;
  if (!flags.dice || hypervisor === undefined) return qemuArguments(machine, boot);
  // Not where the evidence of a run of tellus lies, with the root that it is verified with.
  const device = provisionDevice(hypervisor, path.join(buildFolder, "dice-linux"));
  return addHandover(qemu, machine, { ...boot, hypervisor }, device);
}

/** The system's disk, and what comes with it. */
async function diskFor(
  kind: LinuxKind,
  qemu: string,
  environment: NodeJS.ProcessEnv,
): Promise<Pick<LinuxChoice, "disk" | "kernel" | "initrd">> {
  if (kind === "linux") return {};
  if (kind === "buildroot") {
    const choice = environment["BUILDROOT"];
    if (!choice) throw new UsageError("BUILDROOT has to name a Buildroot tree with its build, or an image of its root");
    return buildrootChoice(choice);
  }
  const ready = environment["DEBIAN"];
  if (ready) return debianChoice(ready);
  const image = await debianRoot(qemu, sshKey()?.publicKey ?? "", progress);
  return { disk: { image: { file: image, format: "raw" }, by: "small system" } };
}

/** Runs the self-test and shows it. */
async function checkLinux(qemu: string, args: string[], flags: LinuxFlags): Promise<boolean> {
  const presenter = new Presenter({
    write: (line) => process.stdout.write(`${line}\n`),
    colours: coloursFor(process.stdout, flags.plain),
    raw: flags.plain ?? false,
    verbose: flags.verbose ?? false,
    lastWord: LINUX_ALL_OK,
  });
  const result = await runQemu({
    executable: qemu,
    arguments: args,
    timeoutSeconds: flags.timeout === 0 || flags.gdb ? undefined : flags.timeout,
    onLine: (line) => presenter.line(line),
    until: (line) => /Kernel panic - not syncing/.test(line),
  });
  return presenter.finish(result);
}

/** Gives the machine this terminal. */
function useLinux(qemu: string, args: string[], sshPort: number | undefined): Promise<boolean> {
  progress("the terminal is the machine's console: Ctrl-A X ends the machine, Ctrl-A C is QEMU's monitor");
  if (sshPort !== undefined) {
    const key = sshKey();
    const identity = key ? `-i ${key.file} ` : "";
    progress(`ssh: ssh ${identity}-o StrictHostKeyChecking=no -p ${sshPort} root@127.0.0.1`);
  }
  const child = startQemu(qemu, args, ["inherit", "inherit", "inherit"]);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (status) => resolve(status === 0));
  });
}

function debuggerArguments(flags: LinuxFlags): string[] {
  if (!flags.gdb) return [];
  progress(`QEMU waits for a debugger: gdb-multiarch build/release/salus.elf -ex "target remote :${GDB_PORT}"`);
  return ["-S", "-gdb", `tcp:127.0.0.1:${GDB_PORT}`];
}
