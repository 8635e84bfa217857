import { MachineFault, MisuseError } from "./errors.ts";
import type { GuestContext } from "./guest-context.ts";
import type { GuestRegistry } from "./guest-registry.ts";
import type { Operation, Result } from "./guest-script.ts";
import { DATA_REGISTER, GuestTrap } from "./guest-script.ts";
import type { Hart } from "./hart.ts";
import type { OperationExecutor } from "./operation-executor.ts";
import { describeOperation, interruptCause, lengthOf } from "./operation-executor.ts";

/** Attempts at one instruction after which nobody believes that it will ever complete. */
const MAX_ATTEMPTS = 64;

/**
 * How vCPUs get from one instruction to the next. An instruction that traps is not over: its vCPU may be entered again at the same place (it is
 * attempted anew), behind it (somebody did its work), or elsewhere (its guest has a trap to handle, or a new life).
 */
export class GuestProgress {
  readonly #guests: GuestRegistry;
  readonly #executor: OperationExecutor;
  /** The vCPU that was on each hart before its last entry into the hypervisor. */
  readonly #lastContext = new Map<Hart, GuestContext>();

  constructor(guests: GuestRegistry, executor: OperationExecutor) {
    this.#guests = guests;
    this.#executor = executor;
  }

  /** Puts an operation before the vCPU that is on the hart. */
  begin(hart: Hart, context: GuestContext, operation: Operation): void {
    context.hart = hart;
    const length = BigInt(lengthOf(operation));
    const resume = loopInPage(hart.pc + length);
    const jump = operation.kind === "jump";
    const pc = jump ? operation.gva : hart.pc;
    context.pending = { operation, pc, next: jump ? pc : pc + length, resume, attempts: 0, sleeping: false };
  }

  /**
   * Attempts the operation that the vCPU is at. Returns true if it trapped: whether to the hypervisor or to the guest itself is the
   * caller's to know, and to tell `arrive`.
   */
  attempt(hart: Hart, context: GuestContext): boolean {
    const pending = context.pending!;
    if (++pending.attempts > MAX_ATTEMPTS) {
      throw new MachineFault(`vCPU ${context.key} does not get beyond: ${describeOperation(pending.operation)}`);
    }
    context.hart = hart;
    const { user } = hart;
    const attempt = this.#executor.attempt(hart, context, pending.operation);
    pending.sleeping = attempt === "sleeping";
    if (typeof attempt === "object") hart.csr.counters?.countGuest(user, 1n);
    if (pending.sleeping) pending.attempts--;
    if (typeof attempt === "object") {
      context.pending = undefined;
      context.ending = { done: attempt.done };
      hart.pc = pending.operation.kind === "jump" ? pending.pc : pending.resume;
    }
    return attempt === "trapped";
  }

  /** Lets the guest take an interrupt of VS-mode if it has one; false if not. */
  takeInterrupt(hart: Hart, context: GuestContext): boolean {
    const irq = hart.pendingGuestInterrupt();
    if (irq === undefined) return false;
    if (!context.onInterrupt) throw new MisuseError(`vCPU ${context.key} has no handler for its interrupt ${irq}`);
    const { pc } = hart;
    hart.guestTrap(interruptCause(irq), 0n);
    context.onInterrupt(irq, hart);
    hart.guestReturn(pc);
    return true;
  }

  /**
   * The hart has just entered a guest, or (`delegatedTrap`) a trap went to the guest itself: does that end the instruction that its vCPU was at?
   */
  arrive(hart: Hart, delegatedTrap = false): void {
    const context = this.#guests.contextOf(hart);
    context.hart = hart;
    const { pending } = context;
    // Only attempts in a row, without anybody else's help, are a loop.
    if (pending && this.#lastContext.get(hart) !== context) pending.attempts = 0;
    this.#lastContext.set(hart, context);
    if (!pending || (hart.pc === pending.pc && !delegatedTrap)) return;
    context.pending = undefined;
    if (hart.pc === pending.next && !delegatedTrap) {
      context.ending = { done: emulatedResult(hart, pending.operation) };
      hart.pc = pending.resume;
    } else if (hart.pc === (hart.csr.raw("vstvec") & ~3n) && hart.csr.raw("vsepc") === pending.pc) {
      const { csr } = hart;
      context.ending = { trap: new GuestTrap(Number(csr.raw("vscause")), csr.raw("vstval"), pending.pc) };
      hart.guestReturn(pending.resume);
    } else {
      context.restart();
    }
  }

  /** The machine was restored to another state. */
  reset(): void {
    this.#lastContext.clear();
  }
}

/** What an instruction that the hypervisor has done gave. */
function emulatedResult(hart: Hart, operation: Operation): Result {
  const { registers } = hart;
  if (operation.kind === "ecall") return { error: BigInt.asIntN(64, registers[10]), value: registers[11] };
  if (operation.kind === "load") return registers[operation.register];
  return operation.kind === "csr" ? registers[DATA_REGISTER] : undefined;
}

/** Scripts are longer than a page of code; their instructions come round again, like a loop. */
function loopInPage(pc: bigint): bigint {
  const PAGE = 0x1000n;
  return (pc & (PAGE - 1n)) >= 0xf00n ? pc & ~(PAGE - 1n) : pc;
}
