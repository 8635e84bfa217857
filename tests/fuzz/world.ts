import { Checker } from "../../machine/simulated/checker.ts";
import { Cause, Irq, bit } from "../../machine/simulated/csr-numbers.ts";
import { InvariantViolation, MachineEnded, hex } from "../../machine/simulated/errors.ts";
import type { DoorReplacement } from "../../machine/simulated/door.ts";
import type { GuestContext } from "../../machine/simulated/guest-context.ts";
import { ADDRESS_REGISTER, DATA_REGISTER, operations } from "../../machine/simulated/guest-script.ts";
import type { Operation } from "../../machine/simulated/guest-script.ts";
import type { Hart } from "../../machine/simulated/hart.ts";
import { PAGE } from "../../machine/simulated/hypervisor-state.ts";
import type { HypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import { hypervisorModule } from "../../machine/simulated/hypervisor-module.ts";
import { Machine } from "../../machine/simulated/machine.ts";
import type { Meter } from "../../machine/simulated/meter.ts";
import type { MachineState } from "../../machine/simulated/machine.ts";
import type { MachineOptions } from "../../machine/simulated/machine-options.ts";
import { PCI_WINDOW } from "../../machine/simulated/pci.ts";
import { interruptCause } from "../../machine/simulated/operation-executor.ts";
import { PciChecker } from "../../machine/simulated/pci-checker.ts";
import { TouchedChecker } from "../../machine/simulated/touched-checker.ts";
import { WriteLog } from "../../machine/simulated/write-log.ts";
import { Eid } from "../unit/support/simulated/sbi.ts";
import type { Command, Value } from "./command.ts";
import { RegisterSecrecy } from "./register-secrecy.ts";
import { Tally } from "./tally.ts";

/** Entries into the hypervisor between two looks at everything. */
const FULL_CHECK = 100;
/** Calls of the door's memory functions that one entry may make: a few for each page of RAM, as long as large ranges are done in one go. */
const MAX_WORK_PER_PAGE = 64;

/**
 * A machine that has booted, on which commands are executed: whatever guest is on the hart that a command names executes it. After each entry into
 * the hypervisor the touched pages, the errors' promise that nothing changed, and the secrecy of registers are checked.
 */
export class World {
  readonly machine: Machine;
  readonly touched: TouchedChecker;
  readonly full: Checker;
  readonly devices: PciChecker;
  readonly log: WriteLog;
  readonly secrecy: RegisterSecrecy;
  readonly tally = new Tally();
  /** Guest ids by the numbers that commands know them by. */
  readonly guests = new Map<number, bigint>();
  /** Successful calls on each TVM. */
  readonly #lives = new Map<string, number>();
  /** Entries since the last full check. */
  #sinceFull = 0;
  readonly #words: Uint32Array;
  readonly #initial: MachineState;
  readonly #maxWork: number;

  /**
   * `door`: functions of the door that take the place of the usual ones, for tests of whether their absence is noticed. `meter`, instead of it: measures
   * a metered module.
   */
  static async boot(
    options: Partial<MachineOptions>,
    module?: HypervisorModule,
    door?: DoorReplacement,
    meter?: Meter,
  ): Promise<World> {
    const setup = { options, module: module ?? (await hypervisorModule()), logWrites: true, door, meter };
    return new World(await Machine.create(setup));
  }

  private constructor(machine: Machine) {
    this.machine = machine;
    machine.boot();
    this.log = new WriteLog(machine.memory);
    this.touched = new TouchedChecker(machine, this.log);
    this.full = new Checker(machine);
    this.full.check();
    this.devices = new PciChecker(machine);
    this.secrecy = new RegisterSecrecy(machine);
    this.#words = new Uint32Array(machine.memory.wasmMemory.buffer);
    this.#initial = machine.save();
    this.#maxWork = (MAX_WORK_PER_PAGE * (machine.memory.end - machine.memory.start)) / PAGE;
  }

  /** Back to what it was when it had booted. */
  restart(): void {
    this.machine.restore(this.#initial);
    if (this.machine.iommu) this.machine.iommu.options.commands = "at once";
    this.touched.reset();
    this.full.reset();
    this.secrecy.reset();
    this.guests.clear();
    this.#lives.clear();
    this.#sinceFull = 0;
  }

  /** Guest id of the VM whose vCPU is on the hart; undefined if the hart is in no guest. */
  vmOn(hart: Hart): bigint | undefined {
    if (hart.state !== "guest") return undefined;
    return BigInt(this.secrecy.vmOf(this.secrecy.currentOf(hart)));
  }

  /**
   * Executes one command. Commands for a hart that is off, or that waits, let it come up or wake if it can, and are otherwise dropped.
   * MachineEnded leaves when a host resets the machine.
   */
  execute(command: Command): void {
    const hart = this.machine.harts[command.hart % this.machine.harts.length];
    this.machine.clock.advance(command.do === "rest" ? BigInt(command.ticks) : 1n);
    if (command.do === "dma" || command.do === "message" || command.do === "iommu") return this.#device(command);
    if (!this.#ready(hart) || command.do === "rest") return;
    this.secrecy.fill(hart);
    this.tally.commands++;
    switch (command.do) {
      case "call":
        return this.#call(hart, command);
      case "load":
        this.#operate(hart, operations.load(command.at, command.width ?? 8));
        return this.#used(command);
      case "store":
        this.#operate(hart, operations.store(command.at, command.width ?? 8, this.#resolve(command.value)));
        return this.#used(command);
      case "jump":
        return this.#operate(hart, operations.jump(command.at));
      case "wfi":
        return this.#operate(hart, operations.wfi());
      case "sfence":
        return this.#operate(hart, operations.sfence());
      case "fp":
        return this.#operate(hart, operations.fpSet(7, this.secrecy.tagOf(hart)));
      case "csr":
        return this.#operate(hart, operations.csrWrite(command.csr, command.value));
    }
  }

  /** Looks at everything. */
  checkAll(): void {
    this.#sinceFull = 0;
    this.full.check(false);
  }

  // ---- before a command

  /** Lets the hart take what is pending; true if it is in a guest then. */
  #ready(hart: Hart): boolean {
    if (hart.state === "off") {
      if (hart.startPending) this.#enter(hart, () => hart.start(), false);
    } else if (hart.pendingInterrupt() !== undefined) {
      if (hart.state === "waiting") this.#enter(hart, () => hart.wake(), false);
      else this.#enter(hart, () => hart.trap(interruptCause(hart.pendingInterrupt()!)), false);
    }
    if (hart.state !== "guest") return false;
    this.#clearGuestInterrupts(hart);
    return true;
  }

  /** The guest takes its interrupts: a software interrupt is cleared, a timer is set to never, an external one is claimed. */
  #clearGuestInterrupts(hart: Hart): void {
    const { csr } = hart;
    const pending = csr.hypervisorPending();
    if ((pending & bit(Irq.virtualSoftware)) !== 0n) {
      csr.setRaw("hvip", csr.raw("hvip") & ~bit(Irq.virtualSoftware));
    }
    if ((pending & bit(Irq.virtualExternal)) !== 0n) csr.interruptFiles?.guest(csr.guestFile())?.claim();
    if ((pending & bit(Irq.virtualTimer)) !== 0n && csr.options.sstc) csr.setRaw("vstimecmp", (1n << 64n) - 1n);
  }

  // ---- commands

  #call(hart: Hart, command: Command & { do: "call" }): void {
    const { registers } = hart;
    registers[17] = BigInt.asUintN(64, BigInt(command.eid));
    registers[16] = BigInt.asUintN(64, BigInt(command.fid));
    // Argument registers that the call does not have keep what is the guest's own business.
    for (let i = 0; i < command.args.length; i++) registers[10 + i] = this.#resolve(command.args[i]);
    const caller = this.secrecy.currentOf(hart);
    const vm = this.vmOn(hart)!;
    try {
      this.#enter(hart, () => hart.trap(Cause.ecallFromGuest), true);
    } catch (error) {
      // The call that ends the machine has succeeded.
      if (error instanceof MachineEnded) this.tally.call(command.eid, command.fid, true, undefined);
      throw error;
    }
    // A legacy call answers in a0 alone, with what may look like an error.
    const answered = hart.state === "guest" && this.secrecy.currentOf(hart) === caller;
    const legacy = command.eid === Eid.putchar || command.eid === Eid.getchar;
    const error = answered && !legacy ? Number(BigInt.asIntN(64, registers[10])) : undefined;
    this.tally.call(command.eid, command.fid, vm === 0n, error);
    if (error === 0) this.#succeeded(command, registers[11]);
  }

  /** Keeps the guest id that a call made, and how far each TVM has got. */
  #succeeded({ makes, eid, args }: Command & { do: "call" }, value: bigint): void {
    if (makes !== undefined) {
      this.guests.set(makes, value);
      this.#lives.set(`guest ${makes}`, 0);
      if (this.guests.size > this.tally.mostTvms) this.tally.mostTvms = this.guests.size;
    } else if ((eid === Eid.covh || eid === Eid.covi) && typeof args[0] === "string") {
      const life = (this.#lives.get(args[0]) ?? 0) + 1;
      this.#lives.set(args[0], life);
      if (life > this.tally.deepest) this.tally.deepest = life;
    }
  }

  #resolve(value: Value): bigint {
    if (typeof value === "bigint") return BigInt.asUintN(64, value);
    return this.guests.get(Number(value.slice(6))) ?? 0xdeadn;
  }

  #operate(hart: Hart, operation: Operation): void {
    hart.pc = this.secrecy.codeOf(hart);
    // The instruction's own registers, before they are remembered.
    if (operation.kind === "load" || operation.kind === "store") hart.registers[ADDRESS_REGISTER] = operation.gva;
    if (operation.kind === "store") hart.registers[DATA_REGISTER] = operation.value;
    if (operation.kind === "csr") hart.registers[ADDRESS_REGISTER] = operation.value;
    // The executor needs no context: commands are not resumed, a guest that comes back executes its next command.
    const attempt = (): unknown => this.machine.executor.attempt(hart, undefined as unknown as GuestContext, operation);
    this.#enter(hart, attempt, false);
  }

  // ---- devices

  /** Counts an access of a guest to configuration space or to a device's registers. */
  #used({ do: kind, at, width }: Command & { do: "load" | "store" }): void {
    const { pci } = this.machine;
    if (!pci) return;
    const inside = (device: { base: number; size: number }): boolean =>
      at >= BigInt(device.base) && at < BigInt(device.base + device.size);
    if (inside(pci)) {
      const odd = width === undefined || at % BigInt(width) !== 0n;
      if (odd) this.tally.device("odd accesses to configuration space");
      else this.tally.device(kind === "load" ? "configuration reads" : "configuration writes");
    } else if (inside(PCI_WINDOW)) {
      this.tally.device("device registers used");
    }
  }

  /** What devices do by themselves. Where they get to is checked at once. */
  #device(command: Command & { do: "dma" | "message" | "iommu" }): void {
    const { machine, tally } = this;
    if (command.do === "iommu") {
      if (!machine.iommu) return;
      tally.device("changes of the IOMMU's speed");
      machine.iommu.options.commands = command.commands;
      if (command.commands === "at once") machine.iommu.work();
      return;
    }
    if (!machine.pci?.all().some(({ pci, id }) => id === command.device && pci.master)) {
      return tally.device("DMA of devices that are no bus masters");
    }
    if (command.do === "message") {
      tally.device(machine.sendMessage(command.device, command.number) ? "messages" : "messages lost");
    } else {
      const { device, at, value } = command;
      const done = machine.dma(device, at, value === undefined ? undefined : Number(value)) !== undefined;
      tally.device(!done ? "DMA blocked" : value === undefined ? "DMA reads" : "DMA writes");
    }
    this.touched.checkDevices(false);
  }

  // ---- into the hypervisor

  /** Does what may enter the hypervisor, and checks afterwards. `call`: an ecall, whose error promises that nothing changed. */
  #enter(hart: Hart, act: () => unknown, call: boolean): void {
    const { machine } = this;
    const before = machine.entries;
    const context = hart.state === "guest" ? this.secrecy.currentOf(hart) : 0;
    const eid = Number(hart.registers[17]);
    this.secrecy.leave(hart);
    act();
    if (machine.entries === before) return;
    this.tally.entries++;
    if (this.log.work > this.#maxWork) {
      throw new InvariantViolation(`one entry into the hypervisor made ${this.log.work} accesses`);
    }
    if (this.log.work > this.tally.mostWork) this.tally.mostWork = this.log.work;
    const same = hart.state === "guest" && this.secrecy.currentOf(hart) === context;
    const answer = BigInt.asIntN(64, hart.registers[10]);
    // A call on several counters goes as far as it can, and says that some of them were started or stopped already.
    const partly = eid === Eid.pmu && (answer === -7n || answer === -8n);
    const failed = call && same && eid >= 0x10 && answer < 0n && !partly;
    this.touched.check(failed);
    this.devices.check();
    this.secrecy.arrive(hart);
    if (!same && hart.state === "guest" && this.vmOn(hart) !== 0n) this.tally.tvmEntries++;
    if (++this.#sinceFull >= FULL_CHECK) this.checkAll();
  }

  /** What is left of TVMs in RAM after a reset: nothing. */
  checkScrubbed(): void {
    const { state } = this.full;
    for (let page = 0; page < state.pages; page++) {
      const record = state.record(state.pageAddress(page))!;
      if (record.owner === 0 || record.state < 2) continue;
      if (!this.machine.memory.isZero(state.pageAddress(page), PAGE)) {
        throw new InvariantViolation(`page ${hex(state.pageAddress(page))} of slot ${record.owner} outlived the reset`);
      }
    }
  }

  get words(): Uint32Array {
    return this.#words;
  }
}

/** What a failure of the hypervisor looks like; anything else is a fault of the test. */
export function isFinding(error: unknown): error is Error {
  return error instanceof Error && !(error instanceof MachineEnded);
}
