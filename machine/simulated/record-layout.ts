import { readFileSync } from "node:fs";
import path from "node:path";
import { repository } from "../../tools/repository.ts";
import type { PhysicalMemory } from "./physical-memory.ts";

/**
 * Where the fields of the hypervisor's records lie. Read from the declarations of its `@unmanaged` classes, so that the machine and the
 * checker see raw memory as it is without calling any code of the hypervisor: natural alignment, in the order of the declaration.
 */
export interface Field {
  offset: number;
  /** 4 or 8 bytes. */
  size: number;
}

export type Layout = Readonly<Record<string, Field>>;

/** The one class that others extend: how records begin that hold registers. */
const REGISTERS = "GeneralRegisters";

/** Layout of class `name` in `file` (relative to hypervisor/, without ".ts"). */
function layoutOf(file: string, name: string): Layout {
  const text = readFileSync(path.join(repository, "hypervisor", `${file}.ts`), "utf8");
  const [, base, body] = new RegExp(`class ${name} (?:extends (\\w+) )?\\{\\n([\\s\\S]*?)\\n\\}`).exec(text) ?? [];
  if (body === undefined) throw new Error(`hypervisor/${file}.ts has no class ${name}`);
  if (base !== undefined && base !== REGISTERS) throw new Error(`${name} extends ${base}, which nobody knows`);
  const layout: Record<string, Field> = base === undefined ? {} : { ...layoutOf("riscv/general-registers", base) };
  let offset = Object.values(layout).reduce((end, field) => Math.max(end, field.offset + field.size), 0);
  for (const [, field, type] of body.matchAll(/^ {2}(\w+): ([\w| ]+);$/gm)) {
    const size = SMALL_TYPES[type] ?? 8;
    offset = Math.ceil(offset / size) * size;
    layout[field] = { offset, size };
    offset += size;
  }
  return layout;
}

/** Members of `enum name` in `file` by their names, for those who look at a field that holds one. */
export function enumValues(file: string, name: string): Readonly<Record<string, number>> {
  const text = readFileSync(path.join(repository, "hypervisor", `${file}.ts`), "utf8");
  const body = new RegExp(`const enum ${name} \\{\n([\\s\\S]*?)\n\\}`).exec(text)?.[1];
  if (body === undefined) throw new Error(`hypervisor/${file}.ts has no enum ${name}`);
  return Object.fromEntries(
    [...body.matchAll(/^ {2}(\w+) = (\w+),$/gm)].map(([, member, value]) => [member, Number(value)]),
  );
}

/** Everything else is a pointer or 64 bits wide. */
const SMALL_TYPES: Record<string, number> = { u32: 4, i32: 4, bool: 1, u8: 1, u16: 2 };

const layouts = {
  root: layoutOf("root", "Root"),
  hart: layoutOf("hart", "Hart"),
  vcpu: layoutOf("vm/vcpu", "Vcpu"),
  vm: layoutOf("vm/vm", "Vm"),
  slot: layoutOf("vm/vm-table", "VmSlot"),
  range: layoutOf("memory/page-map", "MemoryRange"),
  iommu: layoutOf("devices/iommu/iommu", "Iommu"),
  segment: layoutOf("devices/pci/segment", "PciSegment"),
  window: layoutOf("devices/pci/segment", "PciWindow"),
  region: layoutOf("memory/regions", "Region"),
  plan: layoutOf("boot/memory-plan", "MemoryPlan"),
  own: layoutOf("boot/own-memory", "OwnMemory"),
  aplic: layoutOf("devices/aplic", "Aplic"),
  console: layoutOf("devices/console", "Console"),
  platform: layoutOf("attestation/platform", "Platform"),
  layer: layoutOf("attestation/layer", "Layer"),
};

export type RecordKind = keyof typeof layouts;

/** Offset of a field of a record, for those who look at it too often to make a RecordView. */
export function fieldOffset(kind: RecordKind, name: string): number {
  const field = (layouts[kind] as Record<string, Field | undefined>)[name];
  if (!field) throw new Error(`a ${kind} record has no field ${name}`);
  return field.offset;
}

/** Names of the fields of a record. */
export function fieldNames(kind: RecordKind): string[] {
  return Object.keys(layouts[kind]);
}

/** Bytes from one record of an array to the next. */
export function recordSize(kind: RecordKind): number {
  const fields = Object.values(layouts[kind]);
  const end = Math.max(...fields.map(({ offset, size }) => offset + size));
  return Math.ceil(end / 8) * 8;
}

/** A record of the hypervisor in simulated memory. */
export class RecordView {
  readonly memory: PhysicalMemory;
  readonly kind: RecordKind;
  readonly address: number;

  constructor(memory: PhysicalMemory, kind: RecordKind, address: number | bigint) {
    this.memory = memory;
    this.kind = kind;
    this.address = Number(address);
  }

  /** A field as it is in memory. */
  word(field: string): bigint {
    const { offset, size } = this.#field(field);
    return this.memory.readNumber(this.address + offset, size);
  }

  /** A field that is an address, a count or a small number. */
  number(field: string): number {
    const { offset, size } = this.#field(field);
    if (size === 8) return this.memory.readAddress(this.address + offset);
    return size === 4 ? this.memory.read32(this.address + offset) : Number(this.word(field));
  }

  set(field: string, value: bigint | number): void {
    const { offset, size } = this.#field(field);
    this.memory.writeNumber(this.address + offset, size, BigInt(value));
  }

  /** The record that a pointer leads to, undefined for null. */
  follow(field: string, kind: RecordKind): RecordView | undefined {
    const address = this.number(field);
    return address === 0 ? undefined : new RecordView(this.memory, kind, address);
  }

  #field(name: string): Field {
    const field = (layouts[this.kind] as Record<string, Field | undefined>)[name];
    if (!field) throw new Error(`a ${this.kind} record has no field ${name}`);
    return field;
  }
}
