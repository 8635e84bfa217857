import type { Device } from "./devices.ts";

/**
 * PCI: a host bridge with memory-mapped configuration space, and functions behind it that a test describes, hostile ones among them. A
 * function decodes its BARs and reaches memory (as a bus master, through the IOMMU if there is one) as its registers say, whoever wrote them.
 */

export const ECAM_BASE = 0x3000_0000;
/** Bytes of memory window, its first address, and those of the I/O window. */
export const PCI_WINDOW = { base: 0x4000_0000, size: 0x1000_0000 };
export const PCI_IO_WINDOW = { base: 0x0300_0000, size: 0x1_0000 };

/** Where a host bridge has its configuration space and its memory window, and its numbers. */
export interface PciPlace {
  /** linux,pci-domain. */
  domain: number;
  ecam: number;
  window: { base: number; size: number };
  firstBus: number;
  /** What an IOMMU adds to the requester ids of its functions. */
  idBase: number;
}

export const FIRST_BRIDGE: PciPlace = { domain: 0, ecam: ECAM_BASE, window: PCI_WINDOW, firstBus: 0, idBase: 0 };
/** Its buses do not begin with 0, it has no I/O window, and device ids need a directory of three levels. */
export const SECOND_BRIDGE: PciPlace = {
  domain: 1,
  ecam: 0x6000_0000,
  window: { base: 0x6800_0000, size: 0x0400_0000 },
  firstBus: 0x10,
  idBase: 0x1_0000,
};

const BUS_BYTES = 1 << 20;
const FUNCTION_BYTES = 4096;
const Command = { io: 1, memory: 2, master: 4 } as const;
const BRIDGE = 1;

export interface PciBarSpec {
  index: number;
  size: number;
  kind: "memory32" | "memory64" | "io";
  /** Of an I/O BAR: it has 16 bits of address. */
  narrow?: boolean;
}

export interface PciCapabilitySpec {
  offset: number;
  /** Bytes from the id on; byte 1 (the link) is filled in unless `next` is given. */
  bytes: number[];
  next?: number;
}

export interface PciFunctionSpec {
  /** device << 3 | function on its bus. */
  devfn: number;
  vendor?: number;
  device?: number;
  /** 24 bits: base class, subclass, interface. */
  class?: number;
  header?: number;
  bars?: PciBarSpec[];
  capabilities?: PciCapabilitySpec[];
  /** Raw 32-bit registers that read like that and keep nothing: a device that says what it likes. */
  fixed?: Record<number, number>;
  /** Functions behind it: makes it a bridge. */
  behind?: PciFunctionSpec[];
  /** Address bits of a bridge's windows, 0: it does not have that one. Undefined: 32 and 64. */
  windows?: { io?: 0 | 16 | 32; prefetch?: 0 | 32 | 64 };
  /** Its memory BAR, instead of plain storage. */
  registers?: {
    read(offset: number, width: number): bigint;
    write(offset: number, width: number, value: bigint): void;
  };
}

/** A function with its configuration space. */
export class PciFunctionModel {
  readonly spec: PciFunctionSpec;
  readonly behind: PciFunctionModel[];
  readonly config = new DataView(new ArrayBuffer(FUNCTION_BYTES));
  readonly #writable = new DataView(new ArrayBuffer(FUNCTION_BYTES));

  constructor(spec: PciFunctionSpec) {
    this.spec = spec;
    this.behind = (spec.behind ?? []).map((each) => new PciFunctionModel(each));
    const header = spec.header ?? (spec.behind ? BRIDGE : 0);
    this.#set(0x00, ((spec.device ?? 0x1234) << 16) | (spec.vendor ?? 0x1b36), 0);
    this.#set(0x04, 0, 0x0547);
    this.#set(0x08, (spec.class ?? (spec.behind ? 0x060400 : 0xff0000)) << 8, 0);
    this.#set(0x0c, header << 16, 0);
    // INTA; a bridge's control is in the upper half.
    this.#set(0x3c, 0x0100, 0);
    if ((header & 0x7f) === BRIDGE) {
      this.#set(0x18, 0, 0xffff_ffff);
      const { io = 32, prefetch = 64 } = spec.windows ?? {};
      this.#set(0x1c, io === 32 ? 0x0101 : 0, io === 0 ? 0 : 0xf0f0);
      this.#set(0x20, 0, 0xfff0_fff0);
      this.#set(0x24, prefetch === 64 ? 0x0001_0001 : 0, prefetch === 0 ? 0 : 0xfff0_fff0);
      for (const offset of [0x28, 0x2c]) this.#set(offset, 0, prefetch === 64 ? 0xffff_ffff : 0);
      this.#set(0x30, 0, io === 32 ? 0xffff_ffff : 0);
      this.#set(0x3c, 0x0100, 0x0063_0000);
    }
    for (const bar of spec.bars ?? []) this.#addBar(bar);
    this.#addCapabilities(spec.capabilities ?? []);
  }

  #set(offset: number, value: number, writable: number): void {
    this.config.setUint32(offset, value >>> 0, true);
    this.#writable.setUint32(offset, writable >>> 0, true);
  }

  #addBar({ index, size, kind, narrow }: PciBarSpec): void {
    const offset = 0x10 + 4 * index;
    if (kind === "io") return this.#set(offset, 1, -size & (narrow ? 0xfffc : ~3));
    const mask = -BigInt(size);
    this.#set(offset, kind === "memory64" ? 4 : 0, Number(BigInt.asUintN(32, mask)));
    if (kind === "memory64") this.#set(offset + 4, 0, Number(BigInt.asUintN(32, mask >> 32n)));
  }

  #addCapabilities(capabilities: PciCapabilitySpec[]): void {
    if (capabilities.length === 0) return;
    this.config.setUint32(0x04, 1 << 20, true);
    const legacy = capabilities.filter(({ offset }) => offset < 0x100);
    if (legacy.length > 0) this.config.setUint8(0x34, legacy[0].offset);
    capabilities.forEach(({ offset, bytes, next }) => {
      bytes.forEach((byte, index) => this.config.setUint8(offset + index, byte));
      for (let index = 4; index < bytes.length; index++) this.#writable.setUint8(offset + index, 0xff);
      if (offset >= 0x100) return;
      // The control halves of MSI and MSI-X.
      if (bytes.length > 3) this.#writable.setUint16(offset + 2, 0xffff, true);
      const following = legacy[legacy.findIndex((each) => each.offset === offset) + 1];
      this.config.setUint8(offset + 1, next ?? following?.offset ?? 0);
    });
  }

  /** Bus numbers of a bridge: [secondary, subordinate]. */
  get buses(): [number, number] {
    return [this.config.getUint8(0x19), this.config.getUint8(0x1a)];
  }

  get command(): number {
    return this.config.getUint16(4, true);
  }

  get master(): boolean {
    return (this.command & Command.master) !== 0;
  }

  readRegister(offset: number): number {
    const fixed = this.spec.fixed?.[offset];
    return fixed ?? this.config.getUint32(offset, true);
  }

  writeRegister(offset: number, value: number): void {
    const mask = this.#writable.getUint32(offset, true);
    this.config.setUint32(offset, ((this.config.getUint32(offset, true) & ~mask) | (value & mask)) >>> 0, true);
  }

  /** The ranges that it decodes now, on the bus. */
  decoded(): { io: boolean; base: number; size: number; bar: PciBarSpec }[] {
    return (this.spec.bars ?? []).flatMap((bar) => {
      const io = bar.kind === "io";
      if ((this.command & (io ? Command.io : Command.memory)) === 0) return [];
      const low = this.config.getUint32(0x10 + 4 * bar.index, true);
      const high = bar.kind === "memory64" ? this.config.getUint32(0x14 + 4 * bar.index, true) : 0;
      return [{ io, base: high * 2 ** 32 + ((low & (io ? ~3 : ~15)) >>> 0), size: bar.size, bar }];
    });
  }
}

/** The host bridge: configuration space. */
export class PciHost implements Device {
  readonly name = "pci";
  readonly place: PciPlace;
  readonly base: number;
  readonly size: number;
  readonly functions: PciFunctionModel[];
  readonly buses: number;
  /** Writes to configuration space so far. */
  writes = 0;

  constructor(functions: PciFunctionSpec[], buses: number, place = FIRST_BRIDGE) {
    this.place = place;
    this.base = place.ecam;
    this.functions = functions.map((spec) => new PciFunctionModel(spec));
    this.buses = buses;
    this.size = buses * BUS_BYTES;
  }

  /** Every function with its requester id by the bus numbers that are programmed now. */
  all(): { pci: PciFunctionModel; id: number }[] {
    const found: { pci: PciFunctionModel; id: number }[] = [];
    const visit = (list: PciFunctionModel[], bus: number): void => {
      for (const pci of list) {
        found.push({ pci, id: (bus << 8) | pci.spec.devfn });
        if (pci.behind.length > 0 && pci.buses[0] !== 0) visit(pci.behind, pci.buses[0]);
      }
    };
    visit(this.functions, this.place.firstBus);
    return found;
  }

  at(bus: number, devfn: number): PciFunctionModel | undefined {
    return this.all().find(({ id }) => id === ((bus << 8) | devfn))?.pci;
  }

  read(offset: number, width: number): bigint {
    const found = this.at(this.#busAt(offset), (offset >> 12) & 0xff);
    if (!found) return (1n << BigInt(8 * width)) - 1n;
    return BigInt(found.readRegister(offset & 0xffc) >>> 0) >> BigInt(8 * (offset & 3));
  }

  write(offset: number, width: number, value: bigint): void {
    if (width !== 4) throw new Error("the hypervisor writes configuration space by 32 bits");
    this.writes++;
    this.at(this.#busAt(offset), (offset >> 12) & 0xff)?.writeRegister(offset & 0xffc, Number(value));
  }

  #busAt(offset: number): number {
    return this.place.firstBus + Math.floor(offset / BUS_BYTES);
  }

  save(): unknown {
    return this.all().map(({ pci }) => new Uint8Array(pci.config.buffer).slice());
  }

  restore(saved: unknown): void {
    // In the order of the tree itself: bus numbers are among what is restored.
    const every = (list: PciFunctionModel[]): PciFunctionModel[] => list.flatMap((pci) => [pci, ...every(pci.behind)]);
    const images = saved as Uint8Array[];
    every(this.functions).forEach((pci, index) => {
      if (images[index]) new Uint8Array(pci.config.buffer).set(images[index]);
    });
  }
}

const CAP_MSI = 5;
const CAP_MSIX = 0x11;

/** A write of a device that is an interrupt. */
export interface PciMessage {
  address: bigint;
  data: number;
}

/** The memory window: registers of the functions that decode an address there. */
export class PciWindowDevice implements Device {
  readonly name = "pci window";
  readonly base: number;
  readonly size: number;
  readonly #host: PciHost;
  readonly #storage = new Map<number, bigint>();

  constructor(host: PciHost) {
    this.#host = host;
    this.base = host.place.window.base;
    this.size = host.place.window.size;
  }

  read(offset: number, width: number): bigint {
    const found = this.#find(this.base + offset);
    if (!found) return (1n << BigInt(8 * width)) - 1n;
    if (found.pci.spec.registers) return found.pci.spec.registers.read(found.offset, width);
    return this.#storage.get(this.base + offset) ?? 0n;
  }

  write(offset: number, width: number, value: bigint): void {
    const found = this.#find(this.base + offset);
    if (found?.pci.spec.registers) found.pci.spec.registers.write(found.offset, width, value);
    else if (found) this.#storage.set(this.base + offset, value);
  }

  /** The message that the function sends for vector `number`: by MSI, or else from the MSI-X table at the beginning of its first BAR. */
  messageOf(pci: PciFunctionModel, number: number): PciMessage | undefined {
    const at = (id: number): number | undefined =>
      pci.spec.capabilities?.find(({ offset, bytes }) => offset < 0x100 && bytes[0] === id)?.offset;
    const [msi, msix] = [at(CAP_MSI), at(CAP_MSIX)];
    if (msi !== undefined && (pci.config.getUint8(msi + 2) & 1) !== 0) {
      const wide = (pci.config.getUint8(msi + 2) & 0x80) !== 0;
      const high = wide ? pci.config.getUint32(msi + 8, true) : 0;
      const address = (BigInt(high) << 32n) | BigInt(pci.config.getUint32(msi + 4, true));
      return { address, data: pci.config.getUint16(msi + (wide ? 12 : 8), true) | number };
    }
    if (msix === undefined || (pci.config.getUint8(msix + 3) & 0xc0) !== 0x80) return undefined;
    const table = pci.config.getUint32(0x10, true) & ~15;
    const word = (offset: number): bigint => this.#storage.get(table + 16 * number + offset) ?? 0n;
    return {
      address: (BigInt.asUintN(32, word(4)) << 32n) | BigInt.asUintN(32, word(0)),
      data: Number(BigInt.asUintN(32, word(8))),
    };
  }

  save(): unknown {
    return [...this.#storage];
  }

  restore(saved: unknown): void {
    this.#storage.clear();
    for (const [address, value] of saved as [number, bigint][]) this.#storage.set(address, value);
  }

  #find(address: number): { pci: PciFunctionModel; offset: number } | undefined {
    for (const { pci } of this.#host.all()) {
      const range = pci.decoded().find((each) => !each.io && address >= each.base && address < each.base + each.size);
      if (range) return { pci, offset: address - range.base };
    }
    return undefined;
  }
}
