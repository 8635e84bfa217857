import type { ChildProcess } from "node:child_process";
import { findOnPath } from "./locate.ts";

/**
 * No emulator outlives this process: children are killed when it exits, fails or is told to end, and by the kernel
 * (a parent-death signal) when it is killed itself.
 */

const live = new Set<ChildProcess>();
const ENDING_SIGNALS: NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];
let installed = false;
/** The signal that ends this process as soon as its children are gone. */
let ending: NodeJS.Signals | undefined;

/** Kills `child` when this process ends before it. */
export function bindToThisProcess(child: ChildProcess): void {
  live.add(child);
  child.once("close", () => {
    live.delete(child);
    if (ending !== undefined && live.size === 0) endBy(ending);
  });
  if (installed) return;
  installed = true;
  process.on("exit", killAll);
  for (const signal of ENDING_SIGNALS) {
    process.on(signal, () => {
      if (signal === "SIGINT" && interruptIsForChildren) return;
      killAll();
      ending = signal;
      if (live.size === 0) endBy(signal);
    });
  }
}

/** Ends this process as the signal would have, had it no handler. */
function endBy(signal: NodeJS.Signals): void {
  for (const name of ENDING_SIGNALS) process.removeAllListeners(name);
  process.kill(process.pid, signal);
}

let interruptIsForChildren = false;

/** From now on Ctrl-C is a debugger's business: it does not end this process. */
export function leaveInterruptToChildren(): void {
  interruptIsForChildren = true;
}

function killAll(): void {
  for (const child of live) child.kill("SIGKILL");
}

let setpriv: string | undefined | null = null;

/** The command that runs `executable` so that the kernel kills it when this process is gone, however it went. */
export function boundCommand(executable: string, args: string[]): [string, string[]] {
  if (setpriv === null) setpriv = findOnPath("setpriv");
  return setpriv === undefined ? [executable, args] : [setpriv, ["--pdeathsig", "KILL", "--", executable, ...args]];
}
