import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { threadId } from "node:worker_threads";
import fc from "fast-check";

/**
 * Preloaded into test processes: gives every WebAssembly module the import that counters call, and writes what was counted when the
 * process ends, one file a process or worker: 64-bit floats, by number of the counter.
 */

const folder = process.env["SALUS_COVERAGE_FOLDER"];
const probes = Number(process.env["SALUS_COVERAGE_PROBES"]);

if (folder !== undefined && probes > 0) {
  // Property tests are random otherwise, and what they reach would be too.
  fc.configureGlobal({ seed: 1 });
  const counts = new Float64Array(probes);
  const coverage = {
    hit: (probe: number): number => {
      counts[probe]++;
      return 1;
    },
  };
  class CountedInstance extends WebAssembly.Instance {
    constructor(module: WebAssembly.Module, imports?: WebAssembly.Imports) {
      super(module, { ...imports, coverage });
    }
  }
  Object.assign(WebAssembly, { Instance: CountedInstance });
  process.on("exit", () => {
    if (!counts.some((count) => count !== 0)) return;
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, `${process.pid}-${threadId}.counts`), new Uint8Array(counts.buffer));
  });
}
