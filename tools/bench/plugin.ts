import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, statSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { Failure } from "../failure.ts";
import { buildFolder, repository } from "../repository.ts";

/** bench/plugin.c, which counts: built for this machine, told what to count, and its report read. */

const run = promisify(execFile);
const SOURCE = path.join(repository, "bench", "plugin.c");

/** [start, end) of physical addresses. */
export interface Region {
  name: string;
  start: number;
  end: number;
}

/** Executed instructions by region. */
export type Counts = Record<string, number>;

export interface Interval {
  /** Of all harts. */
  counts: Counts;
  /** Of the hart that opened and closed it. */
  own: Counts;
  /** Executions of single instructions, by address: with `detail` only. */
  instructions: Map<number, number>;
}

export interface PluginReport {
  /** What was executed since power-on when a region was entered first, by region. */
  entered: Record<string, Counts>;
  /** What was executed since power-on when each interval was opened. */
  opened: Counts[];
  /** Marked intervals, in order. */
  intervals: Interval[];
}

/**
 * Compiles the plugin unless it is there.
 *
 * @returns path of the shared object
 * @throws Failure with the compiler's message
 */
export async function buildPlugin(compiler: string): Promise<string> {
  const folder = path.join(buildFolder, "bench");
  const output = path.join(folder, "plugin.so");
  if (existsSync(output) && statSync(output).mtimeMs > statSync(SOURCE).mtimeMs) return output;
  mkdirSync(folder, { recursive: true });
  const draft = `${output}.${process.pid}`;
  try {
    await run(compiler, ["-std=gnu11", "-O2", "-Wall", "-shared", "-fPIC", "-fvisibility=hidden", "-o", draft, SOURCE]);
  } catch (error) {
    throw new Failure(`bench/plugin.c does not compile: ${(error as { stderr?: string }).stderr ?? String(error)}`);
  }
  renameSync(draft, output);
  return output;
}

/** QEMU's arguments for the plugin. `detail`: count each instruction of this range too. */
export function pluginArguments(plugin: string, output: string, regions: Region[], detail?: Region): string[] {
  const range = ({ start, end }: Region): string => `${start.toString(16)}:${end.toString(16)}`;
  const parts = [plugin, `output=${output}`, ...regions.map((region) => `region=${region.name}:${range(region)}`)];
  if (detail) parts.push(`detail=${range(detail)}`);
  // QEMU reads a comma in a value as two.
  return ["-plugin", parts.map((part) => part.replaceAll(",", ",,")).join(",")];
}

/**
 * Reads the file that the plugin wrote.
 *
 * @throws Failure if an interval was left open
 */
export function readReport(file: string): PluginReport {
  return parseReport(readFileSync(file, "utf8"));
}

/** @throws Failure */
export function parseReport(text: string): PluginReport {
  const report: PluginReport = { entered: {}, opened: [], intervals: [] };
  for (const line of text.split("\n")) {
    const [event, ...words] = line.split(" ");
    if (event === "enter") report.entered[words[0]] = countsOf(words.slice(1));
    else if (event === "open") report.opened.push(countsOf(words));
    else if (event === "interval") report.intervals.push({ counts: countsOf(words), own: {}, instructions: new Map() });
    else if (event === "own") report.intervals.at(-1)!.own = countsOf(words);
    else if (event === "at") report.intervals.at(-1)?.instructions.set(parseInt(words[0], 16), Number(words[1]));
    else if (event === "unclosed") throw new Failure("the machine ended in the middle of a measurement");
  }
  return report;
}

function countsOf(words: string[]): Counts {
  return Object.fromEntries(
    words.map((word) => {
      const [name, count] = word.split("=");
      return [name, Number(count)];
    }),
  );
}
