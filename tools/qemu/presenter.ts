import { FAILED_MARK, OPEN_MARK, PASSED_MARK, type Colours } from "../terminal.ts";
import { lastLines, ProtocolReader, shortcomings, type Step } from "./protocol.ts";
import type { RunResult } from "./runner.ts";

/** Shows a test run to a person while it goes on: who speaks, which steps passed, and how it ended. */

export interface PresenterOptions {
  /** Writes one line. */
  write: (line: string) => void;
  colours: Colours;
  /** The serial port's lines as they are, and nothing else but the summary. */
  raw?: boolean;
  /** Shows the lines of the firmware and of a kernel too. */
  verbose?: boolean;
  /** What the host says if all is well, where it is not the test host. */
  lastWord?: string;
}

type Speaker = "QEMU" | "Firmware" | "Salus" | "Tellus" | "Guest" | "Linux";

/** Lines with which somebody begins to speak. */
const ENTRANCES: [RegExp, Speaker][] = [
  [/^OpenSBI v/, "Firmware"],
  [/^(TEST: |PASS: )?salus\b/i, "Salus"],
  [/^Tellus\b/, "Tellus"],
  [/^Hello world from Tellus guest/, "Guest"],
  [/^\[ *0\.000000\] Linux version /, "Linux"],
];
/** A line of Linux's log, with its time. */
const KERNEL_LINE = /^\[ *\d+\.\d+\] /;
/** Whose lines are not all shown. */
const HIDING: Speaker[] = ["Firmware", "Linux"];
/** A line of evidence (docs/evidence.md): many of them, and of digits only. */
const EVIDENCE = /^EVIDENCE: (\w+)(?: ([0-9a-f]+))?\s*$/;
/** The guest's last words: what follows is the host's. */
const GUEST_LEAVES = /^Exiting guest/;

export class Presenter {
  readonly #options: PresenterOptions;
  readonly #reader: ProtocolReader;
  #speaker: Speaker = "QEMU";
  /** Lines that were not shown. */
  #hiddenLines: string[] = [];
  #panicking = false;
  /** Bytes of the evidence so far, by kind. */
  readonly #evidence = new Map<string, number>();

  constructor(options: PresenterOptions) {
    this.#options = options;
    this.#reader = new ProtocolReader(options.lastWord);
  }

  /** Shows one line of the serial port. */
  line(line: string): void {
    const meaning = this.#reader.read(line);
    if (this.#options.raw) {
      this.#options.write(line);
      return;
    }
    this.#changeSpeaker(line);
    const { bold, dim, green, red } = this.#options.colours;
    if (meaning.kind === "panic") this.#panicking = true;
    if (meaning.kind === "ended") this.#step(meaning.step);
    else if (meaning.kind === "panic") this.#write(bold(red(line)));
    else if (this.#panicking) this.#write(red(line));
    else if (meaning.kind === "all-ok") this.#write(bold(green(line)));
    else if (meaning.kind === "text") this.#text(line, dim);
    if (GUEST_LEAVES.test(line)) this.#enter("Tellus");
  }

  /**
   * Shows the end of the run: what is missing, and the counts.
   *
   * @returns true if the run was a success
   */
  finish(result: RunResult): boolean {
    const { bold, green, red, yellow } = this.#options.colours;
    const write = this.#options.write;
    const reasons = shortcomings(this.#reader, result);
    if (!this.#options.raw) {
      for (const step of this.#reader.steps) if (step.outcome === "unfinished") this.#step(step);
      if (reasons.length > 0 && HIDING.includes(this.#speaker) && !this.#options.verbose) {
        write(lastLines(this.#hiddenLines));
      }
      write("");
    }
    for (const reason of reasons) write(red(`${FAILED_MARK} ${reason}`));
    const failed = this.#reader.count("failed");
    const open = this.#reader.count("unfinished");
    const counts = `${this.#reader.count("passed")} passed, ${failed} failed`;
    const paint = reasons.length > 0 ? red : open > 0 ? yellow : green;
    write(bold(paint(counts + (open > 0 ? `, ${open} without a result` : ""))) + ` in ${result.seconds.toFixed(1)} s`);
    return reasons.length === 0;
  }

  #changeSpeaker(line: string): void {
    const speaker = ENTRANCES.find(([pattern]) => pattern.test(line))?.[1];
    if (speaker === undefined || speaker === this.#speaker) return;
    // The hypervisor's word while host and guest run is shown among theirs.
    if (speaker === "Salus" && this.#speaker !== "Firmware" && this.#speaker !== "QEMU") return;
    this.#enter(speaker);
    if (HIDING.includes(speaker) && !this.#options.verbose) this.#options.write(`  ${this.#options.colours.dim(line)}`);
  }

  #enter(speaker: Speaker): void {
    if (this.#speaker === speaker) return;
    this.#speaker = speaker;
    this.#options.write(this.#options.colours.bold(this.#options.colours.cyan(speaker)));
  }

  #step(step: Step): void {
    const { green, red, yellow } = this.#options.colours;
    if (step.outcome === "passed") this.#write(`${green(PASSED_MARK)} ${step.name}`);
    else if (step.outcome === "failed") this.#write(red(`${FAILED_MARK} ${step.name}`));
    else this.#write(yellow(`${OPEN_MARK} ${step.name} (no result)`));
  }

  #text(line: string, dim: (text: string) => string): void {
    const hidden = this.#speaker === "Firmware" || (this.#speaker === "Linux" && KERNEL_LINE.test(line));
    if (hidden) {
      this.#hiddenLines.push(line);
      if (!this.#options.verbose) return;
    }
    if (line.trim() === "") return;
    const evidence = EVIDENCE.exec(line);
    if (evidence) return this.#evidenceLine(evidence[1], evidence[2] ?? "");
    if (this.#speaker === "Salus") this.#write(dim(line.replace(/^salus: /, "")));
    else this.#write(hidden ? dim(line) : line);
  }

  /** Evidence is shown by the number of its bytes. */
  #evidenceLine(kind: string, hex: string): void {
    if (kind !== "end") {
      this.#evidence.set(kind, (this.#evidence.get(kind) ?? 0) + hex.length / 2);
      return;
    }
    const parts = [...this.#evidence].map(([name, bytes]) => `${name} ${bytes} bytes`);
    this.#write(`evidence for the verifier: ${parts.join(", ")}`);
    this.#evidence.clear();
  }

  #write(line: string): void {
    this.#options.write(`  ${line}`);
  }
}
