import { Command, CommanderError, Option } from "commander";
import { readFileSync } from "node:fs";
import path from "node:path";
import { repository } from "../repository.ts";
import {
  addMachineOptions,
  memory,
  wholeNumber,
  type LinuxFlags,
  type MachineFlags,
  type RunFlags,
} from "./machine-options.ts";
import type { BenchFlags } from "./commands/bench.ts";
import type { CoverageFlags } from "./commands/coverage.ts";
import type { ExploreFlags } from "./commands/explore.ts";
import type { FuzzFlags } from "./commands/fuzz.ts";
import type { EvidenceFuzzFlags } from "./commands/fuzz-evidence.ts";
import type { GdbFlags } from "./commands/gdb.ts";
import type { MeasureFlags } from "./commands/measure.ts";
import type { LinuxKind } from "./commands/run-linux.ts";
import type { MutantFlags } from "./commands/mutants.ts";
import type { RaceFlags } from "./commands/race.ts";
import type { ReplayFlags } from "./commands/replay.ts";
import type { TestFlags } from "./commands/test.ts";
import type { VerifyFlags } from "./commands/verify.ts";

/** The command line: which commands there are, and what they take. Commands are loaded when they are run. */

const DEFAULT_TIMEOUT_SECONDS = 180;
/** A whole system starts some forty services and stops them again. */
const DEBIAN_TIMEOUT_SECONDS = 600;
const DEFAULT_GDB_PORT = 1234;
const DEFAULT_SSH_PORT = 7722;

/** Options of `salus run`, by the names of their values, that mean nothing to tellus. */
const LINUX_ONLY = ["kernel", "initrd", "hostMemory", "bare", "check", "sshPort", "gdb"] as const;

/** What a command comes to: false is a failure that it has reported itself. */
type Outcome = Promise<boolean>;

export interface Commands {
  build(flags: { debug?: boolean }): Outcome;
  run(flags: RunFlags): Outcome;
  runLinux(kind: LinuxKind, flags: LinuxFlags): Outcome;
  replay(file: string, flags: ReplayFlags): Outcome;
  gdb(flags: GdbFlags): Outcome;
  image(host: string, guest: string, flags: { output: string }): Outcome;
  test(names: string[], flags: TestFlags): Outcome;
  coverage(flags: CoverageFlags): Outcome;
  mutants(names: string[], flags: MutantFlags): Outcome;
  fuzz(flags: FuzzFlags): Outcome;
  explore(flags: ExploreFlags): Outcome;
  fuzzEvidence(flags: EvidenceFuzzFlags): Outcome;
  race(flags: RaceFlags): Outcome;
  bench(flags: BenchFlags): Outcome;
  benchLinux(flags: BenchFlags): Outcome;
  benchScale(flags: BenchFlags): Outcome;
  check(flags: { plain?: boolean }): Outcome;
  verify(file: string, flags: VerifyFlags): Outcome;
  measure(flags: MeasureFlags): Outcome;
  setup(flags: { qemu?: string }): Outcome;
}

const COMMANDS: Commands = {
  build: async (flags) => (await import("./commands/build.ts")).build(flags),
  run: async (flags) => (await import("./commands/run.ts")).runTellus(flags),
  runLinux: async (kind, flags) => (await import("./commands/run-linux.ts")).runLinux(kind, flags),
  replay: async (file, flags) => (await import("./commands/replay.ts")).replay(file, flags),
  gdb: async (flags) => (await import("./commands/gdb.ts")).debugTellus(flags),
  image: async (host, guest, flags) => (await import("./commands/image.ts")).image(host, guest, flags),
  test: async (names, flags) => (await import("./commands/test.ts")).test(names, flags),
  coverage: async (flags) => (await import("./commands/coverage.ts")).coverage(flags),
  mutants: async (names, flags) => (await import("./commands/mutants.ts")).mutants(names, flags),
  fuzz: async (flags) => (await import("./commands/fuzz.ts")).fuzzHypervisor(flags),
  explore: async (flags) => (await import("./commands/explore.ts")).exploreHypervisor(flags),
  fuzzEvidence: async (flags) => (await import("./commands/fuzz-evidence.ts")).fuzzVerifier(flags),
  race: async (flags) => (await import("./commands/race.ts")).race(flags),
  bench: async (flags) => (await import("./commands/bench.ts")).bench(flags),
  benchScale: async (flags) => (await import("./commands/bench-scale.ts")).benchScale(flags),
  benchLinux: async (flags) => (await import("./commands/bench-linux.ts")).benchLinux(flags),
  check: async (flags) => (await import("./commands/check.ts")).check(flags),
  verify: async (file, flags) => (await import("./commands/verify.ts")).verify(file, flags),
  measure: async (flags) => (await import("./commands/measure.ts")).measure(flags),
  setup: async (flags) => (await import("./commands/setup.ts")).setup(flags),
};

const plain = new Option("--plain", "no colours, no marks: the lines as they are");

/**
 * Reads the command line and runs what it says.
 *
 * @param args what follows the command's name
 * @param write receives help and messages; by default they go to stdout and stderr
 * @returns the exit status: 0, 1 for a failure, 2 for a command line without a meaning
 */
export async function main(
  args: string[],
  commands: Commands = COMMANDS,
  write?: { out: (text: string) => void; err: (text: string) => void },
): Promise<number> {
  let succeeded = true;
  const program = describe(commands, (outcome) => (succeeded = outcome));
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      // One line: "error: unknown option '--x'" becomes "salus: unknown option '--x'".
      outputError: (text, writeText) =>
        writeText(
          `salus: ${text
            .replace(/^error: /, "")
            .trim()
            .replaceAll("\n", " ")}\n`,
        ),
      ...(write ? { writeOut: write.out, writeErr: write.err } : {}),
    });
  }
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
  return succeeded ? 0 : 1;
}

function describe(commands: Commands, done: (outcome: boolean) => void): Command {
  const program = new Command("salus")
    .description("Builds, runs and tests Salus, a micro hypervisor for RISC-V confidential computing.")
    .version(packageVersion())
    .helpCommand(false)
    .showSuggestionAfterError();

  program
    .command("build")
    .description("build the hypervisor, the test host and its guest into build/")
    .option("--debug", "hardly optimised, with debug information")
    .action(async (flags: { debug?: boolean }) => done(await commands.build(flags)));

  const run = program
    .command("run")
    .description("boot Salus in QEMU with a host, and show how it fares")
    .addArgument(
      program
        .createArgument(
          "<what>",
          "tellus, the test host; linux, a Debian kernel with a small system; debian or buildroot, a system on a disk (a new one, or DEBIAN; BUILDROOT)",
        )
        .choices(["tellus", "linux", "debian", "buildroot"]),
    );
  addMachineOptions(run)
    .addOption(
      new Option(
        "--timeout <seconds>",
        `stop a test after this time; 0 is never (${DEBIAN_TIMEOUT_SECONDS} for debian)`,
      )
        .default(DEFAULT_TIMEOUT_SECONDS)
        .argParser(wholeNumber(0)),
    )
    .addOption(plain)
    .option("--verbose", "the lines of firmware and kernel too")
    .option("--dice", "with a DICE handover; the evidence of tellus' guest is verified at the end")
    .optionsGroup("Options for tellus:")
    .option("--guest-image <file>", "a composite host image to run instead of the built one")
    .option("--record <file>", "write all that the hypervisor reads there, to be replayed; unsafe, on one hart only")
    .optionsGroup("Options for linux, debian and buildroot:")
    .option(
      "--kernel <image>",
      "stable or newest (Debian's), an image, or a kernel tree with its build (LINUX; stable)",
    )
    .option("--initrd <file>", "initial RAM disk of your own in place of the small system")
    .addOption(new Option("--host-memory <size>", "memory that the kernel uses, at the most").argParser(memory))
    .option("--bare", "the same without Salus, to compare")
    .option("--check", "boot, run a self-test, and turn the machine off (not for buildroot)")
    .addOption(
      new Option("--ssh-port <n>", `port that leads to the host's 22; 0 is no network (${DEFAULT_SSH_PORT})`).argParser(
        wholeNumber(0),
      ),
    )
    .option("--gdb", `wait for a debugger on port ${DEFAULT_GDB_PORT} before the first instruction`)
    .action(async (what: string, flags: LinuxFlags) => {
      if (what === "tellus") {
        for (const name of LINUX_ONLY) {
          if (run.getOptionValue(name) === undefined) continue;
          const { long } = run.options.find((option) => option.attributeName() === name)!;
          run.error(`${long} is for linux, debian and buildroot${name === "gdb" ? "; see salus gdb tellus" : ""}`);
        }
        return done(await commands.run(flags));
      }
      if (what === "debian" && run.getOptionValueSource("timeout") === "default")
        flags.timeout = DEBIAN_TIMEOUT_SECONDS;
      done(await commands.runLinux(what as LinuxKind, flags));
    });

  program
    .command("replay")
    .description("play a run that was recorded into the hypervisor's module, up to the first difference")
    .argument("<file>", "what `salus run --record` wrote")
    .option("--module <file>", "play it into another module (wasm), compiled for the same addresses")
    .option("--json", "one line of JSON at the end")
    .action(async (file: string, flags: ReplayFlags) => done(await commands.replay(file, flags)));

  const gdb = program
    .command("gdb")
    .description("boot Salus in QEMU, stopped at its first instruction, with a debugger attached (GDB, GDB_ARGS)")
    .addArgument(whatToRun(program));
  addMachineOptions(gdb)
    .option("--guest-image <file>", "a composite host image to run instead of the built one")
    .addOption(new Option("--port <n>", "TCP port of the machine").default(DEFAULT_GDB_PORT).argParser(wholeNumber(1)))
    .action(async (_what: string, flags: GdbFlags) => done(await commands.gdb(flags)));

  program
    .command("image")
    .description("pack a raw host binary and a raw guest binary into one composite host image")
    .argument("<host>", "raw binary of the host, 2 MiB at most")
    .argument("<guest>", "raw binary of the guest")
    .requiredOption("-o, --output <file>", "where to write the image")
    .action(async (host: string, guest: string, flags: { output: string }) =>
      done(await commands.image(host, guest, flags)),
    );

  program
    .command("test")
    .description("run the checks, the unit tests and the boots in QEMU, or those that are named")
    .argument("[names...]", "check, unit, coverage, qemu, linux (takes long), or a part of a test file's path")
    .option("--only <text>", "only tests whose name contains this")
    .option("--qemu <path>", "QEMU's executable or source tree (QEMU)")
    .option("--debug", "use the debug build")
    .addOption(plain)
    .option("--verbose", "show every test")
    .action(async (names: string[], flags: TestFlags) => done(await commands.test(names, flags)));

  const number = (name: string, description: string, value: number, least: number): Option =>
    new Option(name, description).default(value).argParser(wholeNumber(least));
  program
    .command("fuzz")
    .description("let random hosts and TVMs loose on the hypervisor in the simulated machine, checked after every call")
    .addOption(number("--seconds <n>", "how long", 60, 1))
    .addOption(number("--seed <n>", "what everything follows from", 1, 0))
    .addOption(number("--failures <n>", "stop after so many failures", 5, 1))
    .option("--save <folder>", "write each failing sequence there, to be replayed")
    .option("--replay <file>", "play a sequence that was written, instead")
    .option("--json", "one line of JSON at the end")
    .option("--worst", "look for what keeps a hart longest in the hypervisor, and print it as a table, instead")
    .option("--update", "with --worst: put the table into docs/performance.md")
    .action(async (flags: FuzzFlags) => done(await commands.fuzz(flags)));

  program
    .command("fuzz-evidence")
    .description("give bent certificates, tokens and files to the verifier: each is read or refused")
    .addOption(number("--count <n>", "how many", 1_000_000, 1))
    .addOption(number("--seed <n>", "what everything follows from", 1, 0))
    .addOption(new Option("--only <n>", "this input only, and show it").argParser(wholeNumber(0)))
    .option("--json", "one line of JSON at the end")
    .action(async (flags: EvidenceFuzzFlags) => done(await commands.fuzzEvidence(flags)));

  program
    .command("explore")
    .description("try every sequence of calls in a small world, breadth first")
    .addOption(number("--harts <n>", "harts", 2, 1))
    .addOption(number("--tvms <n>", "TVMs", 2, 1))
    .addOption(number("--pages <n>", "pages of the host that take part", 6, 1))
    .addOption(number("--places <n>", "pages that a TVM may have", 2, 1))
    .addOption(number("--seconds <n>", "how long, in processor time", 300, 1))
    .addOption(number("--depth <n>", "longest sequence", 255, 1))
    .option("--pairs", "list every pair of situation and event that occurred")
    .option("--json", "one line of JSON at the end")
    .action(async (flags: ExploreFlags) => done(await commands.explore(flags)));

  program
    .command("race")
    .description("let several harts be in the hypervisor at the same time, in orders that follow from seeds")
    .addOption(number("--harts <n>", "harts", 3, 2))
    .addOption(number("--seconds <n>", "how long", 60, 1))
    .addOption(
      new Option("--scene <name>", "what they race for (all in turn)").choices(["pages", "files", "devices", "parked"]),
    )
    .addOption(number("--seed <n>", "the first seed", 1, 0))
    .addOption(new Option("--runs <n>", "how many seeds, in place of a time").argParser(wholeNumber(1)))
    .option("--json", "one line of JSON at the end")
    .action(async (flags: RaceFlags) => done(await commands.race(flags)));

  program
    .command("coverage")
    .description("measure what the tests on the simulated machine reach of the hypervisor, branches included")
    .option("--missing", "list what is not reached instead of the table")
    .option("--all", "list what tests/coverage/explained.json explains too")
    .option("--json", "one line of JSON instead of the table")
    .option("--again", "measure even if nothing has changed since the last time")
    .option("--update", "raise the floors in tests/coverage/floors.json to these figures")
    .addOption(plain)
    .action(async (flags: CoverageFlags) => done(await commands.coverage(flags)));

  program
    .command("mutants")
    .description("put faults into the hypervisor, one at a time, and see whether the tests notice")
    .argument("[names...]", "named faults, or parts of their names or of a file's path; all by default")
    .option("--named", "the faults of tests/mutants/named only")
    .option("--generated", "faults made from the syntax tree only")
    .addOption(new Option("--count <n>", "how many of the generated ones").default(360).argParser(wholeNumber(0)))
    .addOption(new Option("--seed <n>", "which of the generated ones").default(1).argParser(wholeNumber(0)))
    .addOption(new Option("--sample <n>", "of each kind only so many, spread over all").argParser(wholeNumber(1)))
    .option("--json", "one line of JSON instead of the table")
    .addOption(new Option("--workers <n>", "how many at a time (as many as processors)").argParser(wholeNumber(1)))
    .addOption(new Option("--seconds <n>", "begin no further one after this time").argParser(wholeNumber(1)))
    .option("--again", "run those too whose result is known")
    .addOption(plain)
    .action(async (names: string[], flags: MutantFlags) => done(await commands.mutants(names, flags)));

  program
    .command("bench")
    .description("count the instructions of every operation in QEMU, and set them beside their budgets")
    .addArgument(
      program
        .createArgument(
          "[what]",
          "calls; scale: how costs grow with memory, harts and TVMs; or linux: a kernel as the host against the bare machine",
        )
        .choices(["calls", "scale", "linux"])
        .default("calls"),
    )
    .option("--only <name>", "only measurements whose name contains this")
    .option("--profile <name>", "the instructions of these measurements by function of the hypervisor")
    .option("--json", "one line of JSON instead of the table")
    .option("--check", "fail if a figure is more than 2 % worse than in bench/baseline.json, or a budget is broken")
    .option("--update", "put the figures into bench/baseline.json")
    .option("--qemu <path>", "QEMU's executable or source tree (QEMU)")
    .addOption(plain)
    .action(async (what: string, flags: BenchFlags) =>
      done(
        await (what === "linux"
          ? commands.benchLinux(flags)
          : what === "scale"
            ? commands.benchScale(flags)
            : commands.bench(flags)),
      ),
    );

  program
    .command("check")
    .description("check types, lint and format")
    .addOption(plain)
    .action(async (flags: { plain?: boolean }) => done(await commands.check(flags)));

  program
    .command("verify")
    .description("check a confidential guest's evidence: chain, signature, nonce and measurement registers")
    .argument("<file>", "lines of the console, PEM, or DER certificates, the evidence first")
    .requiredOption("--nonce <hex>", "the nonce that the guest was asked with, 64 bytes")
    .requiredOption("--policy <json>", "file with what the registers shall be (see: salus measure --json)")
    .addOption(new Option("--root <pem...>", "certificates or public keys that you trust"))
    .option("--key <hex>", "the public key that the evidence must be about")
    .option("--allow-development-root", "believe evidence that anybody could have made")
    .option("--json", "one line of JSON")
    .addOption(plain)
    .action(async (file: string, flags: VerifyFlags) => done(await commands.verify(file, flags)));

  program
    .command("measure")
    .description("predict the measurement registers of a confidential guest from what its host gives to it")
    .option("--kernel <file@gpa>", "the first measured pages (FILE@GPA+PAGES: at least so many)")
    .option(
      "--log <file>",
      "instead of all that: a host's log of what it gave to its guests (a console's MEASURED: lines)",
    )
    .option("--with <name=file...>", "a file that the log names")
    .option("--dtb <file@gpa>", "the device tree, measured after the kernel")
    .option("--initrd <file@gpa>", "the initial RAM disk, measured last")
    .option("--entry <gpa>", "where the guest starts; the kernel's first byte by default")
    .option("--argument <number>", "its boot argument; the device tree's address by default")
    .option("--region <start-end...>", "its memory regions; START-END:files for interrupt files")
    .addOption(number("--vcpus <n>", "its vCPUs, by id from 0", 1, 1))
    .option("--imsic <geometry>", "BASE:GROUP_BITS:GROUP_SHIFT:HART_BITS:GUEST_BITS of its interrupt files")
    .option("--file <vcpu:gpa...>", "the interrupt file of each vCPU")
    .option("--hypervisor <elf>", "Salus's ELF: code hash and register 0 too")
    .option("--features <number>", "features of the harts, as Salus prints them: register 1 too")
    .option("--development-root", "register 1 of a machine without a DICE handover")
    .option("--json", "as a policy for salus verify")
    .action(async (flags: MeasureFlags) => done(await commands.measure(flags)));

  program
    .command("setup")
    .description("install the compiler and the emulator where they are missing (Debian 12 and later)")
    .option("--qemu <path>", "QEMU's executable or source tree (QEMU)")
    .action(async (flags: Pick<MachineFlags, "qemu">) => done(await commands.setup(flags)));

  return program;
}

function whatToRun(program: Command): ReturnType<Command["createArgument"]> {
  return program.createArgument("<what>", "tellus, the test host").choices(["tellus"]);
}

function packageVersion(): string {
  const content = readFileSync(path.join(repository, "package.json"), "utf8");
  return (JSON.parse(content) as { version: string }).version;
}
