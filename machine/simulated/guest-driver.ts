import { GuestTrap, operations } from "./guest-script.ts";
import type { AccessStyle, Operation, SbiResult } from "./guest-script.ts";
import type { CsrName } from "./csr-numbers.ts";
import { MisuseError } from "./errors.ts";
import type { Ending, GuestContext } from "./guest-context.ts";
import type { Hart, HartState } from "./hart.ts";
import type { Width } from "./instruction-encoding.ts";
import type { Machine } from "./machine.ts";
import { describeOperation } from "./operation-executor.ts";

/**
 * How an operation that a test gave to a hart came out: it ended (with a result, a trap of the guest, or a new life of the vCPU), or the hart
 * is somewhere else: in another vCPU, or waiting, or off, or asleep in wfi.
 */
export type Outcome =
  Ending | { switched: GuestContext } | { halted: Exclude<HartState, "guest"> } | { sleeping: true };

/**
 * Drives the guest that is on a hart operation by operation, for tests without scripts: whatever vCPU is there executes what the test says
 * next. Other harts stand still meanwhile.
 */
export class GuestDriver {
  readonly machine: Machine;
  readonly hart: Hart;

  constructor(machine: Machine, hartId: number) {
    this.machine = machine;
    this.hart = machine.hart(hartId);
  }

  /** The vCPU that is on the hart now. */
  get context(): GuestContext {
    return this.machine.contextOf(this.hart);
  }

  /** Executes one instruction, or as much of it as can be done now. */
  perform(operation: Operation): Outcome {
    const context = this.machine.begin(this.hart, operation);
    return this.#advance(context);
  }

  /** Goes on with what the vCPU that is on the hart had begun. */
  resume(): Outcome {
    return this.#advance(this.context);
  }

  /** One step of the hart, if there is anything to do: interrupts, waking up. */
  step(): void {
    if (this.machine.canStep(this.hart)) this.machine.step(this.hart);
  }

  #advance(context: GuestContext): Outcome {
    const { machine, hart } = this;
    for (;;) {
      if (context.ending) {
        const { ending } = context;
        context.ending = undefined;
        return ending;
      }
      if (hart.state === "waiting" || hart.state === "off") return { halted: hart.state };
      if (this.context !== context) return { switched: this.context };
      if (!machine.canStep(hart)) return { sleeping: true };
      machine.step(hart);
    }
  }

  /** The outcome of an instruction that has to be done; a trap of the guest is thrown. */
  complete(operation: Operation): unknown {
    const outcome = this.perform(operation);
    if ("done" in outcome) return outcome.done;
    if ("trap" in outcome) throw outcome.trap;
    const where = "switched" in outcome ? `now in vCPU ${outcome.switched.key}` : JSON.stringify(Object.keys(outcome));
    throw new MisuseError(`not done: ${describeOperation(operation)} (${where})`);
  }

  /** An SBI call that comes back to its caller at once. */
  ecall(eid: number | bigint, fid: number | bigint, ...args: (number | bigint)[]): SbiResult {
    return this.complete(operations.ecall(eid, fid, ...args)) as SbiResult;
  }

  load(gva: number | bigint, width: Width = 8, how: AccessStyle & { signed?: boolean } = {}): bigint {
    return this.complete(operations.load(gva, width, how)) as bigint;
  }

  store(gva: number | bigint, width: Width, value: number | bigint, how: AccessStyle = {}): void {
    this.complete(operations.store(gva, width, value, how));
  }

  readCsr(csr: CsrName | number): bigint {
    return this.complete(operations.csrRead(csr)) as bigint;
  }

  writeCsr(csr: CsrName | number, value: number | bigint): void {
    this.complete(operations.csrWrite(csr, value));
  }

  /** The exception that the operation raises in the guest itself. */
  trapOf(operation: Operation): GuestTrap {
    const outcome = this.perform(operation);
    if (!("trap" in outcome)) throw new MisuseError(`no trap: ${describeOperation(operation)}`);
    return outcome.trap;
  }
}
