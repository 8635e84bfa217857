/**
 * The time CSR: deterministic, so that a run can be repeated. Time passes with what harts do, not with the computer's clock.
 */
export class Clock {
  /** Ticks since power-on. */
  now = 1_000n;

  advance(ticks: bigint): void {
    this.now += ticks;
  }

  /** To `deadline` if that is later: when every hart sleeps. */
  advanceTo(deadline: bigint): void {
    if (deadline > this.now) this.now = deadline;
  }
}
