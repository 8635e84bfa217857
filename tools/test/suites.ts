import { globSync } from "node:fs";
import path from "node:path";
import { UsageError } from "../failure.ts";
import { repository } from "../repository.ts";

/** What `salus test` can run, and which of it the names on the command line mean. */

export const CHECK_SUITE = "check";
/** What the unit tests reach, and whether they notice faults (coverage-suite.ts). */
export const COVERAGE_SUITE = "coverage";
export const TEST_SUITES = ["unit", "qemu", "linux"] as const;
/** Those that run when nothing is named: the others take long. */
const USUAL_SUITES = ["unit", "qemu"];

export interface Selection {
  check: boolean;
  coverage: boolean;
  /** Test files, by suite. */
  files: Record<(typeof TEST_SUITES)[number], string[]>;
}

/** All test files of a suite, sorted. */
export function testFiles(suite: string): string[] {
  return globSync(`tests/${suite}/**/*.test.ts`, { cwd: repository })
    .map((file) => path.join(repository, file))
    .sort();
}

/**
 * Resolves names: a suite, or a part of a test file's path. No names mean everything but the suites that take long.
 *
 * @throws UsageError if a name means nothing
 */
export function select(names: string[], filesOf: (suite: string) => string[] = testFiles): Selection {
  const everything = names.length === 0;
  const selection: Selection = {
    check: everything,
    coverage: everything,
    files: { unit: [], qemu: [], linux: [] },
  };
  const all = TEST_SUITES.map((suite) => ({ suite, files: filesOf(suite) }));
  if (names.length === 0)
    for (const { suite, files } of all) if (USUAL_SUITES.includes(suite)) selection.files[suite] = files;
  for (const name of names) {
    if (name === CHECK_SUITE) {
      selection.check = true;
      continue;
    }
    if (name === COVERAGE_SUITE) {
      selection.coverage = true;
      continue;
    }
    let found = false;
    const named = all.filter(({ suite }) => suite === name);
    for (const { suite, files } of named.length > 0 ? named : all) {
      const matching =
        named.length > 0 ? files : files.filter((file) => path.relative(repository, file).includes(name));
      found ||= matching.length > 0;
      selection.files[suite] = [...new Set([...selection.files[suite], ...matching])].sort();
    }
    if (!found)
      throw new UsageError(
        `no test is called "${name}"; give ${[CHECK_SUITE, COVERAGE_SUITE, ...TEST_SUITES].join(", ")} or a part of a file's path`,
      );
  }
  return selection;
}
