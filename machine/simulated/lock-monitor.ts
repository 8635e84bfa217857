import { Deadlock, InvariantViolation, hex } from "./errors.ts";
import type { Hart } from "./hart.ts";
import { HypervisorState } from "./hypervisor-state.ts";
import { LockGuards } from "./lock-guards.ts";
import { fieldOffset, recordSize } from "./record-layout.ts";
import type { RecordKind, RecordView } from "./record-layout.ts";

/**
 * Watches the hypervisor's spin locks (hypervisor/lib/spinlock.ts) through the door: a swap of 1 that finds 0 takes one, a release store of 0 gives it back.
 * Fails if a hart takes them in another order than docs/memory-ordering.md has, takes one twice, takes one that has no rank there, gives back one that it
 * does not hold, leaves the hypervisor with one, or writes to what a lock is for without it (lock-guards.ts).
 */

/** A lock may be waited for only by whoever holds none of its rank or a later one; under the last ones nothing is taken. */
const RANK = { tvm: 0, host: 1, iommu: 2, last: 3 } as const;

/** Every field of a record that is a lock. */
export const LOCK_FIELDS: readonly (readonly [RecordKind, string])[] = [
  ["vm", "lock"],
  ["vm", "layerLock"],
  ["iommu", "lock"],
  ["aplic", "lock"],
  ["console", "lock"],
  ["platform", "lock"],
  ["root", "pciLock"],
  ["root", "counterLock"],
];

export interface Lock {
  /** One of LOCK_FIELDS, "vm.lock". */
  field: string;
  name: string;
  rank: number;
}

export interface LockUse {
  taken: number;
  /** How often a hart found it held by another one, and waited. */
  waited: number;
}

export class LockMonitor {
  readonly #names: LockNames;
  readonly #guards: LockGuards;
  /** Address of each lock that is held, and who has it. */
  readonly #holders = new Map<number, { hart: Hart; lock: Lock }>();
  /** What was done with each field that is a lock. */
  readonly uses = new Map<string, LockUse>();
  /** What each hart spins on. */
  readonly #waiting = new Map<Hart, number>();

  constructor(root: RecordView) {
    this.#names = new LockNames(root);
    this.#guards = new LockGuards(new HypervisorState(root.memory, root));
  }

  /** A call of the door has been made. */
  saw(hart: Hart, name: string, args: readonly (bigint | number)[], result: unknown): void {
    if (name === "swap32" && args[1] === 1) this.#swapped(hart, Number(args[0]), result === 0);
    else if (name === "storeRelease32" && args[1] === 0) this.#released(hart, Number(args[0]));
    this.#guards.saw(hart, name, args, (lock) => this.#holders.get(lock)?.hart === hart);
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
      const name = this.#names.at(address)?.name ?? hex(address);
      return `hart ${hart.id} waits for the lock of ${name}, which ${holder ? `hart ${holder.hart.id}` : "nobody"} holds`;
    });
    throw new Deadlock(lines.join("; ") || "harts wait in loops for each other");
  }

  #swapped(hart: Hart, address: number, free: boolean): void {
    const lock = this.#names.at(address);
    if (!lock) throw new InvariantViolation(`hart ${hart.id} takes the lock at ${hex(address)}, which has no rank`);
    const held = [...this.#holders.entries()].filter(([, holder]) => holder.hart === hart);
    for (const [other, holder] of held) {
      if (other === address) throw new Deadlock(`hart ${hart.id} takes the lock of ${lock.name} a second time`);
      if (holder.lock.rank >= lock.rank) {
        throw new InvariantViolation(
          `lock order: hart ${hart.id} takes the lock of ${lock.name} while it holds that of ${holder.lock.name}`,
        );
      }
    }
    const use = this.uses.get(lock.field) ?? { taken: 0, waited: 0 };
    this.uses.set(lock.field, use);
    if (!free) {
      if (this.#waiting.get(hart) !== address) use.waited++;
      return void this.#waiting.set(hart, address);
    }
    const holder = this.#holders.get(address);
    if (holder)
      throw new InvariantViolation(
        `the lock of ${lock.name} is taken by hart ${hart.id} and by hart ${holder.hart.id}`,
      );
    this.#waiting.delete(hart);
    this.#holders.set(address, { hart, lock });
    use.taken++;
  }

  #released(hart: Hart, address: number): void {
    const holder = this.#holders.get(address);
    if (!holder) {
      // Not every word that is published as 0 is a lock.
      const lock = this.#names.at(address);
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
}

/** The locks that there are. */
export class LockNames {
  readonly #root: RecordView;
  readonly #state: HypervisorState;

  constructor(root: RecordView) {
    this.#root = root;
    this.#state = new HypervisorState(root.memory, root);
  }

  /** Which lock is at that address, if any is. */
  at(address: number): Lock | undefined {
    const root = this.#root;
    const lock = (kind: RecordKind, field: string, record: number, rank: number, name: string): Lock | undefined =>
      record !== 0 && address === record + fieldOffset(kind, field)
        ? { field: `${kind}.${field}`, name, rank }
        : undefined;
    const single =
      lock("console", "lock", root.number("console"), RANK.last, "the console") ??
      lock("root", "counterLock", root.address, RANK.last, "the users of counters") ??
      lock("root", "pciLock", root.address, RANK.last, "PCI") ??
      lock("aplic", "lock", root.number("aplic"), RANK.last, "the APLIC") ??
      lock("platform", "lock", root.number("platform"), RANK.last, "the platform's layer") ??
      lock("vm", "lock", root.number("host"), RANK.host, "the host") ??
      lock("vm", "layerLock", root.number("host"), RANK.last, "the host's layer");
    if (single) return single;
    for (let index = 0; index < root.number("iommuCount"); index++) {
      const record = root.number("iommus") + index * recordSize("iommu");
      const found = lock("iommu", "lock", record, RANK.iommu, `IOMMU ${index}`);
      if (found) return found;
    }
    for (const { id, record } of this.#state.vms()) {
      const found =
        lock("vm", "lock", record.address, RANK.tvm, `VM ${id}`) ??
        lock("vm", "layerLock", record.address, RANK.last, `the layer of VM ${id}`);
      if (found) return found;
    }
    return undefined;
  }
}
