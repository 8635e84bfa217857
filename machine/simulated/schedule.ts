/** Which of the harts that could take a step takes the next one. */
export interface Schedule {
  /** `runnable` is never empty; returns one of its entries. */
  choose<T>(runnable: readonly T[]): T;
}

/** Every hart in turn. */
export function roundRobin(): Schedule {
  let turn = 0;
  return { choose: (runnable) => runnable[turn++ % runnable.length] };
}

/** A sequence that depends on the seed alone. */
export function seededRandom(seed: number): Schedule {
  const next = randomNumbers(seed);
  return { choose: (runnable) => runnable[next(runnable.length)] };
}

/** Numbers from 0 to limit - 1 (mulberry32). */
export function randomNumbers(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
}
