import type { Device } from "./devices.ts";
import { MachineFault, hex } from "./errors.ts";
import type { Imsic } from "./imsic.ts";

/**
 * The APLIC of supervisor level (AIA, chapter 4) in MSI mode: as much of it as is needed to see which interrupt files it reaches. A source is a line that
 * tests raise.
 */
export class Aplic implements Device {
  readonly name = "aplic";
  readonly base = 0x0d00_0000;
  readonly size = 0x8000;
  readonly sources: number;
  readonly #imsic: Imsic;
  #domain = 0;
  #modes: number[];
  #targets: number[];
  #pending = new Set<number>();
  #enabled = new Set<number>();

  /** What firmware left in the targets: interrupts to supervisor-level files. */
  static readonly FORMER_TARGET = 5;

  constructor(imsic: Imsic, sources: number) {
    this.#imsic = imsic;
    this.sources = sources;
    this.#modes = Array.from({ length: sources + 1 }, () => 1);
    this.#targets = Array.from({ length: sources + 1 }, () => Aplic.FORMER_TARGET);
    for (let source = 1; source <= sources; source++) this.#enabled.add(source);
  }

  /** The device that is wired to `source` wants attention. */
  raise(source: number): void {
    if (this.#modes[source] === 0) return;
    this.#pending.add(source);
    this.#deliver();
  }

  read(offset: number, width: number): bigint {
    this.#checkAccess(offset, width);
    const array = arrayAt(offset);
    const source = (offset % 0x1000) / 4;
    if (offset === 0) return BigInt(0x8000_0000 | this.#domain) & 0xffff_ffffn;
    if (array === "mode") return BigInt(this.#modes[source] ?? 0);
    if (array === "target") return BigInt(this.#modes[source] ? this.#targets[source] : 0);
    if (array === "setip" || array === "clrip") return this.#word(this.#pending, offset);
    return array === "setie" || array === "clrie" ? this.#word(this.#enabled, offset) : 0n;
  }

  write(offset: number, width: number, written: bigint): void {
    this.#checkAccess(offset, width);
    const value = Number(BigInt.asUintN(32, written));
    const array = arrayAt(offset);
    const source = (offset % 0x1000) / 4;
    if (offset === 0) this.#domain = value & 0x104;
    else if (array === "mode") this.#setMode(source, value);
    else if (array === "target" && this.#modes[source]) this.#targets[source] = value;
    else if (array === "setip" || array === "setie") this.#change(array, wordSources(offset, value), true);
    else if (array === "clrip" || array === "clrie") this.#change(array, wordSources(offset, value), false);
    else if (offset === 0x1cdc || offset === 0x2000) this.#change("setip", [value], true);
    else if (offset === 0x1ddc) this.#change("clrip", [value], false);
    else if (offset === 0x1edc) this.#change("setie", [value], true);
    else if (offset === 0x1fdc) this.#change("clrie", [value], false);
    else if (offset === 0x3000) this.#send(value & ~(63 << 12));
    this.#deliver();
  }

  #checkAccess(offset: number, width: number): void {
    if (width !== 4 || offset % 4 !== 0 || offset >= 0x4000) {
      throw new MachineFault(`APLIC: ${width}-byte access at offset ${hex(offset)}`);
    }
  }

  #setMode(source: number, value: number): void {
    if (source === 0 || source > this.sources) return;
    this.#modes[source] = value;
    if (value !== 0) return;
    this.#pending.delete(source);
    this.#enabled.delete(source);
  }

  #change(array: string, sources: number[], on: boolean): void {
    const set = array.endsWith("ip") ? this.#pending : this.#enabled;
    for (const source of sources) {
      if (source === 0 || !this.#modes[source]) continue;
      if (on) set.add(source);
      else set.delete(source);
    }
  }

  #word(set: Set<number>, offset: number): bigint {
    let word = 0n;
    for (const source of wordSources(offset, 0xffff_ffff)) if (set.has(source)) word |= 1n << BigInt(source % 32);
    return word;
  }

  #deliver(): void {
    if ((this.#domain & 0x104) !== 0x104) return;
    for (const source of this.#pending) {
      if (!this.#enabled.has(source)) continue;
      this.#pending.delete(source);
      this.#send(this.#targets[source]);
    }
  }

  #send(target: number): void {
    const sent = this.#imsic.message(target >>> 18, (target >> 12) & 63, target & 0x7ff);
    if (!sent) throw new MachineFault(`APLIC: target ${hex(target)} is no interrupt file`);
  }

  save(): unknown {
    return structuredClone([this.#domain, this.#modes, this.#targets, this.#pending, this.#enabled]);
  }

  restore(saved: unknown): void {
    [this.#domain, this.#modes, this.#targets, this.#pending, this.#enabled] = structuredClone(saved) as [
      number,
      number[],
      number[],
      Set<number>,
      Set<number>,
    ];
  }
}

type RegisterArray = "mode" | "target" | "setip" | "clrip" | "setie" | "clrie";

/** The array of registers that `offset` lies in. */
function arrayAt(offset: number): RegisterArray | undefined {
  if (offset < 0x1000) return "mode";
  if (offset > 0x3000) return "target";
  const arrays = { 0x1c: "setip", 0x1d: "clrip", 0x1e: "setie", 0x1f: "clrie" } as const;
  return (offset & 0xff) < 0x80 ? arrays[(offset >> 8) as keyof typeof arrays] : undefined;
}

/** Sources that a word of 32 bits at `offset` of a bit map names. */
function wordSources(offset: number, value: number): number[] {
  const first = ((offset & 0xff) / 4) * 32;
  return Array.from({ length: 32 }, (_, bit) => bit)
    .filter((bit) => ((value >>> bit) & 1) === 1)
    .map((bit) => first + bit);
}
