import type { PhysicalMemory } from "./physical-memory.ts";

/**
 * What the hypervisor has written through the door since the log was cleared: each 64-bit word with what it held before, and each range that
 * was zeroed or copied to, with a copy of what it held. Page records, page tables and the memory of VMs are written in no other way, so a
 * checker need look only at these, and all of it can be undone.
 *
 * The door's own wasm functions keep the log, in wasm memory below RAM, where no address of the machine is. RAM has to lie below 4 GiB.
 */
const LOG_BASE = 0x2000_0000;
/** Where these are kept: the address of the next entry, the count of the door's memory functions that were called, the next copy's address. */
export const LOG_CURSOR = LOG_BASE;
export const LOG_WORK = LOG_BASE + 8;
export const LOG_KEPT_CURSOR = LOG_BASE + 16;
const ENTRIES = LOG_BASE + 32;
export const LOG_ENTRY = 16;
/** Entries are read as 32-bit numbers: the window that they lie in. Copies of ranges lie behind it. */
const WINDOW = 256 * 1024 * 1024;
const KEPT = LOG_BASE + WINDOW;
const RAM_LIMIT = KEPT + 2 * WINDOW;

/** A place in the log. */
export interface LogMark {
  cursor: number;
  kept: number;
}

export class WriteLog {
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #header: Uint32Array;
  readonly #entries: Uint32Array;
  /** Where the part begins that is looked at. */
  #start = ENTRIES;

  constructor(memory: PhysicalMemory) {
    if (memory.start < RAM_LIMIT || memory.end > 2 ** 32) throw new Error("the write log needs RAM from 2 to 4 GiB");
    const { buffer } = memory.wasmMemory;
    this.#bytes = memory.bytes;
    this.#words = new Uint32Array(buffer);
    this.#header = new Uint32Array(buffer, LOG_BASE, 8);
    this.#entries = new Uint32Array(buffer, ENTRIES, (WINDOW - 32) / 4);
    this.clear();
  }

  /** Forgets everything. */
  clear(): void {
    this.#header.fill(0);
    this.#header[0] = ENTRIES;
    this.#header[4] = KEPT;
    this.#start = ENTRIES;
  }

  /** Goes on behind what is in the log, which stays to be undone. Returns where that is. */
  begin(): LogMark {
    this.#start = this.#header[0];
    this.#header[2] = 0;
    this.#header[3] = 0;
    return { cursor: this.#header[0], kept: this.#header[4] };
  }

  /** Puts memory back to what it was at `mark`, and forgets what came after it. */
  undo(mark: LogMark): void {
    const entries = this.#entries;
    const words = this.#words;
    let kept = this.#header[4];
    for (let at = (this.#header[0] - ENTRIES) / 4 - 4; at >= (mark.cursor - ENTRIES) / 4; at -= 4) {
      const address = entries[at];
      if ((address & 1) === 0) {
        words[address >>> 2] = entries[at + 2];
        words[(address >>> 2) + 1] = entries[at + 3];
      } else {
        const length = entries[at + 2];
        kept -= length;
        this.#bytes.copyWithin(address - 1, kept, kept + length);
      }
    }
    this.#header[0] = mark.cursor;
    this.#header[4] = mark.kept;
    this.#start = mark.cursor;
  }

  /** Adds the word at `address` as if the hypervisor were about to write it: for what a test itself writes. */
  note(address: number): void {
    const at = (this.#header[0] - ENTRIES) / 4;
    this.#entries[at] = address;
    this.#entries[at + 2] = this.#words[address >>> 2];
    this.#entries[at + 3] = this.#words[(address >>> 2) + 1];
    this.#header[0] += LOG_ENTRY;
  }

  /** Entries since the log was cleared or begun. */
  get length(): number {
    return (this.#header[0] - this.#start) / LOG_ENTRY;
  }

  /** Calls of the door's memory functions since then. */
  get work(): number {
    return this.#header[2] + this.#header[3] * 2 ** 32;
  }

  /** Whether an entry is a range that was zeroed or copied to. */
  isRange(entry: number): boolean {
    return (this.#entries[this.#at(entry)] & 1) !== 0;
  }

  /** Address of the first word that was written, a multiple of 8. */
  address(entry: number): number {
    return (this.#entries[this.#at(entry)] & ~7) >>> 0;
  }

  /** What a word held before, as two halves. */
  oldLow(entry: number): number {
    return this.#entries[this.#at(entry) + 2];
  }

  oldHigh(entry: number): number {
    return this.#entries[this.#at(entry) + 3];
  }

  /** Bytes of a range. */
  rangeLength(entry: number): number {
    return this.#entries[this.#at(entry) + 2];
  }

  #at(entry: number): number {
    return (this.#start - ENTRIES) / 4 + entry * 4;
  }
}
