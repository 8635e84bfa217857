import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import { repository } from "../repository.ts";

/** Tests that load the hypervisor's module, run one file a process with a substitute for it. */

/** What loads the hypervisor: whole, or parts of it. */
const LOADERS = ["machine/simulated/hypervisor-module.ts", "tests/unit/support/module.ts"];
const REPORTER = path.join(import.meta.dirname, "first-failure.ts");
const STOPPER = path.join(import.meta.dirname, "stop-at-failure.ts");
const COLLECTOR = path.join(import.meta.dirname, "../coverage/collect.ts");

/** Test files that load the hypervisor, relative to the repository, sorted. Those of the tools do not run what they load, some make their own, and tests/unit/worst measures what is shipped. */
export function hypervisorTests(): string[] {
  const known = new Map<string, boolean>();
  return globSync("tests/**/*.test.ts", { cwd: repository })
    .filter((file) => !/^tests\/(qemu|unit\/(tools|checked|races|worst))\//.test(file) && loads(file, known))
    .sort();
}

/** Whether `file` is a loader or imports one, however indirectly. */
function loads(file: string, known: Map<string, boolean>): boolean {
  const answer = known.get(file);
  if (answer !== undefined) return answer;
  if (LOADERS.includes(file)) return true;
  // A circle of imports adds nothing.
  known.set(file, false);
  const result = importsOf(file).some((name) => loads(name, known));
  known.set(file, result);
  return result;
}

/** Files of the repository that `file` imports itself. */
function importsOf(file: string): string[] {
  const text = readFileSync(path.join(repository, file), "utf8");
  return [...text.matchAll(/from "(\.[^"]+\.ts)"/g)].map(([, name]) =>
    path.relative(repository, path.resolve(repository, path.dirname(file), name)),
  );
}

const digests = new Map<string, string>();

/** Digest over a test file and everything of tests/ and machine/ that it imports: what a result of it depends on beside the hypervisor. */
export function testInputs(file: string): string {
  let digest = digests.get(file);
  if (digest !== undefined) return digest;
  const found = new Set([file]);
  // The set grows while it is gone through.
  for (const each of found) {
    for (const name of importsOf(each)) if (/^(tests|machine)\//.test(name)) found.add(name);
  }
  const hash = createHash("sha256");
  for (const name of [...found].sort()) hash.update(name).update(readFileSync(path.join(repository, name)));
  digests.set(file, (digest = hash.digest("hex").slice(0, 20)));
  return digest;
}

export interface TestFileResult {
  file: string;
  passed: boolean;
  seconds: number;
  /** Name of the first test that failed, with what it said; or that the time was over. */
  failure: string | undefined;
}

export interface TestFileOptions {
  environment: Record<string, string>;
  /** A test process that takes longer is ended, and has failed. */
  timeoutSeconds: number;
  /** Counts what is reached of a hypervisor that has counters. */
  collect?: boolean;
}

/** A test that waits instead of computing is ended if in that many times its limit it has used less than a hundredth of it. */
const WAITING_FACTOR = 4;

/** Runs one test file until its first failure. */
export function runTestFile(file: string, options: TestFileOptions): Promise<TestFileResult> {
  const begin = performance.now();
  const args = [
    "--import",
    STOPPER,
    ...(options.collect ? ["--import", COLLECTOR] : []),
    `--test-reporter=${REPORTER}`,
    "--test-reporter-destination=stdout",
    path.join(repository, file),
  ];
  const limit = Math.ceil(options.timeoutSeconds);
  // Its own processor time, so that a busy computer makes nothing fail that would have passed.
  const limited = ["-c", 'ulimit -t "$0" && exec "$@"', String(limit), process.execPath, ...args];
  const child = spawn("sh", limited, {
    cwd: repository,
    env: { ...process.env, NO_COLOR: "1", ...options.environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const keep = (text: Buffer): void => {
    if (output.length < 100_000) output += text.toString();
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  let late = false;
  let used = -Infinity;
  const timer = setInterval(
    () => {
      // On a busy computer it may just not have had its turn.
      const now = processorTicks(child.pid!);
      if (now - used > limit) used = now;
      else {
        late = true;
        child.kill("SIGKILL");
      }
    },
    limit * WAITING_FACTOR * 1000,
  );
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => {
      clearInterval(timer);
      const failure =
        late || signal === "SIGXCPU" || signal === "SIGKILL"
          ? `no end within ${limit} s of processor time`
          : status !== 0
            ? output.trim() || `status ${status}`
            : undefined;
      const seconds = (performance.now() - begin) / 1000;
      resolve({ file, passed: failure === undefined, seconds, failure });
    });
  });
}

/** Processor time of a process so far, user and system, in hundredths of a second (proc_pid_stat(5)); 0 if there is none. */
function processorTicks(pid: number): number {
  const file = `/proc/${pid}/stat`;
  if (!existsSync(file)) return 0;
  // The second field, in brackets, may hold spaces.
  const fields = readFileSync(file, "utf8").split(") ")[1].split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** Does `work` for each item, `parallel` at a time. */
export async function inParallel<T>(
  items: readonly T[],
  parallel: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const waiting = [...items];
  const worker = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: parallel }, worker));
}
