import { InvariantViolation, hex } from "./errors.ts";
import type { Hart } from "./hart.ts";
import { HOST_SLOT, PAGE, PageState, describeRecord, unpackRecord } from "./hypervisor-state.ts";
import type { HypervisorState, VmState } from "./hypervisor-state.ts";
import type { InterruptFile } from "./imsic.ts";
import { PCI_IO_WINDOW } from "./pci.ts";
import type { Machine } from "./machine.ts";
import { RecordView, enumValues, fieldOffset } from "./record-layout.ts";

/**
 * Who has which guest interrupt file (invariants 1 and 2, for interrupt files instead of pages of RAM): each is the host's, or bound to one vCPU,
 * its page is reachable from that VM alone, and it is empty when a TVM has left it. The machine's file 1 is always the host's, where it sees
 * its supervisor level's; the file behind it is at the place of guest file 1, and so on.
 *
 * Reads records, binding words and tables by itself, as checker.ts does.
 */
const FIRST_FOR_TVMS = 2;
/** Host's own file: the machine's number. */
const HOST_FILE = 1;
export const BIND = enumValues("vm/binding", "BindState");
const CURRENT = fieldOffset("hart", "current");
const BINDING = fieldOffset("vcpu", "binding");
const VCPU_VM = fieldOffset("vcpu", "vm");
const VM_SLOT = fieldOffset("vm", "slot");
const HAS_FILES = fieldOffset("vm", "hasInterruptFiles");
const PPN_HIGH = 0x003f_ffff;

/** A guest interrupt file of the machine. */
interface File {
  hart: number;
  number: number;
  hpa: number;
  /** Address of its record. */
  record: number;
  file: InterruptFile;
}

/** Where a vCPU's own file is. */
interface Binding {
  vm: VmState;
  vcpu: RecordView;
  state: number;
  /** Old and new file, by the hypervisor's index of their harts; the new one only while there are two. */
  file: number;
  hart: number;
  nextFile: number;
  nextHart: number;
}

/** What a table holds for a page. */
interface Entry {
  kind: "empty" | "mapped" | "parked";
  hpa: number;
}

const EMPTY: Entry = { kind: "empty", hpa: 0 };

export class InterruptFileChecker {
  readonly #machine: Machine;
  readonly #state: HypervisorState;
  readonly #words: Uint32Array;
  readonly #files: File[] = [];
  readonly #byPage = new Map<number, File>();
  /** Pages of files of harts that were left out at boot: nobody uses them, and they stay with the host. */
  readonly #idle = new Set<number>();
  /** Where the records of all files lie. */
  #firstRecord = 0;
  #endOfRecords = 0;
  /** Records of the files at the last check. */
  readonly #previous: number[] = [];

  constructor(machine: Machine, state: HypervisorState) {
    this.#machine = machine;
    this.#state = state;
    this.#words = new Uint32Array(machine.memory.wasmMemory.buffer);
    const { imsic } = machine;
    const mask = machine.root.word("guestFileMask");
    if (!imsic || mask === 0n) return;
    for (const record of state.hartRecords()) {
      // Files lie in the order of the device tree's harts, records in the hypervisor's own.
      const index = machine.harts.findIndex(({ id }) => BigInt(id) === record.word("id"));
      for (let number = HOST_FILE; mask >> BigInt(number) !== 0n; number++) {
        const file: File = {
          hart: record.number("index"),
          number,
          hpa: imsic.pageOf(index, number),
          record: record.number("fileRecords") + number * 8,
          file: imsic.harts[index].guest(number)!,
        };
        this.#files.push(file);
        this.#byPage.set(file.hpa, file);
      }
    }
    imsic.harts.forEach((_, index) => {
      for (let number = HOST_FILE; mask >> BigInt(number) !== 0n; number++) {
        const page = imsic.pageOf(index, number);
        if (!this.#byPage.has(page)) this.#idle.add(page);
      }
    });
    this.#firstRecord = Math.min(...this.#files.map(({ record }) => record));
    this.#endOfRecords = Math.max(...this.#files.map(({ record }) => record)) + 8;
    this.reset();
  }

  /** Learns the present state, when the machine was restored. */
  reset(): void {
    this.#files.forEach(({ record }, index) => (this.#previous[index] = this.#words[record / 4]));
  }

  /** Whether the VM may have a translation, in a table or a cache, to a page that is no RAM. `entered`: what its hart has announced. */
  mayReach(slot: number, hpa: number, entered = 0): boolean {
    const file = this.#byPage.get(hpa);
    if (!file) return slot === HOST_SLOT && (this.#idle.has(hpa) || this.#isDeviceOfHost(hpa));
    if (file.number < FIRST_FOR_TVMS) return slot === HOST_SLOT;
    const { state, owner, payload } = this.#recordOf(file);
    if (owner !== slot) return false;
    return state === PageState.Owned || (state === PageState.Converted && payload >= entered);
  }

  /**
   * A page of device registers that is not ours alone: not the way to end the machine, not an interrupt file of supervisor level, and nothing
   * that is filtered (configuration space, APLIC) or confines devices (IOMMU).
   */
  #isDeviceOfHost(hpa: number): boolean {
    const { aplic, devices, finisher, imsic, iommu, pci, secondPci } = this.#machine;
    const inside = (device: { base: number; size: number } | undefined): boolean =>
      device !== undefined && hpa >= device.base && hpa < device.base + device.size;
    if (imsic?.covers(hpa) || [aplic, pci, secondPci, iommu].some(inside)) return false;
    if (pci && inside(PCI_IO_WINDOW)) return true;
    return hpa !== finisher.base && devices.at(hpa) !== undefined;
  }

  /** Whether a parked entry of the VM may lead there: what it gave away, or is about to lose. */
  mayPark(slot: number, hpa: number): boolean {
    const file = this.#byPage.get(hpa);
    return (
      file !== undefined && file.number >= FIRST_FOR_TVMS && (slot === HOST_SLOT || this.#recordOf(file).owner === slot)
    );
  }

  /** Whether a write to `address`, in a page whose state is `state`, is one to a file's record or to a vCPU's binding. */
  isAbout(address: number, state: number): boolean {
    if (address >= this.#firstRecord && address < this.#endOfRecords) return true;
    // A vCPU's record begins a page.
    return state === PageState.VmState && address % PAGE === BINDING;
  }

  /** Checks every file and every vCPU with one, and what harts use. */
  check(): void {
    this.checkHarts();
    if (this.#files.length === 0) return;
    const vms = this.#state.vms();
    const host = vms.find((vm) => vm.isHost)!;
    const bindings = vms.filter((vm) => !vm.isHost && vm.record.number("hasInterruptFiles") !== 0).flatMap(bindingsOf);
    const uses = new Map<number, Binding>();
    for (const binding of bindings) {
      this.#checkBinding(binding);
      for (const file of this.#filesOf(binding)) {
        if (uses.has(file.hpa)) this.#fail(file, "two vCPUs are bound to it");
        uses.set(file.hpa, binding);
      }
    }
    this.#files.forEach((file, index) => {
      this.#checkFile(host, file, uses.get(file.hpa));
      this.#checkArrival(file, this.#previous[index]);
      this.#previous[index] = this.#words[file.record / 4];
    });
  }

  /** Each hart uses the file of the vCPU that is on it, or none. */
  checkHarts(): void {
    for (const hart of this.#machine.harts) this.#checkHart(hart);
  }

  /** Its record, the host's entry for it and its vCPU say the same. */
  #checkFile(host: VmState, file: File, binding: Binding | undefined): void {
    // The host sees file k + 1 as its file k.
    const entry = this.#entry(host, file.hpa - PAGE);
    if (entry.hpa !== file.hpa) this.#fail(file, `the host's place for it leads to ${hex(entry.hpa)}`);
    const { state, owner, payload } = this.#recordOf(file);
    if (file.number < FIRST_FOR_TVMS) {
      if (entry.kind !== "mapped" || binding) this.#fail(file, "the host's own file is not its own");
      return;
    }
    const owned = state === PageState.Owned;
    if ((entry.kind === "mapped") !== (owned && owner === HOST_SLOT)) this.#fail(file, `the host has it ${entry.kind}`);
    if (owned && owner !== HOST_SLOT) {
      if (binding?.vm.slot !== owner) this.#fail(file, "no vCPU of its owner is bound to it");
      return;
    }
    if (binding) this.#fail(file, `a vCPU of VM ${binding.vm.id} is bound to it`);
    if (owner !== HOST_SLOT) this.#fail(file, "its owner cannot have it in that state");
    if (state === PageState.Claimed) {
      const clears = this.#state.hartRecords()[file.hart].word("filesToClear");
      if (((clears >> BigInt(file.number)) & 1n) === 0n) this.#fail(file, "a call has ended and left it claimed");
    } else if (state === PageState.Converted) {
      if (payload > host.record.number("version")) this.#fail(file, "its stamp is from the future");
    } else if (!owned) {
      this.#fail(file, "there is no such state of a file");
    }
  }

  /** A file that a TVM has left holds nothing of it. */
  #checkArrival(file: File, before: number): void {
    const was = unpackRecord(before, 0);
    const left = was.state === PageState.Claimed || (was.state === PageState.Owned && was.owner !== HOST_SLOT);
    const { state, owner } = this.#recordOf(file);
    if (!left || state !== PageState.Converted || owner !== HOST_SLOT) return;
    const { pending, enabled, delivery, threshold } = file.file;
    if ((pending | enabled | delivery | threshold) !== 0n) this.#fail(file, "it comes back with what it held");
  }

  /** The TVM's table leads to the file that the binding names, and to none without one. */
  #checkBinding(binding: Binding): void {
    const { vm, vcpu, state } = binding;
    const fail = (problem: string): never => {
      const name = Object.keys(BIND).find((each) => BIND[each] === state) ?? state;
      throw new InvariantViolation(`vCPU ${vcpu.number("id")} of VM ${vm.id}, ${name}: ${problem}`);
    };
    const gpa = vcpu.word("imsicGpa");
    const entry = gpa === (1n << 64n) - 1n ? EMPTY : this.#entry(vm, Number(gpa));
    const old = this.#file(binding.hart, binding.file);
    const next = this.#file(binding.nextHart, binding.nextFile);
    const expect = (kind: Entry["kind"], file: File | undefined): void => {
      if (kind !== "empty" && file === undefined) fail("it names a file that does not exist");
      if (entry.kind !== kind || entry.hpa !== (file?.hpa ?? 0)) {
        fail(`its address is ${entry.kind} (${hex(entry.hpa)}), not ${kind} (${hex(file?.hpa ?? 0)})`);
      }
    };
    switch (state) {
      case BIND["Unbound"]:
        return expect("empty", undefined);
      case BIND["Bound"]:
        return expect("mapped", old);
      case BIND["Unbinding"]:
        return expect("parked", old);
      case BIND["Rebinding"]:
      case BIND["Cloned"]:
        return expect("mapped", next);
      default:
        fail("there is no such state");
    }
  }

  #checkHart(hart: Hart): void {
    if (hart.state !== "guest") return;
    const { memory } = this.#machine;
    const vcpu = memory.readAddress(Number(hart.threadPointer) + CURRENT);
    const vm = memory.readAddress(vcpu + VCPU_VM);
    const used = hart.csr.guestFile();
    let own = 0;
    if (memory.read32(vm + VM_SLOT) === HOST_SLOT) own = this.#files.length > 0 ? HOST_FILE : 0;
    else if (memory.read32(vm + HAS_FILES) !== 0) {
      const binding = decodeBinding(memory.read64(vcpu + BINDING));
      const here = binding.hart === hart.record.number("index");
      if (!here || (binding.state !== BIND["Bound"] && binding.state !== BIND["Rebinding"])) {
        throw new InvariantViolation(`hart ${hart.id} runs a vCPU whose interrupt file is not here`);
      }
      own = binding.file;
    }
    if (used !== own)
      throw new InvariantViolation(`hart ${hart.id}: its guest uses interrupt file ${used}, its own is ${own}`);
  }

  // ---- reading

  #filesOf({ state, hart, file, nextHart, nextFile }: Binding): File[] {
    const old = state === BIND["Bound"] || state === BIND["Unbinding"] || state === BIND["Rebinding"];
    const next = state === BIND["Rebinding"] || state === BIND["Cloned"];
    return [old ? this.#file(hart, file) : undefined, next ? this.#file(nextHart, nextFile) : undefined].filter(
      (each) => each !== undefined,
    );
  }

  #file(hart: number, number: number): File | undefined {
    return this.#files.find((file) => file.hart === hart && file.number === number && number >= FIRST_FOR_TVMS);
  }

  #recordOf({ record }: File) {
    return unpackRecord(this.#words[record / 4], this.#words[record / 4 + 1]);
  }

  /** What the VM's tables hold for the 4 KiB page at `gpa`. */
  #entry(vm: VmState, gpa: number): Entry {
    let table = vm.rootTable;
    for (let level = vm.levels - 1; ; level--) {
      const index = Math.floor(gpa / 2 ** (12 + 9 * level)) % (level === vm.levels - 1 ? 2048 : 512);
      const low = this.#words[table / 4 + index * 2];
      const high = this.#words[table / 4 + index * 2 + 1];
      if (low === 0 && high === 0) return EMPTY;
      const hpa = ((high & PPN_HIGH) * 2 ** 22 + (low >>> 10)) * PAGE;
      if ((low & 15) !== 1) {
        const offset = gpa % 2 ** (12 + 9 * level);
        return { kind: (low & 1) !== 0 ? "mapped" : "parked", hpa: hpa + offset };
      }
      table = hpa;
    }
  }

  #fail(file: File, problem: string): never {
    const record = describeRecord(this.#recordOf(file));
    throw new InvariantViolation(
      `guest interrupt file ${file.number} of hart index ${file.hart}, ${hex(file.hpa)} (${record}): ${problem}`,
    );
  }
}

function bindingsOf(vm: VmState): Binding[] {
  return vm.vcpus().map((vcpu) => ({ vm, vcpu, ...decodeBinding(vm.memory.read64(vcpu.address + BINDING)) }));
}

/** The fields of a binding word. */
export function decodeBinding(word: bigint) {
  const field = (from: bigint, bits: bigint): number => Number((word >> from) & ((1n << bits) - 1n));
  return {
    state: field(0n, 8n),
    file: field(8n, 8n),
    hart: field(16n, 16n),
    nextFile: field(32n, 8n),
    nextHart: field(40n, 16n),
  };
}
