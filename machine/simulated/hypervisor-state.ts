import type { PhysicalMemory } from "./physical-memory.ts";
import { RecordView, enumValues, fieldOffset, recordSize } from "./record-layout.ts";

/**
 * The hypervisor's state as it lies in raw memory: page records, VMs, G-stage tables. The bit layouts are written down here a second time on
 * purpose, and no function of the hypervisor is used: this is what its work is checked with.
 */

/** State of a page record, bits 0-3. */
export const PageState = {
  Reserved: 0,
  Hypervisor: 1,
  Owned: 2,
  Shared: 3,
  Converted: 4,
  Claimed: 5,
  VmState: 6,
  TablePool: 7,
} as const;

export const PAGE_STATE_NAMES = Object.keys(PageState);

export interface PageRecord {
  state: number;
  /** Slot of the owner in the VM table. */
  owner: number;
  payload: number;
}

export const RegionType = {
  None: 0,
  Confidential: 1,
  Shared: 2,
  Mmio: 3,
  Imsic: 4,
  ConfidentialRemovable: 5,
  SharedRemovable: 6,
} as const;

export const VcpuState = { Stopped: 0, Starting: 1, Runnable: 2, Running: 3, Suspended: 4 } as const;

const pendingExits = enumValues("vm/vcpu", "PendingExit");
/** What a vCPU that left the machine waits for its host to do: names by number, and the numbers of two that are about a range. */
export const PENDING_NAMES = Object.keys(pendingExits);
export const Pending = { ShareMemory: pendingExits["ShareMemory"], UnshareMemory: pendingExits["UnshareMemory"] };

/** Whether a vCPU waits for its host to give up a range. */
export function isAboutRange(pending: number): boolean {
  return pending === Pending.ShareMemory || pending === Pending.UnshareMemory;
}

export const Lifecycle = { Initializing: 0, Runnable: 1 } as const;

export const PAGE = 4096;
export const HOST_SLOT = 0;

/** Entries of a G-stage table that is not empty. */
export interface MappedPage {
  gpa: number;
  hpa: number;
  size: number;
  level: number;
  /** Parked: the page belongs here and cannot be reached. */
  parked: boolean;
  /** Of a parked entry. */
  stamp: number;
  /** Low 8 bits of a leaf. */
  flags: number;
}

export interface TablePage {
  hpa: number;
  level: number;
  /** First gpa that it covers. */
  gpa: number;
}

export interface RegionInfo {
  start: bigint;
  end: bigint;
  type: number;
}

/** One VM. */
export class VmState {
  readonly memory: PhysicalMemory;
  readonly slot: number;
  readonly record: RecordView;
  /** The guest id in the VM table. */
  readonly id: bigint;
  readonly references: number;

  constructor(memory: PhysicalMemory, slot: number, entry: RecordView, record: RecordView) {
    this.memory = memory;
    this.slot = slot;
    this.record = record;
    this.id = entry.word("id");
    this.references = entry.number("references");
  }

  get isHost(): boolean {
    return this.slot === HOST_SLOT;
  }

  get rootTable(): number {
    return this.record.number("rootTable");
  }

  get levels(): number {
    return this.record.number("levels");
  }

  get parentSlot(): number | undefined {
    return this.record.follow("parent", "vm")?.number("slot");
  }

  regions(): RegionInfo[] {
    if (this.isHost) return [];
    const size = recordSize("region");
    return Array.from({ length: this.record.number("regionCount") }, (_, index) => {
      const region = new RecordView(this.memory, "region", this.record.number("regions") + index * size);
      return { start: region.word("start"), end: region.word("end"), type: region.number("type") };
    });
  }

  /** vCPUs that exist, by id. */
  vcpus(): RecordView[] {
    const vcpus: RecordView[] = [];
    const table = this.record.number("vcpus");
    const count = this.record.number("maxVcpus");
    for (let id = 0; id < count; id++) {
      const address = this.memory.readAddress(table + 8 * id);
      if (address !== 0) vcpus.push(new RecordView(this.memory, "vcpu", address));
    }
    return vcpus;
  }

  /** Visits every table below the root and every entry that is not empty. Throws on what no walker could follow. */
  walk(onPage: (page: MappedPage) => void, onTable: (table: TablePage) => void): void {
    const words = new Uint32Array(this.memory.wasmMemory.buffer);
    const visit = (table: number, level: number, base: number, entries: number): void => {
      const size = 2 ** (12 + 9 * level);
      for (let index = 0; index < entries; index++) {
        const low = words[table / 4 + index * 2];
        const high = words[table / 4 + index * 2 + 1];
        if (low === 0 && high === 0) continue;
        const gpa = base + index * size;
        const target = ((high & 0x003f_ffff) * 2 ** 22 + (low >>> 10)) * PAGE;
        const valid = (low & 1) !== 0;
        if (valid && (low & 0xe) === 0) {
          if (level === 0) throw new Error(`table entry at level 0 for gpa 0x${gpa.toString(16)}`);
          if (!this.memory.contains(target, PAGE)) throw new Error(`table at 0x${target.toString(16)} is not RAM`);
          if (high >>> 22 !== 0 || (low & 0x3ff) !== 1) throw new Error(`table entry with flags ${low & 0x3ff}`);
          onTable({ hpa: target, level: level - 1, gpa });
          visit(target, level - 1, gpa, 512);
        } else if (valid || (low & 2) !== 0) {
          const stamp = ((low >>> 2) & 0xff) | ((high >>> 22) << 8);
          onPage({ gpa, hpa: target, size, level, parked: !valid, stamp, flags: low & 0x3ff });
        } else {
          throw new Error(`entry 0x${high.toString(16)}_${low.toString(16)} for gpa 0x${gpa.toString(16)}`);
        }
      }
    };
    visit(this.rootTable, this.levels - 1, 0, 2048);
  }

  /** Pages of a list that is linked through the first word of its pages. */
  linkedPages(field: "freeTables" | "retiredTables"): number[] {
    const pages: number[] = [];
    for (let hpa = this.record.number(field); hpa !== 0; hpa = Number(this.memory.read64(hpa))) {
      if (pages.includes(hpa)) throw new Error(`${field} runs in a circle`);
      pages.push(hpa);
    }
    return pages;
  }
}

export const RangeStep = {
  None: 0,
  Claim: 1,
  Pin: 2,
  Perform: 3,
  Unpin: 4,
  Unclaim: 5,
  Refresh: 6,
  Target: 7,
} as const;
export const RangeKind = {
  Convert: 0,
  Reclaim: 1,
  Table: 2,
  Measured: 3,
  Zero: 4,
  Shared: 5,
  Block: 6,
  Unblock: 7,
  Remove: 8,
  Destroy: 9,
} as const;
const TEAR_DOWN_LEAVES = 0;
const CALL_REGISTERS = ["rangeA0", "rangeA1", "rangeA2", "rangeA3", "rangeA4", "rangeA5", "rangeA6"];
const RANGE_STEP = fieldOffset("vcpu", "rangeStep");

/** A call on a range of pages that is under way, and which pages it has in its hands. */
export class RangeCall {
  readonly vcpu: RecordView;
  readonly step: number;
  readonly kind: number;

  constructor(vcpu: RecordView) {
    this.vcpu = vcpu;
    this.step = vcpu.number("rangeStep");
    this.kind = vcpu.number("rangeKind");
  }

  /** Slot of the VM whose vCPU makes the call. */
  get callerSlot(): number {
    return this.vcpu.follow("vm", "vm")!.number("slot");
  }

  /** Whether any vCPU of its VM may take it, as it must be while no hart executes the hypervisor. */
  get isParked(): boolean {
    return this.vcpu.number("rangeParked") === 1;
  }

  /** What it is made with, and known again by: a0-a6. */
  get registers(): bigint[] {
    return CALL_REGISTERS.map((field) => this.vcpu.word(field));
  }

  /** Address of the record of the TVM that it holds a reference of, 0 if none. */
  get target(): number {
    return this.vcpu.number("rangeVm");
  }

  /** gpas (in the caller) of the pages that it has claimed. */
  claimed(): number[] {
    if (this.kind >= RangeKind.Shared) return [];
    switch (this.step) {
      case RangeStep.Claim:
        return this.#pages("rangeGpa", 0, this.#done);
      case RangeStep.Perform:
        return this.#pages("rangeGpa", this.#done, this.#count);
      case RangeStep.Unclaim:
        return this.#pages("rangeGpa", this.#done, this.vcpu.number("rangeEnd"));
      case RangeStep.Refresh:
      case RangeStep.Target:
        return [];
      default:
        return this.#pages("rangeGpa", 0, this.#count);
    }
  }

  /** gpas (in the caller) of the pages that it holds a reference of. */
  pinned(): number[] {
    if (this.kind > RangeKind.Shared) return [];
    switch (this.step) {
      case RangeStep.Pin:
        return this.#pages("rangeFrom", 0, this.#done);
      case RangeStep.Perform:
        if (this.kind === RangeKind.Measured) return this.#pages("rangeFrom", this.#done, this.#count);
        return this.kind === RangeKind.Shared ? this.#pages("rangeFrom", this.#mapped, this.#count) : [];
      case RangeStep.Unpin:
        return this.#pages("rangeFrom", this.#done, this.vcpu.number("rangeEnd"));
      default:
        return [];
    }
  }

  /** gpas (in the caller) of the pages that are the TVM's already, but wait for the rest of their large page to be mapped. */
  unmapped(): number[] {
    const given = this.kind === RangeKind.Measured || this.kind === RangeKind.Zero;
    return given && this.step === RangeStep.Perform ? this.#pages("rangeGpa", this.#mapped, this.#done) : [];
  }

  /**
   * gpa in the TVM up to which pages have left it, undefined if none do. The entry of a large page of which some have left is still there, parked or
   * of a TVM that is being destroyed: it names nothing below.
   */
  releasedUpTo(): bigint | undefined {
    if (this.kind === RangeKind.Remove && this.step === RangeStep.Perform) {
      return this.vcpu.word("rangeTarget") + BigInt(this.#done * PAGE);
    }
    // Between two regions it is all ones.
    const target = this.vcpu.word("rangeTarget");
    return this.kind === RangeKind.Destroy && target + 1n < 1n << 64n ? target : undefined;
  }

  /** Whether the TVM is being destroyed and all its pages have left it: its tables are followed by nobody any more. */
  get withoutTree(): boolean {
    return this.kind === RangeKind.Destroy && this.vcpu.number("rangeType") !== TEAR_DOWN_LEAVES;
  }

  get #done(): number {
    return this.vcpu.number("rangeDone");
  }

  get #count(): number {
    return this.vcpu.number("rangePages");
  }

  get #mapped(): number {
    return this.#done - (this.#done % 512 ** this.vcpu.number("rangeType"));
  }

  #pages(base: "rangeGpa" | "rangeFrom", start: number, end: number): number[] {
    const first = this.vcpu.number(base);
    return Array.from({ length: Math.max(0, end - start) }, (_, index) => first + (start + index) * PAGE);
  }
}

export class HypervisorState {
  readonly memory: PhysicalMemory;
  readonly root: RecordView;
  #hostVcpus: number[] | undefined;
  readonly #words: Uint32Array;
  readonly #ranges: { base: number; size: number; records: number; firstIndex: number }[];
  /** Pages of RAM in all ranges. */
  readonly pages: number;

  constructor(memory: PhysicalMemory, root: RecordView) {
    this.memory = memory;
    this.root = root;
    this.#words = new Uint32Array(memory.wasmMemory.buffer);
    const count = root.number("rangeCount");
    let firstIndex = 0;
    this.#ranges = Array.from({ length: count }, (_, index) => {
      const range = new RecordView(memory, "range", root.number("ranges") + index * recordSize("range"));
      const info = {
        base: range.number("base"),
        size: range.number("size"),
        records: range.number("records"),
        firstIndex,
      };
      firstIndex += info.size / PAGE;
      return info;
    });
    this.pages = firstIndex;
  }

  /** Number of a page among all pages of RAM, or -1. */
  pageIndex(hpa: number): number {
    for (const range of this.#ranges) {
      const offset = hpa - range.base;
      if (offset >= 0 && offset < range.size) return range.firstIndex + Math.floor(offset / PAGE);
    }
    return -1;
  }

  /** hpa of a page by its number. */
  pageAddress(index: number): number {
    const range = this.#ranges.find(({ firstIndex, size }) => index < firstIndex + size / PAGE)!;
    return range.base + (index - range.firstIndex) * PAGE;
  }

  /** The raw record of each page, in the order of the pages: two 32-bit words a page. */
  rawRecords(): Uint32Array {
    const all = new Uint32Array(this.pages * 2);
    for (const { records, size, firstIndex } of this.#ranges) {
      all.set(this.#words.subarray(records / 4, records / 4 + (size / PAGE) * 2), firstIndex * 2);
    }
    return all;
  }

  /** The record of the page at `hpa`, undefined if that is not RAM. */
  record(hpa: number): PageRecord | undefined {
    for (const range of this.#ranges) {
      const offset = hpa - range.base;
      if (offset < 0 || offset >= range.size) continue;
      const at = (range.records + Math.floor(offset / PAGE) * 8) / 4;
      return unpackRecord(this.#words[at], this.#words[at + 1]);
    }
    return undefined;
  }

  /** All VMs that have a slot. */
  vms(): VmState[] {
    const vms: VmState[] = [];
    const size = recordSize("slot");
    const table = this.root.number("vmSlots");
    for (let slot = 0; slot < MAX_SLOTS; slot++) {
      const entry = new RecordView(this.memory, "slot", table + slot * size);
      // Most slots are free: look at one word only.
      if (this.#words[entry.address / 4] === 0) {
        if (slot > 2 && this.#neverUsed(entry)) break;
        continue;
      }
      vms.push(new VmState(this.memory, slot, entry, entry.follow("vm", "vm")!));
    }
    return vms;
  }

  /** Slots that are taken although they have no VM: somebody is creating or destroying one. */
  reservedSlots(): number {
    const size = recordSize("slot");
    const table = this.root.number("vmSlots");
    let reserved = 0;
    for (let slot = 2; slot < MAX_SLOTS; slot++) {
      const entry = new RecordView(this.memory, "slot", table + slot * size);
      if (this.#words[entry.address / 4] !== 0) continue;
      if (entry.number("references") !== 0) reserved++;
      else if (this.#neverUsed(entry)) break;
    }
    return reserved;
  }

  /** Slots are given out from the lowest on. */
  #neverUsed(slot: RecordView): boolean {
    return slot.word("generation") === 0n && slot.number("references") === 0;
  }

  /** Calls of the host's vCPUs that made way for an interrupt and are to be gone on with. */
  rangeCalls(): RangeCall[] {
    const calls: RangeCall[] = [];
    for (const address of (this.#hostVcpus ??= this.#findHostVcpus())) {
      if (this.#words[(address + RANGE_STEP) / 4] !== RangeStep.None) {
        calls.push(new RangeCall(new RecordView(this.memory, "vcpu", address)));
      }
    }
    return calls;
  }

  /** Addresses of the records of the host's vCPUs, which stay as boot made them. */
  #findHostVcpus(): number[] {
    const host = this.root.follow("host", "vm")!;
    const table = host.number("vcpus");
    return Array.from({ length: host.number("maxVcpus") }, (_, id) => Number(this.memory.read64(table + 8 * id)));
  }

  hartRecords(): RecordView[] {
    const table = this.root.number("harts");
    return Array.from(
      { length: this.root.number("hartCount") },
      (_, index) => new RecordView(this.memory, "hart", this.memory.read64(table + 8 * index)),
    );
  }
}

const MAX_SLOTS = 4096;

export function unpackRecord(low: number, high: number): PageRecord {
  return { state: low & 15, owner: (low >>> 4) & 0xfff, payload: (low >>> 16) + high * 65536 };
}

export function describeRecord(record: PageRecord): string {
  return `${PAGE_STATE_NAMES[record.state] ?? `state ${record.state}`} of slot ${record.owner}, payload ${record.payload}`;
}
