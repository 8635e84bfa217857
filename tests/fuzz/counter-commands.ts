import { Eid } from "../unit/support/simulated/sbi.ts";
import type { Command } from "./command.ts";

const Pmu = {
  numCounters: 0,
  getInfo: 1,
  configMatching: 2,
  start: 3,
  stop: 4,
  fwRead: 5,
  snapshotSetShmem: 7,
} as const;
/** Of counter_config_matching: SKIP_MATCH, CLEAR_VALUE, AUTO_START. */
const FLAGS = [0n, 0n, 0n, 1n, 2n, 4n, 7n, 0x20n];
/** Cycles and instructions, a cache event, a raw one, and such as do not exist. */
const EVENTS = [1n, 1n, 1n, 2n, 2n, 2n, 0x1_0000n, 0x2_0000n, 0x3_0000n, 0x4_0000n, 1n << 20n];
const ALL = (1n << 64n) - 1n;
/** Counters that calls are about: the first programmable one most of the time, so that the steps of its life find each other. */
const COUNTERS = [0, 2, 3, 3, 3, 3];

/** A call of the performance counters; `memory`: a page of the caller's for snapshots. */
export function counterCall(random: (limit: number) => number, hart: number, memory: bigint): Command {
  const pick = <T>(list: readonly T[]): T => list[random(list.length)];
  const call = (fid: number, ...args: bigint[]): Command => ({ hart, do: "call", eid: Eid.pmu, fid, args });
  const one = 1n << BigInt(pick(COUNTERS));
  switch (random(10)) {
    case 0:
      return call(Pmu.numCounters);
    case 1:
      return call(Pmu.getInfo, BigInt(random(8)));
    case 2:
    case 3:
    case 4:
      return call(Pmu.configMatching, 0n, pick([0x7dn, one, one, ALL]), pick(FLAGS), pick(EVENTS), 0n);
    case 5:
    case 6:
      return call(Pmu.start, 0n, one, pick([0n, 0n, 1n, 2n]), 5n);
    case 7:
    case 8:
      return call(Pmu.stop, 0n, one, pick([0n, 0n, 1n, 2n, 3n]));
    default:
      if (random(4) === 0) return call(pick([Pmu.fwRead, 6]), 0n);
      return random(3) === 0 ? call(Pmu.snapshotSetShmem, ALL, ALL, 0n) : call(Pmu.snapshotSetShmem, memory, 0n, 0n);
  }
}

/** The life of one counter: configured for cycles, started, stopped. */
export function counterPlan(): ((hart: number) => Command)[] {
  const step =
    (fid: number, ...args: bigint[]) =>
    (hart: number): Command => ({ hart, do: "call", eid: Eid.pmu, fid, args });
  return [step(Pmu.configMatching, 0n, 8n, 0n, 1n, 0n), step(Pmu.start, 0n, 8n, 1n, 5n), step(Pmu.stop, 0n, 8n, 1n)];
}
