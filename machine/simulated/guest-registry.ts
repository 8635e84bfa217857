import { GuestContext, vmIdOf } from "./guest-context.ts";
import type { GuestScript } from "./guest-script.ts";
import type { Hart } from "./hart.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import { RecordView } from "./record-layout.ts";

/** All vCPUs that have ever been entered, and the scripts for those that will be: both by guest id and vCPU id. */
export class GuestRegistry {
  readonly #memory: PhysicalMemory;
  readonly #contexts = new Map<string, GuestContext>();
  readonly #scripts = new Map<string, GuestScript>();

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
  }

  addScript(vmId: bigint | number, id: number, script: GuestScript): void {
    this.#scripts.set(`${vmId}:${id}`, script);
  }

  /** The vCPU that is in the hart's machine registers; the hart is in a guest. */
  contextOf(hart: Hart): GuestContext {
    const record = hart.record.number("current");
    const vcpu = new RecordView(this.#memory, "vcpu", record);
    const key = `${vmIdOf(vcpu)}:${vcpu.number("id")}`;
    let context = this.#contexts.get(key);
    if (!context || context.record !== record) {
      context = new GuestContext(this.#memory, record, this.#scripts.get(key));
      this.#contexts.set(key, context);
    }
    return context;
  }

  save(): SavedGuest[] {
    return [...this.#contexts].map(([key, context]) => ({ key, context, state: context.save() }));
  }

  restore(saved: SavedGuest[]): void {
    this.#contexts.clear();
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
