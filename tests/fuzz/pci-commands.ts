import type { Hart } from "../../machine/simulated/hart.ts";
import { PAGE } from "../../machine/simulated/hypervisor-state.ts";
import { ECAM_BASE, PCI_WINDOW } from "../../machine/simulated/pci.ts";
import type { PciFunctionModel } from "../../machine/simulated/pci.ts";
import type { Command, Width } from "./command.ts";
import type { HostPages } from "./host-pages.ts";
import { FIRST_PAGE, PAGES } from "./host-pages.ts";
import type { Step } from "./interrupt-commands.ts";
import { MEMORY } from "./observer.ts";
import type { World } from "./world.ts";

/**
 * Hosts on PCI configuration space and device registers, and what devices do by themselves: mostly a driver that sets its device up, with other writes in between
 * that would have it answer elsewhere, reach anything, or be somebody else.
 */

const Register = { command: 0x04, bars: 0x10, buses: 0x18, io: 0x1c, memory: 0x20, prefetch: 0x24 } as const;
/** I/O, memory, bus master, no INTx. */
const COMMANDS = [0, 2, 4, 6, 7, 0x407, 0xffff];
/** The interrupt files, where they are on every simulated machine. */
const IMSIC = 0x2800_0000;
const UART = 0x1000_0000;
const APLIC = 0x0d00_0000;
const PLATFORM_IOMMU = 0x0301_0000;
/** Where the hypervisor lies, as the machine numbers RAM. */
const HYPERVISOR = 0x8020_0000;
const EVERYTHING = 0xffff_ffff;
/** In the last pages of the window is the IOMMU, if it is a function. */
const WINDOW_END = PCI_WINDOW.base + PCI_WINDOW.size;
/** What a BAR or a window may be told. */
const PLACES = [
  ...[PCI_WINDOW.base, PCI_WINDOW.base + 0x10_0000, PCI_WINDOW.base + 0x20_0000, WINDOW_END - 0x10_0000],
  ...[WINDOW_END - 0x4000, WINDOW_END - 0x1000, WINDOW_END, EVERYTHING, 0, 0xffff_f000],
  ...[MEMORY, MEMORY + PAGE * FIRST_PAGE, HYPERVISOR, IMSIC, IMSIC + PAGE, ECAM_BASE, UART, APLIC, PLATFORM_IOMMU],
];
const MEGABYTE = 0x10_0000;

export class PciCommands {
  readonly #world: World;
  readonly #pages: HostPages;
  readonly #random: (limit: number) => number;

  constructor(world: World, pages: HostPages, random: (limit: number) => number) {
    this.#world = world;
    this.#pages = pages;
    this.#random = random;
  }

  get available(): boolean {
    return this.#world.machine.pci !== undefined;
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random(list.length)];
  }

  /** What the host on the hart does next. */
  next(hart: Hart): Step[] {
    const { pci, id } = this.#pick(this.#world.machine.pci!.all());
    const choice = this.#random(10);
    if (choice < 3) return this.#setUp(hart, pci, id);
    if (choice < 4) return this.#number(hart);
    if (choice < 6) return [() => this.#sensitiveWrite(hart, pci, id)];
    if (choice < 8) return [() => this.#anyAccess(hart, id)];
    return [() => this.#useRegisters(hart)];
  }

  /** What a device does by itself, or the IOMMU, whatever the harts do. */
  byItself(): Command {
    const { pci, iommu } = this.#world.machine;
    const late = iommu?.options.commands === "late";
    // Slow for a while: fences have to wait.
    if (iommu && this.#random(late ? 4 : 200) === 0) {
      return { hart: 0, do: "iommu", commands: late ? "at once" : "late" };
    }
    const all = pci!.all();
    const masters = all.filter((each) => each.pci.master && each.id !== iommu?.options.function);
    const { id } = this.#pick(masters.length > 0 && this.#random(8) !== 0 ? masters : all);
    if (this.#random(5) === 0) return { hart: 0, do: "message", device: id, number: this.#random(3) };
    const at = this.#address();
    if (this.#random(2) === 0) return { hart: 0, do: "dma", device: id, at };
    return { hart: 0, do: "dma", device: id, at, value: BigInt(this.#random(2 ** 31)) };
  }

  // ---- configuration space

  #at(id: number, offset: number): bigint {
    return BigInt(ECAM_BASE + id * PAGE + offset);
  }

  #read(hart: Hart, id: number, offset: number, width?: Width): Command {
    return { hart: hart.index, do: "load", at: this.#at(id, offset), ...(width ? { width } : {}) };
  }

  #write(hart: Hart, id: number, offset: number, value: number, width: Width = 4): Command {
    return { hart: hart.index, do: "store", at: this.#at(id, offset), value: BigInt(value >>> 0), width };
  }

  /** Any width, aligned or not, in any function, bus and register. */
  #anyAccess(hart: Hart, id: number): Command {
    const width = this.#pick([1, 2, 4, undefined] as const);
    let offset = this.#random(this.#pick([0x40, 0x100, 0x1000]));
    if (this.#random(8) !== 0) offset -= offset % (width ?? 8);
    const other = this.#random(6) === 0 ? this.#random(0x800) : id;
    if (this.#random(3) === 0) return this.#read(hart, other, offset, width);
    const value = BigInt(this.#random(2) === 0 ? this.#pick(PLACES) : this.#random(2 ** 32));
    return { hart: hart.index, do: "store", at: this.#at(other, offset), value, ...(width ? { width } : {}) };
  }

  /** A driver's way to a device that works: registers in the window, bus mastering, messages to the hart's interrupt file. */
  #setUp(hart: Hart, pci: PciFunctionModel, id: number): Step[] {
    const steps: Step[] = [() => this.#write(hart, id, Register.command, 0, 2)];
    if (pci.behind.length > 0) {
      const from = PCI_WINDOW.base + MEGABYTE * this.#random(3);
      steps.push(() => this.#write(hart, id, Register.memory, (from >>> 16) | (from + MEGABYTE)));
    }
    (pci.spec.bars ?? []).forEach((bar, number) => {
      const place = bar.kind === "io" ? 0x100 * number : PCI_WINDOW.base + 0x10_0000 * (number + this.#random(4));
      steps.push(() => this.#write(hart, id, Register.bars + 4 * bar.index, EVERYTHING));
      steps.push(() => this.#read(hart, id, Register.bars + 4 * bar.index, 4));
      steps.push(() => this.#write(hart, id, Register.bars + 4 * bar.index, place));
      if (bar.kind === "memory64") steps.push(() => this.#write(hart, id, Register.bars + 4 * bar.index + 4, 0));
    });
    steps.push(() => this.#write(hart, id, Register.command, 7, 2));
    for (const { offset, bytes } of pci.spec.capabilities ?? []) {
      if (offset < 0x100 && bytes[0] === 0x05) {
        const file = this.#random(4) === 0 ? this.#address() : BigInt(IMSIC);
        const wide = (bytes[2] & 0x80) !== 0;
        if (wide) steps.push(() => this.#write(hart, id, offset + 8, Number(file >> 32n)));
        steps.push(
          () => this.#write(hart, id, offset + 4, Number(BigInt.asUintN(32, file))),
          () => this.#write(hart, id, offset + (wide ? 12 : 8), 5 + this.#random(40), 2),
          () => this.#write(hart, id, offset + 2, 1, 2),
        );
      } else if (offset < 0x100 && bytes[0] === 0x11) {
        const bar = pci.config.getUint32(Register.bars, true) & ~15;
        const store = (at: number, value: bigint): Step => {
          return () => ({ hart: hart.index, do: "store", at: BigInt((bar >>> 0) + at), value, width: 4 });
        };
        const file = this.#random(4) === 0 ? this.#address() : BigInt(IMSIC);
        const address = BigInt.asUintN(32, file);
        steps.push(store(0, address), store(4, file >> 32n), store(8, BigInt(5 + this.#random(40))));
        steps.push(() => this.#write(hart, id, offset + 2, 0x8000, 2));
      }
    }
    steps.push(() => ({ hart: hart.index, do: "message", device: id, number: 0 }));
    return steps.filter(() => this.#random(30) !== 0);
  }

  /** Bus numbers as the machine has them, or others. */
  #number(hart: Hart): Step[] {
    const steps: Step[] = [];
    for (const { pci, id } of this.#world.machine.pci!.all()) {
      if (pci.behind.length === 0) continue;
      const [secondary, subordinate] = this.#random(4) === 0 ? [this.#random(9), this.#random(9)] : pci.buses;
      steps.push(() => this.#write(hart, id, Register.buses, (subordinate << 16) | (secondary << 8) | (id >> 8)));
    }
    return steps;
  }

  /** One write to a register that decides about addresses. */
  #sensitiveWrite(hart: Hart, pci: PciFunctionModel, id: number): Command {
    const place = this.#pick(PLACES);
    const bridge = pci.behind.length > 0;
    switch (this.#random(bridge ? 8 : 5)) {
      case 0:
      case 1:
        return this.#write(hart, id, Register.command, this.#pick(COMMANDS), 2);
      case 2:
      case 3:
        return this.#write(hart, id, Register.bars + 4 * this.#random(6), place);
      case 4: {
        const capability = this.#pick(pci.spec.capabilities ?? [{ offset: 0x40, bytes: [0] }]);
        return this.#write(hart, id, capability.offset + 4 * this.#random(4), place);
      }
      case 5:
        return this.#write(hart, id, Register.buses, this.#pick([0, 0x01_01_00, 0x07_01_00, EVERYTHING, 0x00_02_00]));
      case 6:
        return this.#write(hart, id, Register.io, this.#pick([0, 0xf000, 0x1000, 0xf0f0, 0x2010, EVERYTHING]));
      default: {
        const limit = this.#random(2) === 0 ? place : place + MEGABYTE;
        const window = ((place >>> 16) & 0xfff0) | (limit & 0xfff0_0000);
        return this.#write(hart, id, this.#pick([Register.memory, Register.prefetch, 0x28, 0x2c, 0x30]), window);
      }
    }
  }

  // ---- registers in the window

  #useRegisters(hart: Hart): Command {
    const decoded = this.#world.machine.pci!.all().flatMap(({ pci }) => pci.decoded().filter(({ io }) => !io));
    const base = decoded.length > 0 && this.#random(4) !== 0 ? this.#pick(decoded).base : this.#pick(PLACES);
    const at = BigInt(base) + BigInt(4 * this.#random(64));
    const width = this.#pick([4, 4, undefined] as const);
    if (this.#random(2) === 0) return { hart: hart.index, do: "load", at, ...(width ? { width } : {}) };
    return { hart: hart.index, do: "store", at, value: BigInt(this.#pick(PLACES)), ...(width ? { width } : {}) };
  }

  // ---- devices

  /** Where a device may be told to go: pages in every state, the hypervisor, interrupt files, registers, nothing. */
  #address(): bigint {
    const inPage = BigInt(4 * this.#random(PAGE / 4));
    switch (this.#random(10)) {
      case 0:
        return this.#pages.gpa(this.#pages.fenced(1)) + inPage;
      case 1:
        return BigInt(HYPERVISOR + PAGE * this.#random(512)) + inPage;
      case 2:
        // A file of a hart's, its own or one that is a TVM's.
        return BigInt(IMSIC + PAGE * this.#random(16));
      case 3:
        return BigInt(this.#pick(PLACES)) & ~3n;
      case 4:
        return (BigInt(this.#random(2 ** 32)) << 20n) + inPage;
      default:
        return BigInt(MEMORY + PAGE * (FIRST_PAGE + this.#random(PAGES))) + inPage;
    }
  }
}
