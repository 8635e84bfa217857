import { existsSync, globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Failure } from "../failure.ts";
import { buildFolder, repository } from "../repository.ts";
import { hypervisorTests, inParallel, runTestFile, testInputs, type TestFileResult } from "../test/hypervisor-tests.ts";
import { substituteEnvironment } from "../test/substitute.ts";
import type { Unit } from "./instrument.ts";
import { digestOf, hypervisorSources, instrumentHypervisor } from "./sources.ts";

/** Runs the tests that load the hypervisor with one that counts what they reach. */

export interface Coverage {
  /** Over the sources and everything that the tests are made of. */
  digest: string;
  /** Over the sources and the tools: with the same, what a test reached counts until the test changes. */
  base: string;
  units: Unit[];
  /** How often each counter was passed, over all tests. */
  counts: number[];
  tests: MeasuredTest[];
}

interface MeasuredTest {
  file: string;
  /** Over everything of tests/ and machine/ that it is made of. */
  inputs: string;
  seconds: number;
  failure?: string;
  /** Counters that it passed. */
  reached: number[];
}

const FOLDER = path.join(buildFolder, "coverage");
const RESULT = path.join(FOLDER, "coverage.json");
const TIMEOUT_SECONDS = 300;
const TOOLS = ["tools/{coverage,build,test}/**/*.ts"];

/** How often a unit was reached. */
export function timesReached(unit: Unit, counts: readonly number[]): number {
  const sum = (probes: number[]): number => probes.reduce((total, probe) => total + counts[probe], 0);
  return sum(unit.plus) - sum(unit.minus);
}

/** The last measurement, if nothing has changed since. */
export function lastMeasurement(): Coverage | undefined {
  const last = stored();
  return last?.digest === inputsDigest() ? last : undefined;
}

function stored(): Coverage | undefined {
  return existsSync(RESULT) ? (JSON.parse(readFileSync(RESULT, "utf8")) as Coverage) : undefined;
}

/**
 * Measures, `parallel` test files at a time. Of the tests that passed with these sources before, only those that changed since run again.
 *
 * @param report receives the result of each test file
 * @throws Failure if there is nothing to run
 */
export async function measure(parallel: number, report: (result: TestFileResult) => void): Promise<Coverage> {
  const [digest, base] = [inputsDigest(), baseDigest()];
  const last = stored();
  const valid = new Map(last?.base === base ? last.tests.map((test) => [`${test.file} ${test.inputs}`, test]) : []);
  const hypervisor = await instrumentHypervisor(FOLDER, hypervisorSources());
  const files = hypervisorTests();
  if (files.length === 0) throw new Failure("no test loads the hypervisor");
  const counts = new Array<number>(hypervisor.probes).fill(0);
  const tests: Coverage["tests"] = [];
  await inParallel(files, parallel, async (file) => {
    const folder = path.join(FOLDER, "counters", file.replaceAll("/", "_"));
    const inputs = testInputs(file);
    const known = valid.get(`${file} ${inputs}`);
    if (known && known.failure === undefined && (known.reached.length === 0 || existsSync(folder))) {
      readCounters(folder, hypervisor.probes).forEach((count, probe) => (counts[probe] += count));
      tests.push(known);
      return;
    }
    rmSync(folder, { recursive: true, force: true });
    const environment = {
      ...substituteEnvironment(hypervisor.wasm, hypervisor.sources),
      SALUS_COVERAGE_FOLDER: folder,
      SALUS_COVERAGE_PROBES: String(hypervisor.probes),
    };
    const result = await runTestFile(file, { environment, timeoutSeconds: TIMEOUT_SECONDS, collect: true });
    const own = readCounters(folder, hypervisor.probes);
    own.forEach((count, probe) => (counts[probe] += count));
    const reached = own.flatMap((count, probe) => (count > 0 ? [probe] : []));
    tests.push({
      file,
      inputs,
      seconds: result.seconds,
      reached,
      ...(result.failure ? { failure: result.failure } : {}),
    });
    report(result);
  });
  tests.sort((a, b) => (a.file < b.file ? -1 : 1));
  const coverage = { digest, base, units: hypervisor.units, counts, tests };
  writeFileSync(RESULT, JSON.stringify(coverage));
  return coverage;
}

/** The sum over the processes of one test file. */
function readCounters(folder: string, probes: number): number[] {
  const counts = new Array<number>(probes).fill(0);
  for (const name of globSync("*.counts", { cwd: folder })) {
    const bytes = readFileSync(path.join(folder, name));
    for (let probe = 0; probe < probes; probe++) counts[probe] += bytes.readDoubleLE(probe * 8);
  }
  return counts;
}

function inputsDigest(): string {
  return digestWith(["tests/**/*.ts", "machine/simulated/*.ts", ...TOOLS]);
}

function baseDigest(): string {
  return digestWith(TOOLS);
}

/** Digest over the sources of the hypervisor and these files. */
function digestWith(patterns: string[]): string {
  // Faults and explanations decide nothing about what a test reaches.
  const files = globSync(patterns, { cwd: repository })
    .filter((file) => !/^tests\/(qemu|mutants|coverage)\//.test(file))
    .sort();
  const read = (file: string): string => readFileSync(path.join(repository, file), "utf8");
  return digestOf([...hypervisorSources()].flat().concat(files.flatMap((file) => [file, read(file)])));
}
