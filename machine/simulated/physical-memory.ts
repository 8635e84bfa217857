import { MachineFault, hex } from "./errors.ts";
import type { RamRange } from "./machine-options.ts";

/**
 * RAM. The memory of the wasm module is the machine's physical address space: a wasm address is a physical address, so what the
 * hypervisor writes with plain stores, through the door, and what guests and page-table walks touch, is the same bytes. Only the pages
 * that are used take memory of the computer that simulates.
 */
export class PhysicalMemory {
  readonly ranges: readonly RamRange[];
  readonly wasmMemory: WebAssembly.Memory;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Lowest address of RAM and first one after it. */
  readonly start: number;
  readonly end: number;

  constructor(ranges: readonly RamRange[]) {
    this.ranges = [...ranges].sort((a, b) => a.base - b.base);
    this.start = this.ranges[0].base;
    this.end = Math.max(...this.ranges.map((range) => range.base + range.size));
    const pages = Math.ceil(this.end / WASM_PAGE);
    this.wasmMemory = new WebAssembly.Memory({ address: "i64", initial: BigInt(pages) });
    this.bytes = new Uint8Array(this.wasmMemory.buffer);
    this.view = new DataView(this.wasmMemory.buffer);
  }

  /** True if [address, address + size) lies in one range of RAM. */
  contains(address: number, size = 1): boolean {
    for (const range of this.ranges) {
      if (address >= range.base && address + size <= range.base + range.size) return true;
    }
    return false;
  }

  /** The 64-bit word at `address`, which must be RAM. */
  read64(address: number): bigint {
    this.#check(address, 8);
    return this.view.getBigUint64(address, true);
  }

  write64(address: number, value: bigint): void {
    this.#check(address, 8);
    this.view.setBigUint64(address, BigInt.asUintN(64, value), true);
  }

  /** The 64-bit word at `address`, which holds an address or a small number. */
  readAddress(address: number): number {
    this.#check(address, 8);
    return this.view.getUint32(address, true) + this.view.getUint32(address + 4, true) * 2 ** 32;
  }

  read32(address: number): number {
    this.#check(address, 4);
    return this.view.getUint32(address, true);
  }

  /** An unsigned little-endian number of 1, 2, 4 or 8 bytes, any alignment. */
  readNumber(address: number, width: number): bigint {
    this.#check(address, width);
    if (width === 8) return this.view.getBigUint64(address, true);
    if (width === 4) return BigInt(this.view.getUint32(address, true));
    return BigInt(width === 2 ? this.view.getUint16(address, true) : this.bytes[address]);
  }

  writeNumber(address: number, width: number, value: bigint): void {
    this.#check(address, width);
    if (width === 8) this.view.setBigUint64(address, value, true);
    else if (width === 4) this.view.setUint32(address, Number(value & 0xffff_ffffn), true);
    else if (width === 2) this.view.setUint16(address, Number(value & 0xffffn), true);
    else this.bytes[address] = Number(value & 0xffn);
  }

  /** A copy of `size` bytes. */
  slice(address: number, size: number): Uint8Array {
    this.#check(address, size);
    return this.bytes.slice(address, address + size);
  }

  write(address: number, bytes: Uint8Array): void {
    this.#check(address, bytes.length);
    this.bytes.set(bytes, address);
  }

  /** True if all `size` bytes are zero. */
  isZero(address: number, size: number): boolean {
    this.#check(address, size);
    for (let at = address; at < address + size; at += ZEROES.length) {
      const end = Math.min(at + ZEROES.length, address + size);
      if (Buffer.compare(this.bytes.subarray(at, end), ZEROES.subarray(0, end - at)) !== 0) return false;
    }
    return true;
  }

  /** The whole of RAM, to be put back with `restore`. */
  save(into?: Uint8Array[]): Uint8Array[] {
    return this.ranges.map((range, index) => {
      const copy = into?.[index] ?? new Uint8Array(range.size);
      copy.set(this.bytes.subarray(range.base, range.base + range.size));
      return copy;
    });
  }

  /** Writes only what differs: most of RAM never changes between two saved states. */
  restore(saved: readonly Uint8Array[]): void {
    this.ranges.forEach((range, index) => {
      for (let offset = 0; offset < range.size; offset += RESTORE_STEP) {
        const now = this.bytes.subarray(range.base + offset, range.base + offset + RESTORE_STEP);
        const then = saved[index].subarray(offset, offset + RESTORE_STEP);
        if (Buffer.compare(now, then) !== 0) now.set(then);
      }
    });
  }

  #check(address: number, size: number): void {
    if (!this.contains(address, size)) throw new MachineFault(`${hex(address)} (${size} bytes) is not RAM`);
  }
}

const ZEROES = new Uint8Array(4096);
const WASM_PAGE = 65536;
const RESTORE_STEP = 65536;
