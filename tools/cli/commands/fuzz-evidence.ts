import { fuzzEvidence, makeInput } from "../../../tests/fuzz/evidence/fuzz.ts";
import { progress } from "../report.ts";

export interface EvidenceFuzzFlags {
  count: number;
  seed: number;
  only?: number;
  json?: boolean;
}

/**
 * `salus fuzz-evidence`: bent evidence for the verifier's readers.
 *
 * @returns true if nothing was found
 */
export function fuzzVerifier({ count, seed, only, json }: EvidenceFuzzFlags): Promise<boolean> {
  const write = (line: string): void => void process.stdout.write(`${line}\n`);
  const begin = performance.now();
  const report = fuzzEvidence({ seed, first: only ?? 0, count: only === undefined ? count : 1, log: progress });
  if (only !== undefined) {
    const { reader, input } = makeInput(seed, only);
    write(`${reader.name}: ${Buffer.from(input).toString("hex")}`);
  }
  const seconds = (performance.now() - begin) / 1000;
  if (json) write(JSON.stringify({ seed, seconds, ...report }));
  else {
    for (const [name, { read, refused }] of Object.entries(report.readers)) {
      write(`${name.padEnd(12)} ${String(refused).padStart(8)} refused ${String(read).padStart(8)} read`);
    }
    for (const { index, reader, message } of report.failures) {
      write(`${reader}: ${message}; again: salus fuzz-evidence --seed ${seed} --only ${index}`);
    }
    write(
      `${report.inputs} inputs in ${seconds.toFixed(0)} s, the slowest ${report.slowestMilliseconds.toFixed(0)} ms`,
    );
    write(report.failures.length === 0 ? "nothing found" : `${report.failures.length} failures`);
  }
  return Promise.resolve(report.failures.length === 0);
}
