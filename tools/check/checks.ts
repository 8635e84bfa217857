import { execFile } from "node:child_process";
import path from "node:path";
import { repository } from "../repository.ts";

/** The checks of the sources that run nothing of them. Warnings fail them too. */

interface Check {
  name: string;
  /** Script in node_modules, and its arguments. */
  script: string;
  arguments: string[];
}

const CHECKS: Check[] = [
  { name: "types of what runs on Node", script: "typescript/bin/tsc", arguments: ["-p", "tsconfig.tools.json"] },
  {
    name: "types of what runs on the machine",
    script: "typescript/bin/tsc",
    arguments: ["-p", "tsconfig.assemblyscript.json"],
  },
  { name: "lint", script: "eslint/bin/eslint.js", arguments: ["--max-warnings", "0", "."] },
  { name: "format", script: "prettier/bin/prettier.cjs", arguments: ["--check", "--log-level", "warn", "."] },
];

export interface CheckResult {
  name: string;
  passed: boolean;
  /** What the tool said. */
  output: string;
  seconds: number;
}

/**
 * Runs all checks, two at a time.
 *
 * @param report receives each result as soon as it is there
 */
export async function runChecks(report: (result: CheckResult) => void): Promise<CheckResult[]> {
  const waiting = [...CHECKS];
  const results: CheckResult[] = [];
  const worker = async (): Promise<void> => {
    for (let check = waiting.shift(); check !== undefined; check = waiting.shift()) {
      const result = await runCheck(check);
      results.push(result);
      report(result);
    }
  };
  await Promise.all([worker(), worker()]);
  return results;
}

function runCheck(check: Check): Promise<CheckResult> {
  const begin = performance.now();
  const script = path.join(repository, "node_modules", check.script);
  // Some tools colour what they say wherever CI is set.
  const env = { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" };
  const options = { cwd: repository, env, maxBuffer: 64 * 1024 * 1024 };
  return new Promise((resolve) => {
    execFile(process.execPath, [script, ...check.arguments], options, (error, stdout, stderr) => {
      const output = [stdout, stderr, error && stdout + stderr === "" ? error.message : ""].join("").trimEnd();
      const seconds = (performance.now() - begin) / 1000;
      resolve({ name: check.name, passed: error === null, output, seconds });
    });
  });
}
