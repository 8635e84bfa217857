import { AccessChecker } from "./access-checker.ts";
import { Aplic } from "./aplic.ts";
import { Clock } from "./clock.ts";
import { machineTreeBlob } from "./device-tree-builder.ts";
import { DeviceBus, ImsicDevice, TestFinisher, Uart } from "./devices.ts";
import type { DoorFunctions, DoorReplacement } from "./door.ts";
import { abortImport, checkImports, describeFailure, makeDoor } from "./door.ts";
import { Deadlock, MachineEnded, MachineFault, MisuseError } from "./errors.ts";
import { Firmware, HartStopped } from "./firmware.ts";
import type { GuestContext } from "./guest-context.ts";
import { GuestProgress } from "./guest-progress.ts";
import type { SavedGuest } from "./guest-registry.ts";
import { GuestRegistry } from "./guest-registry.ts";
import type { GuestScript, Operation } from "./guest-script.ts";
import { Hart } from "./hart.ts";
import type { TrapInfo } from "./hart.ts";
import type { HypervisorModule } from "./hypervisor-module.ts";
import { helperModule, hypervisorModule, declaredPrimitives } from "./hypervisor-module.ts";
import { HelperRunner } from "./helper.ts";
import { ImageLayout, ImageSymbol } from "./image-layout.ts";
import type { Meter } from "./meter.ts";
import { Imsic } from "./imsic.ts";
import type { InterruptLedger } from "./interrupt-ledger.ts";
import type { MachineOptions } from "./machine-options.ts";
import { machineOptions } from "./machine-options.ts";
import { OperationExecutor, describeOperation, interruptCause } from "./operation-executor.ts";
import { Iommu } from "./iommu.ts";
import type { PciFunctionSpec } from "./pci.ts";
import { PciHost, PciWindowDevice, SECOND_BRIDGE } from "./pci.ts";
import { PhysicalMemory } from "./physical-memory.ts";
import { RecordView } from "./record-layout.ts";

/** Where the firmware leaves the device tree: 2 MiB below the end of the first range of RAM. */
const TREE_FROM_END = 0x20_0000;
/** Buses that configuration space has room for. */
const PCI_BUSES = 8;
/** Ticks that pass with a step of a hart, and with a turn of a waiting loop. */
const STEP_TICKS = 1n;
const PAUSE_TICKS = 1000n;
/** Turns of a waiting loop after which it is a deadlock. */
const MAX_PAUSES = 1_000_000;

export interface MachineSetup {
  options?: Partial<MachineOptions>;
  /** Functions of the door that take the place of the usual ones: to see whether their absence is noticed, or to watch them. */
  door?: DoorReplacement;
  module?: HypervisorModule;
  /** Measures entries into a hypervisor that has one (metered-module.ts). */
  meter?: Meter;
  /** Keeps a log of what the hypervisor writes through the door (write-log.ts). */
  logWrites?: boolean;
  /** The device tree, instead of the one that describes the options. */
  deviceTree?: Uint8Array;
  /** A failed assertion goes to the hypervisor's own panic, as on metal, and ends the machine; otherwise it is an error of the test. */
  panics?: boolean;
}

/**
 * A simulated machine with the hypervisor in it: powered on by `boot`, then moved on hart by hart with `step`, which lets the guest that is
 * there execute one instruction, or delivers an interrupt.
 */
export class Machine {
  readonly options: MachineOptions;
  readonly memory: PhysicalMemory;
  readonly clock = new Clock();
  readonly harts: Hart[];
  readonly firmware: Firmware;
  readonly uart = new Uart();
  readonly finisher = new TestFinisher();
  readonly imsic: Imsic | undefined;
  readonly aplic: Aplic | undefined;
  readonly pci: PciHost | undefined;
  readonly pciWindow: PciWindowDevice | undefined;
  readonly secondPci: PciHost | undefined;
  readonly iommu: Iommu | undefined;
  readonly devices: DeviceBus;
  readonly executor: OperationExecutor;
  readonly image: ImageLayout;
  /** The user-mode helper. */
  readonly helper: HelperRunner;
  /** Entries into the hypervisor so far. */
  entries = 0;
  /** What ended the machine, if anything did. */
  ended: MachineEnded | undefined;
  /** Plays entries into the hypervisor little by little, in place of the machine, which plays each at once. */
  entryPlayer: EntryPlayer | undefined;
  /** The functions of the door, without those that look at accesses. */
  readonly door: DoorFunctions;
  /** Of the checked flavour of the hypervisor. */
  readonly accessChecker: AccessChecker | undefined;
  /** Follows interrupts from those who send them to those who claim them, once a checker has asked for it. */
  ledger: InterruptLedger | undefined;
  /** Called after each entry into the hypervisor. */
  readonly afterEntry: ((hart: Hart) => void)[] = [];

  readonly #meter: Meter | undefined;
  readonly #exports: HypervisorExports;
  readonly #module: HypervisorModule;
  readonly #threadPointer: { value: unknown };
  readonly #guests: GuestRegistry;
  readonly #progress: GuestProgress;
  readonly #deviceTree: Uint8Array;
  /** Harts in whose name the hypervisor executes, outermost first. */
  readonly #executing: Hart[] = [];
  #pauses = 0;

  /** Builds the machine; the module is compiled if the sources have changed. */
  static async create(setup: MachineSetup = {}): Promise<Machine> {
    const [module, helper] = await Promise.all([setup.module ?? hypervisorModule(), helperModule()]);
    return new Machine({ ...setup, module, helper });
  }

  private constructor(setup: MachineSetup & { module: HypervisorModule; helper: HypervisorModule }) {
    this.options = machineOptions(setup.options);
    const { options } = this;
    this.memory = new PhysicalMemory(options.ram);
    this.#guests = new GuestRegistry(this.memory);
    this.firmware = new Firmware(options, this.memory, this.uart);
    if (options.guestFiles !== undefined) {
      const { interruptIdentities, guestIdentities = interruptIdentities, interruptGroups } = options;
      this.imsic = new Imsic(
        options.harts.length,
        options.guestFiles,
        interruptIdentities,
        guestIdentities,
        interruptGroups,
      );
    }
    if (this.imsic && options.aplicSources > 0) this.aplic = new Aplic(this.imsic, options.aplicSources);
    if (options.iommu) this.iommu = new Iommu(options.iommu, this.memory);
    if (options.pci) this.pci = new PciHost(functionsOf(options, this.iommu), PCI_BUSES);
    if (options.secondPci) this.secondPci = new PciHost(options.secondPci, PCI_BUSES, SECOND_BRIDGE);
    if (this.pci) this.pciWindow = new PciWindowDevice(this.pci);
    this.devices = new DeviceBus([
      ...[this.uart, this.finisher],
      ...(this.imsic?.regions.map((_, group) => new ImsicDevice(this.imsic!, group)) ?? []),
      ...(this.aplic ? [this.aplic] : []),
      ...(this.iommu && this.iommu.options.function === undefined ? [this.iommu] : []),
      ...(this.pci && this.pciWindow ? [this.pci, this.pciWindow] : []),
      ...(this.secondPci ? [this.secondPci, new PciWindowDevice(this.secondPci)] : []),
    ]);
    if (this.iommu) this.iommu.message = (hpa, value) => this.devices.write(BigInt(hpa), 4, BigInt(value));
    this.executor = new OperationExecutor(this.memory, this.devices);
    this.#progress = new GuestProgress(this.#guests, this.executor);
    this.image = new ImageLayout(setup.module, setup.helper);
    this.helper = new HelperRunner(this.memory, setup.helper, (hart) => {
      for (const callback of this.afterEntry) callback(hart);
    });
    this.#deviceTree = setup.deviceTree ?? machineTreeBlob(options, this.imsic, this.bridges, this.iommu);
    this.harts = options.harts.map(
      (id, index) =>
        new Hart(
          id,
          index,
          options,
          this.memory,
          this.clock,
          this.imsic?.harts[index],
          (hart, name, args) => this.#enter(hart, name, args),
          // Where entries are interleaved the helper takes its steps like a guest (races.ts).
          (hart) => {
            if (!this.entryPlayer) this.helper.run(hart);
          },
        ),
    );
    this.firmware.harts = this.harts;
    const door = makeDoor(
      {
        memory: this.memory,
        devices: this.devices,
        firmware: this.firmware,
        active: () => this.#executing[this.#executing.length - 1],
        pause: (hart) => this.#pause(hart),
        imageAddress: (symbol) => this.image.address(symbol),
        logWrites: setup.logWrites ?? false,
        hashInstructions: options,
      },
      options.zicboz,
      setup.meter?.watch(this) ?? setup.door ?? (() => ({})),
    );
    checkImports(setup.module, door.functions, declaredPrimitives());
    this.door = { ...door.functions };
    if (AccessChecker.isAskedBy(setup.module.wasm)) {
      this.accessChecker = new AccessChecker({
        memory: this.memory,
        image: this.image,
        root: () => this.#rootRecord(),
      });
      Object.assign(door.functions, this.accessChecker.watch(door.functions));
    }
    this.#module = setup.module;
    this.#threadPointer = door.threadPointer;
    const panic = (...args: bigint[]): void => void this.#exports.panicAssert(...args);
    const instance = new WebAssembly.Instance(setup.module.wasm, {
      env: {
        memory: this.memory.wasmMemory,
        abort: setup.panics ? panic : abortImport(this.memory),
        ...this.accessChecker?.imports,
      },
      hw: door.functions,
    });
    this.#exports = instance.exports as unknown as HypervisorExports;
    this.#meter = setup.meter;
    this.#meter?.attach(instance.exports);
  }

  // ---- power on

  /** The firmware enters the image on the boot hart. Afterwards each hart is in a guest, waits, or is off. */
  boot(): void {
    const { hostImage, ram, bootHart } = this.options;
    if (hostImage) this.memory.write(hostImage.base, hostImage.bytes);
    this.memory.write(Number(this.image.address(ImageSymbol.helperConstants)), this.image.helperData);
    const tree = ram[0].base + ram[0].size - TREE_FROM_END;
    this.memory.write(tree, this.#deviceTree);
    const hart = this.hart(bootHart);
    hart.boot(this.image.address(ImageSymbol.bootHart), this.image.address(ImageSymbol.bootStackTop), BigInt(tree));
    this.#afterEntry(hart);
    // Harts that were started come up; the boot hart waits for them.
    while (this.harts.some((each) => this.#settles(each))) {
      for (const each of this.harts) if (this.#settles(each)) this.step(each);
    }
  }

  #settles(hart: Hart): boolean {
    return hart.state !== "guest" && this.canStep(hart);
  }

  /** Like a reset by the firmware: RAM keeps what it holds, everything else starts anew. */
  restartKeepingMemory(from: Machine): void {
    this.memory.restore(from.memory.save());
  }

  /** The hart with that id of the firmware. */
  hart(id: number): Hart {
    const hart = this.harts.find((each) => each.id === id);
    if (!hart) throw new MisuseError(`no hart has the id ${id}`);
    return hart;
  }

  /** The hypervisor's root record. */
  get root(): RecordView {
    const boot = this.hart(this.options.bootHart);
    const root = boot.record.follow("root", "root");
    if (!root) throw new MisuseError("the hypervisor has no root record yet");
    return root;
  }

  /** Undefined as long as the boot hart has no record of its own. */
  #rootRecord(): RecordView | undefined {
    // The boot hart gets a record of its own in the middle of its first entry.
    const executing = this.#executing.length > 0;
    const record = executing ? (this.#threadPointer.value as bigint) : this.hart(this.options.bootHart).threadPointer;
    return record === 0n ? undefined : new RecordView(this.memory, "hart", record).follow("root", "root");
  }

  /** What went to the console, by the firmware or the UART itself. */
  get console(): string {
    return this.uart.output;
  }

  /** Types on the console. */
  type(...bytes: number[]): void {
    this.uart.input.push(...bytes);
  }

  // ---- guests

  /** The script of vCPU `id` of VM `vmId` (0 = host), before it is entered for the first time. */
  script(vmId: bigint | number, id: number, script: GuestScript): void {
    this.#guests.addScript(vmId, id, script);
  }

  /** The vCPU that is in the hart's machine registers; the hart is in a guest. */
  contextOf(hart: Hart): GuestContext {
    return this.#guests.contextOf(hart);
  }

  // ---- devices

  /** All PCI host bridges. */
  get bridges(): PciHost[] {
    return [this.pci, this.secondPci].filter((bridge) => bridge !== undefined);
  }

  /**
   * The PCI function with that device id (requester id, plus the bridge's idBase) writes 4 bytes to the address, or reads them: undefined if it is no bus master or was blocked.
   */
  dma(id: number, address: number | bigint, write?: number): number | undefined {
    const bridge = id >= SECOND_BRIDGE.idBase ? this.secondPci : this.pci;
    const pci = bridge?.all().find((each) => bridge.place.idBase + each.id === id)?.pci;
    if (!pci?.master) return undefined;
    const gpa = BigInt(address);
    const found = this.iommu ? this.iommu.translate(id, gpa, write !== undefined) : { hpa: Number(gpa) };
    if ("cause" in found) return undefined;
    const { hpa } = found;
    if (!this.memory.contains(hpa, 4)) {
      if (!this.devices.at(hpa)) return undefined;
      if (write !== undefined) this.devices.write(BigInt(hpa), 4, BigInt(write));
      return write ?? Number(this.devices.read(BigInt(hpa), 4));
    }
    if (write !== undefined) this.memory.writeNumber(hpa, 4, BigInt(write));
    return this.memory.read32(hpa);
  }

  /** The PCI function sends its interrupt message `number`; false if it has none or nobody got it. */
  sendMessage(id: number, number: number): boolean {
    const pci = this.pci?.all().find((each) => each.id === id)?.pci;
    const message = pci && this.pciWindow?.messageOf(pci, number);
    return message !== undefined && this.dma(id, message.address & ~3n, message.data) !== undefined;
  }

  // ---- steps

  /** Whether a step of the hart does anything now. */
  canStep(hart: Hart): boolean {
    if (this.ended || hart.state === "hypervisor") return false;
    if (hart.state === "off") return hart.startPending !== undefined;
    if (hart.pendingInterrupt() !== undefined) return true;
    if (hart.state === "waiting") return false;
    const context = this.contextOf(hart);
    if (context.pending) return !context.pending.sleeping || this.#wakes(hart);
    return context.scripted && !context.finished;
  }

  /**
   * One step: the hart follows a start, takes an interrupt, wakes up, or its guest executes one instruction (begins it, if that traps).
   * SBI System Reset ends the machine with MachineEnded.
   */
  step(hart: Hart): void {
    this.#refuseAfterEnd();
    this.clock.advance(STEP_TICKS);
    if (hart.state !== "guest") {
      if (hart.state === "off") hart.start();
      else hart.wake();
      return this.#afterEntry(hart);
    }
    const irq = hart.pendingInterrupt();
    if (irq !== undefined) {
      hart.trap(interruptCause(irq));
      return this.#afterEntry(hart);
    }
    const context = this.contextOf(hart);
    if (this.#progress.takeInterrupt(hart, context)) return;
    if (!context.pending) {
      const operation = context.next();
      if (!operation) return;
      this.#progress.begin(hart, context, operation);
    }
    this.#attempt(hart, context);
  }

  /** The hart, whose guest is between two instructions, takes a trap that none of them is about. */
  trap(hart: Hart, cause: bigint | number, info?: TrapInfo): void {
    this.#refuseAfterEnd();
    hart.trap(cause, info);
    this.#afterEntry(hart);
  }

  /**
   * The hypervisor itself fails while it executes on the hart, as an emergency entry of machine/riscv/trap.S or wasm-rt.h would tell it. Ends the
   * machine with MachineEnded, or halts the hart.
   */
  failInHypervisor(hart: Hart, failure: HypervisorFailure): void {
    let action: number | undefined;
    switch (failure.kind) {
      case "trap": {
        const { scause, sepc, stval, sp, ra } = failure;
        // Below all of RAM's use: the emergency stack.
        const frame = BigInt(this.image.address(ImageSymbol.bootStackBottom));
        this.memory.write64(Number(frame) + 8, ra);
        action = this.#enter(hart, "panicTrap", [scause, sepc, stval, sp, frame]);
        break;
      }
      case "assertion":
        action = this.#enter(hart, "panicAssert", [
          BigInt(failure.message),
          BigInt(failure.file),
          failure.line,
          failure.column,
        ]);
        break;
      case "code":
        action = this.#enter(hart, "panicWasm", [failure.code]);
        break;
    }
    if (action !== ACTION_OFF) throw new MachineFault(`hart ${hart.id} goes on after a panic`);
    hart.state = "off";
  }

  /** Begins an operation of a vCPU without a script: it is attempted by the next step. */
  begin(hart: Hart, operation: Operation): GuestContext {
    if (hart.state !== "guest") throw new MisuseError(`${hart.toString()} is in no guest`);
    const context = this.contextOf(hart);
    if (context.scripted) throw new MisuseError(`vCPU ${context.key} follows its script`);
    if (context.pending) {
      throw new MisuseError(`vCPU ${context.key} is still at: ${describeOperation(context.pending.operation)}`);
    }
    context.ending = undefined;
    this.#progress.begin(hart, context, operation);
    return context;
  }

  #attempt(hart: Hart, context: GuestContext): void {
    const { entries } = this;
    if (!this.#progress.attempt(hart, context)) return;
    if (this.entries === entries) this.#progress.arrive(hart, true);
    else this.#afterEntry(hart);
  }

  #wakes(hart: Hart): boolean {
    return (hart.csr.hypervisorPending() & hart.csr.raw("hie")) !== 0n;
  }

  // ---- the hypervisor

  /** Executes an export in the name of the hart; returns the Action. */
  #enter(hart: Hart, name: string, args: (bigint | number)[]): number | undefined {
    this.ledger?.entryBegins(hart, name);
    if (this.entryPlayer) {
      if (hart.state === "guest") this.contextOf(hart).hart = undefined;
      this.entries++;
      this.entryPlayer.enter(hart, name, args as bigint[]);
      return undefined;
    }
    if (this.#executing.includes(hart)) throw new Deadlock(`hart ${hart.id} is in the hypervisor already`);
    // Its registers are in its record now, as far as trap.S saves them.
    if (hart.state === "guest") this.contextOf(hart).hart = undefined;
    const outer = this.#threadPointer.value;
    this.#executing.push(hart);
    this.#threadPointer.value = hart.threadPointer;
    this.entries++;
    this.#pauses = 0;
    this.accessChecker?.begin(name);
    this.#meter?.begin(name);
    try {
      const action = this.#exports[name](...args);
      this.ledger?.entryEnds(hart);
      return action;
    } catch (error) {
      if (error instanceof HartStopped && error.hart === hart) return ACTION_OFF;
      if (error instanceof MachineEnded) this.ended = error;
      throw describeFailure(error);
    } finally {
      this.#meter?.end();
      hart.threadPointer = BigInt.asUintN(64, this.#threadPointer.value as bigint);
      this.#threadPointer.value = outer;
      this.#executing.pop();
    }
  }

  /** Does something in the name of a hart, as the door does it while that hart executes the hypervisor. */
  inNameOf<T>(hart: Hart, work: () => T): T {
    this.#executing.push(hart);
    try {
      return work();
    } finally {
      this.#executing.pop();
    }
  }

  /** The hart whose code of the hypervisor does what happens now; undefined: guests and devices do it. */
  get hartInHypervisor(): Hart | undefined {
    return this.#executing.at(-1);
  }

  /** An entry that `entryPlayer` began is over. */
  entryOver(hart: Hart, action: number): void {
    this.ledger?.entryEnds(hart);
    hart.leave(action);
    this.#afterEntry(hart);
  }

  /** The hypervisor once more on the same memory, with a door of its own. */
  instantiate(door: DoorFunctions, environment: DoorFunctions): Record<string, (...args: bigint[]) => unknown> {
    const env = { memory: this.memory.wasmMemory, abort: abortImport(this.memory), ...environment };
    return new WebAssembly.Instance(this.#module.wasm, { env, hw: door }).exports as never;
  }

  /** A hart has left the hypervisor: the guest that it comes back to may be another one. */
  #afterEntry(hart: Hart): void {
    if (hart.state === "hypervisor") return;
    if (hart.state === "guest") this.#progress.arrive(hart);
    for (const callback of this.afterEntry) callback(hart);
  }

  /** The hypervisor spins: time passes, and the others get on as far as they can without this hart. */
  #pause(hart: Hart): void {
    this.clock.advance(PAUSE_TICKS);
    if (++this.#pauses > MAX_PAUSES) throw new Deadlock(`hart ${hart.id} waits in a loop for ever`);
    for (const other of this.harts) {
      if (this.#executing.includes(other)) continue;
      if (other.state === "off" ? other.startPending !== undefined : other.pendingInterrupt() !== undefined) {
        this.step(other);
      }
    }
  }

  #refuseAfterEnd(): void {
    if (this.ended) throw new MisuseError("the machine has ended");
  }

  // ---- whole states

  /** Everything that can change, as long as no guest is a script. */
  save(into?: MachineState): MachineState {
    return { ...this.saveHarts(), memory: this.memory.save(into?.memory) };
  }

  /** Everything but memory, for those who know which part of that can change. */
  saveHarts(): MachineState {
    return {
      memory: undefined,
      harts: this.harts.map((hart) => hart.save()),
      guests: this.#guests.save(),
      interruptFiles: this.imsic?.harts.map((files) => files.save()),
      ledger: this.ledger?.save(),
      aplic: this.aplic?.save(),
      firmware: this.firmware.save(),
      uart: this.uart.save(),
      pci: this.pci?.save(),
      pciWindow: this.pciWindow?.save(),
      secondPci: this.secondPci?.save(),
      iommu: this.iommu?.save(),
      now: this.clock.now,
      ended: this.ended,
    };
  }

  restore(state: MachineState): void {
    if (state.memory) this.memory.restore(state.memory);
    this.harts.forEach((hart, index) => hart.restore(state.harts[index]));
    this.#guests.restore(state.guests);
    this.#progress.reset();
    state.interruptFiles?.forEach((files, index) => this.imsic?.harts[index].restore(files));
    this.aplic?.restore(state.aplic);
    this.firmware.restore(state.firmware);
    this.uart.restore(state.uart);
    this.pci?.restore(state.pci);
    this.pciWindow?.restore(state.pciWindow);
    this.secondPci?.restore(state.secondPci);
    this.iommu?.restore(state.iommu);
    this.clock.now = state.now;
    this.ended = state.ended;
    this.ledger?.restore(state.ledger);
  }
}

/** Executes entries so that other harts take steps meanwhile, and says `entryOver` when one is. */
export interface EntryPlayer {
  enter(hart: Hart, name: string, args: bigint[]): void;
}

const ACTION_OFF = 2;
const IOMMU_VENDOR = 0x1b36;
const IOMMU_DEVICE = 0x0014;

/** The functions of the root bus, with the IOMMU among them if it is one. */
function functionsOf(options: MachineOptions, iommu: Iommu | undefined): PciFunctionSpec[] {
  const functions = options.pci ?? [];
  if (iommu?.options.function === undefined) return functions;
  const own: PciFunctionSpec = {
    devfn: iommu.options.function,
    vendor: IOMMU_VENDOR,
    device: IOMMU_DEVICE,
    class: 0x080600,
    bars: iommu.options.bars ?? [{ index: 0, size: 0x1000, kind: "memory64" }],
    capabilities: iommu.options.capabilities,
    registers: iommu,
  };
  return [own, ...functions];
}

type HypervisorExports = Record<string, (...args: (bigint | number)[]) => number>;

/** What the hypervisor is told of its own failure: a trap in HS-mode, an assertion (addresses of literals, 0 if absent), wasm_trap_kind. */
export type HypervisorFailure =
  | { kind: "trap"; scause: bigint; sepc: bigint; stval: bigint; sp: bigint; ra: bigint }
  | { kind: "assertion"; message: number; file: number; line: number; column: number }
  | { kind: "code"; code: number };

export interface MachineState {
  memory: Uint8Array[] | undefined;
  harts: unknown[];
  guests: SavedGuest[];
  interruptFiles: bigint[][][] | undefined;
  ledger: unknown;
  aplic: unknown;
  firmware: unknown;
  uart: unknown;
  pci: unknown;
  pciWindow: unknown;
  secondPci: unknown;
  iommu: unknown;
  now: bigint;
  ended: MachineEnded | undefined;
}
