import { MachineEnded } from "../../machine/simulated/errors.ts";
import { hypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import type { HypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import { Meter, weight } from "../../machine/simulated/meter.ts";
import type { Stretch, Work } from "../../machine/simulated/meter.ts";
import { meteredModule } from "../../machine/simulated/metered-module.ts";
import { randomNumbers } from "../../machine/simulated/schedule.ts";
import { functionName } from "./command.ts";
import { Covh, Eid } from "../unit/support/simulated/sbi.ts";
import type { Command, Run, Value } from "./command.ts";
import { Generator } from "./generator.ts";
import { MACHINES } from "./machines.ts";
import { Observer } from "./observer.ts";
import { World } from "./world.ts";

/**
 * Looks for what keeps a hart longest in the hypervisor: the fuzzer's hosts and TVMs, with calls that ask for more than usual, and with runs that begin as
 * the costliest ones known did and go on with variations of what was costly. And for how long locks are held.
 */
export interface WorstCase {
  stretch: Stretch;
  /** The call whose work it is. */
  title: string;
  /** What leads there: the last command is it. */
  run: Run;
}

export interface WorstCases {
  /** The costliest stretch of each call, by its title. */
  calls: Map<string, WorstCase>;
  /** The longest that each kind of lock was held. */
  locks: Map<string, WorstCase>;
}

export interface WorstOptions {
  seed: number;
  seconds: number;
  /** Instead of a time: how many runs. */
  runs?: number;
  /** Not metered yet. */
  module?: HypervisorModule;
}

/** Everything that is no call that exists: interrupts, faults, instructions that are emulated, calls that do not exist. */
export const OTHER_ENTRIES = "interrupts, faults, emulated instructions";

const RUN_LENGTH = 1500;
const PAGE = 4096n;
/** Which argument of a call says how much, and in what. */
const AMOUNTS: Record<number, Record<number, { argument: number; unit: bigint }>> = {
  [Eid.covh]: {
    [Covh.convertPages]: { argument: 1, unit: 1n },
    [Covh.reclaimPages]: { argument: 1, unit: 1n },
    [Covh.addMemoryRegion]: { argument: 2, unit: PAGE },
    [Covh.addPageTablePages]: { argument: 2, unit: 1n },
    [Covh.addMeasuredPages]: { argument: 4, unit: 1n },
    [Covh.addZeroPages]: { argument: 3, unit: 1n },
    [Covh.addSharedPages]: { argument: 3, unit: 1n },
    [Covh.blockPages]: { argument: 2, unit: PAGE },
    [Covh.unblockPages]: { argument: 2, unit: PAGE },
    [Covh.removePages]: { argument: 2, unit: PAGE },
  },
  [Eid.covg]: {
    0: { argument: 1, unit: PAGE },
    1: { argument: 1, unit: PAGE },
    2: { argument: 1, unit: PAGE },
    3: { argument: 1, unit: PAGE },
  },
  [Eid.dbcn]: { 0: { argument: 0, unit: 1n }, 1: { argument: 0, unit: 1n } },
};

type Call = Command & { do: "call" };
type Random = (limit: number) => number;

/** Everything follows from the seed, if the number of runs is given. */
export async function worstCases(options: WorstOptions): Promise<WorstCases> {
  const module = meteredModule(options.module ?? (await hypervisorModule()));
  const names = Object.keys(MACHINES);
  const known: WorstCases = { calls: new Map(), locks: new Map() };
  const searches = new Map<string, MachineSearch>();
  const random = randomNumbers(options.seed);
  const began = performance.now();
  for (let run = 0; ; run++) {
    if (options.runs !== undefined ? run >= options.runs : performance.now() - began > options.seconds * 1000) break;
    const machine = names[run % names.length];
    let search = searches.get(machine);
    if (!search) {
      const meter = new Meter();
      const world = await World.boot(MACHINES[machine], module, undefined, meter);
      searches.set(machine, (search = new MachineSearch(machine, world, meter, known)));
    }
    search.run(random(2 ** 31));
  }
  return known;
}

/** The search on one machine. */
class MachineSearch {
  readonly #machine: string;
  readonly #world: World;
  readonly #observer: Observer;
  readonly #meter: Meter;
  readonly #known: WorstCases;
  #commands: Command[] = [];

  constructor(machine: string, world: World, meter: Meter, known: WorstCases) {
    this.#machine = machine;
    this.#world = world;
    this.#observer = new Observer(world);
    this.#meter = meter;
    this.#known = known;
  }

  /** One run from boot. A failure of the hypervisor leaves as it is: what it cost is no matter then. */
  run(seed: number): void {
    const random = randomNumbers(seed);
    this.#world.restart();
    this.#commands = [];
    try {
      const base = random(2) === 0 ? this.#base(random) : undefined;
      for (const command of base?.commands ?? []) this.#execute(command);
      const costly = base?.commands.at(-1);
      const generator = new Generator(this.#world, this.#observer, random(2 ** 31));
      for (let i = 0; i < RUN_LENGTH; i++) {
        const next = costly?.do === "call" && random(8) === 0 ? varied(costly, random) : generator.next();
        this.#execute(next.do === "call" && random(6) === 0 ? larger(next, random) : next);
      }
    } catch (error) {
      if (!(error instanceof MachineEnded)) throw error;
    }
  }

  /** What led to one of the costliest stretches on this machine. */
  #base(random: Random): Run | undefined {
    const { calls, locks } = this.#known;
    const runs = [...calls.values(), ...locks.values()]
      .map(({ run }) => run)
      .filter(({ machine }) => machine === this.#machine);
    return runs[random(Math.max(1, runs.length))];
  }

  #execute(command: Command): void {
    // What is pending is taken first, so that it is not the command's.
    this.#measure({ hart: command.hart, do: "rest", ticks: 0 });
    this.#measure(command);
  }

  #measure(command: Command): void {
    const { harts } = this.#world.machine;
    const vm = this.#world.vmOn(harts[command.hart % harts.length]);
    this.#commands.push(command);
    this.#meter.clear();
    this.#world.execute(command);
    for (const [carriedOn, stretch] of this.#meter.longest) {
      const title = titleOf(command, vm, carriedOn);
      this.#keep(this.#known.calls, title, title, stretch);
    }
    for (const [lock, { stretch, carriedOn }] of this.#meter.holds) {
      this.#keep(this.#known.locks, lock, titleOf(command, vm, carriedOn), stretch);
    }
  }

  #keep(known: Map<string, WorstCase>, key: string, title: string, stretch: Readonly<Stretch>): void {
    const best = known.get(key);
    if (weight(stretch) === 0 || (best && weight(best.stretch) >= weight(stretch))) return;
    known.set(key, { stretch, title, run: { machine: this.#machine, commands: [...this.#commands] } });
  }
}

/** What the table calls it. A call of COVH carries on with one on a range that its vCPU did not go on with: that work is the other one's. */
function titleOf(command: Command, vm: bigint | undefined, carriedOn: Work["carriedOn"]): string {
  if (command.do !== "call") return OTHER_ENTRIES;
  const [eid, fid] = [Number(command.eid), Number(command.fid)];
  const others = carriedOn !== undefined && eid === Eid.covh && fid !== Covh.cpuRun;
  const name = functionName(eid, others ? carriedOn : fid);
  return name === undefined ? OTHER_ENTRIES : `${name} of a ${vm === 0n ? "host" : "TVM"}`;
}

/** The call, for many times what it was about. */
function larger(call: Call, random: Random): Command {
  const amount = AMOUNTS[Number(call.eid)]?.[Number(call.fid)];
  if (!amount || typeof call.args[amount.argument] !== "bigint") return call;
  const args = [...call.args];
  args[amount.argument] = amount.unit << BigInt(random(13));
  return { ...call, args };
}

/** The call with another argument, or as it was. */
function varied(call: Call, random: Random): Call {
  const at = random(call.args.length + 1);
  const value: Value | undefined = call.args[at];
  if (typeof value !== "bigint") return call;
  const args = [...call.args];
  const page = PAGE << BigInt(random(10));
  args[at] = [value * 2n, value / 2n, value + page, value - page, value + 1n, value - 1n][random(6)];
  return { ...call, args };
}
