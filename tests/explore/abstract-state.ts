import { InvariantViolation, hex } from "../../machine/simulated/errors.ts";
import { PAGE, PageState, VcpuState, isAboutRange } from "../../machine/simulated/hypervisor-state.ts";
import { fieldOffset, recordSize } from "../../machine/simulated/record-layout.ts";
import { currentVmid } from "../../machine/simulated/translation.ts";
import { TVM_MEMORY } from "./small-world.ts";
import type { SmallWorld } from "./small-world.ts";

/**
 * What matters of a state, read from raw memory, so that two states that differ only in what can have no consequence count as one:
 *
 * - versions count only by how far harts, stamps and flushes are behind them;
 * - pages, TVMs and harts have no names: the state with two of them exchanged is the same state;
 * - guest ids, the order of free lists, registers and times do not count.
 *
 * Reading it also checks the invariants of every page of the world.
 */
const V = (name: string): number => fieldOffset("vm", name) / 4;
const C = (name: string): number => fieldOffset("vcpu", name) / 4;
const H = (name: string): number => fieldOffset("hart", name) / 4;
const VM = {
  slot: V("slot"),
  lifecycle: V("lifecycle"),
  lock: V("lock"),
  version: V("version"),
  regionCount: V("regionCount"),
  free: V("freeTableCount"),
  tables: V("allTables"),
  timeStarted: V("htimedelta"),
};
const VCPU = {
  state: C("state"),
  pending: C("pending"),
  gpa: C("pendingGpa"),
  length: C("pendingLength"),
  vmidHart: C("vmidHart"),
  vmid: C("vmid"),
  generation: C("vmidGeneration"),
  flushed: C("flushedVersion"),
};
const HART = {
  enteredVm: H("enteredVm"),
  enteredVersion: H("enteredVersion"),
  nextVmid: H("nextVmid"),
  generation: H("vmidGeneration"),
};
const REGION = recordSize("region") / 4;
/** How a place of a TVM, or the host's place of a page, is filled; parked ones by how long ago: 2 just now ... */
export const Entry = { None: 0, Mapped: 1, Parked: 2 } as const;
/** Longest distance of a version that makes a difference. */
const FAR = 3;

export class AbstractState {
  readonly world: SmallWorld;
  /** Of each page: state, owner (0 host, 1 + n TVM n), age of the stamp if converted, references. */
  readonly state: Int32Array;
  readonly owner: Int32Array;
  readonly age: Int32Array;
  readonly references: Int32Array;
  /** By page, TVM and place: Entry, plus the age if parked. */
  readonly places: Int32Array;
  /** By hart: bits for each page and where the cached translation is from. */
  readonly cached: Int32Array;
  /** By TVM: -1 absent, else lifecycle. By TVM and place: type of the region, and whether one begins there. */
  readonly lifecycle: Int32Array;
  readonly regions: Int32Array;
  readonly vcpuState: Int32Array;
  readonly pending: Int32Array;
  /** By TVM and place: index of the page there, -1 none; and the entry. */
  readonly pageAt: Int32Array;
  readonly entryAt: Int32Array;
  /** By hart: 0 the host, 1 + n the vCPU of TVM n. */
  readonly current: Int32Array;
  /** By VM (0 host): the oldest version that a hart may use, behind the newest. */
  readonly lag: Int32Array;
  readonly #tvmPart: Int32Array;
  readonly #hartPart: Int32Array;
  readonly #pageOf = new Map<number, number>();
  /** All ways to name TVMs and harts; the first is as they are. */
  readonly #orders: Order[];
  /** Whether the state looks the same with the names of an order. */
  readonly #same: Uint8Array;
  readonly #slotOwner = new Int32Array(4096);
  low = 0;
  high = 0;

  constructor(world: SmallWorld) {
    this.world = world;
    const { harts, tvms, pages, places } = world.size;
    this.state = new Int32Array(pages);
    this.owner = new Int32Array(pages);
    this.age = new Int32Array(pages);
    this.references = new Int32Array(pages);
    this.places = new Int32Array(pages * tvms * places);
    this.cached = new Int32Array(pages * harts);
    this.lifecycle = new Int32Array(tvms);
    this.regions = new Int32Array(tvms * places);
    this.vcpuState = new Int32Array(tvms);
    this.pending = new Int32Array(tvms);
    this.pageAt = new Int32Array(tvms * places);
    this.entryAt = new Int32Array(tvms * places);
    this.current = new Int32Array(harts);
    this.lag = new Int32Array(tvms + 1);
    this.#tvmPart = new Int32Array(tvms);
    this.#hartPart = new Int32Array(harts * (tvms + 2));
    world.hpa.forEach((hpa, page) => this.#pageOf.set(hpa, page));
    this.#orders = permutations(tvms)
      .flatMap((a) => permutations(harts).map((b) => orderOf(a, b)))
      .sort(
        (a, b) => Number(isInOrder(b.tvms) && isInOrder(b.harts)) - Number(isInOrder(a.tvms) && isInOrder(a.harts)),
      );
    this.#same = new Uint8Array(this.#orders.length);
  }

  /** Reads the state and checks it; `low` and `high` are its hash then. */
  read(): void {
    this.#readVms();
    this.#readPages();
    this.#readPlaces();
    this.#readCaches();
    this.#check();
    this.#hash();
  }

  /** Puts back which page is in which state, as a copy has it. */
  restore(states: Int32Array, owners: Int32Array): void {
    this.state.set(states);
    this.owner.set(owners);
  }

  /** Pages that look alike have equal numbers: it is enough to try one of them. */
  signature(page: number): number {
    const { tvms, places, harts } = this.world.size;
    let hash = mix(
      this.state[page] | (this.owner[page] << 3) | (this.age[page] << 6) | (this.references[page] << 9),
      1,
    );
    for (let i = 0; i < tvms * places; i++) hash = mix(hash, this.places[page * tvms * places + i]);
    for (let hart = 0; hart < harts; hart++) hash = mix(hash, this.cached[page * harts + hart]);
    return hash;
  }

  /**
   * Whether what hart `hart` can do (to TVM `tvm`; -1: to none) leads to the same states as what another, nearer to the start of the list, can do:
   * with other names for TVMs and harts the state is the same, and the event is that one.
   */
  isMirrored(hart: number, tvm: number): boolean {
    for (let index = 1; index < this.#orders.length; index++) {
      if (this.#same[index] === 0) continue;
      const { placeOfTvm, placeOfHart } = this.#orders[index];
      const hartThere = placeOfHart[hart];
      if (hartThere < hart || (hartThere === hart && tvm >= 0 && placeOfTvm[tvm] < tvm)) return true;
    }
    return false;
  }

  // ---- reading

  #readVms(): void {
    const { world } = this;
    const { words, size } = world;
    this.#slotOwner.fill(-1);
    this.#slotOwner[0] = 0;
    for (let tvm = 0; tvm < size.tvms; tvm++) {
      const record = words[world.frameRecord[tvm][4] / 4];
      const exists = (record & 15) === PageState.VmState;
      const at = world.stateHpa(tvm) / 4;
      this.lifecycle[tvm] = exists ? words[at + VM.lifecycle] : -1;
      if (exists) this.#slotOwner[(record >>> 4) & 0xfff] = tvm + 1;
      if (exists && words[at + VM.lock] !== 0) throw new InvariantViolation(`the lock of TVM ${tvm} is held`);
    }
    for (let vm = 0; vm <= size.tvms; vm++) this.lag[vm] = 0;
    for (let hart = 0; hart < size.harts; hart++) {
      const at = world.hartRecords[hart] / 4;
      const vm = words[at + HART.enteredVm + 1] !== 0 ? -1 : this.#slotOwner[words[at + HART.enteredVm] & 0xfff];
      const behind = vm < 0 ? 0 : this.#version(vm) - words[at + HART.enteredVersion];
      if (vm >= 0 && behind > this.lag[vm]) this.lag[vm] = behind;
      this.current[hart] = this.#whoIsOn(hart);
      const host = world.hostVcpus[hart] / 4;
      const base = hart * (size.tvms + 2);
      this.#hartPart[base] =
        (this.current[hart] |
          ((vm + 1) << 4) |
          (Math.min(behind, FAR) << 8) |
          (Math.min(words[at + HART.nextVmid], 3) << 10)) >>>
        0;
      this.#hartPart[base + 1] = this.#vmidPart(host, hart, 0) | (words[host + VCPU.state] << 8);
    }
    for (let tvm = 0; tvm < size.tvms; tvm++) this.#readTvm(tvm);
  }

  #version(vm: number): number {
    const { world } = this;
    return world.words[(vm === 0 ? world.hostVm : world.stateHpa(vm - 1)) / 4 + VM.version];
  }

  #whoIsOn(hart: number): number {
    const { world } = this;
    const current = world.current(hart);
    if (current === world.hostVcpus[hart]) return 0;
    for (let tvm = 0; tvm < world.size.tvms; tvm++) if (current === world.vcpuHpa(tvm)) return tvm + 1;
    throw new InvariantViolation(`hart ${hart} is in vCPU record ${hex(current)}, which is nobody's`);
  }

  /** Whether a vCPU (its record's index) has a VMID of the hart, which, and whether it is flushed when it is entered. */
  #vmidPart(vcpu: number, hart: number, vm: number): number {
    const { words, hartRecords } = this.world;
    const valid =
      words[vcpu + VCPU.vmidHart] === hart + 1 &&
      words[vcpu + VCPU.generation] === words[hartRecords[hart] / 4 + HART.generation];
    if (!valid) return 0;
    return 1 | (words[vcpu + VCPU.vmid] << 1) | (words[vcpu + VCPU.flushed] < this.#version(vm) ? 16 : 0);
  }

  #readTvm(tvm: number): void {
    const { world } = this;
    const { words, size } = world;
    for (let place = 0; place < size.places; place++) {
      this.regions[tvm * size.places + place] = 0;
      this.entryAt[tvm * size.places + place] = 0;
      this.pageAt[tvm * size.places + place] = -1;
    }
    for (let hart = 0; hart < size.harts; hart++) this.#hartPart[hart * (size.tvms + 2) + 2 + tvm] = 0;
    this.vcpuState[tvm] = -1;
    this.pending[tvm] = 0;
    this.#tvmPart[tvm] = 0;
    if (this.lifecycle[tvm] < 0) return;
    const at = world.stateHpa(tvm) / 4;
    for (let index = 0; index < words[at + VM.regionCount]; index++) {
      const region = at + PAGE / 4 + index * REGION;
      const first = (words[region] - TVM_MEMORY) / PAGE;
      const end = (words[region + 2] - TVM_MEMORY) / PAGE;
      for (let place = first; place < end && place < size.places; place++) {
        this.regions[tvm * size.places + place] = words[region + 4] | (place === first ? 8 : 0);
      }
    }
    let part =
      1 | (this.lifecycle[tvm] << 1) | (Math.min(words[at + VM.free], 3) << 2) | (words[at + VM.tables] !== 0 ? 16 : 0);
    const vcpu = world.vcpuHpa(tvm) / 4;
    if (words[at + 1024 / 4] !== 0) {
      this.vcpuState[tvm] = words[vcpu + VCPU.state];
      this.pending[tvm] = words[vcpu + VCPU.pending];
      const aboutRange = isAboutRange(this.pending[tvm]);
      const place = aboutRange ? (words[vcpu + VCPU.gpa] - TVM_MEMORY) / PAGE : 0;
      const length = aboutRange ? words[vcpu + VCPU.length] / PAGE : 0;
      part |= 32 | (this.vcpuState[tvm] << 6) | (this.pending[tvm] << 9) | (place << 12) | (length << 16);
      for (let hart = 0; hart < size.harts; hart++) {
        this.#hartPart[hart * (size.tvms + 2) + 2 + tvm] = this.#vmidPart(vcpu, hart, tvm + 1);
      }
    }
    this.#tvmPart[tvm] = part;
    this.#readTable(tvm);
  }

  /** The TVM's last-level table: three levels (Sv39x4), all places in one table. */
  #readTable(tvm: number): void {
    const { world } = this;
    const { words, size } = world;
    const root = this.#rootOf(tvm);
    const middle = tableAt(words, root + (TVM_MEMORY / 2 ** 30) * 8);
    const last = middle === 0 ? 0 : tableAt(words, middle);
    if (last === 0) return;
    const version = this.#version(tvm + 1);
    for (let place = 0; place < size.places; place++) {
      const low = words[last / 4 + place * 2];
      const high = words[last / 4 + place * 2 + 1];
      if (low === 0 && high === 0) continue;
      const page = this.#pageOf.get(((high & 0x3f_ffff) * 2 ** 22 + (low >>> 10)) * PAGE);
      if (page === undefined)
        throw new InvariantViolation(`TVM ${tvm} has a page that is not of the world at place ${place}`);
      const parked = (low & 1) === 0;
      const stamp = ((low >>> 2) & 0xff) | ((high >>> 22) << 8);
      const age = Math.min(version - stamp, this.lag[tvm + 1] + 1);
      this.pageAt[tvm * size.places + place] = page;
      this.entryAt[tvm * size.places + place] = parked ? Entry.Parked + age : Entry.Mapped;
    }
  }

  #rootOf(tvm: number): number {
    return (this.#roots[tvm] ??= this.world.hostPage((this.world.frameGpa(tvm, 0) - this.world.host(0)) / PAGE));
  }

  readonly #roots: number[] = [];

  #readPages(): void {
    const { world } = this;
    const { words } = world;
    const version = this.#version(0);
    for (let page = 0; page < world.size.pages; page++) {
      const low = words[world.record[page] / 4];
      const payload = (low >>> 16) + words[world.record[page] / 4 + 1] * 65536;
      this.state[page] = low & 15;
      this.owner[page] = this.#slotOwner[(low >>> 4) & 0xfff];
      const converted = (low & 15) === PageState.Converted;
      // Usable at once is usable however old.
      this.age[page] = converted ? Math.min(version - payload, this.lag[0] + 1) : 0;
      this.references[page] = (low & 15) === PageState.Shared ? payload : 0;
    }
  }

  #readPlaces(): void {
    const { tvms, places, pages } = this.world.size;
    this.places.fill(0, 0, pages * tvms * places);
    for (let at = 0; at < tvms * places; at++) {
      if (this.pageAt[at] >= 0) this.places[this.pageAt[at] * tvms * places + at] = this.entryAt[at];
    }
  }

  /** Translations that harts hold, of any VMID; those of the VMID that is in use are checked. */
  #readCaches(): void {
    const { world } = this;
    const { harts, tvms, places } = world.size;
    this.cached.fill(0);
    for (let index = 0; index < harts; index++) {
      const hart = world.machine.harts[index];
      const used = currentVmid(hart.csr);
      for (const vmid of hart.tlb.vmids()) {
        if (!hart.tlb.holdsLeaves(vmid)) continue;
        for (const leaf of hart.tlb.cachedLeaves(vmid)) {
          if (leaf.to === undefined) continue;
          const page = this.#pageOf.get(Number(leaf.to));
          if (page === undefined) continue;
          const space = Number(leaf.space);
          let vm = 0;
          for (let tvm = 0; tvm < tvms; tvm++) if (this.#rootOf(tvm) === space) vm = tvm + 1;
          const place = vm === 0 ? 0 : (Number(leaf.from) - TVM_MEMORY) / PAGE;
          const bit = vm === 0 ? 0 : 1 + (vm - 1) * places + place;
          this.cached[page * harts + index] |= 1 << (bit + vmid * (1 + tvms * places));
          if (vmid === used) this.#checkCached(index, page, vm, place);
        }
      }
    }
  }

  // ---- checking

  #checkCached(hart: number, page: number, vm: number, place: number): void {
    const where = (): string =>
      `hart ${hart} holds a translation of ${vm === 0 ? "the host" : `TVM ${vm - 1}, place ${place}`} to ${this.describePage(page)}`;
    if (this.current[hart] !== vm) {
      throw new InvariantViolation(`${where()}, and can use it in VM ${this.current[hart]}`);
    }
    const { state, owner } = this;
    if (owner[page] === vm && (state[page] === PageState.Owned || state[page] === PageState.Shared)) return;
    const record = this.world.hartRecords[hart] / 4;
    const behind = this.#version(vm) - this.world.words[record + HART.enteredVersion];
    // On its way out: this hart has not caught up, and nobody gets the page before it has.
    if (owner[page] === vm && state[page] === PageState.Converted && this.age[page] <= behind) return;
    if (vm > 0 && state[page] === PageState.Shared && owner[page] === 0) {
      if (this.pageAt[(vm - 1) * this.world.size.places + place] === page) return;
    }
    throw new InvariantViolation(`a stale translation can still be used: ${where()}`);
  }

  #check(): void {
    const { world } = this;
    const { pages, tvms, places } = world.size;
    for (let page = 0; page < pages; page++) {
      const entry = world.words[world.hostEntry[page] / 4];
      const hostMaps = (entry & 1) !== 0 ? 1 : 0;
      let own = 0;
      let others = 0;
      let mappedByTvm = 0;
      for (let at = 0; at < tvms * places; at++) {
        const filled = this.places[page * tvms * places + at];
        if (filled === 0) continue;
        if (1 + Math.floor(at / places) === this.owner[page]) own++;
        else others++;
        if (filled === Entry.Mapped) mappedByTvm++;
      }
      const problem = this.#problem(page, hostMaps, own, others, mappedByTvm);
      if (problem) throw new InvariantViolation(`${this.describePage(page)}: ${problem}`);
    }
    for (let hart = 0; hart < world.size.harts; hart++) {
      const tvm = this.current[hart] - 1;
      const others = this.current.filter((vm) => vm === tvm + 1).length;
      if (tvm >= 0 && others > 1) throw new InvariantViolation(`the vCPU of TVM ${tvm} runs on two harts`);
      if (tvm >= 0 && this.vcpuState[tvm] !== VcpuState.Running) {
        throw new InvariantViolation(
          `hart ${hart} is in the vCPU of TVM ${tvm}, whose state is ${this.vcpuState[tvm]}`,
        );
      }
    }
  }

  #problem(page: number, hostMaps: number, own: number, others: number, mapped: number): string | undefined {
    const host = this.owner[page] === 0;
    if (this.owner[page] < 0) return "its owner does not exist";
    switch (this.state[page]) {
      case PageState.Owned:
        if (others > 0) return "somebody beside its owner has it";
        if (host) return hostMaps === 1 ? undefined : "the host does not map it";
        return own === 1 && hostMaps === 0
          ? undefined
          : `its TVM has it ${own} times, the host maps it ${hostMaps} times`;
      case PageState.Shared:
        if (!host || hostMaps !== 1) return "it is not the host's";
        return this.references[page] === others
          ? undefined
          : `${others} have it, its record says ${this.references[page]}`;
      case PageState.Converted:
        if (!host) return "a TVM cannot convert";
        return hostMaps + own + others + mapped === 0 ? undefined : "a converted page can be reached";
      default:
        return `a page of the world is in state ${this.state[page]}`;
    }
  }

  describePage(page: number): string {
    const names = ["reserved", "hypervisor", "owned", "shared", "converted", "claimed", "VM state", "table"];
    const owner = this.owner[page] === 0 ? "the host" : `TVM ${this.owner[page] - 1}`;
    return `page ${page} (${names[this.state[page]]}, of ${owner}, hpa ${hex(this.world.hpa[page])})`;
  }

  // ---- hashing

  #hash(): void {
    let bestLow = 0xffff_ffff;
    let bestHigh = 0xffff_ffff;
    let asIsLow = 0;
    let asIsHigh = 0;
    for (let index = 0; index < this.#orders.length; index++) {
      this.#hashInOrder(this.#orders[index]);
      if (index === 0) {
        asIsLow = this.low;
        asIsHigh = this.high;
      }
      this.#same[index] = Number(this.low === asIsLow && this.high === asIsHigh);
      if (this.high < bestHigh || (this.high === bestHigh && this.low < bestLow)) {
        bestLow = this.low;
        bestHigh = this.high;
      }
    }
    this.low = bestLow;
    this.high = bestHigh;
  }

  /** The hash with TVMs and harts in another order; pages are added up, so they have none. */
  #hashInOrder({ tvms, harts, placeOfTvm, tvmsMoved }: Order): void {
    const { size } = this.world;
    const { places } = size;
    let low = 0;
    let high = 0;
    for (let page = 0; page < size.pages; page++) {
      const owner = this.owner[page] === 0 ? 0 : 1 + placeOfTvm[this.owner[page] - 1];
      const first = this.state[page] | (owner << 4) | (this.age[page] << 8) | (this.references[page] << 12);
      let one = mix(first, 0x51ed_270b);
      let two = mix(first, 0x2545_f491);
      for (const tvm of tvms) {
        for (let place = 0; place < places; place++) {
          const filled = this.places[(page * size.tvms + tvm) * places + place];
          one = mix(one, filled);
          two = mix(two, filled);
        }
      }
      for (const hart of harts) {
        let cached = this.cached[page * size.harts + hart];
        if (tvmsMoved && cached !== 0) cached = this.#cachedInOrder(cached, tvms);
        one = mix(one, cached);
        two = mix(two, cached);
      }
      low = (low + one) >>> 0;
      high = (high + two) >>> 0;
    }
    for (const tvm of tvms) {
      low = mix(low, this.#tvmPart[tvm]);
      high = mix(high, this.#tvmPart[tvm]);
      for (let place = 0; place < places; place++) {
        low = mix(low, this.regions[tvm * places + place]);
        high = mix(high, this.regions[tvm * places + place]);
      }
    }
    for (const hart of harts) {
      const base = hart * (size.tvms + 2);
      const part = this.#hartPart[base];
      const current = part & 15;
      const entered = (part >>> 4) & 15;
      const named =
        (part & ~0xff) |
        (current === 0 ? 0 : 1 + placeOfTvm[current - 1]) |
        ((entered < 2 ? entered : 2 + placeOfTvm[entered - 2]) << 4);
      low = mix(mix(low, named), this.#hartPart[base + 1]);
      high = mix(mix(high, named), this.#hartPart[base + 1]);
      for (const tvm of tvms) {
        low = mix(low, this.#hartPart[base + 2 + tvm]);
        high = mix(high, this.#hartPart[base + 2 + tvm]);
      }
    }
    this.low = low >>> 0;
    this.high = high >>> 0;
  }

  #cachedInOrder(bits: number, tvms: readonly number[]): number {
    const { places } = this.world.size;
    const width = 1 + tvms.length * places;
    let result = 0;
    for (let vmid = 0; vmid * width < 31; vmid++) {
      const part = (bits >>> (vmid * width)) & ((1 << width) - 1);
      let moved = part & 1;
      for (let index = 0; index < tvms.length; index++) {
        moved |= ((part >>> (1 + tvms[index] * places)) & ((1 << places) - 1)) << (1 + index * places);
      }
      result |= moved << (vmid * width);
    }
    return result;
  }
}

/** hpa of the table that an entry points at, 0 if it does not. */
function tableAt(words: Uint32Array, entry: number): number {
  const low = words[entry / 4];
  if ((low & 15) !== 1) return 0;
  return ((words[entry / 4 + 1] & 0x3f_ffff) * 2 ** 22 + (low >>> 10)) * PAGE;
}

function mix(hash: number, value: number): number {
  let h = Math.imul(hash ^ value, 0x9e37_79b1);
  h ^= h >>> 15;
  h = Math.imul(h, 0x85eb_ca77) + 0x1656_67b1;
  return (h ^ (h >>> 13)) >>> 0;
}

/** One way to name TVMs and harts. */
interface Order {
  /** By new name, the one that is read from memory. */
  tvms: number[];
  harts: number[];
  /** The reverse. */
  placeOfTvm: number[];
  placeOfHart: number[];
  tvmsMoved: boolean;
}

function orderOf(tvms: number[], harts: number[]): Order {
  const reverse = (names: number[]): number[] => names.map((_, name) => names.indexOf(name));
  return { tvms, harts, placeOfTvm: reverse(tvms), placeOfHart: reverse(harts), tvmsMoved: !isInOrder(tvms) };
}

function isInOrder(names: readonly number[]): boolean {
  return names.every((name, index) => name === index);
}

function permutations(count: number): number[][] {
  if (count === 0) return [[]];
  return permutations(count - 1).flatMap((rest) =>
    Array.from({ length: count }, (_, at) => [...rest.slice(0, at), count - 1, ...rest.slice(at)]),
  );
}
