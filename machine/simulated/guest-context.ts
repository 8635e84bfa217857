import { MisuseError } from "./errors.ts";
import type { Hart } from "./hart.ts";
import type { GuestCpu, GuestScript, Operation, Result, Script } from "./guest-script.ts";
import { GuestTrap } from "./guest-script.ts";
import { RecordView } from "./record-layout.ts";
import type { PhysicalMemory } from "./physical-memory.ts";

/** An instruction that has begun: it ends when its vCPU is entered behind it. */
export interface PendingOperation {
  operation: Operation;
  /** Where the instruction is; of a jump, where it goes. */
  pc: bigint;
  /** Where the guest goes on when the instruction is done, and when a trap of it was handled. */
  next: bigint;
  resume: bigint;
  /** How often it has begun: each fault that was resolved lets it start again. */
  attempts: number;
  /** A wfi that nothing has ended yet. */
  sleeping: boolean;
}

/** How the last operation of a vCPU ended. */
export type Ending = { done: Result } | { trap: GuestTrap } | { restarted: true };

/**
 * One vCPU as its guest sees it: the script that it executes, and the instruction that it is at. Known by guest id and vCPU id, not by
 * the address of its record, which a later vCPU may get.
 */
export class GuestContext implements GuestCpu {
  readonly vmId: bigint;
  readonly id: number;
  /** Address of the hypervisor's record. */
  readonly record: number;
  pending: PendingOperation | undefined;
  /** Set when the last operation ended and nobody has taken the result yet. */
  ending: Ending | undefined;
  /** True when the script has returned: the guest would spin for ever. */
  finished = false;
  /** The hart on which the vCPU is in the machine, for its registers. */
  hart: Hart | undefined;
  /** Takes an interrupt of VS-mode (1 software, 5 timer, 9 external); it must make it go away. */
  onInterrupt: ((irq: number, hart: Hart) => void) | undefined;

  readonly #memory: PhysicalMemory;
  readonly #factory: GuestScript | undefined;
  #script: Script | undefined;

  constructor(memory: PhysicalMemory, record: number, factory: GuestScript | undefined) {
    const vcpu = new RecordView(memory, "vcpu", record);
    this.#memory = memory;
    this.record = record;
    this.vmId = vmIdOf(vcpu);
    this.id = vcpu.number("id");
    this.#factory = factory;
    this.#script = factory?.(this);
  }

  get key(): string {
    return `${this.vmId}:${this.id}`;
  }

  get isHost(): boolean {
    return this.vmId === 0n;
  }

  /** Whether a script drives the vCPU (otherwise the test does, operation by operation). */
  get scripted(): boolean {
    return this.#script !== undefined;
  }

  gpr(register: number): bigint {
    if (register === 0) return 0n;
    return this.hart ? this.hart.registers[register] : this.#memory.read64(this.record + 8 * register);
  }

  setGpr(register: number, value: bigint): void {
    if (register === 0) return;
    if (this.hart) this.hart.registers[register] = BigInt.asUintN(64, value);
    else this.#memory.write64(this.record + 8 * register, value);
  }

  /** The next operation of the script, which gets the result of the last one; undefined when the script is over. */
  next(): Operation | undefined {
    const script = this.#script;
    if (!script || this.finished) return undefined;
    const ending = this.ending;
    this.ending = undefined;
    const step =
      ending && "trap" in ending
        ? script.throw(ending.trap)
        : script.next(ending && "done" in ending ? ending.done : undefined);
    if (!step.done) return step.value;
    this.finished = true;
    return undefined;
  }

  /** The vCPU was stopped and started anew. */
  restart(): void {
    this.pending = undefined;
    this.finished = false;
    if (this.#factory) this.#script = this.#factory(this);
    else this.ending = { restarted: true };
  }

  save(): unknown {
    if (this.#script) throw new MisuseError(`the script of vCPU ${this.key} cannot be saved`);
    return { pending: this.pending && { ...this.pending }, ending: this.ending, hart: this.hart };
  }

  restore(saved: unknown): void {
    const { pending, ending, hart } = saved as Pick<GuestContext, "pending" | "ending" | "hart">;
    this.pending = pending && { ...pending };
    this.ending = ending;
    this.hart = hart;
  }
}

/** Guest id of the VM of a vCPU record. */
export function vmIdOf(vcpu: RecordView): bigint {
  return vcpu.follow("vm", "vm")?.word("id") ?? -1n;
}
