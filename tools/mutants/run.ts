import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Coverage } from "../coverage/measure.ts";
import { compileForTests, digestOf, writeSources } from "../coverage/sources.ts";
import { buildFolder } from "../repository.ts";
import { inParallel, runTestFile, testInputs } from "../test/hypervisor-tests.ts";
import { substituteEnvironment, substituteHelper } from "../test/substitute.ts";
import { faulty, type Fault } from "./fault.ts";

/** Puts faults into the hypervisor, one at a time, and runs the tests that reach the place until one of them fails. */

export type Verdict =
  /** A test failed. */
  | { verdict: "caught"; test: string; how: string }
  /** All tests that reach the place passed. */
  | { verdict: "survived"; tests: number }
  /** AssemblyScript refuses the program: no fault that could be made. */
  | { verdict: "invalid"; why: string };

export interface Result {
  fault: Fault;
  outcome: Verdict;
  seconds: number;
  /** Known from an earlier run with the same sources and tests. */
  known: boolean;
}

const FOLDER = path.join(buildFolder, "mutants");
const CACHE = path.join(FOLDER, "results.json");
/** A test may take that many times as long as with counters, and some seconds, before it counts as one that never ends. */
const PATIENCE = 3;
const PATIENCE_SECONDS = 4;

interface CacheEntry {
  /** The fault's file. */
  file: string;
  /** Over the sources with the fault. */
  sources: string;
  /** Over the test that caught it, or over all tests. */
  tests: string;
  outcome: Verdict;
  /** Tests that did not notice. */
  passed: string[];
}

export interface RunOptions {
  sources: Map<string, string>;
  /** Which test reaches what, without faults. */
  coverage: Coverage;
  parallel: number;
  /** Do not use what earlier runs found out. */
  again: boolean;
  /** Begin no further fault when performance.now() says this; what is known is still reported. */
  until: number;
  report: (result: Result) => void;
}

/** Tries all `faults`. */
export async function tryFaults(faults: readonly Fault[], options: RunOptions): Promise<Result[]> {
  const trial = new Trial(options);
  const results: Result[] = [];
  let free = Array.from({ length: options.parallel }, (_, index) => path.join(FOLDER, `sources-${index}`));
  free.forEach((folder) => writeSources(folder, options.sources));
  await inParallel(faults, options.parallel, async (fault) => {
    if (performance.now() > options.until && !trial.knows(fault)) return;
    const [folder, ...rest] = free;
    free = rest;
    const result = await trial.try(fault, folder);
    free = [...free, folder];
    results.push(result);
    options.report(result);
  });
  return results;
}

/** What earlier runs found out; what an older version has kept with less in it is found out anew. */
function readCache(): Record<string, CacheEntry> {
  if (!existsSync(CACHE)) return {};
  const kept = Object.entries(JSON.parse(readFileSync(CACHE, "utf8")) as Record<string, Partial<CacheEntry>>);
  return Object.fromEntries(kept.filter(([, { file, passed }]) => file && passed)) as Record<string, CacheEntry>;
}

class Trial {
  readonly #options: RunOptions;
  readonly #sourcesDigest: string;
  readonly #allTests: string;
  readonly #cache: Record<string, CacheEntry>;
  readonly #odds = new Odds();

  constructor(options: RunOptions) {
    this.#options = options;
    this.#sourcesDigest = digestOf([...options.sources].flat());
    this.#allTests = digestOf(options.coverage.tests.map(({ file }) => testInputs(file)));
    this.#cache = readCache();
    for (const { file, outcome, passed } of Object.values(this.#cache)) {
      passed.forEach((test) => this.#odds.learn(file, test, false));
      if (outcome.verdict === "caught") this.#odds.learn(file, outcome.test, true);
    }
  }

  /** Whether an earlier run with the same sources and tests found out. */
  knows(fault: Fault): boolean {
    const cached = this.#cache[fault.id];
    return (
      !this.#options.again &&
      cached?.sources === this.#sourcesWith(fault) &&
      cached.tests === this.#testsOf(cached.outcome)
    );
  }

  #sourcesWith(fault: Fault): string {
    return digestOf([this.#sourcesDigest, fault.file, String(fault.start), fault.replacement]);
  }

  async try(fault: Fault, folder: string): Promise<Result> {
    const begin = performance.now();
    const sources = this.#sourcesWith(fault);
    const known = this.knows(fault);
    const passed: string[] = [];
    const outcome = known ? this.#cache[fault.id].outcome : await this.#outcome(fault, folder, passed);
    if (!known) this.#remember(fault.id, { file: fault.file, sources, tests: this.#testsOf(outcome), outcome, passed });
    return { fault, outcome, seconds: (performance.now() - begin) / 1000, known };
  }

  #testsOf(outcome: Verdict): string {
    return outcome.verdict === "caught" ? testInputs(outcome.test) : this.#allTests;
  }

  #remember(id: string, entry: CacheEntry): void {
    this.#cache[id] = entry;
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(CACHE, JSON.stringify(this.#cache));
  }

  async #outcome(fault: Fault, folder: string, passed: string[]): Promise<Verdict> {
    const file = path.join(folder, fault.file);
    const text = this.#options.sources.get(fault.file)!;
    writeFileSync(file, faulty(fault, text));
    try {
      const wasm = path.join(folder, "salus.wasm");
      try {
        writeFileSync(wasm, await compileForTests(folder));
      } catch (error) {
        return { verdict: "invalid", why: (error as Error).message.split("\n")[0] };
      }
      return await this.#runTests(fault, wasm, folder, passed);
    } finally {
      writeFileSync(file, text);
    }
  }

  async #runTests(fault: Fault, wasm: string, folder: string, passed: string[]): Promise<Verdict> {
    const tests = this.#testsReaching(fault);
    const helper = isOfHelper(fault) ? substituteHelper(folder) : {};
    for (const { file, seconds } of tests) {
      const result = await runTestFile(file, {
        environment: { ...substituteEnvironment(wasm, folder), ...helper },
        timeoutSeconds: seconds * PATIENCE + PATIENCE_SECONDS,
      });
      this.#odds.learn(fault.file, file, !result.passed);
      if (result.passed) {
        passed.push(file);
        continue;
      }
      return { verdict: "caught", test: file, how: result.failure!.split("\n").slice(0, 3).join(" | ").slice(0, 300) };
    }
    return { verdict: "survived", tests: tests.length };
  }

  /** What noticed this fault when it was tried last, then the likeliest to notice for its time. */
  #testsReaching(fault: Fault): Coverage["tests"] {
    const last = this.#cache[fault.id]?.outcome;
    const worth = ({ file, seconds }: { file: string; seconds: number }): number =>
      last?.verdict === "caught" && last.test === file ? Infinity : this.#odds.of(fault.file, file) / (seconds + 1);
    return testsReaching(fault, this.#options.coverage)
      .map((test) => ({ test, worth: worth(test) }))
      .sort((a, b) => b.worth - a.worth)
      .map(({ test }) => test);
  }
}

/** How likely a test is to notice a fault: from what it did with others of the same file, the same folder, and everywhere. */
export class Odds {
  readonly #seen = new Map<string, { tried: number; caught: number }>();

  learn(source: string, test: string, caught: boolean): void {
    for (const place of [source, path.dirname(source), ""]) {
      const key = `${place} ${test}`;
      const { tried, caught: before } = this.#seen.get(key) ?? { tried: 0, caught: 0 };
      this.#seen.set(key, { tried: tried + 1, caught: before + (caught ? 1 : 0) });
    }
  }

  /** Between 0 and 1. What is known of the narrower place counts more, the more there is. */
  of(source: string, test: string): number {
    const words = Math.min(commonWords(source, test), 2);
    let odds = 0.05;
    for (const [place, weight] of [
      ["", 10],
      [path.dirname(source), 4],
      [source, 2],
    ] as const) {
      const { tried, caught } = this.#seen.get(`${place} ${test}`) ?? { tried: 0, caught: 0 };
      odds = (caught + weight * odds) / (tried + weight);
      if (place === "") odds = 1 - (1 - odds) * 0.6 ** words;
    }
    return odds;
  }
}

/** How many words of a source's name are in a test's: what is named after the place is likely to be about it. */
export function commonWords(source: string, test: string): number {
  const words = (name: string): string[] => name.replace(/(\.test)?\.ts$/, "").split(/\W+/);
  const singular = (word: string): string => word.replace(/s$/, "");
  const known = new Set(words(test).map(singular));
  return new Set(
    words(source)
      .map(singular)
      .filter((word) => known.has(word)),
  ).size;
}

/** What the hypervisor enters the user-mode helper with: tests that reach it run the helper. */
const HELPER_ENTRY = "hypervisor/helper/run.ts";

/** Whether the fault is, or may be, one of the user-mode helper, which is a module of its own. */
function isOfHelper({ file }: Fault): boolean {
  return !file.startsWith("hypervisor/");
}

/**
 * Tests that reach the statement with the fault (or, outside of statements, its file). What is not under hypervisor/ may be missing in its
 * module, as signatures are, which the user-mode helper makes: tests that run the helper count as well, and those of the fault's own folder, which
 * compile it themselves.
 */
export function testsReaching(fault: Fault, { units, tests }: Pick<Coverage, "units" | "tests">): Coverage["tests"] {
  const inFile = units.filter(({ file }) => file === fault.file);
  const around = inFile
    .filter(({ kind, start, end }) => kind === "statement" && start <= fault.start && end >= fault.end)
    .sort((a, b) => a.end - a.start - (b.end - b.start));
  const counters = new Set(around.length > 0 ? around[0].plus : inFile.flatMap(({ plus }) => plus));
  const entry = isOfHelper(fault) ? units.filter(({ file }) => file === HELPER_ENTRY) : [];
  for (const { plus } of entry) for (const probe of plus) counters.add(probe);
  const own = `tests/unit/${fault.file.split("/")[0]}/`;
  return tests.filter(
    ({ failure, file, reached }) =>
      failure === undefined && (file.startsWith(own) || reached.some((probe) => counters.has(probe))),
  );
}
