import { checkDma } from "./dma-checker.ts";
import { InvariantViolation, hex } from "./errors.ts";
import type { Hart } from "./hart.ts";
import type { MappedPage, PageRecord, RangeCall, VmState } from "./hypervisor-state.ts";
import {
  HOST_SLOT,
  HypervisorState,
  Lifecycle,
  PAGE,
  PageState,
  RangeKind,
  VcpuState,
  describeRecord,
  unpackRecord,
} from "./hypervisor-state.ts";
import { InterruptFileChecker } from "./interrupt-file-checker.ts";
import { InterruptLedger } from "./interrupt-ledger.ts";
import type { Machine } from "./machine.ts";
import { checkTlbs } from "./tlb-checker.ts";

/**
 * What must always hold between two steps, found out from raw memory alone (design: invariants 1 to 4). `attach` runs it after every entry
 * into the hypervisor.
 *
 * Throws InvariantViolation with an account of the page or record at fault.
 */
export class Checker {
  readonly machine: Machine;
  readonly state: HypervisorState;
  readonly files: InterruptFileChecker;
  readonly ledger: InterruptLedger;
  /** Records at the last check: a page that changed hands since must arrive clean. */
  #previous: Uint32Array;
  /** How many checks have been made. */
  checks = 0;
  /** True: `attach` checks nothing for a while, for a test with so much memory that it checks by itself. */
  paused = false;

  constructor(machine: Machine) {
    this.machine = machine;
    this.state = new HypervisorState(machine.memory, machine.root);
    this.files = new InterruptFileChecker(machine, this.state);
    this.ledger = InterruptLedger.of(machine);
    this.#previous = this.state.rawRecords();
  }

  /** Checks after every entry from now on. */
  static attach(machine: Machine): Checker {
    const checker = new Checker(machine);
    machine.afterEntry.push(() => {
      if (!checker.paused) checker.check();
    });
    return checker;
  }

  /** Forgets what it saw: the machine was restored to an earlier state. */
  reset(): void {
    this.#previous = this.state.rawRecords();
    this.files.reset();
  }

  /** `everyEntry` false: other entries went by unchecked, and guests may have written to pages that they were given meanwhile. */
  check(everyEntry = true): void {
    this.checks++;
    const view = new OwnershipView(this.state, this.files);
    this.#checkPages(view);
    if (everyEntry) this.#checkArrivals(view);
    view.vms.forEach((vm) => this.#checkVm(view, vm));
    this.#checkLocks(view);
    this.files.check();
    this.ledger.check();
    checkTlbs(this.machine, view);
    checkDma(this.machine, view);
    this.#previous = view.records;
  }

  /** Every page has one owner, and is where its state lets it be. */
  #checkPages(view: OwnershipView): void {
    for (let page = 0; page < this.state.pages; page++) {
      const low = view.records[page * 2];
      const state = low & 15;
      // The bulk of RAM: the host's own, mapped once, by nobody else.
      if (low === PageState.Owned && view.records[page * 2 + 1] === 0) {
        if (view.ownerMaps[page] === 1 && view.ownerParks[page] === 0 && view.otherMaps[page] === 0) continue;
      } else if (state <= PageState.Hypervisor && low === state) {
        if (view.ownerMaps[page] + view.ownerParks[page] + view.otherMaps[page] + view.parentParks[page] === 0)
          continue;
      }
      const problem = pageProblem(view, page);
      if (problem) this.#failPage(view, page, problem);
    }
  }

  /** A page that came to a host, or to a TVM that is finalized, is zero (invariant 2). */
  #checkArrivals(view: OwnershipView): void {
    for (let page = 0; page < this.state.pages; page++) {
      const [low, high] = [view.records[page * 2], view.records[page * 2 + 1]];
      const [oldLow, oldHigh] = [this.#previous[page * 2], this.#previous[page * 2 + 1]];
      if (low === oldLow && high === oldHigh) continue;
      const now = unpackRecord(low, high);
      const before = unpackRecord(oldLow, oldHigh);
      if (now.state !== PageState.Owned && now.state !== PageState.Shared) continue;
      const stayed =
        before.owner === now.owner && (before.state === PageState.Owned || before.state === PageState.Shared);
      if (stayed) continue;
      const vm = view.vmOfSlot(now.owner);
      if (vm && !vm.isHost && vm.record.number("lifecycle") === Lifecycle.Initializing) continue;
      if (!this.machine.memory.isZero(this.state.pageAddress(page), PAGE)) {
        this.#failPage(view, page, `it arrived with what it held as ${describeRecord(before)}`);
      }
    }
  }

  #checkVm(view: OwnershipView, vm: VmState): void {
    const fail = (problem: string): never => {
      throw new InvariantViolation(`VM ${vm.id} (slot ${vm.slot}): ${problem}`);
    };
    this.#checkTables(view, vm, fail);
    if (vm.isHost) {
      const parked = view.calls.filter(({ isParked }) => isParked).length;
      const counted = vm.record.number("parkedCalls");
      if (parked !== view.calls.length || parked !== counted) {
        fail(`${view.calls.length} calls under way, ${parked} parked, ${counted} counted`);
      }
    } else {
      this.#checkStatePages(view, vm, fail);
      const running = view.vcpusOf(vm).filter((vcpu) => vcpu.number("state") === VcpuState.Running).length;
      const calls = view.calls.filter(({ target }) => target === vm.record.address).length;
      if (vm.references !== running + calls) {
        fail(`${vm.references} references, ${running} vCPUs running, ${calls} calls under way`);
      }
      if (calls > 1 || vm.record.number("inRangeCall") !== calls) fail(`${calls} calls under way change its memory`);
    }
    if (vm.record.number("lock") !== 0) fail("its lock is held while no hart executes the hypervisor");
  }

  /** Every table page of the VM has one use: in the tree, free, or retired. */
  #checkTables(view: OwnershipView, vm: VmState, fail: (problem: string) => never): void {
    const free = vm.linkedPages("freeTables");
    const retired = vm.linkedPages("retiredTables");
    if (free.length !== vm.record.number("freeTableCount")) fail(`${free.length} free tables, not as many as counted`);
    if (retired.length !== vm.record.number("retiredTableCount")) fail("the count of retired tables is wrong");
    const pool = view.pagesOf(vm.slot, PageState.TablePool);
    if (view.callOn(vm)?.withoutTree) {
      const left = this.#tableList(vm, fail).size;
      return left === pool ? undefined : fail(`${pool} table pages, of which ${left} are still to be given back`);
    }
    const seen = new Set<number>();
    for (const hpa of [...view.tablesOf(vm).keys(), ...free, ...retired]) {
      if (seen.has(hpa)) fail(`table page ${hex(hpa)} has two uses`);
      seen.add(hpa);
      const record = view.recordAt(hpa);
      if (record?.state !== PageState.TablePool || record.owner !== vm.slot) {
        fail(`table page ${hex(hpa)} is ${record ? describeRecord(record) : "not RAM"}`);
      }
    }
    if (pool !== seen.size) fail(`${pool} table pages, of which ${seen.size} are used, free or retired`);
    const listed = this.#tableList(vm, fail);
    if (listed.size !== seen.size || ![...listed].every((hpa) => seen.has(hpa))) {
      fail(`${seen.size} table pages, ${listed.size} in the list of all`);
    }
  }

  /** The list of all table pages, through their records, which holds each once. */
  #tableList(vm: VmState, fail: (problem: string) => never): Set<number> {
    const listed = new Set<number>();
    for (let hpa = vm.record.number("allTables"); hpa !== 0;) {
      const record = this.state.record(hpa);
      const own = record?.state === PageState.TablePool && record.owner === vm.slot;
      if (!own || listed.has(hpa)) return fail(`the list of all table pages leads to ${hex(hpa)}`);
      listed.add(hpa);
      hpa = record.payload * PAGE;
    }
    return listed;
  }

  /** Root, state pages and vCPUs are all the pages in state VmState that the VM owns. */
  #checkStatePages(view: OwnershipView, vm: VmState, fail: (problem: string) => never): void {
    const pages = new Set<number>();
    const add = (start: number, count: number, what: string): void => {
      for (let i = 0; i < count; i++) {
        const hpa = start + i * PAGE;
        const record = view.recordAt(hpa);
        if (record?.state !== PageState.VmState || record.owner !== vm.slot)
          fail(`${what} page ${hex(hpa)} is not its own`);
        if (pages.has(hpa)) fail(`${what} page ${hex(hpa)} has two uses`);
        pages.add(hpa);
      }
    };
    add(vm.rootTable, 4, "root table");
    add(vm.record.number("statePage"), vm.record.number("statePages"), "state");
    for (const vcpu of view.vcpusOf(vm)) add(vcpu.address, vcpu.number("statePages"), "vCPU");
    const owned = view.pagesOf(vm.slot, PageState.VmState);
    if (owned !== pages.size) fail(`${owned} state pages, of which ${pages.size} are in use`);
  }

  /** No lock is held across a return; each hart that is in a guest has that vCPU, Running, to itself. */
  #checkLocks(view: OwnershipView): void {
    const reserved = this.state.reservedSlots();
    if (reserved !== 0) throw new InvariantViolation(`${reserved} slots of the VM table are taken by no VM`);
    const entered = new Set<number>();
    for (const hart of this.machine.harts) {
      if (hart.state !== "guest") continue;
      const current = hart.record.number("current");
      if (entered.has(current)) throw new InvariantViolation(`vCPU record ${hex(current)} runs on two harts`);
      entered.add(current);
      const vcpu = hart.record.follow("vcpu", "vcpu");
      if (vcpu?.address !== current)
        throw new InvariantViolation(`hart ${hart.id} is in another context than its vCPU's`);
      if (vcpu.number("state") !== VcpuState.Running) {
        throw new InvariantViolation(`hart ${hart.id} is in a vCPU whose state is ${vcpu.number("state")}`);
      }
      if (view.vmOfHart(hart) === undefined)
        throw new InvariantViolation(`hart ${hart.id} is in no VM's address space`);
    }
  }

  #failPage(view: OwnershipView, page: number, problem: string): never {
    const hpa = this.state.pageAddress(page);
    const record = unpackRecord(view.records[page * 2], view.records[page * 2 + 1]);
    const reached = view.vms.flatMap((vm) =>
      view
        .mapped(vm)
        .filter((entry) => hpa >= entry.hpa && hpa < entry.hpa + entry.size)
        .map((entry) => {
          const gpa = entry.gpa + (hpa - entry.hpa);
          return `VM ${vm.id} has it ${entry.parked ? `parked (stamp ${entry.stamp})` : "mapped"} at gpa ${hex(gpa)}`;
        }),
    );
    throw new InvariantViolation([`page ${hex(hpa)} (${describeRecord(record)}): ${problem}`, ...reached].join("\n  "));
  }
}

/** What is wrong with a page, given who can reach it; undefined if nothing. */
function pageProblem(view: OwnershipView, page: number): string | undefined {
  const { state, owner, payload } = unpackRecord(view.records[page * 2], view.records[page * 2 + 1]);
  const maps = view.ownerMaps[page];
  const parks = view.ownerParks[page];
  const others = view.otherMaps[page];
  const parent = view.parentParks[page];
  if (state === PageState.Reserved || state === PageState.Hypervisor) {
    return maps + parks + others + parent > 0 ? "a VM's tables name it" : undefined;
  }
  if (view.claimed[page] !== 0) {
    if (state !== PageState.Claimed) return "a call that is under way does not have it any more";
    return view.claimed[page] === 1 && maps + parks === 1 && others === 0 ? undefined : "two have it";
  }
  if (state === PageState.Claimed) return "a call has ended and left it claimed";
  if (state > PageState.TablePool) return "there is no such state";
  const vm = view.vmOfSlot(owner);
  if (!vm) return "its owner does not exist";
  const host = owner === HOST_SLOT;
  switch (state) {
    case PageState.Owned:
      if (payload !== 0) return "an owned page has no payload";
      if (others !== 0) return "somebody beside its owner has it";
      if (host) return maps === 1 && parks === 0 ? undefined : `the host maps it ${maps} times`;
      if (maps + parks + view.unmapped[page] !== 1) return `its TVM has it ${maps + parks} times`;
      return parent === 1 ? undefined : `its parent keeps ${parent} places for it`;
    case PageState.Shared:
      // What was pinned while it was being blocked is found before the block is over.
      if ((maps !== 1 || parks !== 0) && !(maps === 0 && parks === 1 && view.callOn(vm)?.kind === RangeKind.Block)) {
        return `its owner maps it ${maps} times`;
      }
      return payload === others + view.pins[page]
        ? undefined
        : `${others} others have it and ${view.pins[page]} pins hold it`;
    case PageState.Converted:
      if (maps + others !== 0) return "a converted page can be reached";
      if (parks !== 1) return `its owner keeps ${parks} places for it`;
      return payload > vm.record.number("version") ? "its stamp is from the future" : undefined;
    default:
      if (maps + parks + others !== 0) return "a VM's tables name it";
      if (host) return state === PageState.TablePool && parent === 0 ? undefined : "the host has no such pages";
      return parent === 1 ? undefined : `its parent keeps ${parent} places for it`;
  }
}

/** Who can reach what, collected once for a check. */
export class OwnershipView {
  readonly state: HypervisorState;
  readonly files: InterruptFileChecker;
  readonly records: Uint32Array;
  readonly vms: VmState[];
  /** By page: leaves and parked entries of its owner, of others, and parked entries of its owner's parent. */
  readonly ownerMaps: Uint8Array;
  readonly ownerParks: Uint8Array;
  readonly otherMaps: Uint16Array;
  readonly parentParks: Uint8Array;
  /** By page: references of NACL memories, of counters' snapshots, and of calls under way. */
  readonly pins: Uint16Array;
  /** Calls that made way for an interrupt, and by page: how many have it claimed, and have it still to map. */
  readonly calls: RangeCall[];
  readonly claimed: Uint8Array;
  readonly unmapped: Uint8Array;
  readonly #slots = new Map<number, VmState>();
  readonly #mapped = new Map<VmState, MappedPage[]>();
  readonly #tables = new Map<VmState, Map<number, { level: number; gpa: number }>>();
  readonly #counts = new Map<number, number>();

  constructor(state: HypervisorState, files: InterruptFileChecker) {
    this.state = state;
    this.files = files;
    this.records = state.rawRecords();
    this.ownerMaps = new Uint8Array(state.pages);
    this.ownerParks = new Uint8Array(state.pages);
    this.otherMaps = new Uint16Array(state.pages);
    this.parentParks = new Uint8Array(state.pages);
    this.pins = new Uint16Array(state.pages);
    this.claimed = new Uint8Array(state.pages);
    this.unmapped = new Uint8Array(state.pages);
    this.vms = state.vms();
    this.calls = state.rangeCalls();
    for (const vm of this.vms) this.#slots.set(vm.slot, vm);
    for (const vm of this.vms) this.#collect(vm);
    for (const call of this.calls) this.#collectCall(call);
    for (let page = 0; page < state.pages; page++) {
      const low = this.records[page * 2] & 0xffff;
      if ((low & 15) >= PageState.VmState) this.#counts.set(low, (this.#counts.get(low) ?? 0) + 1);
    }
  }

  vmOfSlot(slot: number): VmState | undefined {
    return this.#slots.get(slot);
  }

  /** The VM whose address space the hart is in. */
  vmOfHart(hart: Hart): VmState | undefined {
    const root = Number((hart.csr.raw("hgatp") & ((1n << 44n) - 1n)) << 12n);
    return this.vms.find((vm) => vm.rootTable === root);
  }

  /** The call under way that changes the memory of `vm`. */
  callOn(vm: VmState): RangeCall | undefined {
    return this.calls.find(({ target }) => target === vm.record.address);
  }

  mapped(vm: VmState): MappedPage[] {
    return this.#mapped.get(vm)!;
  }

  /** Tables below the root, by hpa. */
  tablesOf(vm: VmState): Map<number, { level: number; gpa: number }> {
    return this.#tables.get(vm)!;
  }

  vcpusOf(vm: VmState) {
    return vm.vcpus();
  }

  /** Number of pages in `state` (VmState or TablePool) that a slot owns. */
  pagesOf(slot: number, state: number): number {
    return this.#counts.get(state | (slot << 4)) ?? 0;
  }

  recordAt(hpa: number): PageRecord | undefined {
    const page = this.state.pageIndex(hpa);
    return page < 0 ? undefined : unpackRecord(this.records[page * 2], this.records[page * 2 + 1]);
  }

  #collect(vm: VmState): void {
    const mapped: MappedPage[] = [];
    const tables = new Map<number, { level: number; gpa: number }>();
    this.#mapped.set(vm, mapped);
    this.#tables.set(vm, tables);
    const fail = (problem: string): never => {
      throw new InvariantViolation(`VM ${vm.id} (slot ${vm.slot}): ${problem}`);
    };
    try {
      if (!this.callOn(vm)?.withoutTree)
        vm.walk(
          (entry) => {
            mapped.push(entry);
            this.#count(vm, entry, fail);
          },
          ({ hpa, level, gpa }) => {
            if (tables.has(hpa)) fail(`table page ${hex(hpa)} is linked twice`);
            tables.set(hpa, { level, gpa });
          },
        );
    } catch (error) {
      if (error instanceof InvariantViolation) throw error;
      fail((error as Error).message);
    }
    for (const vcpu of vm.vcpus()) {
      const nacl = vcpu.number("naclHpa");
      for (let i = 0; nacl !== 0 && i < 3; i++) this.pins[this.state.pageIndex(nacl + i * PAGE)]++;
      const snapshot = vcpu.number("snapshotHpa");
      if (snapshot !== 0) this.pins[this.state.pageIndex(snapshot)]++;
    }
  }

  #collectCall(call: RangeCall): void {
    const entries = this.mapped(this.vmOfSlot(call.callerSlot)!);
    const add = (pages: Uint8Array | Uint16Array, gpas: number[]): void => {
      for (const gpa of gpas) {
        const entry = entries.find((each) => gpa >= each.gpa && gpa < each.gpa + each.size);
        if (!entry)
          throw new InvariantViolation(`a call that is under way has a page at gpa ${hex(gpa)}, where there is none`);
        pages[this.state.pageIndex(entry.hpa + (gpa - entry.gpa))]++;
      }
    };
    add(this.claimed, call.claimed());
    add(this.pins, call.pinned());
    add(this.unmapped, call.unmapped());
  }

  #count(vm: VmState, entry: MappedPage, fail: (problem: string) => never): void {
    const { gpa, hpa, size, parked, flags } = entry;
    if (!parked && flags !== LEAF_FLAGS) fail(`leaf for gpa ${hex(gpa)} with flags ${hex(flags)}`);
    if (hpa % size !== 0) fail(`leaf of ${size} bytes for gpa ${hex(gpa)} at ${hex(hpa)}`);
    const first = this.state.pageIndex(hpa);
    if (first < 0) {
      const known = parked ? this.files.mayPark(vm.slot, hpa) : this.files.mayReach(vm.slot, hpa);
      if (!known) fail(`gpa ${hex(gpa)} leads to ${hex(hpa)}, which is no memory of its, nor an interrupt file`);
      return;
    }
    const parent = (slot: number): number | undefined => this.#slots.get(slot)?.parentSlot;
    const released = this.callOn(vm)?.releasedUpTo() ?? 0n;
    const gone = released > gpa && released < gpa + size ? (Number(released) - gpa) / PAGE : 0;
    for (let page = first + gone; page < first + size / PAGE; page++) {
      const owner = (this.records[page * 2] >>> 4) & 0xfff;
      if (owner === vm.slot) {
        if (parked) this.ownerParks[page]++;
        else this.ownerMaps[page]++;
      } else if (parked && parent(owner) === vm.slot) {
        this.parentParks[page]++;
      } else {
        this.otherMaps[page]++;
      }
    }
  }
}

/** V, R, W, X, U, A, D. */
const LEAF_FLAGS = 0xdf;
