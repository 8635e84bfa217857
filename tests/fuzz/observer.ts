import type { Hart } from "../../machine/simulated/hart.ts";
import { PAGE, PageState, VcpuState } from "../../machine/simulated/hypervisor-state.ts";
import { RecordView, fieldOffset, recordSize } from "../../machine/simulated/record-layout.ts";
import type { World } from "./world.ts";

/**
 * What a generator of commands looks at to get deep: it sees the hypervisor's records, as no host could, and so knows which page is in which state
 * and where each TVM stands, without a model of its own.
 */
export const MEMORY = 0x8000_0000;

export interface TvmView {
  /** Number that commands know it by. */
  number: number;
  id: bigint;
  slot: number;
  record: number;
  runnable: boolean;
  /** Its vCPUs have interrupt files. */
  hasFiles: boolean;
  vcpus: VcpuView[];
}

export interface VcpuView {
  id: number;
  state: number;
  pending: number;
  gpa: bigint;
  length: bigint;
  binding: { state: number; file: number; hart: number; nextHart: number };
}

/** A guest interrupt file of a hart's, as its host numbers it. */
export interface FileView {
  number: number;
  gpa: bigint;
  /** PageState, and whether it is converted and fenced. */
  state: number;
  owner: number;
  fenced: boolean;
}

const REGION_SIZE = recordSize("region");
const F = {
  lifecycle: fieldOffset("vm", "lifecycle"),
  version: fieldOffset("vm", "version"),
  vcpus: fieldOffset("vm", "vcpus"),
  regions: fieldOffset("vm", "regions"),
  regionCount: fieldOffset("vm", "regionCount"),
  slotVm: fieldOffset("slot", "vm"),
  slotId: fieldOffset("slot", "id"),
  state: fieldOffset("vcpu", "state"),
  pending: fieldOffset("vcpu", "pending"),
  pendingGpa: fieldOffset("vcpu", "pendingGpa"),
  pendingLength: fieldOffset("vcpu", "pendingLength"),
  nacl: fieldOffset("vcpu", "naclHpa"),
  binding: fieldOffset("vcpu", "binding"),
  hasFiles: fieldOffset("vm", "hasInterruptFiles"),
};

function bindingOf(word: bigint): VcpuView["binding"] {
  const field = (from: bigint, mask: bigint): number => Number((word >> from) & mask);
  return {
    state: field(0n, 0xffn),
    // As the host numbers it.
    file: field(8n, 0xffn) - 1,
    hart: field(16n, 0xffffn),
    nextHart: field(40n, 0xffffn),
  };
}

export class Observer {
  readonly world: World;
  /** Pages of the host's memory: gpa = MEMORY + PAGE * n; the record of each, as an index into 32-bit words. */
  readonly pages: number;
  readonly statePages: number;
  readonly vcpuPages: number;
  readonly #records: Uint32Array;
  readonly #slots: number;
  readonly #host: RecordView;

  constructor(world: World) {
    this.world = world;
    const { root, memory } = world.machine;
    const host = root.follow("host", "vm")!;
    this.#host = host;
    this.#slots = root.number("vmSlots");
    this.statePages = root.number("tvmStatePages");
    this.vcpuPages = root.number("vcpuStatePages");
    const range = new RecordView(memory, "range", root.number("ranges"));
    const [base, records] = [range.number("base"), range.number("records")];
    const found: number[] = [];
    const vm = world.full.state.vms().find((candidate) => candidate.isHost)!;
    vm.walk(
      ({ gpa, hpa, size }) => {
        const first = (gpa - MEMORY) / PAGE;
        for (let i = 0; i < size / PAGE; i++) {
          if (first >= 0 && world.full.state.pageIndex(hpa + i * PAGE) >= 0) {
            found[first + i] = (records + ((hpa - base) / PAGE + i) * 8) / 4;
          }
        }
      },
      () => {},
    );
    this.pages = found.length;
    this.#records = Uint32Array.from({ length: this.pages }, (_, page) => found[page] ?? 0);
  }

  /** Calls of the host that have made way for an interrupt: the registers that they are known again by, a0-a6. */
  parkedCalls(): bigint[][] {
    if (this.#host.number("parkedCalls") === 0) return [];
    return this.world.full.state.rangeCalls().map((call) => call.registers);
  }

  // ---- pages

  /** State of page `page` of the host's memory, -1 if nothing is there. */
  state(page: number): number {
    const at = this.#records[page];
    return at === 0 || at === undefined ? -1 : this.world.words[at] & 15;
  }

  /** Converted, and every hart has caught up. */
  fenced(page: number, oldest: number): boolean {
    const at = this.#records[page];
    if (at === 0 || at === undefined) return false;
    const low = this.world.words[at];
    return (low & 0xffff) === PageState.Converted && (low >>> 16) + this.world.words[at + 1] * 65536 < oldest;
  }

  /** The oldest version of the host's that a hart may still use. */
  oldest(): number {
    let oldest = this.#host.number("version");
    for (const hart of this.world.full.state.hartRecords()) {
      if (hart.word("enteredVm") === 0n) oldest = Math.min(oldest, hart.number("enteredVersion"));
    }
    return oldest;
  }

  // ---- TVMs

  tvms(): TvmView[] {
    const { memory } = this.world.machine;
    const views: TvmView[] = [];
    for (const [number, id] of this.world.guests) {
      const slot = Number(id & 0xfffn);
      const entry = this.#slots + slot * recordSize("slot");
      if (memory.read64(entry + F.slotId) !== id) {
        this.world.guests.delete(number);
        continue;
      }
      const record = Number(memory.read64(entry + F.slotVm));
      const table = Number(memory.read64(record + F.vcpus));
      const vcpus: TvmView["vcpus"] = [];
      for (let vcpu = 0; vcpu < 3; vcpu++) {
        const at = Number(memory.read64(table + vcpu * 8));
        if (at === 0) continue;
        const [gpa, length] = [memory.read64(at + F.pendingGpa), memory.read64(at + F.pendingLength)];
        vcpus.push({
          id: vcpu,
          state: memory.read32(at + F.state),
          pending: memory.read32(at + F.pending),
          gpa,
          length,
          binding: bindingOf(memory.read64(at + F.binding)),
        });
      }
      const runnable = memory.read32(record + F.lifecycle) === 1;
      const hasFiles = memory.read32(record + F.hasFiles) !== 0;
      views.push({ number, id, slot, record, runnable, hasFiles, vcpus });
    }
    return views;
  }

  regions(tvm: TvmView): { start: bigint; end: bigint; type: number }[] {
    const { memory } = this.world.machine;
    const base = Number(memory.read64(tvm.record + F.regions));
    return Array.from({ length: memory.read32(tvm.record + F.regionCount) }, (_, index) => {
      const at = base + index * REGION_SIZE;
      return { start: memory.read64(at), end: memory.read64(at + 8), type: Number(memory.read64(at + 16)) };
    });
  }

  /** gpa in the host of the NACL memory of the vCPU that is on the hart; undefined if there is none. */
  naclOn(hart: Hart): bigint | undefined {
    const vcpu = new RecordView(this.world.machine.memory, "vcpu", hart.record.number("hostVcpu"));
    return vcpu.word("naclHpa") === 0n ? undefined : vcpu.word("naclGpa");
  }

  /** The guest interrupt files of a hart that its host can give to TVMs. */
  files(hart: Hart): FileView[] {
    const { imsic, root } = this.world.machine;
    const mask = root.number("guestFileMask");
    if (!imsic) return [];
    const records = hart.record.number("fileRecords");
    const oldest = this.oldest();
    const files: FileView[] = [];
    // The host's file n is the machine's n + 1; the machine's 1 is the host's own.
    for (let number = 1; mask >>> (number + 1) !== 0; number++) {
      const at = (records + (number + 1) * 8) / 4;
      const low = this.world.words[at];
      const stamp = (low >>> 16) + this.world.words[at + 1] * 65536;
      const state = low & 15;
      const gpa = BigInt(imsic.base + hart.index * imsic.stride + number * PAGE);
      const fenced = state === PageState.Converted && stamp < oldest;
      files.push({ number, gpa, state, owner: (low >>> 4) & 0xfff, fenced });
    }
    return files;
  }

  static runnable(state: number): boolean {
    return state === VcpuState.Runnable;
  }
}
