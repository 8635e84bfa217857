import { Failure } from "../failure.ts";
import { coloursFor } from "../terminal.ts";

/** What the command says about its own work: on stderr, so that stdout carries results only. */

/** Writes a line of progress. */
export function progress(line: string): void {
  process.stderr.write(`${coloursFor(process.stderr).dim(line)}\n`);
}

/** Writes why the command failed. Only an error that nobody foresaw is shown with its stack. */
export function reportError(error: unknown): void {
  const { red, bold } = coloursFor(process.stderr);
  const lines =
    error instanceof Error && error.name === "BuildFailure"
      ? ["the build failed", ...error.message.split("\n").map((line) => `  ${line}`)]
      : error instanceof Failure
        ? [error.message]
        : [`internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`];
  process.stderr.write(`${bold(red("salus:"))} ${lines.join("\n")}\n`);
}

/** The exit status for an error. */
export function exitStatusOf(error: unknown): number {
  return error instanceof Failure ? error.exitStatus : 1;
}
