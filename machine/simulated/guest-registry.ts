import { GuestContext, vmIdOf } from "./guest-context.ts";
import type { GuestScript } from "./guest-script.ts";
import type { Hart } from "./hart.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import { RecordView, fieldOffset } from "./record-layout.ts";

const CURRENT = fieldOffset("hart", "current");
const VCPU_VM = fieldOffset("vcpu", "vm");
const VCPU_ID = fieldOffset("vcpu", "id");
const VM_ID = fieldOffset("vm", "id");

/** All vCPUs that have ever been entered, and the scripts for those that will be: both by guest id and vCPU id. */
export class GuestRegistry {
  readonly #memory: PhysicalMemory;
  readonly #words: Uint32Array;
  readonly #contexts = new Map<string, GuestContext>();
  /** By address of the vCPU's record: the context that was found for it last. */
  readonly #found = new Map<number, GuestContext>();
  readonly #scripts = new Map<string, GuestScript>();

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
    this.#words = new Uint32Array(memory.wasmMemory.buffer);
  }

  addScript(vmId: bigint | number, id: number, script: GuestScript): void {
    this.#scripts.set(`${vmId}:${id}`, script);
  }

  /** The vCPU that is in the hart's machine registers; the hart is in a guest. */
  contextOf(hart: Hart): GuestContext {
    const at = (Number(hart.threadPointer) + CURRENT) / 4;
    const record = this.#words[at] + this.#words[at + 1] * 2 ** 32;
    const known = this.#found.get(record);
    if (known && this.#isOf(known, record)) return known;
    const vcpu = new RecordView(this.#memory, "vcpu", record);
    const key = `${vmIdOf(vcpu)}:${vcpu.number("id")}`;
    let context = this.#contexts.get(key);
    if (!context || context.record !== record) {
      context = new GuestContext(this.#memory, record, this.#scripts.get(key));
      this.#contexts.set(key, context);
    }
    this.#found.set(record, context);
    return context;
  }

  /** Whether the record is still that of the vCPU which the context is of. */
  #isOf(context: GuestContext, record: number): boolean {
    const at = (record + VCPU_VM) / 4;
    const vm = this.#words[at] + this.#words[at + 1] * 2 ** 32;
    const id = (vm + VM_ID) / 4;
    return (
      vm !== 0 &&
      this.#words[(record + VCPU_ID) / 4] === context.id &&
      this.#words[id] + this.#words[id + 1] * 2 ** 32 === Number(context.vmId)
    );
  }

  save(): SavedGuest[] {
    return [...this.#contexts].map(([key, context]) => ({ key, context, state: context.save() }));
  }

  restore(saved: SavedGuest[]): void {
    this.#contexts.clear();
    this.#found.clear();
    for (const { key, context, state } of saved) {
      context.restore(state);
      this.#contexts.set(key, context);
    }
  }
}

export interface SavedGuest {
  key: string;
  context: GuestContext;
  state: unknown;
}
