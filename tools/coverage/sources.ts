import { createHash } from "node:crypto";
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DATA_BASE } from "../../machine/simulated/hypervisor-module.ts";
import { compileTypeScript } from "../build/assemblyscript.ts";
import { repository } from "../repository.ts";
import { instrument, presentProbes, type Unit } from "./instrument.ts";

/** The hypervisor's sources as they are now, copies of them with changes, and the modules that those become. */

/** Everything that can be part of the hypervisor, by name relative to the repository. */
export function hypervisorSources(): Map<string, string> {
  const files = globSync(["hypervisor/**/*.ts", "crypto/**/*.ts", "umode/**/*.ts"], { cwd: repository }).sort();
  return new Map(files.map((file) => [file, readFileSync(path.join(repository, file), "utf8")]));
}

export function digestOf(parts: Iterable<string>): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update("\0");
  return hash.digest("hex").slice(0, 20);
}

/** Writes a tree of sources; what was in the folder is gone. */
export function writeSources(folder: string, sources: Map<string, string>): void {
  rmSync(folder, { recursive: true, force: true });
  for (const [file, text] of sources) {
    mkdirSync(path.join(folder, path.dirname(file)), { recursive: true });
    writeFileSync(path.join(folder, file), text);
  }
}

/**
 * Compiles the hypervisor in `folder` for the simulated machine, not optimised. `inspect` may look at its text form.
 *
 * @throws BuildFailure if AssemblyScript refuses it
 */
export async function compileForTests(folder: string, inspect?: (text: string) => void): Promise<Uint8Array> {
  const { module } = await compileTypeScript({
    root: folder,
    entry: "hypervisor/main.ts",
    memoryBase: DATA_BASE,
    log: () => {},
  });
  try {
    if (!module.validate()) throw new Error(`${folder}: AssemblyScript made an invalid module`);
    inspect?.(module.toText());
    module.setDebugInfo(true);
    return module.toBinary(null).output;
  } finally {
    module.dispose();
  }
}

export interface InstrumentedHypervisor {
  /** Folder with the instrumented sources. */
  sources: string;
  /** The module. */
  wasm: string;
  /** What can be reached: units that the compiler left in the module. */
  units: Unit[];
  /** Number of counters. */
  probes: number;
}

/** Makes the hypervisor with counters in `folder`. */
export async function instrumentHypervisor(
  folder: string,
  sources: Map<string, string>,
): Promise<InstrumentedHypervisor> {
  const instrumented = new Map<string, string>();
  const units: Unit[] = [];
  let probes = 0;
  for (const [file, text] of sources) {
    const result = instrument(file, text, probes);
    probes = result.nextProbe;
    units.push(...result.units);
    instrumented.set(file, result.text);
  }
  const copy = path.join(folder, "sources");
  writeSources(copy, instrumented);
  let present = new Set<number>();
  const binary = await compileForTests(copy, (text) => (present = presentProbes(text)));
  const wasm = path.join(folder, "salus.wasm");
  writeFileSync(wasm, binary);
  return { sources: copy, wasm, units: reachableUnits(units, present), probes };
}

/**
 * Units that are in the module. A branch of which the compiler kept one way only, because its condition is known when it compiles, is
 * none.
 */
function reachableUnits(units: Unit[], present: Set<number>): Unit[] {
  const kept = units.filter((unit) => [...unit.plus, ...unit.minus].every((probe) => present.has(probe)));
  const ways = new Map<string, number>();
  const key = (unit: Unit): string => `${unit.file}:${unit.group}`;
  for (const unit of kept) if (unit.kind === "branch") ways.set(key(unit), (ways.get(key(unit)) ?? 0) + 1);
  return kept.filter((unit) => unit.kind !== "branch" || ways.get(key(unit))! > 1);
}
