import type { RunResult } from "./runner.ts";

/**
 * What a test run says on its serial port: `TEST: name` begins a step, `PASS: name` or `FAIL: name` ends it, and
 * `Tellus - All OK` or `Linux - All OK` is the host's last word. The hypervisor, the host and its guests all use it.
 */

export const ALL_OK = "Tellus - All OK";
/** What the self-test of a Linux host ends with (tools/linux/initramfs/etc/self-test). */
export const LINUX_ALL_OK = "Linux - All OK";
const STEP = /^\s*(TEST|PASS|FAIL): (.+?)\s*$/;
const PANIC = /\bpanic(ked)?\b|^sbi_trap_error|\bassertion failed\b/i;

export type Outcome = "passed" | "failed" | "unfinished";

export interface Step {
  name: string;
  outcome: Outcome;
}

/** What one line means. `ended` carries the step that it settles. */
export type Meaning =
  | { kind: "begun"; step: Step }
  | { kind: "ended"; step: Step }
  | { kind: "all-ok" }
  | { kind: "panic" }
  | { kind: "text" };

/** Reads a run line by line and keeps count. */
export class ProtocolReader {
  readonly steps: Step[] = [];
  allOk = false;
  /** The first line of the first panic. */
  panic: string | undefined;
  /** What the host says if all is well. */
  readonly lastWord: string;

  constructor(lastWord = ALL_OK) {
    this.lastWord = lastWord;
  }

  read(line: string): Meaning {
    const match = STEP.exec(line);
    if (match) return this.#readStep(match[1], match[2]);
    if (line.trim() === this.lastWord) {
      this.allOk = true;
      return { kind: "all-ok" };
    }
    if (PANIC.test(line)) {
      this.panic ??= line.trim();
      return { kind: "panic" };
    }
    return { kind: "text" };
  }

  #readStep(word: string, name: string): Meaning {
    if (word === "TEST") {
      const step: Step = { name, outcome: "unfinished" };
      this.steps.push(step);
      return { kind: "begun", step };
    }
    const open = this.steps.filter((step) => step.outcome === "unfinished");
    // A failure may add its reason to the name.
    let step = open.find((other) => other.name === name) ?? open.findLast((other) => name.startsWith(other.name));
    if (!step) {
      step = { name, outcome: "unfinished" };
      this.steps.push(step);
    }
    step.name = name;
    step.outcome = word === "PASS" ? "passed" : "failed";
    return { kind: "ended", step };
  }

  count(outcome: Outcome): number {
    return this.steps.filter((step) => step.outcome === outcome).length;
  }
}

/**
 * Why a finished run is not a success, a sentence each; empty if it is one: every step that ended passed, the host said
 * that all is well, and QEMU ended by itself with status 0.
 */
export function shortcomings(reader: ProtocolReader, result: RunResult): string[] {
  const reasons: string[] = [];
  // A QEMU that refuses its arguments never had a guest to speak of.
  if (result.lines.length === 0 && result.exitCode !== 0 && result.exitCode !== null) {
    return [...result.messages, `QEMU ended with status ${result.exitCode}`];
  }
  if (reader.panic !== undefined) reasons.push(reader.panic);
  for (const step of reader.steps) {
    if (step.outcome === "failed") reasons.push(`step failed: ${step.name}`);
  }
  if (!reader.allOk) {
    const open = reader.steps.findLast((step) => step.outcome === "unfinished");
    reasons.push(
      `"${reader.lastWord}" was not seen` + (open ? `; the last step without a result is: ${open.name}` : ""),
    );
  }
  if (result.timedOut) {
    reasons.push(`the machine did not end: stopped after ${result.seconds.toFixed(0)} s`);
  } else if (result.signal !== null) {
    reasons.push(`QEMU was ended by ${result.signal}`);
  } else if (result.exitCode !== 0) {
    reasons.push(`QEMU ended with status ${result.exitCode}`);
  }
  if (result.exitCode !== 0 && !result.timedOut) reasons.push(...result.messages);
  return reasons;
}

/** The last lines of a run as one indented text, for the message of a failure. */
export function lastLines(lines: string[], count = 25): string {
  return lines
    .slice(-count)
    .map((line) => `    ${line}`)
    .join("\n");
}
