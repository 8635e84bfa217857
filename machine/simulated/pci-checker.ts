import { InvariantViolation, hex } from "./errors.ts";
import type { Machine } from "./machine.ts";
import { PCI_IO_WINDOW, PCI_WINDOW } from "./pci.ts";
import type { PciFunctionModel } from "./pci.ts";

/**
 * What PCI functions may answer to, whatever a host wrote into their configuration space: nothing outside of the windows, nothing at the registers of the
 * IOMMU, which lie in a window; the IOMMU itself stays as it is. Requester ids stay, translated requests stay off, and a bus master is a device that
 * the host sees and that an IOMMU confines.
 */
export class PciChecker {
  readonly #machine: Machine;
  /** Requester ids, by function in the order of the tree. */
  readonly #ids: number[];
  /** The IOMMU's command register and place. */
  readonly #iommu: string | undefined;
  /** Writes to configuration space at the last check. */
  #writes = -1;

  /** Learns the present state: after boot. */
  constructor(machine: Machine) {
    this.#machine = machine;
    this.#ids = machine.pci?.all().map(({ id }) => id) ?? [];
    this.#iommu = this.#iommuState();
  }

  /** Checks everything, if something was written since the last time. */
  check(): void {
    const { pci } = this.#machine;
    if (!pci || pci.writes === this.#writes) return;
    this.#writes = pci.writes;
    const functions = pci.all();
    if (functions.some(({ id }, index) => id !== this.#ids[index]) || functions.length !== this.#ids.length) {
      throw new InvariantViolation(`PCI: requester ids are ${functions.map(({ id }) => hex(id)).join(", ")}`);
    }
    if (this.#iommuState() !== this.#iommu) throw new InvariantViolation("PCI: the IOMMU's own registers were changed");
    const iommu = this.#iommuFunction();
    for (const { pci: each, id } of functions) if (each !== iommu) this.#checkFunction(each, id);
  }

  #checkFunction(pci: PciFunctionModel, id: number): void {
    const fail = (problem: string): never => {
      throw new InvariantViolation(`PCI: function ${hex(id)} ${problem}`);
    };
    const hidden = ((pci.spec.header ?? 0) & 0x7f) > 1;
    if (hidden && (pci.command & 7) !== 0) fail("is hidden from the host and not off");
    if (pci.master && !this.#machine.iommu) fail("is a bus master, and no IOMMU confines it");
    for (const { io, base, size } of pci.decoded()) {
      if (!this.#isHosts(io, base, size)) fail(`decodes ${hex(base)}, ${hex(size)} bytes`);
    }
    for (const { io, base, end } of openWindows(pci)) {
      if (!this.#isHosts(io, base, end - base)) fail(`passes on ${hex(base)} to ${hex(end)}`);
    }
    for (const { offset, bytes } of pci.spec.capabilities ?? []) {
      if (offset < 0x100) continue;
      if (bytes[0] === EXT_ATS && pci.config.getUint16(offset + 6, true) >> 15 !== 0) fail("asks for translations");
      if (bytes[0] === EXT_SRIOV && (pci.config.getUint16(offset + 8, true) & 1) !== 0) fail("has virtual functions");
    }
  }

  /** Whether a range of the bus is the host's to use. */
  #isHosts(io: boolean, base: number, size: number): boolean {
    const window = io ? { base: 0, size: PCI_IO_WINDOW.size } : PCI_WINDOW;
    if (base < window.base || base + size > window.base + window.size) return false;
    return (this.#iommuFunction()?.decoded() ?? []).every(
      (own) => io || base + size <= own.base || base >= own.base + own.size,
    );
  }

  #iommuFunction(): PciFunctionModel | undefined {
    const devfn = this.#machine.iommu?.options.function;
    return devfn === undefined ? undefined : this.#machine.pci?.functions.find(({ spec }) => spec.devfn === devfn);
  }

  #iommuState(): string | undefined {
    const pci = this.#iommuFunction();
    return (
      pci &&
      `${pci.command & 7} ${pci
        .decoded()
        .map(({ base }) => hex(base))
        .join(" ")}`
    );
  }
}

const EXT_ATS = 0x0f;
const EXT_SRIOV = 0x10;
const MEGABYTE = 0x10_0000;

/** What a bridge passes on to the bus behind it, by its window registers, as long as it decodes that space at all. */
function openWindows(pci: PciFunctionModel): { io: boolean; base: number; end: number }[] {
  if (pci.behind.length === 0) return [];
  const { config } = pci;
  const register = (offset: number): number => config.getUint32(offset, true);
  const memory = (offset: number, upperBase: number, upperLimit: number) => ({
    io: false,
    base: (register(offset) & 0xfff0) * 0x1_0000 + upperBase * 2 ** 32,
    end: ((register(offset) >>> 16) & 0xfff0) * 0x1_0000 + MEGABYTE + upperLimit * 2 ** 32,
  });
  const io = {
    io: true,
    base: (register(0x1c) & 0xf0) * 0x100 + (register(0x30) & 0xffff) * 0x1_0000,
    end: ((register(0x1c) >>> 8) & 0xf0) * 0x100 + 0x1000 + (register(0x30) >>> 16) * 0x1_0000,
  };
  const { windows } = pci.spec;
  const prefetch = memory(0x24, register(0x28), register(0x2c));
  const existing = [
    ...(windows?.io === 0 ? [] : [io]),
    memory(0x20, 0, 0),
    ...(windows?.prefetch === 0 ? [] : [prefetch]),
  ];
  return existing.filter((window) => window.base < window.end && (pci.command & (window.io ? 1 : 2)) !== 0);
}
