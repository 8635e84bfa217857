import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { NAMED_FAULTS } from "../../tests/mutants/named/index.ts";
import type { Coverage } from "../coverage/measure.ts";
import { Failure, UsageError } from "../failure.ts";
import { repository } from "../repository.ts";
import { locate, rank, type Fault } from "./fault.ts";
import { faultsOf } from "./operators.ts";

/** Which faults a run tries, and which survivors are known. */

/** Where faults are generated, if the compiler leaves the place in the hypervisor: the user-mode helper has modules of its own. */
const GENERATED_IN = /^(hypervisor|crypto)\//;
const EXPLAINED = path.join(repository, "tests/mutants/survivors.json");

export interface Selection {
  named: Fault[];
  /** More than asked for, in order: those that do not compile are passed over. */
  generated: Fault[];
}

export interface SelectOptions {
  sources: ReadonlyMap<string, string>;
  coverage: Coverage;
  seed: number;
  /** Faults whose id or file contains one of them; all if there are none. */
  names: readonly string[];
}

/**
 * The named faults, and the generated ones in the order of the seed.
 *
 * @throws Failure if a named fault does not fit the sources any more
 * @throws UsageError if a name means nothing
 */
export function selectFaults({ sources, coverage, seed, names }: SelectOptions): Selection {
  const wanted = ({ id, file }: Fault): boolean =>
    names.length === 0 || names.some((name) => id.includes(name) || file.includes(name));
  const named = locate(NAMED_FAULTS, sources).filter(wanted);
  const generated = [...sources]
    .filter(([file]) => GENERATED_IN.test(file))
    .flatMap(([file, text]) => faultsOf(file, text))
    .filter((fault) => wanted(fault) && isCompiled(fault, coverage))
    .map((fault) => ({ fault, order: rank(fault.id, seed) }))
    .sort((a, b) => (a.order < b.order ? -1 : 1))
    .map(({ fault }) => fault);
  if (named.length + generated.length === 0) throw new UsageError(`no fault is called "${names.join('", "')}"`);
  return { named, generated };
}

/** Whether the compiler left the statement around the fault in the module. */
function isCompiled(fault: Fault, { units }: Coverage): boolean {
  return units.some(({ file, start, end }) => file === fault.file && start <= fault.start && end >= fault.end);
}

/** `count` of them, spread over all. */
export function spread<T>(all: readonly T[], count: number): T[] {
  if (count >= all.length) return [...all];
  return Array.from({ length: count }, (_, index) => all[Math.floor((index * all.length) / count)]);
}

/** Why a fault that no test notices is none, or need not be noticed: tests/mutants/survivors.json. */
export function explainedSurvivors(): Map<string, string> {
  if (!existsSync(EXPLAINED)) return new Map();
  const entries = JSON.parse(readFileSync(EXPLAINED, "utf8")) as { id: string; reason: string }[];
  for (const { id, reason } of entries) {
    if (!reason) throw new Failure(`tests/mutants/survivors.json: ${id} has no reason`);
  }
  return new Map(entries.map(({ id, reason }) => [id, reason]));
}
