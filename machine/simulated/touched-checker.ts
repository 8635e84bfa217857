import { InvariantViolation, hex } from "./errors.ts";
import { InterruptFileChecker } from "./interrupt-file-checker.ts";
import {
  HOST_SLOT,
  HypervisorState,
  Lifecycle,
  PAGE,
  PageState,
  RangeKind,
  describeRecord,
} from "./hypervisor-state.ts";
import { unpackRecord } from "./hypervisor-state.ts";
import { InterruptLedger } from "./interrupt-ledger.ts";
import type { Machine } from "./machine.ts";
import { RecordView, fieldOffset } from "./record-layout.ts";
import { currentVmid } from "./translation.ts";
import { WriteLog } from "./write-log.ts";

/**
 * The invariants of the pages that one entry into the hypervisor touched, cheap enough to look at them after every entry of a fuzzing run.
 * Which pages those are comes from the write log: page records and entries of tables that changed. Like the full checker (checker.ts)
 * it reads raw memory and shares no function with the hypervisor; the full one still runs from time to time and looks at everything.
 */

/** An address space as the tables say: by page of RAM how often it is mapped and parked there. */
interface Space {
  slot: number;
  /** Address of the VM's record, and of its root table. */
  record: number;
  root: number;
  levels: number;
  parent: number;
  maps: Uint8Array;
  parks: Uint8Array;
  /** The same before the last rescan. */
  oldMaps: Uint8Array;
  oldParks: Uint8Array;
}

const NO_TABLE = -1;
/** V, R, W, X, U, A, D. */
const LEAF_FLAGS = 0xdf;
const LOCK = fieldOffset("vm", "lock");
const VERSION = fieldOffset("vm", "version");
const LIFECYCLE = fieldOffset("vm", "lifecycle");
const NACL = fieldOffset("vcpu", "naclHpa");
const SNAPSHOT = fieldOffset("vcpu", "snapshotHpa");

export class TouchedChecker {
  readonly machine: Machine;
  readonly log: WriteLog;
  readonly state: HypervisorState;
  readonly files: InterruptFileChecker;
  readonly ledger: InterruptLedger;
  /** Pages looked at so far. */
  pagesChecked = 0;

  readonly #base: number;
  readonly #pages: number;
  readonly #words: Uint32Array;
  /** Index, in 64-bit words of RAM, of the first page record. */
  readonly #records: number;
  /** Records as they were after the last entry. */
  readonly #previous: Uint32Array;
  readonly #spaces = new Map<number, Space>();
  /** By page: slot of the VM whose linked table it is, its level, and the first gpa that it covers. */
  readonly #tableOf: Int16Array;
  readonly #tableLevel: Uint8Array;
  readonly #tableGpa: Float64Array;
  /** Entry number at which a word, a page, a page's contents were last seen to be touched. */
  readonly #wordEpoch: Uint32Array;
  readonly #touchedEpoch: Uint32Array;
  readonly #writtenEpoch: Uint32Array;
  readonly #touched: Int32Array;
  readonly #zeroes = new Uint8Array(PAGE);
  /** The record of the IOMMU, and what it looked like at the last check. */
  readonly #flushed: RecordView | undefined;
  #iommuSeen = { known: -1, flushed: -1 };
  #touchedCount = 0;
  /** Something that interrupt files depend on was written. */
  #filesTouched = false;
  /** Pages of vCPUs or VMs have come or gone. */
  #statesTouched = false;
  #epoch = 0;
  /** Pages that were touched while a call was under way, and whether they were overwritten then: checked when it is over. */
  readonly #inTransit = new Map<number, boolean>();
  /** Whether a call was under way at the last check. */
  #underWay = false;
  /** Addresses of VMs that were being given measured pages at the last check: the entry that ends that may also finalize them. */
  readonly #measuring = new Set<number>();

  constructor(machine: Machine, log: WriteLog) {
    this.machine = machine;
    this.log = log;
    this.state = new HypervisorState(machine.memory, machine.root);
    this.files = new InterruptFileChecker(machine, this.state);
    this.ledger = InterruptLedger.of(machine);
    const { ranges } = machine.memory;
    if (ranges.length !== 1) throw new Error("this checker knows one range of RAM");
    this.#base = ranges[0].base;
    this.#pages = ranges[0].size / PAGE;
    this.#words = new Uint32Array(machine.memory.wasmMemory.buffer, this.#base, ranges[0].size / 4);
    const range = new RecordView(machine.memory, "range", machine.root.number("ranges"));
    this.#records = (range.number("records") - this.#base) / 8;
    this.#previous = new Uint32Array(this.#pages * 2);
    this.#tableOf = new Int16Array(this.#pages);
    this.#tableLevel = new Uint8Array(this.#pages);
    this.#tableGpa = new Float64Array(this.#pages);
    this.#wordEpoch = new Uint32Array(this.#pages * 512);
    this.#touchedEpoch = new Uint32Array(this.#pages);
    this.#writtenEpoch = new Uint32Array(this.#pages);
    this.#touched = new Int32Array(this.#pages);
    this.#flushed = machine.root.follow("iommus", "iommu");
    this.reset();
  }

  /** Learns the present state: after boot, and when the machine was restored. */
  reset(): void {
    this.#previous.set(this.#words.subarray(this.#records * 2, this.#records * 2 + this.#pages * 2));
    this.#tableOf.fill(NO_TABLE);
    this.#spaces.clear();
    this.#inTransit.clear();
    this.#underWay = this.state.rangeCalls().length > 0;
    this.#measuring.clear();
    this.#iommuSeen = { known: -1, flushed: -1 };
    this.#findSpaces();
    this.files.reset();
    this.log.clear();
  }

  /**
   * Checks what was written since the last time, and clears the log. `failed`: a call that was answered with an error, which must have
   * changed nothing.
   */
  check(failed: boolean): void {
    // A call that made way for an interrupt has pages in its hands, and what it gives back when it fails it took in an earlier entry. Another call, which may
    // fail, finishes it first.
    const calls = this.state.rangeCalls();
    const underWay = calls.length > 0;
    const whole = !underWay && !this.#underWay;
    this.#underWay = underWay;
    this.#epoch++;
    this.#touchedCount = 0;
    this.#filesTouched = false;
    this.#readLog(failed && whole);
    if (failed && whole && this.#touchedCount > 0) this.#failTouched(this.#touched[0], "a call that failed changed it");
    if (underWay) {
      for (let i = 0; i < this.#touchedCount; i++) {
        const page = this.#touched[i];
        const written = this.#writtenEpoch[page] === this.#epoch || this.#inTransit.get(page) === true;
        this.#inTransit.set(page, written);
      }
    } else {
      for (const [page, written] of this.#inTransit) {
        this.#touch(page);
        if (written) this.#writtenEpoch[page] = this.#epoch;
      }
      this.#inTransit.clear();
      for (let i = 0; i < this.#touchedCount; i++) this.#checkPage(this.#touched[i]);
      this.pagesChecked += this.#touchedCount;
    }
    this.#measuring.clear();
    for (const { kind, target } of calls) if (kind === RangeKind.Measured) this.#measuring.add(target);
    this.#checkLocks();
    this.#checkTlbs();
    this.checkDevices(this.#touchedCount > 0);
    if (this.#filesTouched) this.files.check();
    else this.files.checkHarts();
    this.ledger.check(this.#filesTouched || this.#statesTouched);
    this.log.clear();
  }

  // ---- what was touched

  #readLog(failed: boolean): void {
    const { log } = this;
    const words = this.#words;
    const length = log.length;
    const rescan = new Set<Space>();
    let states = false;
    for (let entry = 0; entry < length; entry++) {
      const word = (log.address(entry) - this.#base) / 8;
      if (log.isRange(entry)) {
        this.#noteRange(word >>> 9, (word * 8 + log.rangeLength(entry) - 1) >>> 12, failed);
        continue;
      }
      if (this.#wordEpoch[word] === this.#epoch) continue;
      this.#wordEpoch[word] = this.#epoch;
      const low = words[word * 2];
      const high = words[word * 2 + 1];
      const oldLow = log.oldLow(entry);
      const oldHigh = log.oldHigh(entry);
      if (low === oldLow && high === oldHigh) continue;
      const page = word >>> 9;
      const record = word - this.#records;
      if (record >= 0 && record < this.#pages) {
        this.#touch(record);
        states ||= (low & 15) === PageState.VmState || (oldLow & 15) === PageState.VmState;
        continue;
      }
      const slot = this.#tableOf[page];
      if (slot === NO_TABLE) {
        this.#filesTouched ||= this.files.isAbout(this.#base + word * 8, words[(this.#records + page) * 2] & 15);
        if (failed && this.#belongsToVm(page)) this.#failTouched(page, "a call that failed changed its contents");
        continue;
      }
      const space = this.#spaces.get(slot)!;
      if ((oldLow & 15) === 1 || (low & 15) === 1) rescan.add(space);
      else {
        this.#count(space, page, oldLow, oldHigh, -1);
        this.#count(space, page, low, high, 1);
      }
    }
    // The log has not all that a rescan finds, and a rescan all that the log has: counts start anew.
    for (const space of rescan) this.#rescan(space);
    this.#statesTouched = states;
    if (states) this.#findSpaces();
  }

  #noteRange(first: number, last: number, failed: boolean): void {
    for (let page = first; page <= last; page++) {
      this.#writtenEpoch[page] = this.#epoch;
      if (failed && this.#belongsToVm(page)) this.#failTouched(page, "a call that failed overwrote it");
    }
  }

  #belongsToVm(page: number): boolean {
    const state = this.#words[(this.#records + page) * 2] & 15;
    return state >= PageState.Owned && state <= PageState.Converted;
  }

  #touch(page: number): void {
    if (this.#touchedEpoch[page] === this.#epoch) return;
    this.#touchedEpoch[page] = this.#epoch;
    this.#touched[this.#touchedCount++] = page;
  }

  /** Adds `by` to the counts of the pages that an entry (not a table) of a linked table holds. */
  #count(space: Space, table: number, low: number, high: number, by: number): void {
    if (low === 0 && high === 0) return;
    const valid = (low & 1) !== 0;
    const hpa = ((high & 0x003f_ffff) * 2 ** 22 + (low >>> 10)) * PAGE;
    const first = (hpa - this.#base) / PAGE;
    const pages = 512 ** this.#tableLevel[table];
    if (valid && by > 0 && (low & 0x3ff) !== LEAF_FLAGS) this.#fail(space, `a leaf with flags ${hex(low & 0x3ff)}`);
    if (!valid && (low & 2) === 0) this.#fail(space, `an entry ${hex(low)} that means nothing`);
    if (first < 0 || first >= this.#pages) {
      // What an entry held before counts no more.
      const known = by < 0 || (valid ? this.files.mayReach(space.slot, hpa) : this.files.mayPark(space.slot, hpa));
      this.#filesTouched = true;
      if (!known) this.#fail(space, `an entry leads to ${hex(hpa)}, which is no memory of its, nor an interrupt file`);
      return;
    }
    if (first % pages !== 0) this.#fail(space, `a large leaf at ${hex(hpa)}`);
    const counts = valid ? space.maps : space.parks;
    for (let page = first; page < first + pages; page++) {
      counts[page] += by;
      this.#touch(page);
    }
  }

  // ---- address spaces

  /** Finds out which VMs there are. */
  #findSpaces(): void {
    const found = new Set<number>();
    for (const vm of this.state.vms()) {
      found.add(vm.slot);
      const known = this.#spaces.get(vm.slot);
      if (known && known.record === vm.record.address && known.root === vm.rootTable) continue;
      if (known) this.#forget(known);
      const space: Space = {
        slot: vm.slot,
        record: vm.record.address,
        root: vm.rootTable,
        levels: vm.levels,
        parent: vm.parentSlot ?? -1,
        maps: new Uint8Array(this.#pages),
        parks: new Uint8Array(this.#pages),
        oldMaps: new Uint8Array(this.#pages),
        oldParks: new Uint8Array(this.#pages),
      };
      this.#spaces.set(vm.slot, space);
      this.#rescan(space);
    }
    for (const space of [...this.#spaces.values()]) if (!found.has(space.slot)) this.#forget(space);
  }

  #forget(space: Space): void {
    this.#spaces.delete(space.slot);
    for (let page = 0; page < this.#pages; page++) {
      if (space.maps[page] + space.parks[page] > 0) this.#touch(page);
      if (this.#tableOf[page] === space.slot) this.#tableOf[page] = NO_TABLE;
    }
  }

  /** Reads all tables of a VM; pages whose counts are not what they were count as touched. */
  #rescan(space: Space): void {
    const { maps, parks, slot } = space;
    space.maps = space.oldMaps.fill(0);
    space.parks = space.oldParks.fill(0);
    space.oldMaps = maps;
    space.oldParks = parks;
    for (let page = 0; page < this.#pages; page++) if (this.#tableOf[page] === slot) this.#tableOf[page] = NO_TABLE;
    const touched = this.#touchedCount;
    const top = space.levels - 1;
    const rootPage = (space.root - this.#base) / PAGE;
    for (let part = 0; part < 4; part++) this.#scanTable(space, rootPage + part, top, part * 512 * 2 ** (12 + 9 * top));
    // Only what changed is touched: the scan has touched everything.
    for (let i = touched; i < this.#touchedCount; i++) this.#touchedEpoch[this.#touched[i]] = 0;
    this.#touchedCount = touched;
    for (let page = 0; page < this.#pages; page++) {
      if (maps[page] !== space.maps[page] || parks[page] !== space.parks[page]) this.#touch(page);
    }
  }

  #scanTable(space: Space, page: number, level: number, gpa: number): void {
    if (page < 0 || page >= this.#pages) this.#fail(space, "a table that is no memory");
    if (this.#tableOf[page] !== NO_TABLE) this.#fail(space, `table page ${this.#name(page)} is linked twice`);
    this.#tableOf[page] = space.slot;
    this.#tableLevel[page] = level;
    this.#tableGpa[page] = gpa;
    const words = this.#words;
    const size = 2 ** (12 + 9 * level);
    for (let index = 0, at = page * 1024; index < 512; index++, at += 2) {
      const low = words[at];
      const high = words[at + 1];
      if (low === 0 && high === 0) continue;
      if ((low & 15) === 1) {
        if (level === 0) this.#fail(space, `table page ${this.#name(page)} of 4 KiB pages points at a table`);
        const child = (((high & 0x003f_ffff) * 2 ** 22 + (low >>> 10)) * PAGE - this.#base) / PAGE;
        this.#scanTable(space, child, level - 1, gpa + index * size);
      } else {
        this.#count(space, page, low, high, 1);
      }
    }
  }

  // ---- pages

  #checkPage(page: number): void {
    const at = (this.#records + page) * 2;
    const low = this.#words[at];
    const high = this.#words[at + 1];
    const problem = this.#pageProblem(page, low, high) ?? this.#arrivalProblem(page, low);
    if (problem !== undefined) this.#failPage(page, problem);
    this.#previous[page * 2] = low;
    this.#previous[page * 2 + 1] = high;
  }

  /** What is wrong with where a page is, given what its record says. */
  #pageProblem(page: number, low: number, high: number): string | undefined {
    const { state, owner, payload } = unpackRecord(low, high);
    const parent = this.#spaces.get(owner)?.parent;
    let maps = 0;
    let parks = 0;
    let others = 0;
    let places = 0;
    for (const space of this.#spaces.values()) {
      const mapped = space.maps[page];
      const parked = space.parks[page];
      if (space.slot === owner) {
        maps += mapped;
        parks += parked;
      } else if (space.slot === parent) {
        others += mapped;
        places += parked;
      } else {
        others += mapped + parked;
      }
    }
    if (state === PageState.Claimed) return "a call has ended and left it claimed";
    if (state <= PageState.Hypervisor) return maps + parks + others + places > 0 ? "a VM's tables name it" : undefined;
    if (state > PageState.TablePool) return "there is no such state";
    if (parent === undefined) return "its owner does not exist";
    const host = owner === HOST_SLOT;
    if (!host && places !== 1 && state !== PageState.Shared) return `its parent keeps ${places} places for it`;
    switch (state) {
      case PageState.Owned:
        if (payload !== 0) return "an owned page has no payload";
        if (others !== 0) return "somebody beside its owner has it";
        return (host ? maps : maps + parks) === 1 && (!host || parks === 0)
          ? undefined
          : `its owner has it ${maps} times mapped, ${parks} times parked`;
      case PageState.Shared: {
        if (maps !== 1 || parks !== 0) return `its owner maps it ${maps} times`;
        const pins = this.#pins(page);
        return payload === others + pins ? undefined : `${others} others have it and ${pins} pins hold it`;
      }
      case PageState.Converted:
        if (maps + others !== 0) return "a converted page can be reached";
        if (parks !== 1) return `its owner keeps ${parks} places for it`;
        return payload > this.#version(owner) ? "its stamp is from the future" : undefined;
      default:
        if (host && state !== PageState.TablePool) return "the host has no such pages";
        return maps + parks + others === 0 ? undefined : "a VM's tables name it";
    }
  }

  /** What is wrong with the contents of a page that has a new owner or a new use. */
  #arrivalProblem(page: number, low: number): string | undefined {
    const state = low & 15;
    const owner = (low >>> 4) & 0xfff;
    const before = this.#previous[page * 2];
    if ((low & 0xffff) === (before & 0xffff) || state < PageState.Owned || state === PageState.Converted)
      return undefined;
    const wasInUse = (before & 15) === PageState.Owned || (before & 15) === PageState.Shared;
    const inUse = state === PageState.Owned || state === PageState.Shared;
    if (inUse && wasInUse && ((before >>> 4) & 0xfff) === owner) return undefined;
    const space = this.#spaces.get(owner);
    const loading =
      owner !== HOST_SLOT &&
      space &&
      (this.#words[this.#index(space.record + LIFECYCLE)] === Lifecycle.Initializing ||
        this.#measuring.has(space.record));
    if (inUse && !loading) {
      if (this.#isZero(page)) return undefined;
      return "it arrived with what it held";
    }
    return this.#writtenEpoch[page] === this.#epoch ? undefined : "nobody overwrote it before it got its new use";
  }

  #isZero(page: number): boolean {
    const start = this.#base + page * PAGE;
    return Buffer.compare(this.machine.memory.bytes.subarray(start, start + PAGE), this.#zeroes) === 0;
  }

  /** How many NACL memories and snapshots of counters hold the page. */
  #pins(page: number): number {
    let pins = 0;
    for (const vm of this.state.vms()) {
      for (const vcpu of vm.vcpus()) {
        const pages = (offset: number): number => (this.#words[this.#index(vcpu.address + offset)] - this.#base) / PAGE;
        const nacl = pages(NACL);
        if (page >= nacl && page < nacl + 3) pins++;
        if (page === pages(SNAPSHOT)) pins++;
      }
    }
    return pins;
  }

  #version(slot: number): number {
    const at = this.#index(this.#spaces.get(slot)!.record + VERSION);
    return this.#words[at] + this.#words[at + 1] * 2 ** 32;
  }

  // ---- locks and caches

  #checkLocks(): void {
    for (const space of this.#spaces.values()) {
      if (this.#words[this.#index(space.record + LOCK)] !== 0) this.#fail(space, "its lock is held");
    }
  }

  /** Translations that a hart that is in a guest could use without looking into memory. */
  #checkTlbs(): void {
    for (const hart of this.machine.harts) {
      if (hart.state !== "guest") continue;
      const vmid = currentVmid(hart.csr);
      if (!hart.tlb.holdsLeaves(vmid)) continue;
      const root = Number((hart.csr.raw("hgatp") & ((1n << 44n) - 1n)) << 12n);
      const space = [...this.#spaces.values()].find((candidate) => candidate.root === root);
      if (!space) throw new InvariantViolation(`hart ${hart.id} is in no VM's address space`);
      const entered = hart.record.number("enteredVersion");
      for (const leaf of hart.tlb.cachedLeaves(vmid)) {
        if (leaf.to === undefined) continue;
        const from = `hart ${hart.id}, VMID ${vmid}: gpa ${hex(leaf.from)} -> ${hex(leaf.to)}`;
        if (leaf.space !== BigInt(root)) this.#fail(space, `${from} is a translation of another VM`);
        const first = (Number(leaf.to) - this.#base) / PAGE;
        if (first < 0 || first >= this.#pages) {
          if (this.files.mayReach(space.slot, Number(leaf.to), entered)) continue;
          this.#fail(space, `a stale translation can still be used: ${from}, which is no memory, or another's file`);
        }
        for (let page = first; page < first + Number(leaf.size) / PAGE; page++) {
          if (!this.#mayReach(space, page, entered)) {
            this.#fail(space, `a stale translation can still be used: ${from}, ${this.#describe(page)}`);
          }
        }
      }
    }
  }

  /**
   * Translations that an IOMMU could use without looking into memory lead to what its host has, or to what waits for the IOMMU to forget it. `anew`: pages have
   * changed hands since the last time.
   */
  checkDevices(anew: boolean): void {
    const { iommu } = this.machine;
    if (!iommu || iommu.mode === 0 || this.#flushed === undefined) return;
    const flushed = this.#flushed.number("flushedVersion");
    const known = iommu.remembered;
    if (!anew && known === this.#iommuSeen.known && flushed === this.#iommuSeen.flushed) return;
    this.#iommuSeen = { known, flushed };
    const host = this.#spaces.get(HOST_SLOT)!;
    for (const leaf of iommu.cachedLeaves()) {
      if (leaf.to === undefined) continue;
      const from = `IOMMU: gpa ${hex(leaf.from)} -> ${hex(leaf.to)}`;
      if (leaf.space !== BigInt(host.root)) this.#fail(host, `${from} is not a translation of the host's`);
      const first = (Number(leaf.to) - this.#base) / PAGE;
      if (first < 0 || first >= this.#pages) {
        if (this.files.mayReach(HOST_SLOT, Number(leaf.to), flushed)) continue;
        this.#fail(host, `a stale translation can still be used: ${from}, which is no memory, or another's file`);
      }
      for (let page = first; page < first + Number(leaf.size) / PAGE; page++) {
        if (!this.#mayReach(host, page, flushed)) {
          this.#fail(host, `a stale translation can still be used: ${from}, ${this.#describe(page)}`);
        }
      }
    }
  }

  #mayReach(space: Space, page: number, entered: number): boolean {
    const at = (this.#records + page) * 2;
    const { state, owner, payload } = unpackRecord(this.#words[at], this.#words[at + 1]);
    if (owner === space.slot) {
      if (state === PageState.Owned || state === PageState.Shared) return true;
      // On its way out: nobody gets the page before this hart has caught up.
      return state === PageState.Converted && payload >= entered;
    }
    return state === PageState.Shared && owner === space.parent && space.maps[page] + space.parks[page] > 0;
  }

  // ---- accounts

  #index(address: number): number {
    return (address - this.#base) / 4;
  }

  #name(page: number): string {
    return hex(this.#base + page * PAGE);
  }

  #describe(page: number): string {
    const at = (this.#records + page) * 2;
    return describeRecord(unpackRecord(this.#words[at], this.#words[at + 1]));
  }

  #fail(space: Space, problem: string): never {
    throw new InvariantViolation(`VM in slot ${space.slot}: ${problem}`);
  }

  #failTouched(page: number, problem: string): never {
    throw new InvariantViolation(`page ${this.#name(page)} (${this.#describe(page)}): ${problem}`);
  }

  #failPage(page: number, problem: string): never {
    const before = describeRecord(unpackRecord(this.#previous[page * 2], this.#previous[page * 2 + 1]));
    const reached = [...this.#spaces.values()]
      .filter((space) => space.maps[page] + space.parks[page] > 0)
      .map((space) => `slot ${space.slot} has it ${space.maps[page]} times mapped, ${space.parks[page]} times parked`);
    throw new InvariantViolation(
      [`page ${this.#name(page)} (${this.#describe(page)}, before: ${before}): ${problem}`, ...reached].join("\n  "),
    );
  }
}
