import { availableParallelism } from "node:os";
import path from "node:path";
import { run } from "node:test";
import type { EventData } from "node:test";
import { repository } from "../repository.ts";
import type { Tally } from "./tally.ts";

/** Runs test files with Node's own runner and counts their tests. */

export interface NodeTestOptions {
  files: string[];
  tally: Tally;
  /** Files at the same time; as many as there are processors by default. */
  concurrency?: number;
  /** Shows every test, not only every file. */
  showTests: boolean;
  /** Only tests whose name contains this. */
  only?: string | undefined;
  /** Ends the test processes when it is aborted. */
  signal: AbortSignal;
}

type Ended = EventData.TestPass | EventData.TestFail;

/** Runs the files in processes of their own; resolves when all have ended. */
export async function runNodeTests(options: NodeTestOptions): Promise<void> {
  const stream = run({
    files: options.files,
    cwd: repository,
    concurrency: options.concurrency ?? availableParallelism(),
    signal: options.signal,
    ...(options.only === undefined ? {} : { testNamePatterns: [new RegExp(escapeForRegExp(options.only))] }),
  });
  const report = new FileReports(options);
  stream.on("test:pass", (data) => report.ended(data, true));
  stream.on("test:fail", (data) => report.ended(data, false));
  stream.on("test:stdout", ({ file, message }) => report.said(file, message));
  stream.on("test:stderr", ({ file, message }) => report.said(file, message));
  stream.on("test:summary", ({ file, duration_ms }) => {
    if (file !== undefined) report.closeFile(file, duration_ms / 1000);
  });
  await new Promise((resolve) => stream.on("end", resolve).resume());
}

class FileReports {
  readonly #options: NodeTestOptions;
  /** What each file printed, and how many of its tests passed. */
  readonly #files = new Map<string, { output: string; passed: number }>();

  constructor(options: NodeTestOptions) {
    this.#options = options;
  }

  #file(name: string): { output: string; passed: number } {
    let file = this.#files.get(name);
    if (!file) this.#files.set(name, (file = { output: "", passed: 0 }));
    return file;
  }

  said(file: string, text: string): void {
    this.#file(file).output += text;
  }

  ended(data: Ended, passed: boolean): void {
    const { tally, showTests, only } = this.#options;
    const seconds = data.details.duration_ms / 1000;
    if (data.file !== undefined && data.name === data.file) {
      this.#fileEndedWithoutTests(data.file, passed, seconds);
      return;
    }
    if (data.details.type === "suite" && passed) return;
    const place = data.file === undefined ? "" : `${path.relative(repository, data.file)}: `;
    if (data.skip !== undefined || data.todo !== undefined) {
      // Tests that `only` leaves out are reported as skipped.
      if (only === undefined) tally.skip(`${place}${data.name}`, reasonOf(data.skip ?? data.todo));
    } else if (passed) {
      if (data.file !== undefined) this.#file(data.file).passed++;
      tally.pass(data.name, seconds, showTests);
    } else {
      const error = (data as EventData.TestFail).details.error;
      // A test or suite around a failed one is not a failure of its own.
      if ((error as { failureType?: string }).failureType === "subtestsFailed") return;
      const output = data.file === undefined ? "" : this.#file(data.file).output;
      tally.fail(`${place}${data.name}`, seconds, describeError(error) + (output === "" ? "" : `\n${output}`));
    }
  }

  /** A file that loads but has no test tests nothing, which nobody would notice. */
  #fileEndedWithoutTests(file: string, passed: boolean, seconds: number): void {
    const name = path.relative(repository, file);
    const { output } = this.#file(file);
    if (!passed) this.#options.tally.fail(name, seconds, output === "" ? "its process failed" : output);
    else if (this.#options.only === undefined) this.#options.tally.fail(name, seconds, "it contains no test");
  }

  closeFile(file: string, seconds: number): void {
    const { passed } = this.#file(file);
    if (passed === 0 || this.#options.showTests) return;
    this.#options.tally.note(`${path.relative(repository, file)}: ${passed} passed`, seconds);
  }
}

function describeError(error: Error): string {
  const cause = error.cause instanceof Error ? error.cause : error;
  const assertion = cause as Error & { code?: string };
  // The stack's frames in the runner help nobody.
  const frames = (cause.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line) && !line.includes("node:"));
  return [assertion.message.trimEnd(), ...frames.slice(0, 5)].join("\n");
}

function reasonOf(value: string | boolean | undefined): string {
  return typeof value === "string" ? value : "";
}

function escapeForRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
