import { HELPER_BASE } from "../../tools/build/modules.ts";
import type { HypervisorModule } from "./hypervisor-module.ts";
import type { Hart } from "./hart.ts";
import { cryptoDoor } from "./crypto-door.ts";
import { MachineFault, hex } from "./errors.ts";
import type { PhysicalMemory } from "./physical-memory.ts";

/**
 * The user-mode helper on the simulated machine: its own wasm module, with a memory that holds what the page tables of its address space show to U-mode, and
 * nothing else. What it writes goes to physical memory, what the hypervisor wrote comes from there, at each trap.
 */

/** What may be done with a page in U-mode: bits of a page-table entry. */
export const Permission = { valid: 1, read: 2, write: 4, execute: 8, user: 16 } as const;

/** A page of an address space of the first stage. */
export interface MappedPage {
  address: number;
  hpa: number;
  /** Low bits of the entry. */
  flags: number;
}

/** A helper that a test puts in the place of ours: it may do anything that code in U-mode can do. */
export type HelperProgram = (user: UserMode) => void;

/** What code in U-mode can do. */
export interface UserMode {
  readonly hart: Hart;
  /** Hypercall (umode/layout.ts); returns a0. Does not return if the hypervisor ends the request. */
  call(number: number, a0?: number | bigint, a1?: number | bigint, a2?: number | bigint): bigint;
  /** An exception or interrupt with this scause. Returns if the hypervisor lets the helper go on. */
  trap(cause: bigint | number, stval?: bigint): void;
  /** Takes the interrupts that are pending and enabled now, as they are between any two instructions. */
  takeInterrupts(): void;
  /** Reads and writes through the helper's address space; a page that is not there or does not allow it is an exception. */
  read(address: number, length: number): Uint8Array;
  write(address: number, bytes: Uint8Array): void;
}

/** The hypervisor has left the helper. */
class Left extends Error {}

/** Pages that satp shows, by following its tables. Leaves are 4 KiB pages or larger. */
export function mappedPages(memory: PhysicalMemory, satp: bigint): MappedPage[] {
  const levels = Number(satp >> 60n) - 5;
  const pages: MappedPage[] = [];
  const visit = (table: number, level: number, base: number): void => {
    for (let index = 0; index < 512; index++) {
      const entry = memory.read64(table + 8 * index);
      const flags = Number(entry & 0x3ffn);
      if ((flags & Permission.valid) === 0) continue;
      const hpa = Number((entry >> 10n) & 0xfff_ffff_ffffn) * 4096;
      const address = base + index * 2 ** (12 + 9 * level);
      if ((flags & 0xe) === 0) visit(hpa, level - 1, address);
      else if (level === 0) pages.push({ address, hpa, flags });
      else throw new MachineFault(`a large page at ${hex(address)} in the helper's address space`);
    }
  };
  visit(Number(satp & ((1n << 44n) - 1n)) * 4096, levels - 1, 0);
  return pages;
}

const PAGE = 4096;
const USER_EXECUTE = Permission.user | Permission.execute;
const CAUSE_INSTRUCTION_PAGE = 12;
const CAUSE_LOAD_PAGE = 13;
const CAUSE_STORE_PAGE = 15;
const CAUSE_ILLEGAL = 2;
const ECALL_FROM_USER = 8;
/** satp of its address space in the helper's context (hypervisor/helper/context.ts). */
const CONTEXT_SATP = 256;

/** What the helper imports (umode/hw.ts, crypto/hw.ts). */
export function helperDoor(
  memory: WebAssembly.Memory,
  hypercall: (number: bigint, a0: bigint, a1: bigint, a2: bigint) => bigint,
): Record<string, (...args: never[]) => unknown> {
  const bytes = new Uint8Array(memory.buffer);
  const wipeBytes = (at: bigint, length: bigint): void => void bytes.fill(0, Number(at), Number(at + length));
  return { ...cryptoDoor(), wipeBytes, wipeStack: () => {}, lastHashVariant: () => 0, hypercall };
}

/** Runs the helper of a hart that the hypervisor has just entered it on, until the hypervisor leaves it. */
export class HelperRunner {
  readonly #memory: PhysicalMemory;
  readonly #module: HypervisorModule;
  /** Called after each entry into the hypervisor from the helper. */
  readonly #afterTrap: (hart: Hart) => void;
  /** Stands in for the helper. */
  program: HelperProgram | undefined;

  constructor(memory: PhysicalMemory, module: HypervisorModule, afterTrap: (hart: Hart) => void) {
    this.#memory = memory;
    this.#module = module;
    this.#afterTrap = afterTrap;
  }

  run(hart: Hart): void {
    const satp = this.#memory.read64(hart.record.number("helper") + CONTEXT_SATP);
    const pages = mappedPages(this.#memory, satp).filter(({ flags }) => (flags & Permission.user) !== 0);
    const user = new User(hart, this.#memory, pages, this.#afterTrap);
    try {
      user.takeInterrupts();
      const entry = pages.find(({ address }) => address === Number(hart.pc));
      if (!entry || (entry.flags & USER_EXECUTE) !== USER_EXECUTE) user.trap(CAUSE_INSTRUCTION_PAGE, hart.pc);
      if (this.program) this.program(user);
      else this.#runModule(user, pages);
      // Code that runs off its end finds no instruction.
      user.trap(CAUSE_ILLEGAL);
    } catch (error) {
      if (!(error instanceof Left)) throw error;
    }
  }

  #runModule(user: User, pages: MappedPage[]): void {
    const end = Math.max(...pages.map(({ address }) => address)) + PAGE;
    const memory = new WebAssembly.Memory({ address: "i64", initial: BigInt(Math.ceil(end / 65536)) });
    const bytes = new Uint8Array(memory.buffer);
    const copyIn = (): void => {
      for (const { address, hpa } of pages) bytes.set(this.#memory.slice(hpa, PAGE), address);
    };
    const copyOut = (): void => {
      for (const { address, hpa, flags } of pages) {
        if ((flags & Permission.write) !== 0) this.#memory.write(hpa, bytes.subarray(address, address + PAGE));
      }
    };
    const hypercall = (number: bigint, a0: bigint, a1: bigint, a2: bigint): bigint => {
      copyOut();
      const answer = user.call(Number(number), a0, a1, a2);
      copyIn();
      return answer;
    };
    const abort = (): void => void hypercall(0n, 0n, 0n, 0n);
    const instance = new WebAssembly.Instance(this.#module.wasm, {
      env: { memory, abort },
      hw: helperDoor(memory, hypercall),
    });
    copyIn();
    try {
      (instance.exports as { main: () => void }).main();
    } catch (error) {
      if (!(error instanceof WebAssembly.RuntimeError)) throw error;
      user.trap(CAUSE_STORE_PAGE);
    }
  }
}

class User implements UserMode {
  readonly hart: Hart;
  readonly #memory: PhysicalMemory;
  readonly #pages: Map<number, MappedPage>;
  readonly #afterTrap: (hart: Hart) => void;

  constructor(hart: Hart, memory: PhysicalMemory, pages: MappedPage[], afterTrap: (hart: Hart) => void) {
    this.hart = hart;
    this.#memory = memory;
    this.#pages = new Map(pages.map((page) => [page.address, page]));
    this.#afterTrap = afterTrap;
  }

  call(number: number, a0: number | bigint = 0, a1: number | bigint = 0, a2: number | bigint = 0): bigint {
    const { registers } = this.hart;
    registers[17] = BigInt(number);
    [a0, a1, a2].forEach((value, index) => (registers[10 + index] = BigInt.asUintN(64, BigInt(value))));
    this.trap(ECALL_FROM_USER);
    return registers[10];
  }

  trap(cause: bigint | number, stval = 0n): void {
    this.#trap(cause, stval);
    this.takeInterrupts();
  }

  takeInterrupts(): void {
    for (let irq = this.hart.pendingInterrupt(); irq !== undefined; irq = this.hart.pendingInterrupt()) {
      this.#trap((1n << 63n) | BigInt(irq), 0n);
    }
  }

  #trap(cause: bigint | number, stval: bigint): void {
    this.hart.helperTrap(BigInt(cause), stval);
    if (this.hart.state !== "helper") throw new Left();
    this.#afterTrap(this.hart);
  }

  read(address: number, length: number): Uint8Array {
    return Uint8Array.from({ length }, (_, index) =>
      this.#memory.bytes.at(this.#translate(address + index, Permission.read, CAUSE_LOAD_PAGE))!,
    );
  }

  write(address: number, bytes: Uint8Array): void {
    bytes.forEach((byte, index) => {
      this.#memory.bytes[this.#translate(address + index, Permission.write, CAUSE_STORE_PAGE)] = byte;
    });
  }

  #translate(address: number, permission: number, cause: number): number {
    const page = this.#pages.get(address - (address % PAGE));
    if (!page || (page.flags & permission) === 0) this.trap(cause, BigInt(address));
    return page!.hpa + (address % PAGE);
  }
}

/** Room for the text of the helper in its image, where a simulated machine has none. */
export const HELPER_DATA_BASE = HELPER_BASE + 4 * PAGE;
