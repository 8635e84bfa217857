import type { DoorFunctions, DoorReplacement } from "./door.ts";
import { Csr } from "./csr-numbers.ts";
import { METER } from "./metered-module.ts";

/** What the hypervisor did without an interrupt being taken, or without asking whether one waits. */
export interface Stretch {
  /** Operations of its own code (metered-module.ts). */
  operations: number;
  /** 64-bit words that the door's loops zeroed, and copied. */
  zeroed: number;
  copied: number;
}

export const NOTHING: Readonly<Stretch> = { operations: 0, zeroed: 0, copied: 0 };

/**
 * Measures stretches of a metered hypervisor: from the entry, or from a look at what is pending that found nothing, to the next such look or the end of the entry.
 * A look that finds something ends none: the hypervisor has to get to the guest first. What other harts do while this one waits for them counts as theirs.
 */
export class Meter {
  /** The longest since it was cleared. */
  longest: Readonly<Stretch> = NOTHING;
  readonly #interrupted: Stretch[] = [];
  #counter: { value: unknown } | undefined;
  #zeroed = 0;
  #copied = 0;

  /** Of the module's exports. */
  attach(exports: Record<string, unknown>): void {
    if (!(METER in exports)) throw new Error("the hypervisor has no meter");
    this.#counter = exports[METER] as { value: unknown };
  }

  clear(): void {
    this.longest = NOTHING;
  }

  /** An entry begins; those that are under way go on when it is over. */
  begin(): void {
    this.#interrupted.push(this.#taken());
  }

  end(): void {
    this.#stretchOver();
    const outer = this.#interrupted.pop() ?? NOTHING;
    this.#counter!.value = BigInt(outer.operations);
    this.#zeroed = outer.zeroed;
    this.#copied = outer.copied;
  }

  /** The door's functions, watched. `pending`: whether the hart that executes has an interrupt to take. */
  watch(pending: () => boolean): DoorReplacement {
    return (usual: DoorFunctions): DoorFunctions => {
      const { zeroBytes, copyBytes, csrRead } = usual as Record<string, (...args: unknown[]) => unknown>;
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
          if (csr === Csr.sip && !pending()) this.#stretchOver();
          return csrRead(csr);
        },
      };
    };
  }

  #stretchOver(): void {
    const stretch = this.#taken();
    if (weight(stretch) > weight(this.longest)) this.longest = stretch;
  }

  /** What was counted so far, which is counted no more. */
  #taken(): Stretch {
    const stretch = { operations: Number(this.#counter!.value), zeroed: this.#zeroed, copied: this.#copied };
    this.#counter!.value = 0n;
    this.#zeroed = 0;
    this.#copied = 0;
    return stretch;
  }
}

/** Stretches are compared by this: a word is one store, or a load and a store. */
export function weight({ operations, zeroed, copied }: Readonly<Stretch>): number {
  return operations + zeroed + 2 * copied;
}
