import { checkedModule } from "../../../machine/simulated/checked-module.ts";
import { RaceWorld } from "../../../tests/races/world.ts";

export interface RaceFlags {
  harts: number;
  seconds: number;
  seed: number;
  runs?: number;
  json?: boolean;
}

/**
 * `salus race`: several harts in the hypervisor at the same time, seed after seed, up to the first failure.
 *
 * @returns true if nothing was found
 */
export async function race(flags: RaceFlags): Promise<boolean> {
  const write = (text: string): void => void process.stdout.write(`${text}\n`);
  const world = await RaceWorld.boot({ harts: flags.harts, module: await checkedModule() });
  const begin = performance.now();
  const seconds = (): number => (performance.now() - begin) / 1000;
  const total = { runs: 0, entries: 0, calls: 0, checks: 0 };
  let failure: string | undefined;
  const more = (): boolean => (flags.runs === undefined ? seconds() < flags.seconds : total.runs < flags.runs);
  for (let seed = flags.seed; failure === undefined && more(); seed++) {
    try {
      const { entries, calls, checks } = await world.play(seed);
      total.entries += entries;
      total.calls += calls;
      total.checks += checks;
    } catch (error) {
      failure = (error as Error).message;
    }
    total.runs++;
  }
  if (failure !== undefined) write(failure);
  const { successes, errors, tvmOperations } = world.tally;
  if (flags.json) {
    const { harts, seed } = flags;
    write(JSON.stringify({ harts, seed, ...total, seconds: seconds(), failure, tvmOperations, successes, errors }));
  } else {
    const { runs, entries, calls, checks } = total;
    write(
      `${runs} seeds on ${flags.harts} harts: ${entries} entries, ${calls} calls of the door interleaved, ` +
        `${checks} checks of everything, ${seconds().toFixed(1)} s`,
    );
  }
  return failure === undefined;
}
