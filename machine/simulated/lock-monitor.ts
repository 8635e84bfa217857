import { Deadlock, InvariantViolation, hex } from "./errors.ts";
import type { Hart } from "./hart.ts";
import { HypervisorState } from "./hypervisor-state.ts";
import { fieldOffset } from "./record-layout.ts";
import type { RecordView } from "./record-layout.ts";

/**
 * Watches the hypervisor's spin locks (hypervisor/lib/spinlock.ts) through the door: a swap of 1 that finds 0 takes one, a release store of 0 gives it back.
 * Fails if a hart takes them in another order than docs/memory-ordering.md has, takes one twice, gives back one that it does not hold, or leaves the
 * hypervisor with one.
 */

/** A lock may be waited for only by whoever holds none of its rank or a later one. */
const RANKS = ["a TVM", "the host", "the console"] as const;

interface Lock {
  name: string;
  rank: number;
}

export class LockMonitor {
  readonly #state: HypervisorState;
  readonly #root: RecordView;
  /** Address of each lock that is held, and who has it. */
  readonly #holders = new Map<number, { hart: Hart; lock: Lock }>();
  /** What each hart spins on. */
  readonly #waiting = new Map<Hart, number>();

  constructor(root: RecordView) {
    this.#root = root;
    this.#state = new HypervisorState(root.memory, root);
  }

  /** A call of the door has been made. */
  saw(hart: Hart, name: string, args: readonly (bigint | number)[], result: unknown): void {
    if (name === "swap32" && args[1] === 1) this.#swapped(hart, Number(args[0]), result === 0);
    else if (name === "storeRelease32" && args[1] === 0) this.#released(hart, Number(args[0]));
  }

  /** A hart leaves the hypervisor. */
  left(hart: Hart): void {
    this.#waiting.delete(hart);
    for (const holder of this.#holders.values()) {
      if (holder.hart === hart)
        throw new InvariantViolation(`hart ${hart.id} leaves with the lock of ${holder.lock.name}`);
    }
  }

  /** A hart has waited for very long. */
  deadlock(): never {
    const lines = [...this.#waiting].map(([hart, address]) => {
      const holder = this.#holders.get(address);
      const name = this.#identify(address)?.name ?? hex(address);
      return `hart ${hart.id} waits for the lock of ${name}, which ${holder ? `hart ${holder.hart.id}` : "nobody"} holds`;
    });
    throw new Deadlock(lines.join("; ") || "harts wait in loops for each other");
  }

  #swapped(hart: Hart, address: number, free: boolean): void {
    const lock = this.#identify(address);
    if (!lock) return;
    const held = [...this.#holders.entries()].filter(([, holder]) => holder.hart === hart);
    for (const [other, holder] of held) {
      if (other === address) throw new Deadlock(`hart ${hart.id} takes the lock of ${lock.name} a second time`);
      if (holder.lock.rank >= lock.rank) {
        throw new InvariantViolation(
          `lock order: hart ${hart.id} takes the lock of ${lock.name} while it holds that of ${holder.lock.name}`,
        );
      }
    }
    if (!free) return void this.#waiting.set(hart, address);
    const holder = this.#holders.get(address);
    if (holder)
      throw new InvariantViolation(
        `the lock of ${lock.name} is taken by hart ${hart.id} and by hart ${holder.hart.id}`,
      );
    this.#waiting.delete(hart);
    this.#holders.set(address, { hart, lock });
  }

  #released(hart: Hart, address: number): void {
    const holder = this.#holders.get(address);
    if (!holder) {
      const lock = this.#identify(address);
      if (lock) throw new InvariantViolation(`hart ${hart.id} gives back the lock of ${lock.name}, which nobody holds`);
      return;
    }
    if (holder.hart !== hart) {
      throw new InvariantViolation(
        `hart ${hart.id} gives back the lock of ${holder.lock.name} of hart ${holder.hart.id}`,
      );
    }
    this.#holders.delete(address);
  }

  /** Which lock is at that address, if any is. */
  #identify(address: number): Lock | undefined {
    if (address === this.#root.number("console")) return { name: RANKS[2], rank: 2 };
    const host = this.#root.number("host");
    if (address === host + fieldOffset("vm", "lock")) return { name: RANKS[1], rank: 1 };
    const vm = this.#state.vms().find(({ record }) => address === record.address + fieldOffset("vm", "lock"));
    return vm ? { name: `VM ${vm.id}`, rank: 0 } : undefined;
  }
}
