import type { MachineEnded } from "./errors.ts";
import { MachineEnded as Ended, MachineFault } from "./errors.ts";
import type { Machine } from "./machine.ts";
import type { Schedule } from "./schedule.ts";
import { roundRobin } from "./schedule.ts";

/** Why a run is over: the guests ended the machine, nobody can do anything any more, or the limit was reached. */
export type RunEnd = { ended: MachineEnded } | { idle: true } | { steps: number };

export interface RunOptions {
  schedule?: Schedule;
  /** Steps after which the run is cut off; reaching it is a failure unless the caller expects it. */
  maxSteps?: number;
  /** Stops the run when it becomes true; asked after each step. */
  until?: () => boolean;
}

const DEFAULT_MAX_STEPS = 1_000_000;

/**
 * Lets all harts execute the scripts of their guests, one step at a time, in the order of the schedule. When every hart sleeps, time jumps
 * to the next timer.
 */
export function run(machine: Machine, options: RunOptions = {}): RunEnd {
  const { schedule = roundRobin(), maxSteps = DEFAULT_MAX_STEPS, until } = options;
  try {
    for (let steps = 0; steps < maxSteps; steps++) {
      if (until?.()) return { steps };
      let runnable = machine.harts.filter((hart) => machine.canStep(hart));
      if (runnable.length === 0) {
        if (!sleepToNextTimer(machine)) return { idle: true };
        runnable = machine.harts.filter((hart) => machine.canStep(hart));
        if (runnable.length === 0) return { idle: true };
      }
      machine.step(schedule.choose(runnable));
    }
  } catch (error) {
    if (error instanceof Ended) return { ended: error };
    throw error;
  }
  if (until) throw new MachineFault(`nothing came of ${maxSteps} steps`);
  return { steps: maxSteps };
}

/** Moves the clock to the first deadline of a hart; false if there is none ahead. */
export function sleepToNextTimer(machine: Machine): boolean {
  let next: bigint | undefined;
  for (const { csr } of machine.harts) {
    const supervisor = [machine.options.sstc ? csr.raw("stimecmp") : undefined, csr.firmwareDeadline];
    const guest = machine.options.sstc ? [csr.raw("vstimecmp") - csr.raw("htimedelta")] : [];
    for (const deadline of [...supervisor, ...guest.map((value) => BigInt.asUintN(64, value))]) {
      if (deadline === undefined || deadline <= machine.clock.now || deadline >= FAR_FUTURE) continue;
      if (next === undefined || deadline < next) next = deadline;
    }
  }
  if (next === undefined) return false;
  machine.clock.advanceTo(next);
  return true;
}

/** Deadlines beyond this mean "never". */
const FAR_FUTURE = 1n << 60n;
