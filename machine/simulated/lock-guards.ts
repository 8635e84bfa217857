import { InvariantViolation, hex } from "./errors.ts";
import type { Hart } from "./hart.ts";
import type { HypervisorState } from "./hypervisor-state.ts";
import { RecordView, fieldOffset, recordSize } from "./record-layout.ts";

/**
 * What only the holder of a lock writes, beside records, which lie in the hypervisor's own memory and are no business of the door: registers of devices
 * that harts share, and the words that say that a key is derived. A lock that somebody forgets to take shows here at once, whatever the order.
 */

interface Guard {
  start: number;
  end: number;
  /** Address of the lock. */
  lock: number;
  name: string;
}

const PAGE = 0x1000;
const BUS_BYTES = 0x10_0000;
const UART_BYTES = 8;
const WRITE = /^(mmioWrite|write|storeRelease)\d/;

export class LockGuards {
  readonly #state: HypervisorState;
  readonly #guards: Guard[];

  /** The machine has booted: its devices are known. */
  constructor(state: HypervisorState) {
    this.#state = state;
    this.#guards = guardsOf(state.root);
  }

  /** The hart has made a call of the door. `holds`: whether it has the lock at an address. */
  saw(hart: Hart, name: string, args: readonly (bigint | number)[], holds: (lock: number) => boolean): void {
    if (!WRITE.test(name)) return;
    const at = Number(args[0]);
    for (const { start, end, lock, name: what } of this.#guards) {
      if (at >= start && at < end && !holds(lock)) this.#refuse(hart, what, at);
    }
    if (name !== "storeRelease32" || args[1] !== 1) return;
    for (const { id, record } of this.#state.vms()) {
      const ready = record.number("layer") + fieldOffset("layer", "ready");
      if (at !== ready || holds(record.address + fieldOffset("vm", "layerLock"))) continue;
      this.#refuse(hart, `the keys of VM ${id}`, at);
    }
  }

  #refuse(hart: Hart, what: string, at: number): never {
    throw new InvariantViolation(`hart ${hart.id} writes to ${what} (${hex(at)}) and does not hold the lock`);
  }
}

function guardsOf(root: RecordView): Guard[] {
  const guards: Guard[] = [];
  const add = (name: string, start: number, bytes: number, lock: number): void => {
    if (start !== 0) guards.push({ name, start, end: start + bytes, lock });
  };
  const records = (kind: "segment" | "iommu", first: string, count: string): RecordView[] =>
    Array.from(
      { length: root.number(count) },
      (_, index) => new RecordView(root.memory, kind, root.number(first) + index * recordSize(kind)),
    );
  for (const segment of records("segment", "pciSegments", "pciSegmentCount")) {
    const buses = segment.number("lastBus") - segment.number("firstBus") + 1;
    const lock = root.address + fieldOffset("root", "pciLock");
    add("configuration space", segment.number("ecam"), buses * BUS_BYTES, lock);
  }
  for (const iommu of records("iommu", "iommus", "iommuCount")) {
    add("an IOMMU", iommu.number("registers"), PAGE, iommu.address + fieldOffset("iommu", "lock"));
  }
  const aplic = root.follow("aplic", "aplic");
  if (aplic) add("the APLIC", aplic.number("base"), PAGE, aplic.address + fieldOffset("aplic", "lock"));
  const console = root.follow("console", "console");
  if (console) add("the UART", console.number("uart"), UART_BYTES, console.address + fieldOffset("console", "lock"));
  const platform = root.follow("platform", "platform");
  if (platform) {
    const ready = platform.number("layer") + fieldOffset("layer", "ready");
    add("the platform's keys", ready, 4, platform.address + fieldOffset("platform", "lock"));
  }
  return guards;
}
