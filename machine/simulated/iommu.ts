import type { Device } from "./devices.ts";
import type { PciBarSpec, PciCapabilitySpec } from "./pci.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import type { TranslationMode } from "./machine-options.ts";
import type { CachedLeaf } from "./tlb.ts";

/**
 * A RISC-V IOMMU, as a PCI function or a platform device: registers, device directory, command and fault queues, and second-stage translation. Like the
 * harts' caches, its own keep what they have read, contexts and translations, until a command removes it, and are used however old they are.
 */
export interface IommuOptions {
  /** Requester id of the PCI function that it is; undefined: a platform device at PLATFORM_IOMMU. */
  function?: number;
  /** Where a platform device has its registers; undefined: at PLATFORM_IOMMU. */
  base?: number;
  /** BARs and capabilities of the function; undefined: one 64-bit BAR with its registers, which are in BAR 0 anyway, and no capability. */
  bars?: PciBarSpec[];
  capabilities?: PciCapabilitySpec[];
  /** Device contexts of 64 bytes. */
  extended?: boolean;
  /** Most levels of the device directory. */
  levels?: number;
  gStageModes?: TranslationMode[];
  version?: number;
  /** "never": commands are not executed at all; "late": only when `work` is called. "refuse": each is illegal; "lie": they count as done. */
  commands?: "at once" | "late" | "never" | "refuse" | "lie";
  /** Writing ddtp does not turn it off. */
  cannotStop?: boolean;
  /** Reads of ddtp that find it busy after each write. It has its new value when it is busy no more. */
  busyReads?: number;
  /** ddtp is busy for ever: since the firmware, or once it is told to translate. */
  neverReady?: "since the firmware" | "when turned on";
  /** ddtp.iommu_mode as the firmware leaves it (1: everything passes); undefined: 0. */
  firmwareMode?: number;
  /** A queue that never starts, or never stops, then it was on from the beginning. */
  stuckQueue?: { queue: "command" | "fault" | "page"; on: boolean };
  /** fctl.BE stays 1. */
  bigEndian?: boolean;
  /** Its interrupts are wires, which lead nowhere, instead of messages. */
  wired?: boolean;
}

export const PLATFORM_IOMMU = 0x0301_0000;
export const IOMMU_REGISTERS = 0x1000;

const Register = {
  capabilities: 0x00,
  fctl: 0x08,
  ddtp: 0x10,
  cqb: 0x18,
  cqh: 0x20,
  cqt: 0x24,
  fqb: 0x28,
  fqh: 0x30,
  fqt: 0x34,
  cqcsr: 0x48,
  fqcsr: 0x4c,
  pqcsr: 0x50,
  ipsr: 0x54,
  messages: 0x300,
} as const;

const QUEUES = { command: Register.cqcsr, fault: Register.fqcsr, page: Register.pqcsr } as const;
const ON = 1 << 16;
const ILLEGAL = 1 << 10;
const FAULT_PENDING = 2;
/** ddtp.busy. */
const BUSY = 16n;
const Cause = { disallowed: 256, contextInvalid: 258, contextMisconfigured: 259, read: 21, write: 23 } as const;
const PPN = (1n << 44n) - 1n;

/** A context as it was read. */
interface Context {
  control: bigint;
  iohgatp: bigint;
  rest: bigint[];
}

export type DmaResult = { hpa: number } | { cause: number };

export class Iommu implements Device {
  readonly name = "iommu";
  readonly base: number;
  readonly size = IOMMU_REGISTERS;
  readonly options: IommuOptions;
  /** Sends a message: the IOMMU's interrupt. */
  message: (hpa: number, value: number) => void = () => {};
  readonly #memory: PhysicalMemory;
  readonly #registers = new DataView(new ArrayBuffer(IOMMU_REGISTERS));
  readonly #contexts = new Map<number, Context>();
  readonly #leaves = new Map<string, CachedLeaf>();
  /** What was last written to ddtp, and how often it will still be busy. */
  #directory = 0n;
  #busyReads = 0;
  /** Raised whenever a translation is remembered. */
  remembered = 0;
  /** Commands to forget translations that were executed. */
  invalidations = 0;

  constructor(options: IommuOptions, memory: PhysicalMemory) {
    this.options = { ...options };
    this.base = options.base ?? PLATFORM_IOMMU;
    this.#memory = memory;
    const modes = options.gStageModes ?? ["sv39", "sv48"];
    let capabilities = BigInt(options.version ?? 0x10) | (options.extended ? 1n << 22n : 0n);
    (["sv39", "sv48", "sv57"] as const).forEach((mode, index) => {
      if (modes.includes(mode)) capabilities |= 1n << BigInt(17 + index);
    });
    if (options.wired) capabilities |= 1n << 28n;
    this.#registers.setBigUint64(Register.capabilities, capabilities, true);
    this.#registers.setBigUint64(Register.ddtp, BigInt(options.firmwareMode ?? 0), true);
    if (options.neverReady === "since the firmware") this.#beBusy(Infinity);
    if (options.stuckQueue?.on) this.#set(QUEUES[options.stuckQueue.queue], ON);
  }

  read(offset: number, width: number): bigint {
    if (offset === Register.ddtp && this.#busyReads > 0 && --this.#busyReads === 0) this.#takeDirectory();
    return width === 8 ? this.#registers.getBigUint64(offset, true) : BigInt(this.#u32(offset));
  }

  write(offset: number, width: number, value: bigint): void {
    const number = Number(BigInt.asUintN(32, value));
    switch (offset) {
      case Register.capabilities:
      case Register.cqh:
      case Register.fqt:
        return;
      case Register.ddtp:
        return this.#writeDirectory(value);
      case Register.cqcsr:
      case Register.fqcsr:
      case Register.pqcsr: {
        const errors = this.#u32(offset) & 0x700 & ~number;
        const stuck = this.options.stuckQueue;
        const on = stuck && QUEUES[stuck.queue] === offset ? stuck.on : (number & 1) !== 0;
        this.#set(offset, (number & 3) | (on ? ON : 0) | errors);
        return;
      }
      case Register.ipsr:
        this.#set(offset, this.#u32(offset) & ~number);
        return;
      case Register.cqt:
        this.#set(offset, number);
        if (!["late", "never"].includes(this.options.commands ?? "at once")) this.work();
        return;
      case Register.fctl:
        this.#set(offset, (number & 2) | (this.options.bigEndian ? 1 : 0));
        return;
      default:
        if (width === 8) this.#registers.setBigUint64(offset, BigInt.asUintN(64, value), true);
        else this.#set(offset, number);
    }
  }

  #u32(offset: number): number {
    return this.#registers.getUint32(offset, true);
  }

  #set(offset: number, value: number): void {
    this.#registers.setUint32(offset, value, true);
  }

  /** A mode with too many levels is not taken. */
  #writeDirectory(value: bigint): void {
    if (this.#busyReads > 0) throw new Error("ddtp is written while it is busy, which may do anything");
    const mode = Number(value & 15n);
    if (mode > (this.options.levels ?? 3) + 1) return;
    if (mode === 0 && this.options.cannotStop && this.mode !== 0) return;
    this.#directory = value & ~BUSY;
    const never = this.options.neverReady === "when turned on" && mode !== 0;
    const reads = never ? Infinity : (this.options.busyReads ?? 0);
    if (reads === 0) this.#takeDirectory();
    else this.#beBusy(reads);
  }

  #beBusy(reads: number): void {
    this.#busyReads = reads;
    this.#registers.setBigUint64(Register.ddtp, this.#registers.getBigUint64(Register.ddtp, true) | BUSY, true);
  }

  #takeDirectory(): void {
    this.#registers.setBigUint64(Register.ddtp, this.#directory, true);
  }

  /** ddtp.iommu_mode. */
  get mode(): number {
    return Number(this.#registers.getBigUint64(Register.ddtp, true) & 15n);
  }

  #queue(register: number): number {
    return Number((this.#registers.getBigUint64(register, true) >> 10n) & PPN) * 4096;
  }

  #entries(register: number): number {
    return 2 ** (Number(this.#registers.getBigUint64(register, true) & 31n) + 1);
  }

  // ---- commands

  /** Executes the commands that wait. */
  work(): void {
    while (this.#u32(Register.cqh) !== this.#u32(Register.cqt) && (this.#u32(Register.cqcsr) & ILLEGAL) === 0) {
      const head = this.#u32(Register.cqh);
      const command = this.#memory.read64(this.#queue(Register.cqb) + head * 16);
      if (this.options.commands === "refuse" || !this.#execute(command)) {
        this.#set(Register.cqcsr, this.#u32(Register.cqcsr) | ILLEGAL);
        return;
      }
      this.#set(Register.cqh, (head + 1) % this.#entries(Register.cqb));
    }
  }

  #execute(command: bigint): boolean {
    if (this.options.commands === "lie") return true;
    const opcode = Number(command & 0x7fn);
    const func = Number((command >> 7n) & 7n);
    if (opcode === 1 && func === 1) {
      this.invalidations++;
      const space = (command >> 44n) & 0xffffn;
      const all = ((command >> 33n) & 1n) === 0n;
      for (const key of [...this.#leaves.keys()]) if (all || key.startsWith(`${space}:`)) this.#leaves.delete(key);
      return true;
    }
    if (opcode === 2 && func === 0) return true;
    if (opcode === 3 && func === 0) {
      this.#contexts.clear();
      return true;
    }
    return false;
  }

  // ---- requests of devices

  /** Where a device gets to, by what the IOMMU remembers or finds in memory; a fault is reported. */
  translate(device: number, gpa: bigint, write: boolean): DmaResult {
    const result = this.#translate(device, gpa, write);
    if ("cause" in result) this.#report(device, gpa, write, result.cause);
    return result;
  }

  #translate(device: number, gpa: bigint, write: boolean): DmaResult {
    if (this.mode === 0) return { cause: Cause.disallowed };
    const context = this.#context(device);
    if ((context.control & 1n) === 0n) return { cause: Cause.contextInvalid };
    if (context.control !== 1n || context.rest.some((each) => each !== 0n))
      return { cause: Cause.contextMisconfigured };
    const space = (context.iohgatp >> 44n) & 0xffffn;
    const leaf = this.#cached(space, gpa) ?? this.#walk(context.iohgatp, space, gpa);
    if (leaf?.to === undefined) return { cause: write ? Cause.write : Cause.read };
    return { hpa: Number(leaf.to + (gpa - leaf.from)) };
  }

  #context(device: number): Context {
    const cached = this.#contexts.get(device);
    if (cached) return cached;
    const context = this.contextInMemory(device) ?? { control: 0n, iohgatp: 0n, rest: [] };
    this.#contexts.set(device, context);
    return context;
  }

  /** The device's entry in the directory as it is now; undefined if the directory has no place for it. */
  contextInMemory(device: number): Context | undefined {
    const first = this.options.extended ? 6 : 7;
    const levels = this.mode - 1;
    if (levels < 1 || (levels < 3 && device >> (first + 9 * (levels - 1)) !== 0)) return undefined;
    let table = this.#queue(Register.ddtp);
    for (let level = levels - 1; level > 0; level--) {
      const index = (device >> (first + 9 * (level - 1))) & 511;
      const entry = this.#memory.read64(table + index * 8);
      if ((entry & 1n) === 0n) return undefined;
      table = Number((entry >> 10n) & PPN) * 4096;
    }
    const size = this.options.extended ? 64 : 32;
    const at = table + (device & ((1 << first) - 1)) * size;
    const words = Array.from({ length: size / 8 }, (_, index) => this.#memory.read64(at + index * 8));
    return { control: words[0], iohgatp: words[1], rest: words.slice(2) };
  }

  #cached(space: bigint, gpa: bigint): CachedLeaf | undefined {
    for (const shift of [12n, 21n, 30n, 39n]) {
      const leaf = this.#leaves.get(`${space}:${shift}:${gpa >> shift}`);
      if (leaf) return leaf;
    }
    return undefined;
  }

  /** Reads the tables. A and D have to be set: there are no hardware updates. */
  #walk(iohgatp: bigint, space: bigint, gpa: bigint): CachedLeaf | undefined {
    const levels = Number(iohgatp >> 60n) - 5;
    const root = (iohgatp & PPN) << 12n;
    if (gpa >> BigInt(12 + 9 * levels + 2) !== 0n) return undefined;
    let table = root;
    for (let level = levels - 1; level >= 0; level--) {
      const shift = BigInt(12 + 9 * level);
      const index = level === levels - 1 ? gpa >> shift : (gpa >> shift) & 0x1ffn;
      const entry = this.#memory.read64(Number(table + index * 8n));
      if ((entry & 1n) === 0n) return undefined;
      const to = ((entry >> 10n) & PPN) << 12n;
      if ((entry & 14n) === 0n) {
        table = to;
        continue;
      }
      if ((entry & 0xd7n) !== 0xd7n) return undefined;
      const leaf = { from: (gpa >> shift) << shift, size: 1n << shift, to, flags: entry & 0xffn, space: root };
      this.#leaves.set(`${space}:${shift}:${gpa >> shift}`, leaf);
      this.remembered++;
      return leaf;
    }
    return undefined;
  }

  /** Translations that it could use now. */
  cachedLeaves(): CachedLeaf[] {
    return this.mode === 0 ? [] : [...this.#leaves.values()];
  }

  #report(device: number, gpa: bigint, write: boolean, cause: number): void {
    const kind = write ? 3n : 2n;
    this.report(BigInt(cause) | (kind << 34n) | (BigInt(device) << 40n), gpa);
  }

  /** Puts a record into the fault queue: its first word, and the address. */
  report(head: bigint, address: bigint): void {
    if ((this.#u32(Register.fqcsr) & ON) === 0) return;
    const tail = this.#u32(Register.fqt);
    const next = (tail + 1) % this.#entries(Register.fqb);
    if (next === this.#u32(Register.fqh)) {
      this.#set(Register.fqcsr, this.#u32(Register.fqcsr) | 0x200);
    } else {
      const at = this.#queue(Register.fqb) + tail * 32;
      this.#memory.write64(at, head);
      this.#memory.write64(at + 16, address);
      this.#set(Register.fqt, next);
    }
    if ((this.#u32(Register.fqcsr) & 2) === 0 || (this.#u32(Register.ipsr) & FAULT_PENDING) !== 0) return;
    this.#set(Register.ipsr, this.#u32(Register.ipsr) | FAULT_PENDING);
    if (this.options.wired) return;
    const file = Number(this.#registers.getBigUint64(Register.messages, true));
    if (file !== 0) this.message(file, this.#u32(Register.messages + 8));
  }

  save(): unknown {
    return {
      registers: new Uint8Array(this.#registers.buffer).slice(),
      contexts: [...this.#contexts],
      leaves: [...this.#leaves],
      directory: this.#directory,
      busyReads: this.#busyReads,
    };
  }

  restore(saved: unknown): void {
    const { registers, contexts, leaves, directory, busyReads } = saved as {
      registers: Uint8Array;
      contexts: [number, Context][];
      leaves: [string, CachedLeaf][];
      directory: bigint;
      busyReads: number;
    };
    this.#directory = directory;
    this.#busyReads = busyReads;
    new Uint8Array(this.#registers.buffer).set(registers);
    this.#contexts.clear();
    for (const [key, value] of contexts) this.#contexts.set(key, value);
    this.#leaves.clear();
    for (const [key, value] of leaves) this.#leaves.set(key, value);
  }
}
