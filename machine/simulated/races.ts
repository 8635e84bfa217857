import type { Checker } from "./checker.ts";
import { Deadlock, InvariantViolation, MachineFault } from "./errors.ts";
import type { Ending, GuestContext } from "./guest-context.ts";
import type { Operation } from "./guest-script.ts";
import type { Hart } from "./hart.ts";
import type { Entry, Interleaver } from "./interleaver.ts";
import { interruptCause } from "./operation-executor.ts";
import { sleepToNextTimer } from "./run.ts";
import { randomNumbers } from "./schedule.ts";

/** What a vCPU does next, given how its last operation ended; undefined when it is done. */
export type Actor = (context: GuestContext, ending: Ending | undefined) => Operation | undefined;

export interface RaceOptions {
  seed: number;
  actor: Actor;
  checker: Checker;
  /** What must hold beside that, each time that everything is checked. */
  alsoCheck?: () => void;
}

export interface RaceResult {
  entries: number;
  /** Calls of the door. */
  calls: number;
  /** Most harts that were in the hypervisor at a time. */
  together: number;
  /** How often all were out of it, and everything was checked. */
  checks: number;
}

/** Turns of a loop in which a hart waits before that is a deadlock, and turns after which a run is one that never ends. */
const MOST_PAUSES = 2_000;
const MOST_TURNS = 2_000_000;
/** Entries from one check of everything to the next. */
const ENTRIES_PER_CHECK = 24;

/**
 * Lets guests and the hypervisor's code of all harts take steps in an order that depends on the seed alone, until all guests are done. A hart goes on for a while
 * before another one gets its turn; how long differs from seed to seed.
 *
 * Fails at a deadlock, locks that are taken in another order than they should, bad accesses and double fetches (with the checked module), wake-ups that are lost, and
 * whatever the checker finds when no hart is in the hypervisor.
 */
export async function playRaces(interleaver: Interleaver, options: RaceOptions): Promise<RaceResult> {
  const { machine } = interleaver;
  const random = randomNumbers(options.seed);
  const patience = [1, 3, 10, 40][random(4)];
  const result: RaceResult = { entries: 0, calls: 0, together: 0, checks: 0 };
  const [firstEntry, firstCall] = [machine.entries, interleaver.calls];
  let last: Hart | undefined;
  let nextCheck = machine.entries + ENTRIES_PER_CHECK;
  const check = (): void => {
    options.checker.check(false);
    options.alsoCheck?.();
    result.checks++;
    nextCheck = machine.entries + ENTRIES_PER_CHECK;
  };
  for (let turn = 0; turn < MOST_TURNS; turn++) {
    const entries = [...interleaver.entries.values()];
    result.together = Math.max(result.together, entries.length);
    if (entries.length === 0 && machine.entries >= nextCheck) check();
    // Before a check nobody enters any more.
    const waitForCheck = machine.entries >= nextCheck;
    const guests = waitForCheck ? [] : machine.harts.filter((hart) => canAct(interleaver, hart, options.actor));
    const running = entries.filter(({ call, pauses }) => call !== "pause" || pauses === 0);
    const able = [...running.map(({ hart }) => hart), ...guests];
    const candidates = able.length > 0 ? able : entries.map(({ hart }) => hart);
    if (candidates.length === 0) {
      refuseLostWakeUps(interleaver);
      if (sleepToNextTimer(machine)) continue;
      check();
      result.entries = machine.entries - firstEntry;
      result.calls = interleaver.calls - firstCall;
      return result;
    }
    const waiting = entries.filter(({ call }) => call === "pause");
    // Whoever waits in a loop looks again now and then.
    const pool = waiting.length > 0 && random(8) === 0 ? waiting.map(({ hart }) => hart) : candidates;
    const stays = last !== undefined && pool.includes(last) && random(patience) !== 0;
    const hart: Hart = stays ? last! : pool[random(pool.length)];
    last = hart;
    const entry = interleaver.entries.get(hart);
    if (entry) await advance(interleaver, entry);
    else if (hart.state === "helper") stepHelper(hart, random);
    else step(interleaver, hart, options.actor);
  }
  throw new MachineFault(`the run does not end within ${MOST_TURNS} turns`);
}

async function advance(interleaver: Interleaver, entry: Entry): Promise<void> {
  if (entry.pauses > MOST_PAUSES) interleaver.locks.deadlock();
  if (entry.calls > MOST_TURNS / 4) throw new Deadlock(`hart ${entry.hart.id} does not leave the hypervisor`);
  interleaver.machine.clock.advance(1n);
  await interleaver.advance(entry);
}

/** Whether a hart outside of the hypervisor has anything to do. */
function canAct({ machine }: Interleaver, hart: Hart, actor: Actor): boolean {
  if (hart.state === "helper" || machine.canStep(hart)) return true;
  if (hart.state !== "guest") return false;
  const context = machine.contextOf(hart);
  if (context.pending) return false;
  return prepared(hart, context, actor) !== undefined;
}

/** The operation that the vCPU on the hart is about to begin. The actor is asked once. */
const upcoming = new WeakMap<GuestContext, Operation>();
function prepared(hart: Hart, context: GuestContext, actor: Actor): Operation | undefined {
  const known = upcoming.get(context);
  if (known) return known;
  const { ending } = context;
  context.ending = undefined;
  context.hart = hart;
  const operation = actor(context, ending);
  if (operation) upcoming.set(context, operation);
  return operation;
}

function step({ machine }: Interleaver, hart: Hart, actor: Actor): void {
  if (hart.state === "guest" && hart.pendingInterrupt() === undefined) {
    const context = machine.contextOf(hart);
    if (!context.pending) {
      const operation = prepared(hart, context, actor)!;
      upcoming.delete(context);
      machine.begin(hart, operation);
    }
  }
  machine.step(hart);
}

/**
 * The user-mode helper takes an interrupt, or makes one of its calls, well or badly: what it computes is for the tests of the helper, here it is something that
 * keeps a hart for a while and comes back.
 */
function stepHelper(hart: Hart, random: (limit: number) => number): void {
  const irq = hart.pendingInterrupt();
  if (irq !== undefined) return hart.helperTrap(interruptCause(irq), 0n);
  const { call, a0, a1, a2 } = HELPER_CALLS[random(HELPER_CALLS.length)];
  [a0, a1, a2].forEach((value, index) => (hart.registers[10 + index] = BigInt(value)));
  hart.registers[17] = BigInt(call);
  hart.helperTrap(ECALL_FROM_USER, 0n);
}

/** Of umode/layout.ts: done with 64 bytes of output, done with bad input, a signature in the output, one of what is not there, a panic. */
const HELPER_CALLS = [
  { call: 1, a0: 0, a1: 64, a2: 0 },
  { call: 1, a0: 0, a1: 64, a2: 0 },
  { call: 1, a0: 1, a1: 0, a2: 0 },
  { call: 2, a0: 0x10_2000, a1: 32, a2: 0x10_2040 },
  { call: 2, a0: 0, a1: 32, a2: 64 },
  { call: 0, a0: 0, a1: 0, a2: 0 },
] as const;
const ECALL_FROM_USER = 8n;

/** Nobody can do anything: then nothing may be left to do. */
function refuseLostWakeUps({ machine }: Interleaver): void {
  for (const hart of machine.harts) {
    if (hart.state === "off" || hart.state === "hypervisor") continue;
    const requests = hart.record.word("requests");
    if (requests !== 0n) {
      throw new InvariantViolation(
        `lost wake-up: hart ${hart.id} (${hart.state}) has requests ${requests}, and no interrupt comes`,
      );
    }
    const reason = hart.record.number("waitReason");
    if (reason === REMOTE_FENCE) {
      throw new InvariantViolation(`lost wake-up: hart ${hart.id} waits for a fence that every other hart has served`);
    }
  }
}

/** Of WaitReason (hypervisor/vm/wait.ts). */
const REMOTE_FENCE = 1;
