import { MachineEnded } from "../../machine/simulated/errors.ts";
import { hypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import type { HypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import { Meter, weight } from "../../machine/simulated/meter.ts";
import type { Stretch } from "../../machine/simulated/meter.ts";
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
 * the costliest ones known did and go on with variations of what was costly.
 */
export interface WorstCase {
  stretch: Stretch;
  /** What leads there: the last command is it. */
  run: Run;
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

/** The costliest stretch of each call, by name. Everything follows from the seed, if the number of runs is given. */
export async function worstCases(options: WorstOptions): Promise<Map<string, WorstCase>> {
  const module = meteredModule(options.module ?? (await hypervisorModule()));
  const names = Object.keys(MACHINES);
  const known = new Map<string, WorstCase>();
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
  readonly #known: Map<string, WorstCase>;
  #commands: Command[] = [];

  constructor(machine: string, world: World, meter: Meter, known: Map<string, WorstCase>) {
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
    const runs = [...this.#known.values()].map(({ run }) => run).filter(({ machine }) => machine === this.#machine);
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
    const stretch = this.#meter.longest;
    const title = titleOf(command, vm);
    const best = this.#known.get(title);
    if (weight(stretch) === 0 || (best && weight(best.stretch) >= weight(stretch))) return;
    this.#known.set(title, { stretch, run: { machine: this.#machine, commands: [...this.#commands] } });
  }
}

/** What the table calls it. */
function titleOf(command: Command, vm: bigint | undefined): string {
  const name = command.do === "call" ? functionName(Number(command.eid), Number(command.fid)) : undefined;
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
