/**
 * The hypervisor that the tests of a process load, if it is not that of this tree: one with counters (tools/coverage) or with a fault
 * (tools/mutants). Only test processes look at these variables; nothing that is shipped is built from what they name.
 */
export const substitute: {
  /** Module for the simulated machine. */
  wasm: string | undefined;
  /** Folder with the sources that it was made of, for tests that compile parts of the hypervisor. */
  sources: string | undefined;
  /** Folder with the sources of its user-mode helper. */
  helperSources: string | undefined;
} = {
  wasm: process.env["SALUS_TEST_WASM"] || undefined,
  sources: process.env["SALUS_TEST_SOURCES"] || undefined,
  helperSources: process.env["SALUS_TEST_HELPER_SOURCES"] || undefined,
};

/** The variables for a test process that is to load another hypervisor. */
export function substituteEnvironment(wasm: string, sources: string): Record<string, string> {
  return { SALUS_TEST_WASM: wasm, SALUS_TEST_SOURCES: sources };
}

/** One more, for a process that is to load another user-mode helper too. */
export function substituteHelper(sources: string): Record<string, string> {
  return { SALUS_TEST_HELPER_SOURCES: sources };
}
