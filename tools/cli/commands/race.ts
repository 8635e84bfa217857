import { checkedModule } from "../../../machine/simulated/checked-module.ts";
import type { LockUse } from "../../../machine/simulated/lock-monitor.ts";
import { RaceWorld, SCENES } from "../../../tests/races/world.ts";
import type { SceneName } from "../../../tests/races/world.ts";

export interface RaceFlags {
  harts: number;
  seconds: number;
  seed: number;
  scene?: SceneName;
  runs?: number;
  json?: boolean;
}

/**
 * `salus race`: several harts in the hypervisor at the same time, seed after seed, up to the first failure. Each seed is played in every scene.
 *
 * @returns true if nothing was found
 */
export async function race(flags: RaceFlags): Promise<boolean> {
  const write = (text: string): void => void process.stdout.write(`${text}\n`);
  const names = flags.scene ? [flags.scene] : (Object.keys(SCENES) as SceneName[]);
  const module = await checkedModule();
  const worlds: RaceWorld[] = [];
  for (const scene of names) worlds.push(await RaceWorld.boot({ harts: flags.harts, scene, module }));
  const begin = performance.now();
  const seconds = (): number => (performance.now() - begin) / 1000;
  const total = { runs: 0, entries: 0, calls: 0, checks: 0 };
  let failure: string | undefined;
  const more = (): boolean => (flags.runs === undefined ? seconds() < flags.seconds : total.runs < flags.runs);
  for (let seed = flags.seed; failure === undefined && more(); seed++) {
    try {
      for (const world of worlds) {
        const { entries, calls, checks } = await world.play(seed);
        total.entries += entries;
        total.calls += calls;
        total.checks += checks;
      }
    } catch (error) {
      failure = (error as Error).message;
    }
    total.runs++;
  }
  if (failure !== undefined) write(failure);
  const successes = sum(worlds.map(({ tally }) => tally.successes));
  const errors = sum(worlds.map(({ tally }) => tally.errors));
  const tvmOperations = worlds.reduce((all, { tally }) => all + tally.tvmOperations, 0);
  const locks = locksOf(worlds);
  if (flags.json) {
    const { harts, seed } = flags;
    const what = { harts, seed, scenes: names, ...total, seconds: seconds() };
    write(JSON.stringify({ ...what, failure, tvmOperations, successes, errors, locks }));
  } else {
    const { runs, entries, calls, checks } = total;
    write(
      `${runs} seeds on ${flags.harts} harts: ${entries} entries, ${calls} calls of the door interleaved, ` +
        `${checks} checks of everything, ${seconds().toFixed(1)} s`,
    );
    const counts = Object.entries(successes).sort(([a], [b]) => a.localeCompare(b));
    write(`calls that succeeded: ${counts.map(([name, count]) => `${name} ${count}`).join(", ")}`);
    const uses = Object.entries(locks).map(([name, { taken, waited }]) => `${name} ${taken} (${waited})`);
    write(`locks taken (and found held by another hart): ${uses.join(", ")}`);
  }
  return failure === undefined;
}

function sum(all: readonly Record<string, number>[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const each of all) for (const [name, count] of Object.entries(each)) total[name] = (total[name] ?? 0) + count;
  return total;
}

function locksOf(worlds: readonly RaceWorld[]): Record<string, LockUse> {
  const total: Record<string, LockUse> = {};
  for (const world of worlds) {
    for (const [name, { taken, waited }] of world.locks) {
      const use = (total[name] ??= { taken: 0, waited: 0 });
      use.taken += taken;
      use.waited += waited;
    }
  }
  return total;
}
