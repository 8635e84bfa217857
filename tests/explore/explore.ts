import type { DoorReplacement } from "../../machine/simulated/door.ts";
import type { HypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import { AbstractState } from "./abstract-state.ts";
import { EVENTS, checkArrivals, describeEvent, listEvents, perform } from "./events.ts";
import { describeSituation, situation } from "./situation.ts";
import { SmallWorld } from "./small-world.ts";
import type { WorldSize } from "./small-world.ts";
import { StateSet } from "./state-set.ts";

/** States between two looks at all of memory by the full checker. */
const FULL_CHECK = 5000;

export interface ExploreOptions {
  size: WorldSize;
  /** The longest it may take, in processor time: what others do on the machine changes nothing. */
  seconds: number;
  maxDepth?: number;
  module?: HypervisorModule;
  /** Functions of the door that take the place of the usual ones. */
  door?: DoorReplacement;
  log?: (line: string) => void;
}

export interface CoveredPair {
  event: string;
  situation: string;
  answers: Record<string, number>;
}

export interface ExploreReport {
  size: WorldSize;
  /** Distinct states, and those all of whose events were tried. */
  states: number;
  expanded: number;
  /** Events that were executed, and of these the calls that failed. */
  transitions: number;
  refused: number;
  /** Every state up to this depth was found and everything tried in all that are nearer. */
  depth: number;
  /** True if no new state appeared any more. */
  complete: boolean;
  /** By the clock, and processor time. */
  seconds: number;
  cpuSeconds: number;
  /** How often each event was answered how. */
  answers: Record<string, Record<string, number>>;
  /** Every pair of situation and event that occurred, with how often it was answered how. */
  pairs: CoveredPair[];
  violation?: { error: string; path: string[] };
}

/**
 * Tries everything that can happen, from the state after boot on, breadth first, so that a path to a violation is as short as any. A state
 * is reached by doing again what led to it: undoing and doing again is cheaper than keeping copies of a million memories.
 */
export async function explore(options: ExploreOptions): Promise<ExploreReport> {
  const world = await SmallWorld.boot(options.size, options.module, options.door);
  return new Exploration(world, options).run();
}

class Exploration {
  readonly #world: SmallWorld;
  readonly #options: ExploreOptions;
  readonly #state: AbstractState;
  readonly #found = new StateSet();
  /** How each state was reached: from which, by what. */
  #parents = new Int32Array(1 << 20);
  #events = new Int32Array(1 << 20);
  #depths = new Uint8Array(1 << 20);
  #count = 0;
  /** The states on the way from the start to where the world is now, the start excluded. */
  readonly #path: number[] = [];
  readonly #pairs = new Map<number, number>();
  #transitions = 0;
  #refused = 0;

  constructor(world: SmallWorld, options: ExploreOptions) {
    this.#world = world;
    this.#options = options;
    this.#state = new AbstractState(world);
  }

  run(): ExploreReport {
    const { seconds, maxDepth = 255, log = () => {} } = this.#options;
    const began = performance.now();
    const cpu = process.cpuUsage();
    const cpuSeconds = (): number => {
      const { user, system } = process.cpuUsage(cpu);
      return (user + system) / 1e6;
    };
    this.#state.read();
    this.#found.add(this.#state.low, this.#state.high);
    this.#append(-1, 0, 0);
    let next = 0;
    let violation: ExploreReport["violation"];
    let reported = began;
    for (; next < this.#count && this.#depths[next] < maxDepth; next++) {
      if ((next & 31) === 0) {
        if (cpuSeconds() > seconds) break;
        const now = performance.now();
        if (now - reported > 10_000) {
          reported = now;
          log(`${this.#count} states, ${next} done, depth ${this.#depths[next]}, ${this.#transitions} transitions`);
        }
      }
      violation = this.#expand(next);
      if (violation) break;
    }
    return {
      size: this.#options.size,
      states: this.#count,
      expanded: next,
      transitions: this.#transitions,
      refused: this.#refused,
      depth: this.#depths[Math.min(next, this.#count - 1)],
      complete: next === this.#count && !violation,
      seconds: (performance.now() - began) / 1000,
      cpuSeconds: cpuSeconds(),
      answers: this.#answers(),
      pairs: this.#coveredPairs(),
      ...(violation ? { violation } : {}),
    };
  }

  /** Tries everything in one state. */
  #expand(id: number): ExploreReport["violation"] {
    const world = this.#world;
    const state = this.#state;
    this.#goTo(id);
    state.read();
    const events = new Int32Array(1024);
    const count = listEvents(state, events);
    const situations = new Int32Array(count);
    for (let i = 0; i < count; i++) situations[i] = situation(state, events[i]);
    const states = state.state.slice();
    const owners = state.owner.slice();
    let event = 0;
    world.push();
    try {
      for (let i = 0; i < count; i++) {
        event = events[i];
        const error = this.#try(event, states, owners);
        this.#countPair(event, situations[i], error);
        if (error !== 0) {
          this.#refused++;
          world.checkUnchanged();
          world.forget();
          continue;
        }
        if (this.#found.add(state.low, state.high)) this.#append(id, event, this.#depths[id] + 1);
        world.rewind();
      }
      if (id % FULL_CHECK === 0) world.checker.check(false);
    } catch (problem) {
      const path = [...this.#pathTo(id), event].map(describeEvent);
      return { error: (problem as Error).message, path };
    }
    world.pop();
    return undefined;
  }

  #try(event: number, states: Int32Array, owners: Int32Array): number {
    const state = this.#state;
    this.#transitions++;
    // addMeasured chooses its source by the state before.
    state.restore(states, owners);
    const error = perform(this.#world, state, event);
    if (error !== 0) return error;
    state.read();
    checkArrivals(this.#world, state, states, owners);
    return 0;
  }

  /** Brings the world to a state: back to where its path leaves the present one, then forward. */
  #goTo(id: number): void {
    const target: number[] = [];
    for (let at = id; at > 0; at = this.#parents[at]) target.push(at);
    target.reverse();
    let common = 0;
    while (common < this.#path.length && this.#path[common] === target[common]) common++;
    while (this.#path.length > common) {
      this.#world.pop();
      this.#path.pop();
    }
    for (const step of target.slice(common)) {
      this.#state.read();
      const [states, owners] = [this.#state.state.slice(), this.#state.owner.slice()];
      this.#world.push();
      perform(this.#world, this.#state, this.#events[step]);
      this.#state.read();
      checkArrivals(this.#world, this.#state, states, owners);
      this.#path.push(step);
    }
  }

  #pathTo(id: number): number[] {
    const events: number[] = [];
    for (let at = id; at > 0; at = this.#parents[at]) events.push(this.#events[at]);
    return events.reverse();
  }

  #append(parent: number, event: number, depth: number): void {
    if (this.#count === this.#parents.length) {
      this.#parents = grown(this.#parents, Int32Array);
      this.#events = grown(this.#events, Int32Array);
      this.#depths = grown(this.#depths, Uint8Array);
    }
    this.#parents[this.#count] = parent;
    this.#events[this.#count] = event;
    this.#depths[this.#count++] = depth;
  }

  #countPair(event: number, found: number, error: number): void {
    const key = ((event & 31) * 16 - error) * 2 ** 20 + found;
    this.#pairs.set(key, (this.#pairs.get(key) ?? 0) + 1);
  }

  #answers(): Record<string, Record<string, number>> {
    const answers: Record<string, Record<string, number>> = {};
    for (const { event, answers: some } of this.#coveredPairs()) {
      const all = (answers[event] ??= {});
      for (const [answer, count] of Object.entries(some)) all[answer] = (all[answer] ?? 0) + count;
    }
    return answers;
  }

  #coveredPairs(): CoveredPair[] {
    const covered = new Map<string, CoveredPair>();
    for (const [key, count] of [...this.#pairs].sort(([a], [b]) => a - b)) {
      const [call, found] = [Math.floor(key / 2 ** 20), key % 2 ** 20];
      const kind = Math.floor(call / 16);
      const answer = call % 16 === 0 ? "success" : String(-(call % 16));
      let pair = covered.get(`${kind} ${found}`);
      if (!pair) {
        pair = { event: EVENTS[kind], situation: describeSituation(kind, found), answers: {} };
        covered.set(`${kind} ${found}`, pair);
      }
      pair.answers[answer] = count;
    }
    return [...covered.values()];
  }
}

function grown<T extends Int32Array | Uint8Array>(array: T, kind: new (length: number) => T): T {
  const larger = new kind(array.length * 2);
  larger.set(array);
  return larger;
}
