import { CsrFile } from "./csr-file.ts";
import type { Clock } from "./clock.ts";
import { Cause, Csr, HypervisorStatus, INTERRUPT, Irq, Status, bit } from "./csr-numbers.ts";
import { MachineFault, hex } from "./errors.ts";
import type { HartInterruptFiles } from "./imsic.ts";
import type { Instruction } from "./instruction-encoding.ts";
import type { MachineOptions } from "./machine-options.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import { RecordView, fieldOffset } from "./record-layout.ts";
import { Tlb } from "./tlb.ts";

/**
 * One hart: its registers, and the way between a guest and the hypervisor, step by step as machine/riscv/trap.S goes it.
 *
 *     off --firmware starts it--> (bootSecondary) --> guest <--> (trap) --> waiting or off
 *                                                                  |  ^
 *                                               user-mode helper <--+--+ (helperTrap)
 *
 * While none of the hypervisor's code runs on it a hart is in a guest, waits for an interrupt, or is off. It is seen in the hypervisor only where
 * entries of several harts are interleaved (interleaver.ts).
 */
export type HartState = "off" | "guest" | "helper" | "waiting" | "hypervisor";

/** What boot(), bootSecondary() and trap() return (hypervisor/hart.ts). */
export const Action = { Enter: 0, Wait: 1, Off: 2, Helper: 3 } as const;

/** Of HartState (hypervisor/hart.ts). */
const ONLINE = 2n;
const HALTED = 3n;

/** Registers that compiled code preserves: gp, s0-s11. */
const CALLEE_SAVED = [3, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27];
/** The others: ra, sp, tp, t0-t6, a0-a7. */
const CALLER_SAVED = [1, 2, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 28, 29, 30, 31];

/** What an entry into the hypervisor is to a counter that counts it. */
const HYPERVISOR_INSTRUCTIONS = 1000n;
/** Fields of a hart's record that every entry looks at. */
const CURRENT = fieldOffset("hart", "current");
const ENTERED = fieldOffset("hart", "entered");

/** How a trap is described to the hypervisor. */
export interface TrapInfo {
  stval?: bigint;
  /** Guest physical address of a guest page fault. */
  gpa?: bigint;
  htinst?: bigint;
  /** stval is a guest virtual address. */
  gva?: boolean;
}

/** Who runs the hypervisor's code for a hart. Undefined: it has begun, and will call `leave`. */
export interface HypervisorEntry {
  (hart: Hart, name: "boot" | "bootSecondary" | "trap" | "helperTrap", args: bigint[]): number | undefined;
}

export class Hart {
  readonly id: number;
  readonly index: number;
  readonly csr: CsrFile;
  readonly tlb = new Tlb();
  readonly registers = new BigUint64Array(32);
  /** f0-f31 and fcsr. */
  readonly fp = new BigUint64Array(33);
  /** v0-v31. */
  readonly vector: Uint8Array;
  /** vstart, vl, vtype, vcsr. */
  readonly vectorControl = new BigUint64Array(4);
  state: HartState = "off";
  /** SBI hart_start that this hart has not followed yet. */
  startPending: { address: bigint; opaque: bigint } | undefined;
  /** tp while the hypervisor runs: address of the hart's record. */
  threadPointer = 0n;
  /** Where the guest is. */
  pc = 0n;
  /** The guest is in VU-mode. */
  user = false;
  /** The instruction at `pc`, for the hypervisor's own fetch. */
  instruction: Instruction | undefined;
  /** fence.i since the last time that somebody looked. */
  instructionFences = 0;

  readonly #memory: PhysicalMemory;
  /** All of memory, and the registers, as 32-bit words: copying them makes no BigInt. */
  readonly #words: Uint32Array;
  readonly #registerWords: Uint32Array;
  readonly #enter: HypervisorEntry;
  /** Runs the user-mode helper until the hypervisor leaves it. */
  readonly #runHelper: (hart: Hart) => void;
  /** trap.S keeps the callee-saved registers in the machine during an ecall. */
  #inEcall = false;

  constructor(
    id: number,
    index: number,
    options: MachineOptions,
    memory: PhysicalMemory,
    clock: Clock,
    files: HartInterruptFiles | undefined,
    enter: HypervisorEntry,
    runHelper: (hart: Hart) => void,
  ) {
    this.id = id;
    this.index = index;
    this.csr = new CsrFile(options, clock, files);
    this.vector = new Uint8Array(32 * options.vlenb);
    this.#memory = memory;
    this.#words = new Uint32Array(memory.wasmMemory.buffer);
    this.#registerWords = new Uint32Array(this.registers.buffer);
    this.#enter = enter;
    this.#runHelper = runHelper;
  }

  /** The hypervisor's record of this hart. */
  get record(): RecordView {
    return new RecordView(this.#memory, "hart", this.threadPointer);
  }

  // ---- into the hypervisor

  /** The firmware enters the image (`tp` = the record in the image). */
  boot(record: bigint, stackTop: bigint, deviceTree: bigint): void {
    this.threadPointer = record;
    this.record.set("stackTop", stackTop);
    this.#inEcall = false;
    this.#follow(this.#enter(this, "boot", [BigInt(this.id), deviceTree]));
  }

  /** Follows a pending hart_start. */
  start(): void {
    if (!this.startPending) throw new MachineFault(`hart ${this.id} has not been started`);
    this.threadPointer = this.startPending.opaque;
    this.startPending = undefined;
    this.#inEcall = false;
    this.#follow(this.#enter(this, "bootSecondary", []));
  }

  /** A trap of the guest into HS-mode (Privileged 21.6.4), and everything up to where the hypervisor leaves the hart. */
  trap(cause: bigint | number, info: TrapInfo = {}): void {
    const { csr } = this;
    const { values } = csr;
    csr.counters?.countHypervisor(HYPERVISOR_INSTRUCTIONS);
    values[Csr.sepc] = this.pc;
    values[Csr.scause] = BigInt(cause);
    values[Csr.stval] = info.stval ?? 0n;
    values[Csr.htval] = (info.gpa ?? 0n) >> 2n;
    values[Csr.htinst] = info.htinst ?? 0n;
    const { spv, spvp, gva } = HypervisorStatus;
    let hstatus = values[Csr.hstatus] & ~(spvp | gva);
    hstatus |= spv | (this.user ? 0n : spvp) | (info.gva ? gva : 0n);
    values[Csr.hstatus] = hstatus;
    const old = values[Csr.sstatus];
    let sstatus = old & ~(Status.sie | Status.spie | Status.spp);
    if ((old & Status.sie) !== 0n) sstatus |= Status.spie;
    if (!this.user) sstatus |= Status.spp;
    values[Csr.sstatus] = sstatus;

    const context = this.#pointer(CURRENT);
    this.#inEcall = Number(cause) === Cause.ecallFromGuest;
    this.#store(context, CALLER_SAVED);
    if (!this.#inEcall || this.#word(context) !== 0) this.#store(context, CALLEE_SAVED);
    this.#follow(this.#enter(this, "trap", []));
  }

  /** The first interrupt, in the order of the specification, that HS-mode takes now; undefined if there is none. */
  pendingInterrupt(): number | undefined {
    const pending = this.state === "waiting" ? this.csr.pendingForWait() : this.csr.pendingForHypervisor();
    if (pending === 0n) return undefined;
    return INTERRUPT_ORDER.find((irq) => (pending & bit(irq)) !== 0n);
  }

  /** A hart that waits goes on: an interrupt is pending. */
  wake(): void {
    this.csr.setRaw("scause", INTERRUPT);
    this.#follow(this.#enter(this, "trap", []));
  }

  /** trap.S: hart_end. A hart that never came up stays absent. */
  halt(): void {
    if (this.record.word("state") === ONLINE) this.record.set("state", HALTED);
  }

  /** The entry that had begun is over. */
  leave(action: number): void {
    this.#follow(action);
  }

  #follow(action: number | undefined): void {
    if (action === undefined) {
      this.state = "hypervisor";
      return;
    }
    if (action === Action.Enter) return this.#enterContext();
    if (action === Action.Helper) return this.#enterHelper();
    if (action === Action.Wait) {
      this.state = "waiting";
    } else if (action === Action.Off) {
      this.halt();
      this.state = "off";
    } else {
      throw new MachineFault(`hart ${this.id}: the hypervisor returned the action ${action}`);
    }
  }

  /** A trap of the user-mode helper; start.S and trap.S: helper_trap, helper_trapped. The hypervisor may enter the helper again, or leave it. */
  helperTrap(cause: bigint, stval: bigint): void {
    const { csr } = this;
    csr.setRaw("sepc", this.pc);
    csr.setRaw("scause", cause);
    csr.setRaw("stval", stval);
    csr.setRaw("htval", 0n);
    csr.setRaw("htinst", 0n);
    csr.setRaw("hstatus", csr.raw("hstatus") & ~(HypervisorStatus.spv | HypervisorStatus.gva));
    const old = csr.raw("sstatus");
    const sstatus = old & ~(Status.sie | Status.spie | Status.spp);
    csr.setRaw("sstatus", (old & Status.sie) !== 0n ? sstatus | Status.spie : sstatus);
    const context = this.record.number("helper");
    this.#store(context, [...CALLER_SAVED, ...CALLEE_SAVED]);
    this.#inEcall = false;
    this.#follow(this.#enter(this, "helperTrap", []));
  }

  /** trap.S and start.S: leave_for_helper, enter_helper; then sret to U-mode. */
  #enterHelper(): void {
    const { record, csr } = this;
    const context = record.word("helper");
    const entered = record.word("entered");
    if (entered % 2n === 0n) this.#store(Number(entered), CALLEE_SAVED);
    record.set("entered", context + 1n);
    this.#load(Number(context), [...CALLER_SAVED, ...CALLEE_SAVED]);
    const fault = (what: string): never => {
      throw new MachineFault(`hart ${this.id} enters the user-mode helper ${what}`);
    };
    if ((csr.raw("hstatus") & HypervisorStatus.spv) !== 0n) fault("with V = 1");
    if ((csr.raw("sstatus") & Status.spp) !== 0n) fault("in supervisor mode");
    if ((csr.raw("sstatus") & (Status.fs | Status.vs)) !== 0n) fault("with floating point or vectors");
    if ((csr.raw("sstatus") & (Status.sum | Status.mxr)) !== 0n) fault("with SUM or MXR");
    if (csr.raw("scounteren") !== 0n || csr.raw("senvcfg") !== 0n) fault("with counters or cache instructions");
    this.pc = csr.raw("sepc");
    const running = this.state === "helper";
    this.state = "helper";
    if (!running) this.#runHelper(this);
  }

  /** trap.S: enter_context, enter_other_or_tvm, enter_loading_all; then sret. */
  #enterContext(): void {
    const current = this.#pointer(CURRENT);
    const entered = this.#pointer(ENTERED);
    if (current === 0) throw new MachineFault(`hart ${this.id} enters no context`);
    if (!this.#inEcall || (entered !== current && entered !== current + 1)) {
      if (this.#inEcall && entered % 2 === 0) this.#store(entered, CALLEE_SAVED);
      this.record.set("entered", current + this.#word(current));
      this.#load(current, CALLEE_SAVED);
    }
    this.#load(current, CALLER_SAVED);
    this.#sret();
  }

  #sret(): void {
    const { values } = this.csr;
    const hstatus = values[Csr.hstatus];
    if ((hstatus & HypervisorStatus.spv) === 0n) throw new MachineFault(`hart ${this.id}: sret to HS-mode`);
    if (values[Csr.hgatp] >> 60n === 0n) {
      throw new MachineFault(`hart ${this.id} enters a guest with hgatp.MODE = Bare`);
    }
    values[Csr.hstatus] = hstatus & ~HypervisorStatus.spv;
    const sstatus = values[Csr.sstatus];
    this.user = (sstatus & Status.spp) === 0n;
    let next = (sstatus & ~(Status.sie | Status.spp)) | Status.spie;
    if ((sstatus & Status.spie) !== 0n) next |= Status.sie;
    values[Csr.sstatus] = next;
    this.pc = values[Csr.sepc];
    this.state = "guest";
    this.instruction = undefined;
  }

  #store(context: number, registers: number[]): void {
    const at = this.#contextAt(context);
    for (const n of registers) {
      this.#words[at + 2 * n] = this.#registerWords[2 * n];
      this.#words[at + 2 * n + 1] = this.#registerWords[2 * n + 1];
    }
  }

  #load(context: number, registers: number[]): void {
    const at = this.#contextAt(context);
    for (const n of registers) {
      this.#registerWords[2 * n] = this.#words[at + 2 * n];
      this.#registerWords[2 * n + 1] = this.#words[at + 2 * n + 1];
    }
  }

  /** Index of the first 32-bit word of the registers that are kept at `context`. */
  #contextAt(context: number): number {
    if (context % 8 !== 0 || !this.#memory.contains(context, 32 * 8)) {
      throw new MachineFault(`hart ${this.id}: ${hex(context)} is no context`);
    }
    return context / 4;
  }

  /** A pointer in the hart's record. */
  #pointer(offset: number): number {
    return this.#word(Number(this.threadPointer) + offset);
  }

  /** A 64-bit word of RAM that holds an address or a small number. */
  #word(address: number): number {
    if (!this.#memory.contains(address, 8)) throw new MachineFault(`hart ${this.id}: ${hex(address)} is not RAM`);
    return this.#words[address / 4] + this.#words[address / 4 + 1] * 2 ** 32;
  }

  // ---- traps that the guest takes itself

  /** Whether hedeleg gives this exception to VS-mode. */
  delegates(cause: number): boolean {
    return ((this.csr.raw("hedeleg") >> BigInt(cause)) & 1n) !== 0n;
  }

  /** A trap into VS-mode. */
  guestTrap(cause: bigint, tval: bigint): void {
    const { csr } = this;
    csr.setRaw("vsepc", this.pc);
    csr.setRaw("vscause", cause);
    csr.setRaw("vstval", tval);
    const old = csr.raw("vsstatus");
    let vsstatus = old & ~(Status.sie | Status.spie | Status.spp);
    if ((old & Status.sie) !== 0n) vsstatus |= Status.spie;
    if (!this.user) vsstatus |= Status.spp;
    csr.setRaw("vsstatus", vsstatus);
    const vstvec = csr.raw("vstvec");
    const vectored = (vstvec & 1n) !== 0n && cause >= INTERRUPT;
    this.pc = (vstvec & ~3n) + (vectored ? 4n * (cause - INTERRUPT) : 0n);
    this.user = false;
  }

  /** sret of VS-mode to `pc`. */
  guestReturn(pc: bigint): void {
    const old = this.csr.raw("vsstatus");
    this.user = (old & Status.spp) === 0n;
    let vsstatus = (old & ~(Status.sie | Status.spp)) | Status.spie;
    if ((old & Status.spie) !== 0n) vsstatus |= Status.sie;
    this.csr.setRaw("vsstatus", vsstatus);
    this.pc = pc;
  }

  /** The first interrupt (number of VS-mode: 1, 5, 9, 13) that VS-mode takes now. */
  pendingGuestInterrupt(): number | undefined {
    if (!this.user && (this.csr.raw("vsstatus") & Status.sie) === 0n) return undefined;
    const pending = this.csr.pendingForGuest();
    const irq = [Irq.virtualExternal, Irq.virtualSoftware, Irq.virtualTimer, Irq.counterOverflow].find(
      (n) => (pending & bit(n)) !== 0n,
    );
    return irq === undefined || irq === Irq.counterOverflow ? irq : irq - 1;
  }

  toString(): string {
    return `hart ${this.id} (${this.state}${this.state === "guest" ? ` at ${hex(this.pc)}` : ""})`;
  }

  save(): unknown {
    const { state, startPending, threadPointer, pc, user, instruction } = this;
    return {
      fields: { state, startPending, threadPointer, pc, user, instruction },
      inEcall: this.#inEcall,
      registers: this.registers.slice(),
      fp: this.fp.slice(),
      vector: this.vector.slice(),
      vectorControl: this.vectorControl.slice(),
      csr: this.csr.save(),
      tlb: this.tlb.save(),
    };
  }

  restore(saved: unknown): void {
    const state = saved as {
      fields: Partial<Hart>;
      inEcall: boolean;
      registers: BigUint64Array;
      fp: BigUint64Array;
      vector: Uint8Array;
      vectorControl: BigUint64Array;
      csr: unknown;
      tlb: unknown;
    };
    Object.assign(this, state.fields);
    this.#inEcall = state.inEcall;
    this.registers.set(state.registers);
    this.fp.set(state.fp);
    this.vector.set(state.vector);
    this.vectorControl.set(state.vectorControl);
    this.csr.restore(state.csr);
    this.tlb.restore(state.tlb);
  }
}

/** Which of several interrupts is taken first (Privileged 12.1.3 and 21.4.2). */
const INTERRUPT_ORDER = [
  Irq.supervisorExternal,
  Irq.supervisorSoftware,
  Irq.supervisorTimer,
  Irq.guestExternal,
  Irq.virtualExternal,
  Irq.virtualSoftware,
  Irq.virtualTimer,
  Irq.counterOverflow,
];
