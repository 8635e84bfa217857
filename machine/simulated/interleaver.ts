import { AccessChecker } from "./access-checker.ts";
import { cryptoDoor } from "./crypto-door.ts";
import type { DoorFunctions } from "./door.ts";
import { describeFailure } from "./door.ts";
import { HartStopped } from "./firmware.ts";
import { Action } from "./hart.ts";
import type { Hart } from "./hart.ts";
import { LockMonitor } from "./lock-monitor.ts";
import type { EntryPlayer, Machine } from "./machine.ts";

/**
 * Several harts in the hypervisor at the same time: each hart's entry runs on a stack of its own, and is suspended before each call of the door until somebody
 * says that it is its turn. Between two calls the code touches memory that is its own, so these are all the interleavings there are, up to the order in
 * which weakly ordered memory shows them (docs/memory-ordering.md).
 *
 * The stacks are those of WebAssembly's promise integration rather than threads: what is interleaved is the same, and the order depends on nothing but the
 * scheduler. Each hart has an instance of the module, on the same memory.
 */

/** An entry that is under way. */
export interface Entry {
  hart: Hart;
  /** The call of the door that it is before; undefined while it runs. */
  call: string | undefined;
  /** Calls so far, and those of `pause` since it got on. */
  calls: number;
  pauses: number;
  perform: (() => void) | undefined;
}

/** They concern nobody but the hart that calls them. */
const LOCAL = new Set(["hartRecord", "setHartRecord", "stackPointer", "imageAddress"]);
/** Arithmetic, of which a signature needs ten thousands. */
const PURE = new Set(Object.keys(cryptoDoor()));

/** What reads, compares or waits: a hart that does only this for long gets nowhere. */
const SPINNING = new Set(["pause", "read32", "swap32"]);

export interface InterleaverOptions {
  /** Atomics are a read, and a write at another time: to see whether that is noticed. */
  torn?: boolean;
}

export class Interleaver implements EntryPlayer {
  readonly machine: Machine;
  readonly entries = new Map<Hart, Entry>();
  readonly locks: LockMonitor;
  /** What ended the run, if anything did. */
  failure: unknown;
  /** Calls of the door that were made. */
  calls = 0;
  readonly #exports = new Map<Hart, Record<string, (...args: bigint[]) => Promise<unknown>>>();
  readonly #checkers = new Map<Hart, AccessChecker>();
  readonly #torn: boolean;
  #signal: () => void = () => {};

  /** The machine has booted; from now on its harts are in the hypervisor together. */
  constructor(machine: Machine, options: InterleaverOptions = {}) {
    this.machine = machine;
    this.#torn = options.torn ?? false;
    this.locks = new LockMonitor(machine.root);
    for (const hart of machine.harts) this.#exports.set(hart, this.#instance(hart));
    machine.entryPlayer = this;
  }

  #instance(hart: Hart): Record<string, (...args: bigint[]) => Promise<unknown>> {
    const { machine } = this;
    const root = machine.root;
    const checker = new AccessChecker({
      memory: machine.memory,
      image: machine.image,
      root: () => root,
      ...(machine.accessChecker ? { parts: machine.accessChecker.parts } : {}),
    });
    this.#checkers.set(hart, checker);
    // Others get on because it is their turn.
    const watched: DoorFunctions = { ...machine.door, ...checker.watch(machine.door), pause: () => {} };
    const door: Record<string, unknown> = {};
    for (const [name, usual] of Object.entries(watched)) {
      if (PURE.has(name)) {
        door[name] = usual;
        continue;
      }
      const inName = (...args: never[]): unknown => machine.inNameOf(hart, () => usual(...args));
      door[name] = LOCAL.has(name)
        ? inName
        : new WebAssembly.Suspending((...args) => this.#suspend(hart, name, inName, args));
    }
    door["hartRecord"] = () => hart.threadPointer;
    door["setHartRecord"] = (record: bigint) => void (hart.threadPointer = BigInt.asUintN(64, record));
    const exports = machine.instantiate(door as DoorFunctions, machine.accessChecker ? checker.imports : {});
    return {
      trap: WebAssembly.promising(exports["trap"]),
      helperTrap: WebAssembly.promising(exports["helperTrap"]),
      bootSecondary: WebAssembly.promising(exports["bootSecondary"]),
    };
  }

  /** EntryPlayer: the hart executes up to its first call of the door. */
  enter(hart: Hart, name: string, args: bigint[]): void {
    const entry: Entry = { hart, call: undefined, calls: 0, pauses: 0, perform: undefined };
    this.entries.set(hart, entry);
    this.#checkers.get(hart)!.begin(name);
    const over = (action: number): void => {
      this.entries.delete(hart);
      this.locks.left(hart);
      this.machine.entryOver(hart, action);
    };
    const exported = this.#exports.get(hart)![name];
    exported(...args)
      .then(
        (action) => over(action as number),
        (error: unknown) => {
          if (!(error instanceof HartStopped && error.hart === hart)) throw describeFailure(error);
          over(Action.Off);
        },
      )
      .catch((error: unknown) => (this.failure ??= error))
      .finally(() => this.#signal());
  }

  #suspend(hart: Hart, name: string, inName: (...args: never[]) => unknown, args: never[]): Promise<unknown> {
    const entry = this.entries.get(hart)!;
    entry.call = name;
    return new Promise((resolve, reject) => {
      entry.perform = () => {
        try {
          if (this.#torn && ATOMICS.test(name)) return this.#tear(entry, name, inName, args, resolve);
          const result = inName(...args);
          this.locks.saw(hart, name, args, result);
          resolve(result);
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      this.#signal();
    });
  }

  /** The read now, the rest when it is this hart's turn again, with what was read before. */
  #tear(
    entry: Entry,
    name: string,
    inName: (...args: never[]) => unknown,
    args: never[],
    resolve: (old: unknown) => void,
  ): void {
    const bits = name.endsWith("64") ? 64 : 32;
    const { memory } = this.machine;
    const at = Number(args[0]);
    const old = memory.readNumber(at, bits / 8);
    entry.perform = () => {
      memory.writeNumber(at, bits / 8, old);
      resolve(inName(...args));
    };
    this.#signal();
  }

  /** Makes the call that the entry is before, and lets it run up to its next one or to its end. */
  async advance(entry: Entry): Promise<void> {
    const { perform, call } = entry;
    this.calls++;
    entry.calls++;
    if (call === "pause") entry.pauses++;
    else if (!SPINNING.has(call!)) entry.pauses = 0;
    entry.perform = undefined;
    const settled = new Promise<void>((resolve) => (this.#signal = resolve));
    perform!();
    await settled;
    if (this.failure !== undefined) throw this.failure as Error;
  }
}

const ATOMICS = /^(cas|swap|add|or|and)\d/;
