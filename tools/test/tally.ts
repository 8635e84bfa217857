import { FAILED_MARK, PASSED_MARK, type Colours } from "../terminal.ts";

/** Counts results of all suites, shows them as they come, and has the last word. */
export class Tally {
  passed = 0;
  failed = 0;
  skipped = 0;
  readonly #failures: string[] = [];
  readonly #colours: Colours;
  readonly #write: (line: string) => void;
  /** Ends the suite that is under way: says how long it took. */
  #endSuite = (): void => {};

  constructor(colours: Colours, write: (line: string) => void) {
    this.#colours = colours;
    this.#write = write;
  }

  /** Begins a suite; of the one before, the time is written. */
  suite(title: string): void {
    this.#endSuite();
    const began = performance.now();
    this.#endSuite = () => {
      this.#write(this.#colours.dim(`  (${duration((performance.now() - began) / 1000)} in all)`));
    };
    this.#write(this.#colours.bold(this.#colours.cyan(title)));
  }

  /** Counts a success; it is shown if `show` is set. */
  pass(name: string, seconds: number, show: boolean): void {
    this.passed++;
    if (show) this.note(name, seconds);
  }

  skip(name: string, reason: string): void {
    this.skipped++;
    this.#write(`  ${this.#colours.yellow("-")} ${name}: skipped${reason ? `, ${reason}` : ""}`);
  }

  /** Counts a failure and shows why. */
  fail(name: string, seconds: number, why: string): void {
    this.failed++;
    this.#failures.push(name);
    const { red, dim } = this.#colours;
    this.#write(`  ${red(`${FAILED_MARK} ${name}`)} ${dim(`(${duration(seconds)})`)}`);
    for (const line of why.trimEnd().split("\n")) this.#write(`      ${line}`);
  }

  /** Shows a success that is counted elsewhere, or not at all. */
  note(text: string, seconds: number): void {
    this.#write(`  ${this.#colours.green(PASSED_MARK)} ${text} ${this.#colours.dim(`(${duration(seconds)})`)}`);
  }

  /**
   * Writes the failures' names once more and the closing line.
   *
   * @returns true if something ran and nothing failed
   */
  close(): boolean {
    this.#endSuite();
    this.#write("");
    for (const name of this.#failures) this.#write(this.#colours.red(`${FAILED_MARK} ${name}`));
    if (this.passed + this.failed === 0) this.#write(this.#colours.red("no test ran"));
    const skipped = this.skipped > 0 ? `, ${this.skipped} skipped` : "";
    // Without colours: programs read this line.
    this.#write(`${this.passed} passed, ${this.failed} failed${skipped}`);
    return this.failed === 0 && this.passed > 0;
  }
}

function duration(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}
