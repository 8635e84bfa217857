import type { DoorReplacement } from "../../machine/simulated/door.ts";
import { MachineEnded } from "../../machine/simulated/errors.ts";
import { hypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import type { HypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import { randomNumbers } from "../../machine/simulated/schedule.ts";
import { describe, toJson } from "./command.ts";
import type { Command, Run } from "./command.ts";
import { ERROR_ROWS, missingErrors, rowsReached } from "./error-rows.ts";
import { Generator } from "./generator.ts";
import { MACHINES } from "./machines.ts";
import { Observer } from "./observer.ts";
import { shrink } from "./shrink.ts";
import { Tally, missingDeviceEvents, missingSuccesses } from "./tally.ts";
import { World, isFinding } from "./world.ts";

/** The report as one line of JSON. */
export function reportJson(report: FuzzReport): string {
  const { tally, seed, seconds, cpuSeconds, runs, failures } = report;
  const { commands, calls, entries, tvmEntries, mostWork, mostTvms, deepest, successes, errors, devices } = tally;
  return JSON.stringify({
    seed,
    calls,
    seconds,
    callsPerSecond: Math.round(calls / seconds),
    cpuSeconds,
    callsPerCpuSecond: Math.round(calls / cpuSeconds),
    failures: failures.map(({ error, seed: runSeed, run }) => ({
      error,
      seed: runSeed,
      machine: run.machine,
      commands: run.commands.map(describe),
    })),
    runs,
    commands,
    entries,
    tvmEntries,
    deepestLifeCycle: deepest,
    mostTvms,
    mostAccessesOfOneEntry: mostWork,
    missingSuccesses: missingSuccesses(successes),
    errorRowsReached: rowsReached(errors).length,
    errorRows: Object.keys(ERROR_ROWS).length,
    missingErrors: missingErrors(errors),
    devices,
    missingDeviceEvents: missingDeviceEvents(devices),
    successes,
    errors,
  });
}

/** Commands after which a run begins anew from boot: long enough to get deep, short enough to shrink. */
const RUN_LENGTH = 4000;

export interface FuzzOptions {
  seed: number;
  seconds: number;
  /** Instead of a time: how many runs. */
  runs?: number;
  module?: HypervisorModule;
  /** Functions of the door that take the place of the usual ones. */
  door?: DoorReplacement;
  /** Failures after which it stops. */
  maxFailures?: number;
  log?: (line: string) => void;
}

export interface Failure {
  /** Seed of the run that failed. */
  seed: number;
  error: string;
  /** The shortest sequence that fails in the same way. */
  run: Run;
}

export interface FuzzReport {
  seed: number;
  seconds: number;
  /** Processor time. */
  cpuSeconds: number;
  runs: number;
  tally: Tally;
  failures: Failure[];
}

/** Runs random hosts and TVMs until the time is over. Everything follows from the seed. */
export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const { seed, log = () => {} } = options;
  const report: FuzzReport = { seed, seconds: 0, cpuSeconds: 0, runs: 0, tally: new Tally(), failures: [] };
  const names = Object.keys(MACHINES);
  const worlds = new Map<string, { world: World; observer: Observer }>();
  const module = options.module ?? (await hypervisorModule());
  const began = performance.now();
  const cpu = process.cpuUsage();
  const over = (): boolean =>
    options.runs !== undefined ? report.runs >= options.runs : performance.now() - began > options.seconds * 1000;
  const seedOf = randomNumbers(seed);
  while (!over() && report.failures.length < (options.maxFailures ?? 5)) {
    const machine = names[report.runs % names.length];
    let known = worlds.get(machine);
    if (!known) {
      const world = await World.boot(MACHINES[machine], module, options.door);
      worlds.set(machine, (known = { world, observer: new Observer(world) }));
    }
    const runSeed = seedOf(2 ** 31);
    const { world, observer } = known;
    const commands: Command[] = [];
    const error = generate(world, observer, runSeed, commands, over);
    report.runs++;
    if (error === undefined) continue;
    log(`run ${report.runs} (${machine}): ${error.message.split("\n")[0]}; shrinking ${commands.length} commands`);
    const run = { machine, commands: shrink(commands, (shorter) => replay(world, shorter) !== undefined) };
    report.failures.push({ seed: runSeed, error: (replay(world, run.commands) ?? error).message, run });
  }
  for (const { world } of worlds.values()) world.tally.addTo(report.tally);
  report.seconds = (performance.now() - began) / 1000;
  const used = process.cpuUsage(cpu);
  report.cpuSeconds = (used.user + used.system) / 1e6;
  return report;
}

/** One run from boot; returns what went wrong. */
function generate(
  world: World,
  observer: Observer,
  seed: number,
  commands: Command[],
  over: () => boolean,
): Error | undefined {
  world.restart();
  const generator = new Generator(world, observer, seed);
  try {
    for (let i = 0; i < RUN_LENGTH; i++) {
      if ((i & 255) === 255 && over()) break;
      const command = generator.next();
      commands.push(command);
      world.execute(command);
    }
    world.checkAll();
    const reset: Command = { hart: 0, do: "call", eid: 0x53525354, fid: 0, args: [0n, 0n] };
    if (seed % 4 !== 0) return undefined;
    commands.push(reset);
    world.execute(reset);
  } catch (error) {
    return judge(world, error);
  }
  return undefined;
}

/** Plays commands on a machine that has just booted; returns what went wrong. */
export function replay(world: World, commands: readonly Command[]): Error | undefined {
  world.restart();
  try {
    for (const command of commands) world.execute(command);
    world.checkAll();
  } catch (error) {
    return judge(world, error);
  }
  return undefined;
}

/** A machine that was reset must have been scrubbed; anything else that is thrown is a find. */
function judge(world: World, error: unknown): Error | undefined {
  if (isFinding(error)) return error;
  if (!(error instanceof MachineEnded)) throw error;
  try {
    world.checkScrubbed();
  } catch (problem) {
    return problem as Error;
  }
  return undefined;
}

/** A failure as people read it. */
export function describeFailure(failure: Failure): string {
  return [
    failure.error,
    `on the machine "${failure.run.machine}", seed ${failure.seed}, after:`,
    ...failure.run.commands.map((command) => `  ${describe(command)}`),
    toJson(failure.run),
  ].join("\n");
}
