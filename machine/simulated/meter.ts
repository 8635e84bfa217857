import type { DoorFunctions, DoorReplacement } from "./door.ts";
import { Csr } from "./csr-numbers.ts";
import type { Hart } from "./hart.ts";
import { LockNames } from "./lock-monitor.ts";
import { METER } from "./metered-module.ts";
import type { RecordView } from "./record-layout.ts";

/** What the hypervisor did without an interrupt being taken, or without asking whether one waits; or while it held a lock. */
export interface Stretch {
  /** Operations of its own code (metered-module.ts). */
  operations: number;
  /** 64-bit words that the door's loops zeroed, and copied. */
  zeroed: number;
  copied: number;
}

export const NOTHING: Readonly<Stretch> = { operations: 0, zeroed: 0, copied: 0 };

/** A stretch, and what it was for. */
export interface Work {
  stretch: Readonly<Stretch>;
  /** The function of COVH that was carried on with, if the entry did not begin with its work: undefined, the entry's own work. */
  carriedOn: number | undefined;
}

/** What the meter looks at. */
export interface MeteredMachine {
  readonly hartInHypervisor: Hart | undefined;
  /** When boot is over. */
  readonly root: RecordView;
}

/**
 * Measures stretches of a metered hypervisor: from the entry, or from a look at what is pending that found nothing, to the next such look or the end of the entry.
 * A look that finds something ends none: the hypervisor has to get to the guest first. What other harts do while this one waits for them counts as theirs.
 * Beside it, for how long each lock is held.
 */
export class Meter {
  /** Since it was cleared: the longest stretch for each of what it was for. */
  readonly longest = new Map<number | undefined, Readonly<Stretch>>();
  /** Since it was cleared: the longest that each kind of lock was held. */
  readonly holds = new Map<string, Work>();
  readonly #interrupted: Stretch[] = [];
  #counter: { value: unknown } | undefined;
  #zeroed = 0;
  #copied = 0;
  /** All that was counted and is no longer in the counters. */
  #before: Stretch = { ...NOTHING };
  /** What the stretch that is being measured is for. */
  #carriedOn: number | undefined;
  #machine: MeteredMachine | undefined;
  #names: LockNames | undefined;
  /** Kinds of the locks that are held, by address, and when they were taken. */
  readonly #held = new Map<number, { kind: string; since: Stretch; carriedOn: number | undefined }>();
  /** Locks do not have their names yet. */
  #booting = true;

  /** Of the module's exports. */
  attach(exports: Record<string, unknown>): void {
    if (!(METER in exports)) throw new Error("the hypervisor has no meter");
    this.#counter = exports[METER] as { value: unknown };
  }

  clear(): void {
    this.longest.clear();
    this.holds.clear();
  }

  /** The longest stretch since it was cleared. */
  get most(): Readonly<Stretch> {
    return [...this.longest.values()].reduce((a, b) => (weight(a) >= weight(b) ? a : b), NOTHING);
  }

  /** An entry begins; those that are under way go on when it is over. */
  begin(name: string): void {
    this.#interrupted.push(this.#taken());
    this.#booting = name !== "trap";
    this.#carriedOn = this.#underWay();
  }

  end(): void {
    this.#stretchOver();
    const outer = this.#interrupted.pop() ?? NOTHING;
    this.#counter!.value = BigInt(outer.operations);
    this.#zeroed = outer.zeroed;
    this.#copied = outer.copied;
    this.#before = minus(this.#before, outer);
  }

  /** The door's functions, watched. */
  watch(machine: MeteredMachine): DoorReplacement {
    this.#machine = machine;
    return (usual: DoorFunctions): DoorFunctions => {
      const functions = usual as Record<string, (...args: unknown[]) => unknown>;
      const { zeroBytes, copyBytes, csrRead, swap32, storeRelease32 } = functions;
      const zero = (at: bigint, length: bigint): void => {
        this.#zeroed += Number(length) / 8;
        zeroBytes(at, length);
      };
      return {
        zeroBytes: zero,
        wipeBytes: zero,
        copyBytes: (to: bigint, from: bigint, length: bigint) => {
          this.#copied += Number(length) / 8;
          copyBytes(to, from, length);
        },
        csrRead: (csr: number) => {
          if (csr === Csr.sip && machine.hartInHypervisor?.pendingInterrupt() === undefined) this.#stretchOver();
          return csrRead(csr);
        },
        swap32: (at: bigint, value: number) => {
          const old = swap32(at, value);
          if (value === 1 && old === 0 && !this.#booting) this.#taking(Number(at));
          return old;
        },
        storeRelease32: (at: bigint, value: number) => {
          storeRelease32(at, value);
          if (value === 0) this.#released(Number(at));
        },
      };
    };
  }

  #taking(address: number): void {
    this.#names ??= new LockNames(this.#machine!.root);
    const lock = this.#names.at(address);
    if (!lock) return;
    const kind = lock.name.replace(/VM \d+/, "a TVM").replace(/IOMMU \d+/, "an IOMMU");
    this.#held.set(address, { kind, since: this.#total(), carriedOn: this.#carriedOn });
  }

  #released(address: number): void {
    const hold = this.#held.get(address);
    if (!hold) return;
    this.#held.delete(address);
    const stretch = minus(this.#total(), hold.since);
    const known = this.holds.get(hold.kind);
    if (known && weight(known.stretch) >= weight(stretch)) return;
    this.holds.set(hold.kind, { stretch, carriedOn: hold.carriedOn });
  }

  #stretchOver(): void {
    const stretch = this.#taken();
    const known = this.longest.get(this.#carriedOn) ?? NOTHING;
    if (weight(stretch) > weight(known)) this.longest.set(this.#carriedOn, stretch);
    this.#carriedOn = this.#underWay();
  }

  /** The function of the call on a range that the vCPU on this hart has begun. */
  #underWay(): number | undefined {
    const hart = this.#machine?.hartInHypervisor;
    if (this.#booting || !hart) return undefined;
    const vcpu = hart.record.follow("vcpu", "vcpu");
    return vcpu === undefined || vcpu.number("rangeStep") === 0 ? undefined : vcpu.number("rangeA6");
  }

  #total(): Stretch {
    const { operations, zeroed, copied } = this.#before;
    return {
      operations: operations + Number(this.#counter!.value),
      zeroed: zeroed + this.#zeroed,
      copied: copied + this.#copied,
    };
  }

  /** What was counted so far, which is counted no more. */
  #taken(): Stretch {
    const stretch = { operations: Number(this.#counter!.value), zeroed: this.#zeroed, copied: this.#copied };
    this.#before = this.#total();
    this.#counter!.value = 0n;
    this.#zeroed = 0;
    this.#copied = 0;
    return stretch;
  }
}

function minus(a: Readonly<Stretch>, b: Readonly<Stretch>): Stretch {
  return { operations: a.operations - b.operations, zeroed: a.zeroed - b.zeroed, copied: a.copied - b.copied };
}

/** Stretches are compared by this: a word is one store, or a load and a store. */
export function weight({ operations, zeroed, copied }: Readonly<Stretch>): number {
  return operations + zeroed + 2 * copied;
}
