import { spawn, type ChildProcess } from "node:child_process";
import { StringDecoder } from "node:string_decoder";
import { Failure } from "../failure.ts";
import { bindToThisProcess, boundCommand } from "./child-processes.ts";

/** Runs QEMU as a child process and collects what its serial port says. */

export interface RunOptions {
  executable: string;
  arguments: string[];
  /** QEMU is killed after this time; without it, it may run for ever. */
  timeoutSeconds?: number | undefined;
  /** Called for each line of the serial port, without its line end, as soon as it is complete. */
  onLine?: (line: string) => void;
  /** QEMU is ended when this says true of a line: for guests that never end themselves. */
  until?: (line: string) => boolean;
  /** The serial port reads from this process's stdin. Otherwise it reads nothing. */
  input?: boolean;
}

export interface RunResult {
  /** The serial port's lines, the last one too if it has no end. */
  lines: string[];
  /** What QEMU itself said (stderr). */
  messages: string[];
  /** QEMU's exit status: what the guest told the test finisher. Null if a signal ended it. */
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  timedOut: boolean;
  /** `until` ended it. */
  stopped: boolean;
  seconds: number;
}

/** How long QEMU may take to end after SIGTERM. */
const GRACE_MILLISECONDS = 3000;

/**
 * Runs QEMU to its end. The promise settles when the process is gone, however it ended.
 *
 * @throws Failure if QEMU cannot be started
 */
export async function runQemu(options: RunOptions): Promise<RunResult> {
  const begin = performance.now();
  const child = startQemu(options.executable, options.arguments, [
    options.input ? "inherit" : "ignore",
    "pipe",
    "pipe",
  ]);
  const result: RunResult = {
    lines: [],
    messages: [],
    exitCode: null,
    signal: null,
    timedOut: false,
    stopped: false,
    seconds: 0,
  };

  let graceTimer: NodeJS.Timeout | undefined;
  const end = (): void => {
    if (graceTimer) return;
    child.kill("SIGTERM");
    graceTimer = setTimeout(() => child.kill("SIGKILL"), GRACE_MILLISECONDS);
  };
  const onSerialLine = (line: string): void => {
    // What QEMU still had in its pipe is no part of the run.
    if (result.stopped) return;
    result.lines.push(line);
    options.onLine?.(line);
    if (options.until?.(line)) {
      result.stopped = true;
      end();
    }
  };

  let timer: NodeJS.Timeout | undefined;
  if (options.timeoutSeconds !== undefined) {
    timer = setTimeout(() => {
      result.timedOut = true;
      end();
    }, options.timeoutSeconds * 1000);
  }
  try {
    await new Promise<void>((resolve, reject) => {
      child.on("error", (error) => reject(cannotStart(options.executable, error)));
      const guarded = (handler: (line: string) => void) => (line: string) => {
        try {
          handler(line);
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      eachLine(child.stdout, guarded(onSerialLine));
      eachLine(
        child.stderr,
        guarded((line) => result.messages.push(line)),
      );
      child.on("close", (code, signal) => {
        result.exitCode = code;
        result.signal = signal;
        resolve();
      });
    });
  } finally {
    clearTimeout(timer);
    clearTimeout(graceTimer);
    // Only after a failed callback is there still something to kill.
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
  }
  result.seconds = (performance.now() - begin) / 1000;
  return result;
}

/** Starts a QEMU that ends with this process at the latest. */
export function startQemu(
  executable: string,
  args: string[],
  stdio: ("ignore" | "inherit" | "pipe" | number)[],
  detached = false,
): ChildProcess {
  const [command, commandArguments] = boundCommand(executable, args);
  const child = spawn(command, commandArguments, { stdio, detached });
  bindToThisProcess(child);
  return child;
}

function cannotStart(executable: string, error: Error): Failure {
  return new Failure(`${executable} could not be started: ${error.message}`);
}

function eachLine(stream: NodeJS.ReadableStream | null, callback: (line: string) => void): void {
  if (stream === null) return;
  const decoder = new StringDecoder("utf8");
  let rest = "";
  stream.on("data", (chunk: Buffer) => {
    const lines = (rest + decoder.write(chunk)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) callback(withoutReturns(line));
  });
  stream.on("end", () => {
    rest += decoder.end();
    if (rest !== "") callback(withoutReturns(rest));
  });
}

/** Serial ports end lines with CR LF, some with CR CR LF. */
function withoutReturns(line: string): string {
  return line.replace(/\r+$/, "");
}
