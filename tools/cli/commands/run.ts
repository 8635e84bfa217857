import { statSync } from "node:fs";
import path from "node:path";
import { buildArtifacts, buildHypervisorOnly, type Artifacts } from "../../artifacts.ts";
import { UsageError } from "../../failure.ts";
import { askForEvidence, nonceArgument, verifyRun, type AskedEvidence } from "../../qemu/asked-evidence.ts";
import { addHandover, provisionDevice } from "../../qemu/dice.ts";
import { qemuArguments, type Boot, type Machine } from "../../qemu/machine.ts";
import { Presenter } from "../../qemu/presenter.ts";
import { runQemu } from "../../qemu/runner.ts";
import { RecordingSession } from "../../qemu/recording-session.ts";
import { ensureTools, type Need } from "../../setup/index.ts";
import { buildFolder, repository } from "../../repository.ts";
import { coloursFor } from "../../terminal.ts";
import { machineFrom, qemuChoice, type MachineFlags, type RunFlags } from "../machine-options.ts";
import { progress } from "../report.ts";
import { describe } from "./verify.ts";

/**
 * `salus run tellus`: builds what changed, boots it and shows how the test host fares.
 *
 * @returns true if all went well
 */
export async function runTellus(flags: RunFlags): Promise<boolean> {
  if (flags.record !== undefined) return runAndRecord(flags, flags.record);
  return present(flags, await prepare(flags));
}

/** The log comes before the host's image, which is 1 GiB into RAM then. */
const LEAST_MEMORY_MIB = 1280;

/** The same with the hypervisor that records. */
async function runAndRecord(flags: RunFlags, file: string): Promise<boolean> {
  const machine = machineFrom({ ...flags, smp: flags.smp ?? 1 });
  if (machine.harts !== 1) throw new UsageError("a recording is of a machine with one hart (--smp 1)");
  if (machine.memoryMiB < LEAST_MEMORY_MIB) {
    throw new UsageError(`a recording takes a machine with ${LEAST_MEMORY_MIB} MiB of memory or more`);
  }
  const session = await RecordingSession.begin({ flavour: flags.debug ? "debug" : "release", log: progress });
  try {
    const prepared = await prepare({ ...flags, smp: 1 }, session);
    const succeeded = await present(flags, prepared);
    const { log, cutOff } = session.save(file, machine.memoryMiB);
    process.stdout.write(`${log.length} bytes were recorded in ${file}${cutOff ? ", then the log was full" : ""}\n`);
    return succeeded;
  } finally {
    session.end();
  }
}

async function present(flags: RunFlags, prepared: Prepared): Promise<boolean> {
  const presenter = new Presenter({
    write: (line) => process.stdout.write(`${line}\n`),
    colours: coloursFor(process.stdout, flags.plain),
    raw: flags.plain ?? false,
    verbose: flags.verbose ?? false,
  });
  const result = await runQemu({
    executable: prepared.qemu,
    arguments: prepared.arguments,
    timeoutSeconds: flags.timeout === 0 ? undefined : flags.timeout,
    onLine: (line) => presenter.line(line),
  });
  const good = presenter.finish(result);
  return prepared.asked ? showEvidence(result.lines, prepared.asked, flags.plain) && good : good;
}

/** Verifies the guest's evidence, shows what came of it, and how to do it again. */
function showEvidence(lines: readonly string[], asked: AskedEvidence, plain: boolean | undefined): boolean {
  const colours = coloursFor(process.stdout, plain);
  const { verdicts, logged } = verifyRun(lines, asked);
  const trusted = verdicts.length > 0 && verdicts.every((verdict) => verdict.trusted);
  const here = (file: string): string => path.relative(repository, file);
  const again = `--nonce ${asked.nonce} --root ${here(asked.root)} --policy ${here(asked.policy)}`;
  const text = [
    "",
    colours.bold(colours.cyan("Verifier")),
    ...describe(verdicts, trusted, colours),
    logged
      ? `the host's log of what it gave to the guest, replayed, gives registers 2 and 3`
      : colours.red("the host's log of what it gave to the guest does not give registers 2 and 3"),
    colours.dim(`again: node bin/salus.js verify ${here(asked.log)} ${again}`),
  ];
  process.stdout.write(`${text.join("\n")}\n`);
  return trusted && logged;
}

export interface Prepared {
  qemu: string;
  arguments: string[];
  /** The hypervisor's ELF. */
  hypervisor: string;
  /** The test host's ELF; undefined for somebody else's image. */
  hostElf: string | undefined;
  /** With --dice: what the guest's evidence has to say. Nothing is known of somebody else's guest. */
  asked?: AskedEvidence | undefined;
}

/**
 * Installs, builds and puts the command line together.
 *
 * @throws Failure, BuildFailure
 */
export async function prepare(
  flags: MachineFlags & { guestImage?: string; dice?: boolean },
  recording?: RecordingSession,
): Promise<Prepared> {
  const machine = machineFrom(flags);
  const needs: Need[] = ["compiler", "qemu"];
  const otherImage = flags.guestImage === undefined ? undefined : imageOf(flags.guestImage);
  const tools = await ensureTools({ needs, qemu: qemuChoice(flags), log: progress });
  const options = { flavour: flags.debug ? "debug" : "release", log: progress } as const;

  let hypervisor: string;
  let artifacts: Artifacts | undefined;
  if (otherImage && recording) hypervisor = recording.hypervisor;
  else if (otherImage) hypervisor = await buildHypervisorOnly(options);
  else {
    artifacts = await buildArtifacts(options);
    hypervisor = recording?.hypervisor ?? artifacts.hypervisor;
  }
  const boot: Boot & { hypervisor: string } = { hypervisor, hostImage: otherImage ?? imageOf(artifacts!.hostImage) };
  if (recording) boot.memoryFile = recording.memoryFile;
  if (flags.append !== undefined) boot.arguments = flags.append;
  const prepared = { qemu: tools.qemu!, hypervisor, hostElf: artifacts?.hostElf };
  if (!flags.dice) return { ...prepared, arguments: qemuArguments(machine, boot) };
  return { ...prepared, ...(await prepareDice(tools.qemu!, machine, boot, artifacts?.guest)) };
}

/** A handover for the machine, and a nonce for its guest. */
async function prepareDice(
  qemu: string,
  machine: Machine,
  boot: Boot & { hypervisor: string },
  guest: string | undefined,
): Promise<Pick<Prepared, "arguments" | "asked">> {
  const folder = path.join(buildFolder, "dice");
  const device = provisionDevice(boot.hypervisor, folder);
  const asked = guest === undefined ? undefined : askForEvidence(boot.hypervisor, guest, device.root, folder);
  if (asked) boot.arguments = [boot.arguments, nonceArgument(asked)].filter(Boolean).join(" ");
  return { arguments: await addHandover(qemu, machine, boot, device), asked };
}

function imageOf(file: string): { file: string; bytes: number } {
  const status = statSync(file, { throwIfNoEntry: false });
  if (!status?.isFile() || status.size === 0) throw new UsageError(`${file} is not a host image`);
  return { file, bytes: status.size };
}
