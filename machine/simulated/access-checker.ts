import type { DoorFunctions } from "./door.ts";
import { HypervisorPanic, hex, hypervisorFrames } from "./errors.ts";
import { HypervisorState, PAGE, PAGE_STATE_NAMES, PageState } from "./hypervisor-state.ts";
import { ImageSymbol } from "./image-layout.ts";
import type { ImageLayout } from "./image-layout.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import { RecordView, fieldNames, recordSize } from "./record-layout.ts";

/**
 * What the checked flavour of the hypervisor asks at each plain load and store, and what is asked of its reads through the door.
 *
 * The checked flavour is the module after Binaryen's pass `instrument-memory` (checked-module.ts): before each access it calls these imports with the
 * address. A plain access is for records of the hypervisor's own. It stops at
 *
 *     null            the first page of the address space
 *     wild            no RAM
 *     read-only       a store to constants or text
 *     out of object   none of the records that the root leads to, or beyond the end of the one that the pointer is in
 *     foreign         a page that a host or a guest has, or that is a page table: these are for the door
 *
 * Through the door it stops at a double fetch: a byte of a page that a host or guest can write is read a second time in one entry, when it may have changed.
 *
 * While boot runs on one hart, and there are no records yet, only the first three are asked.
 */

/** An access that a correct hypervisor does not make. */
export class BadAccess extends HypervisorPanic {
  override name = "BadAccess";
}

export interface Span {
  name: string;
  start: number;
  end: number;
}

/** Pages that are the hypervisor's for records, or that nobody else can reach while it works on them. */
const OWN_STATES: readonly number[] = [PageState.VmState, PageState.Claimed];
/** Pages that somebody else may write to at any time. */
const FOREIGN_STATES: readonly number[] = [PageState.Owned, PageState.Shared];

/** Parts of own memory that plain accesses do not touch while the host runs: tables, page records and stacks, and what only boot needs. */
const NOT_RECORDS = ["gstageRoot", "gstageTablePages", "kernelTablePages", "stacks", "pageRecords", "kernelMap"];
const BOOT_ONLY = ["layout", "treePlan", "tree"];
/** While boot runs, accesses from one look for its plan to the next. */
const LOOKS = 256;

export interface AccessCheckerSetup {
  memory: PhysicalMemory;
  image: ImageLayout;
  /** The hypervisor's root record, undefined before there is one. */
  root: () => RecordView | undefined;
  /** What own memory is divided into, if another checker has seen boot. */
  parts?: readonly Span[];
}

export class AccessChecker {
  /** Accesses that were looked at. */
  accesses = 0;
  /** What boot has divided own memory into. */
  parts: readonly Span[] = [];
  readonly #setup: AccessCheckerSetup;
  readonly #image: { start: number; rodata: number; rodataEnd: number; end: number };
  #state: HypervisorState | undefined;
  #spans: Span[] = [];
  #strict = false;
  /** Bytes of foreign memory that this entry has read: [start, end). */
  #fetched: { start: number; end: number }[] = [];

  constructor(setup: AccessCheckerSetup) {
    this.#setup = setup;
    const at = (symbol: number): number => Number(setup.image.address(symbol));
    this.#image = {
      start: at(ImageSymbol.start),
      rodata: at(ImageSymbol.rodataStart),
      rodataEnd: at(ImageSymbol.rodataEnd),
      end: at(ImageSymbol.end),
    };
  }

  /** Whether a module asks. */
  static isAskedBy(module: WebAssembly.Module): boolean {
    return WebAssembly.Module.imports(module).some(({ module: from, name }) => from === "env" && name === "load_ptr");
  }

  /** What Binaryen's pass makes the module import. */
  get imports(): Record<string, (...args: never[]) => unknown> {
    const same = <T>(_id: number, value: T): T => value;
    const grow = (_id: number, value: bigint): bigint => value;
    return {
      load_ptr: (_id: number, bytes: number, offset: bigint, pointer: bigint) =>
        this.#check(bytes, offset, pointer, false),
      store_ptr: (_id: number, bytes: number, offset: bigint, pointer: bigint) =>
        this.#check(bytes, offset, pointer, true),
      memory_grow_pre: grow,
      memory_grow_post: grow,
      ...Object.fromEntries(VALUE_HOOKS.map((name) => [name, same])),
    };
  }

  /** An entry into the hypervisor begins. */
  begin(name: string): void {
    this.#fetched = [];
    this.#strict = false;
    const root = name === "trap" || name === "helperTrap" ? this.#setup.root() : undefined;
    // The boot hart waits for the others, and goes on with boot when they are up.
    if (!root || root.word("bootPlan") !== 0n) return;
    this.#strict = true;
    if (this.#spans.length > 0) return;
    this.#state = new HypervisorState(this.#setup.memory, root);
    this.#spans = ownObjects(this.#setup.parts ?? this.parts, this.#state);
  }

  /** The door's reads, looked at on their way. */
  watch(usual: DoorFunctions): DoorFunctions {
    const watched: DoorFunctions = {};
    for (const bits of [8, 16, 32, 64]) {
      for (const name of [`read${bits}`, `loadAcquire${bits}`]) {
        const read = usual[name] as ((hpa: bigint) => unknown) | undefined;
        if (!read) continue;
        watched[name] = (hpa: bigint) => {
          this.#fetch(Number(BigInt.asUintN(64, hpa)), bits / 8);
          return read(hpa);
        };
      }
    }
    const copy = usual["copyBytes"] as (to: bigint, from: bigint, length: bigint) => void;
    watched["copyBytes"] = (to: bigint, from: bigint, length: bigint) => {
      if (length > 0n) this.#fetch(Number(BigInt.asUintN(64, from)), Number(length));
      copy(to, from, length);
    };
    return watched;
  }

  #fetch(start: number, size: number): void {
    if (!this.#strict || !FOREIGN_STATES.includes(this.#stateOf(start))) return;
    const end = start + size;
    if (this.#fetched.some((range) => start < range.end && range.start < end)) {
      this.#refuse(
        `double fetch: ${size} bytes at ${hex(start)} were read before in this entry, and others can write there`,
      );
    }
    this.#fetched.push({ start, end });
  }

  #check(bytes: number, offset: bigint, pointer: bigint, store: boolean): bigint {
    this.accesses++;
    const base = Number(BigInt.asUintN(64, pointer));
    const at = base + Number(offset);
    const kind = store ? "store to" : "load from";
    const refuse = (why: string): never =>
      this.#refuse(`${kind} ${hex(at)} (${bytes} bytes, pointer ${hex(base)}): ${why}`);
    const { memory } = this.#setup;
    const { start, rodata, rodataEnd, end } = this.#image;
    if (base < PAGE || at < PAGE) refuse("null");
    if (!memory.contains(at, bytes)) refuse("wild: no RAM");
    if (at % bytes !== 0) refuse("not aligned");
    if (at >= start && at < rodataEnd) {
      if (store) refuse("read-only: constants or text");
      // Boot measures the image that it is part of.
      if (at < rodata && this.#strict) refuse("text");
      return pointer;
    }
    if (!this.#strict) {
      if (this.parts.length === 0 && this.accesses % LOOKS === 0) this.#lookForPlan();
      return pointer;
    }
    if (at < end && at >= rodataEnd) refuse("out of object: stack, or what only boot needs, of the image");
    const state = this.#stateOf(at);
    if (OWN_STATES.includes(state)) {
      if (Math.floor(base / PAGE) !== Math.floor(at / PAGE) && this.#stateOf(base) !== state)
        refuse("out of object: beyond its page");
      return pointer;
    }
    const span = this.#spanAt(at);
    if (span === undefined) {
      const foreign = state !== PageState.Hypervisor;
      refuse(foreign ? `foreign: the page is ${PAGE_STATE_NAMES[state]}` : "out of object: no record is there");
    } else if (base < span.start || at + bytes > span.end || base >= span.end) {
      refuse(`out of object: the pointer is not in ${span.name}`);
    }
    return pointer;
  }

  /** The plan of memory is gone when boot is over. */
  #lookForPlan(): void {
    const plan = this.#setup.root()?.follow("bootPlan", "plan");
    if (plan) this.parts = partsOf(plan);
  }

  #spanAt(at: number): Span | undefined {
    let low = 0;
    let high = this.#spans.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const span = this.#spans[middle];
      if (at < span.start) high = middle - 1;
      else if (at >= span.end) low = middle + 1;
      else return span;
    }
    return undefined;
  }

  #stateOf(hpa: number): number {
    return this.#state?.record(hpa)?.state ?? PageState.Reserved;
  }

  #refuse(what: string): never {
    const error = new BadAccess(what);
    error.message += hypervisorFrames(error)
      .map((frame) => `\n  in ${frame}`)
      .join("");
    throw error;
  }
}

/** Bus numbers of a segment, and bytes of what is known of each (BusOrigin of devices/pci/segment.ts). */
const PCI_BUSES = 256;
const BUS_ORIGIN_BYTES = 4;
const VALUE_HOOKS = ["i32", "i64", "f32", "f64"].flatMap((type) => [`load_val_${type}`, `store_val_${type}`]);

/** What own memory is divided into (boot/own-memory.ts), by address. Records of TVMs lie in pages of their own kind. */
function partsOf(plan: RecordView): Span[] {
  const own = plan.follow("own", "own")!;
  const [start, end] = [plan.number("ownStart"), plan.number("ownEnd")];
  const parts = fieldNames("own")
    .map((name) => ({ name, start: own.number(name) }))
    .filter((part) => part.start >= start && part.start < end)
    .sort((a, b) => a.start - b.start);
  return parts.map((part, index) => ({ ...part, end: parts[index + 1]?.start ?? end }));
}

/** The parts that plain accesses may touch, and in them the single records of arrays whose size is known. */
function ownObjects(parts: readonly Span[], state: HypervisorState): Span[] {
  const root = state.root;
  const records: Span[] = [];
  const array = (name: string, start: number, count: number, bytes: number): void => {
    for (let i = 0; i < count; i++) {
      const at = start + i * bytes;
      records.push({ name: `${name} ${i}`, start: at, end: at + bytes });
    }
  };
  array("memory range", root.number("ranges"), root.number("rangeCount"), recordSize("range"));
  array("VM slot", root.number("vmSlots"), root.number("vmSlotCount"), recordSize("slot"));
  state
    .hartRecords()
    .forEach((hart, index) => array(`hart record ${index}, part`, hart.address, 1, recordSize("hart")));
  const segments = root.number("pciSegments");
  array("PCI segment", segments, root.number("pciSegmentCount"), recordSize("segment"));
  for (let i = 0; i < root.number("pciSegmentCount"); i++) {
    const segment = new RecordView(root.memory, "segment", segments + i * recordSize("segment"));
    array(`window of segment ${i},`, segment.number("windows"), segment.number("windowCount"), recordSize("window"));
    array(`bus of segment ${i},`, segment.number("buses"), PCI_BUSES, BUS_ORIGIN_BYTES);
  }
  records.push({ name: "the root", start: root.address, end: root.address + recordSize("root") });
  const finer = ["ranges", "vmSlots", "hartRecords", "root"];
  const refused = new Set([...NOT_RECORDS, ...BOOT_ONLY, ...finer]);
  const whole = parts.filter(({ name }) => !refused.has(name));
  return [...records, ...whole].sort((a, b) => a.start - b.start);
}
