import type { MachineOptions } from "./machine-options.ts";

/**
 * The performance counters of one hart and the firmware's PMU on top of them, as OpenSBI has it: events 1 (cycles) and 2 (instructions), cycle and
 * instret running from reset on, and with Sscofpmf a choice of privilege modes, overflow bits and the interrupt.
 */
export class HartCounters {
  /** Whether a counter says that it overflowed, and can leave out privilege modes (Sscofpmf). */
  readonly overflow: boolean;
  /** Numbers of the counters: cycle, instret, and programmable ones from 3 on. */
  readonly numbers: number[];
  values = new BigUint64Array(32);
  /** What each counts; 0 nothing. */
  events: number[] = new Array<number>(32).fill(0);
  flags: bigint[] = new Array<bigint>(32).fill(0n);
  /** Counters that the firmware has given an event. */
  configured = 0n;
  /** Counters that mcountinhibit lets run. */
  running = 0b101n;
  /** mhpmevent.OF, as scountovf shows them. */
  overflowed = 0n;
  /** sip.LCOFIP. */
  pending = false;

  constructor(options: MachineOptions) {
    this.overflow = options.sscofpmf;
    this.numbers = [0, 2, ...Array.from({ length: options.counters ?? 0 }, (_, index) => 3 + index)];
    // What earlier software left there.
    for (const number of this.numbers) this.values[number] = 0xdead_0000n + BigInt(number);
  }

  has(number: number): boolean {
    return this.numbers.includes(number);
  }

  /** Instructions of VS-mode, or VU-mode. */
  countGuest(user: boolean, instructions: bigint): void {
    this.#count(user ? Flag.vuinh : Flag.vsinh, instructions);
  }

  /** Instructions of the hypervisor and the firmware: only a hart that cannot tell modes apart counts them. */
  countHypervisor(instructions: bigint): void {
    this.#count(Flag.sinh, instructions);
  }

  #count(inhibit: bigint, instructions: bigint): void {
    for (const number of this.numbers) {
      const bit = 1n << BigInt(number);
      if ((this.running & bit) === 0n) continue;
      const event = this.events[number] || FIXED_EVENTS[number];
      if (!event || (this.overflow && (this.flags[number] & inhibit) !== 0n)) continue;
      const sum = this.values[number] + (event === 1 ? 3n * instructions : instructions);
      this.values[number] = BigInt.asUintN(64, sum);
      if (sum >> 64n === 0n || !this.overflow || (this.overflowed & bit) !== 0n) continue;
      this.overflowed |= bit;
      this.pending = true;
    }
  }

  // ---- the firmware's calls (SBI 2.0, chapter PMU)

  call(fid: bigint, [a0, a1, a2, a3]: readonly bigint[]): { error: bigint; value: bigint } {
    const last = this.numbers.at(-1)!;
    switch (fid) {
      case 0n:
        // One more than the last, and a counter of the firmware's own.
        return { error: 0n, value: BigInt(last + 2) };
      case 1n:
        if (a0 === BigInt(last + 1)) return { error: 0n, value: 1n << 63n };
        if (!this.has(Number(a0))) return INVALID_PARAM;
        return { error: 0n, value: (0xc00n + a0) | (63n << 12n) };
      case 2n:
        return this.#configure(a1 << a0, a2, a3);
      case 3n:
        return this.#forEach(a1 << a0, (number, bit) => {
          if ((this.running & bit) !== 0n) return -7n;
          if ((a2 & 1n) !== 0n) this.values[number] = a3;
          this.running |= bit;
          this.overflowed &= ~bit;
          return 0n;
        });
      case 4n:
        return this.#forEach(a1 << a0, (number, bit) => {
          const ran = (this.running & bit) !== 0n;
          this.running &= ~bit;
          if ((a2 & 1n) !== 0n) {
            this.configured &= ~bit;
            this.events[number] = 0;
            this.overflowed &= ~bit;
          }
          return ran ? 0n : -8n;
        });
      default:
        return NOT_SUPPORTED;
    }
  }

  #configure(mask: bigint, flags: bigint, event: bigint): { error: bigint; value: bigint } {
    if (event !== 1n && event !== 2n) return event === 0n ? INVALID_PARAM : NOT_SUPPORTED;
    const fixed = event === 1n ? 0 : 2;
    // Fixed counters cannot leave out modes; without Sscofpmf they are what one gets, asked for or not.
    const number = this.overflow
      ? this.numbers.find((n) => n > 2 && (mask & (1n << BigInt(n)) & ~this.configured) !== 0n)
      : fixed;
    if (number === undefined) return NOT_SUPPORTED;
    this.configured |= 1n << BigInt(number);
    this.events[number] = Number(event);
    this.flags[number] = flags;
    return { error: 0n, value: BigInt(number) };
  }

  /** Goes on behind a counter that refuses, and answers with the last error. */
  #forEach(mask: bigint, action: (number: number, bit: bigint) => bigint): { error: bigint; value: bigint } {
    let error = 0n;
    for (const number of this.numbers) {
      const bit = 1n << BigInt(number);
      if ((mask & bit) !== 0n) error = (this.configured & bit) === 0n ? -3n : action(number, bit) || error;
    }
    return { error, value: 0n };
  }

  save(): unknown {
    const { configured, running, overflowed, pending } = this;
    const [values, events, flags] = [this.values.slice(), [...this.events], [...this.flags]];
    return { values, events, flags, configured, running, overflowed, pending };
  }

  restore(saved: unknown): void {
    const { values, events, flags, ...others } = saved as HartCounters;
    Object.assign(this, { values: values.slice(), events: [...events], flags: [...flags], ...others });
  }
}

/** Flags of counter_config_matching: modes that are left out. */
const Flag = { vuinh: 1n << 3n, vsinh: 1n << 4n, sinh: 1n << 6n } as const;
/** cycle and instret count whether they were configured or not. */
const FIXED_EVENTS: Record<number, number> = { 0: 1, 2: 2 };
const INVALID_PARAM = { error: -3n, value: 0n };
const NOT_SUPPORTED = { error: -2n, value: 0n };
