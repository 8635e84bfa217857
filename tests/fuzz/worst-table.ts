import { hypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import { Meter, weight } from "../../machine/simulated/meter.ts";
import type { Stretch } from "../../machine/simulated/meter.ts";
import { meteredModule } from "../../machine/simulated/metered-module.ts";
import { REFERENCE_COMPILER, markdownTable } from "../../tools/bench/document.ts";
import type { Baseline } from "../../tools/bench/baseline.ts";
import { Covh, Eid } from "../unit/support/simulated/sbi.ts";
import type { Command } from "./command.ts";
import { MACHINES } from "./machines.ts";
import { World } from "./world.ts";
import type { StackFigures } from "./stack-table.ts";
import type { WorstCase, WorstCases } from "./worst.ts";

/** What the search found, as docs/performance.md shows it. */

const LEAF = 0x8040_0000n;
const LEAF_PAGES = 512;
/** Shorter ones than this share a row. */
const SHORT = 1000;

/** What an operation of the meter is in instructions of the image: `base` for each entry (trap.S), and `ratio` for each operation. */
export interface Conversion {
  base: number;
  ratio: number;
}

/**
 * From calls that the benchmark counts too: the null call gives what every entry has, the conversion of a whole 2 MiB leaf, of a page, and a fence the ratio; the
 * greatest counts.
 *
 * @throws Error if the baseline lacks them
 */
export async function conversion(baseline: Baseline): Promise<Conversion> {
  const meter = new Meter();
  const world = await World.boot(MACHINES["one hart"], meteredModule(await hypervisorModule()), undefined, meter);
  const measured = (name: string, times: number, eid: number, fid: number, ...args: bigint[]): Sample => {
    const entry = baseline[REFERENCE_COMPILER]?.[name];
    if (!entry) throw new Error(`bench/baseline.json has no row ${name} of ${REFERENCE_COMPILER}`);
    const call: Command = { hart: 0, do: "call", eid, fid, args };
    meter.clear();
    world.execute(call);
    return { instructions: entry.hypervisor * times, operations: meter.most.operations };
  };
  const nothing = measured("null-call-host", 1, Eid.base, 0);
  const base = nothing.instructions - nothing.operations;
  const samples = [
    measured("convert-2m", LEAF_PAGES, Eid.covh, Covh.convertPages, LEAF, BigInt(LEAF_PAGES)),
    measured("fence", 1, Eid.covh, Covh.initiateFence),
    measured("convert-1-of-2m-leaf", 1, Eid.covh, Covh.convertPages, LEAF + 0x20_0000n, 1n),
    measured("convert-1", 1, Eid.covh, Covh.convertPages, LEAF + 0x20_1000n, 1n),
  ];
  const ratios = samples.map(({ instructions, operations }) => (instructions - base) / operations);
  return { base, ratio: Math.max(1, ...ratios) };
}

interface Sample {
  instructions: number;
  operations: number;
}

/** Instructions of the image that a stretch is about: a word is a store, or a load and a store. */
export function instructions({ operations, zeroed, copied }: Readonly<Stretch>, { base, ratio }: Conversion): number {
  return Math.round(base + operations * ratio + zeroed + 2 * copied);
}

/** The table, the costliest first; the cheap ones in one row at its end. */
export function worstTable(found: ReadonlyMap<string, WorstCase>, convert: Conversion): string {
  const sorted = [...found].sort(([, a], [, b]) => weight(b.stretch) - weight(a.stretch));
  const long = sorted.filter(([, { stretch }]) => weight(stretch) >= SHORT);
  const short = sorted.slice(long.length);
  const cells = (name: string, { stretch, run }: WorstCase): string[] => [
    name,
    ...figures(stretch, convert),
    run.machine,
  ];
  const rows = long.map(([name, worst]) => cells(name, worst));
  if (short.length > 0) rows.push(cells(`${short.length} other calls, at most`, short[0][1]));
  return markdownTable(["entry", "operations", "words", "instructions, about", "machine"], rows);
}

/** For how long each kind of lock was held, the longest first. The way into the hypervisor is no part of it. */
export function lockTable(found: ReadonlyMap<string, WorstCase>, { ratio }: Conversion): string {
  const sorted = [...found].sort(([, a], [, b]) => weight(b.stretch) - weight(a.stretch));
  const rows = sorted.map(([name, { stretch, title, run }]) => [
    name,
    ...figures(stretch, { base: 0, ratio }),
    title,
    run.machine,
  ]);
  return markdownTable(["lock of", "operations", "words", "instructions, about", "held by", "machine"], rows);
}

/** All of it as one line: each entry, and each kind of lock with the call that held it, the costliest first; stacks in bytes. */
export function worstJson(
  seed: number,
  { calls, locks }: WorstCases,
  convert: Conversion,
  stacks: StackFigures,
): string {
  const rows = (found: ReadonlyMap<string, WorstCase>, base: number): object[] =>
    [...found]
      .sort(([, a], [, b]) => weight(b.stretch) - weight(a.stretch))
      .map(([name, { stretch, title, run }]) => ({
        name,
        ...(title === name ? {} : { call: title }),
        ...stretch,
        instructions: instructions(stretch, { ...convert, base }),
        machine: run.machine,
      }));
  const { stackDepth, stackThrough } = stacks;
  return JSON.stringify({
    seed,
    entries: rows(calls, convert.base),
    locks: rows(locks, 0),
    stack: { entries: stackDepth, through: stackThrough },
  });
}

function figures(stretch: Stretch, convert: Conversion): string[] {
  const number = (value: number): string => Math.round(value).toLocaleString("en-US");
  // Three digits are more than an estimate is good for.
  const estimate = Number(instructions(stretch, convert).toPrecision(2));
  return [number(stretch.operations), number(stretch.zeroed + stretch.copied), number(estimate)];
}
