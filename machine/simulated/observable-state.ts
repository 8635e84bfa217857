import { hex } from "./errors.ts";
import { HypervisorState, PAGE, PageState, describeRecord, unpackRecord } from "./hypervisor-state.ts";
import type { MappedPage, VmState } from "./hypervisor-state.ts";
import type { Machine } from "./machine.ts";

/**
 * All that a call could have changed: who owns each page, what each VM's translations lead to, regions, vCPUs and their state, and the contents of
 * all memory that belongs to VMs. Two of these are compared to see that a call which failed changed nothing (invariant 5).
 */
export interface ObservableState {
  records: Uint32Array;
  vms: Map<bigint, ObservableVm>;
  /** Guest interrupt files: who has each, and what it holds. */
  files: string[];
  memory: Uint8Array[];
}

interface ObservableVm {
  /** Fields of the record, by name. */
  fields: Record<string, string>;
  regions: string[];
  vcpus: Record<string, string>[];
  /** Runs of pages with the same kind of translation; how large the leaves are does not show. */
  translations: string[];
}

const VM_FIELDS = [
  ...["lifecycle", "childCount", "version", "rootTable", "levels", "vcpuCount", "htimedelta", "entryPc"],
  ...["entryArgument", "statePage", "statePages", "hasInterruptFiles", "imsicBase", "imsicGroupBits"],
  ...["imsicGroupShift", "imsicHartBits", "imsicGuestBits"],
];
const VCPU_FIELDS = [
  "state",
  "pending",
  "pendingGpa",
  "pendingLength",
  "naclHpa",
  "naclGpa",
  "snapshotHpa",
  "startAddress",
  "messages",
  "imsicGpa",
  "binding",
  "bindingStamp",
];
/** Pending, enabled and allowed interrupts of a vCPU, delivery and threshold. */
const INTERRUPTS_SIZE = 784;

/** `into`: a state that is not needed any more, whose memory is used again. */
export function observe(machine: Machine, into?: ObservableState): ObservableState {
  return { ...observeLedger(machine), memory: machine.memory.save(into?.memory) };
}

/** Everything but the contents of memory. */
function observeLedger(machine: Machine): Omit<ObservableState, "memory"> {
  const state = new HypervisorState(machine.memory, machine.root);
  return {
    records: state.rawRecords(),
    vms: new Map(state.vms().map((vm) => [vm.id, observeVm(machine, vm)])),
    files: observeFiles(machine, state),
  };
}

function observeFiles(machine: Machine, state: HypervisorState): string[] {
  return state.hartRecords().flatMap((hart) => {
    const files = machine.imsic?.harts[machine.harts.findIndex(({ id }) => BigInt(id) === hart.word("id"))].files ?? [];
    return files.map((file, number) => {
      const record = machine.memory.read64(hart.number("fileRecords") + 8 * number);
      return `file ${number} of hart ${hart.number("id")}: record ${hex(record)}, ${file.save().map(hex).join(" ")}`;
    });
  });
}

function observeVm(machine: Machine, vm: VmState): ObservableVm {
  const fields: Record<string, string> = {};
  for (const field of VM_FIELDS) fields[field] = hex(vm.record.word(field));
  const tables = [vm.record.number("freeTableCount"), vm.record.number("retiredTableCount")];
  // Splitting a large page of the host takes a table and shows nowhere; a TVM's tables are its host's.
  if (!vm.isHost) fields.tables = String(tables[0] + tables[1]);
  const measurements = vm.record.number("measurements");
  fields.measurements = Buffer.from(machine.memory.slice(measurements, 8 * 48)).toString("hex");
  const pages: MappedPage[] = [];
  vm.walk(
    (page) => pages.push(page),
    () => {},
  );
  return {
    fields,
    regions: vm.regions().map(({ start, end, type }) => `${hex(start)}-${hex(end)} type ${type}`),
    vcpus: vm.vcpus().map((vcpu) => ({
      ...Object.fromEntries(VCPU_FIELDS.map((field) => [field, hex(vcpu.word(field))])),
      interrupts: Buffer.from(machine.memory.slice(vcpu.number("interrupts"), INTERRUPTS_SIZE)).toString("base64"),
    })),
    translations: joinRuns(pages),
  };
}

/** Neighbouring entries as one, wherever gpa and hpa go on together. */
function joinRuns(pages: MappedPage[]): string[] {
  const runs: { gpa: number; hpa: number; size: number; kind: string }[] = [];
  for (const { gpa, hpa, size, parked, stamp } of pages) {
    const kind = parked ? `parked ${stamp}` : "mapped";
    const last = runs.at(-1);
    if (last && last.kind === kind && last.gpa + last.size === gpa && last.hpa + last.size === hpa) last.size += size;
    else runs.push({ gpa, hpa, size, kind });
  }
  return runs.map(({ gpa, hpa, size, kind }) => `${hex(gpa)}+${hex(size)} -> ${hex(hpa)} ${kind}`);
}

/** What differs between two states, a line each. `except`: ranges of memory that the caller itself changed. */
export function differences(before: ObservableState, machine: Machine): string[] {
  const after = observeLedger(machine);
  const state = new HypervisorState(machine.memory, machine.root);
  const found: string[] = [];
  const changed = pagesWithNewContents(before, machine, state);
  for (let page = 0; page < state.pages; page++) {
    const [low, high] = [after.records[page * 2], after.records[page * 2 + 1]];
    const same = before.records[page * 2] === low && before.records[page * 2 + 1] === high;
    if (same && !changed.has(page)) continue;
    const then = unpackRecord(before.records[page * 2], before.records[page * 2 + 1]);
    const now = unpackRecord(low, high);
    const address = hex(state.pageAddress(page));
    if (!same) found.push(`page ${address}: ${describeRecord(then)} became ${describeRecord(now)}`);
    else if (isMemoryOfVm(now.state)) found.push(`page ${address}: its contents changed`);
  }
  after.files.forEach((file, index) => {
    if (file !== before.files[index]) found.push(`${before.files[index]} became ${file}`);
  });
  for (const id of new Set([...before.vms.keys(), ...after.vms.keys()])) {
    const [then, now] = [before.vms.get(id), after.vms.get(id)];
    if (!then || !now) found.push(`VM ${id} ${then ? "is gone" : "is new"}`);
    else found.push(...differencesOf(`VM ${id}`, then, now));
  }
  return found;
}

function isMemoryOfVm(state: number): boolean {
  return state === PageState.Owned || state === PageState.Shared || state === PageState.Converted;
}

/** Numbers of the pages whose contents are not what they were. */
function pagesWithNewContents(before: ObservableState, machine: Machine, state: HypervisorState): Set<number> {
  const pages = new Set<number>();
  const { bytes, ranges } = machine.memory;
  const differ = (range: number, offset: number, size: number): boolean => {
    const now = bytes.subarray(ranges[range].base + offset, ranges[range].base + offset + size);
    return Buffer.compare(now, before.memory[range].subarray(offset, offset + size)) !== 0;
  };
  ranges.forEach(({ base, size }, range) => {
    for (let block = 0; block < size; block += BLOCK) {
      if (!differ(range, block, BLOCK)) continue;
      for (let page = block; page < Math.min(block + BLOCK, size); page += PAGE) {
        if (differ(range, page, PAGE)) pages.add(state.pageIndex(base + page));
      }
    }
  });
  return pages;
}

/** Memory is compared in blocks first: nearly all of it is the same. */
const BLOCK = 256 * 1024;

function differencesOf(where: string, then: unknown, now: unknown): string[] {
  if (typeof then !== "object" || then === null || typeof now !== "object" || now === null) {
    return then === now ? [] : [`${where}: ${String(then)} became ${String(now)}`];
  }
  const names = new Set([...Object.keys(then), ...Object.keys(now)]);
  return [...names].flatMap((name) =>
    differencesOf(`${where} ${name}`, (then as Record<string, unknown>)[name], (now as Record<string, unknown>)[name]),
  );
}
