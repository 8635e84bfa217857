import { MachineFault, hex } from "./errors.ts";

/**
 * The incoming MSI controller (AIA, chapter 3): for each hart an interrupt file of supervisor level and guest files. As much of it as
 * software of S-level sees: identities pending and enabled, delivery, threshold, claims, and setting pending by a store.
 */
export class InterruptFile {
  /** Bit n: identity n. */
  #pending = 0n;
  enabled = 0n;
  delivery = 0n;
  threshold = 0n;

  readonly #identities: number;
  readonly #onPending: PendingListener;

  /** `identities`: the highest identity, one less than a multiple of 64. `onPending` is told of every change. */
  constructor(identities: number, onPending: PendingListener = () => {}) {
    this.#identities = identities;
    this.#onPending = onPending;
  }

  /** Bit n: identity n is pending. */
  get pending(): bigint {
    return this.#pending;
  }

  set pending(bits: bigint) {
    const before = this.#pending;
    this.#pending = bits;
    if (bits !== before) this.#onPending(this, before, bits);
  }

  /** A message with that identity arrived; unknown ones are ignored. */
  setPending(identity: number): void {
    if (identity > 0 && identity <= this.#identities) this.pending |= 1n << BigInt(identity);
  }

  /** The identity that topei reports: the lowest that is pending, enabled and below the threshold; 0 if none. */
  top(): number {
    const candidates = this.pending & this.enabled;
    if (candidates === 0n) return 0;
    const lowest = (candidates & -candidates).toString(2).length - 1;
    return this.threshold !== 0n && BigInt(lowest) >= this.threshold ? 0 : lowest;
  }

  /** Whether the hart's external interrupt is raised. */
  raised(): boolean {
    return this.delivery === 1n && this.top() !== 0;
  }

  /** topei: the identity twice (its priority is its number). */
  readTop(): bigint {
    const top = BigInt(this.top());
    return (top << 16n) | top;
  }

  /** A write of topei claims what it reports. */
  claim(): void {
    this.pending &= ~(1n << BigInt(this.top()));
  }

  /** A register behind siselect; undefined if there is none with that number. */
  readRegister(select: number): bigint | undefined {
    if (select === EIDELIVERY) return this.delivery;
    if (select === EITHRESHOLD) return this.threshold;
    const array = arrayOf(select);
    if (array === undefined) return undefined;
    return BigInt.asUintN(64, this[array.name] >> array.shift);
  }

  /** False if there is no such register. */
  writeRegister(select: number, value: bigint): boolean {
    if (select === EIDELIVERY) {
      this.delivery = value & 1n;
      return true;
    }
    if (select === EITHRESHOLD) {
      this.threshold = value & BigInt(this.#identities);
      return true;
    }
    const array = arrayOf(select);
    if (array === undefined) return false;
    const implemented = ((1n << BigInt(this.#identities + 1)) - 1n) & ~1n;
    const kept = this[array.name] & ~(0xffff_ffff_ffff_ffffn << array.shift);
    this[array.name] = kept | ((value << array.shift) & implemented);
    return true;
  }

  save(): bigint[] {
    return [this.pending, this.enabled, this.delivery, this.threshold];
  }

  /** Nothing is sent or claimed by that, so nobody is told. */
  restore([pending, enabled, delivery, threshold]: bigint[]): void {
    this.#pending = pending;
    Object.assign(this, { enabled, delivery, threshold });
  }
}

/** Told what was pending in a file before a change, and what is now. */
export type PendingListener = (file: InterruptFile, before: bigint, after: bigint) => void;

const EIDELIVERY = 0x70;
const EITHRESHOLD = 0x72;
const EIP0 = 0x80;
const EIE0 = 0xc0;
const ARRAY_SIZE = 0x40;

/** On RV64 each even register holds 64 identities, and odd ones do not exist. */
function arrayOf(select: number): { name: "pending" | "enabled"; shift: bigint } | undefined {
  if (select < EIP0 || select >= EIE0 + ARRAY_SIZE || select % 2 !== 0) return undefined;
  const name = select < EIE0 ? "pending" : "enabled";
  return { name, shift: BigInt(((select - (name === "pending" ? EIP0 : EIE0)) / 2) * 64) };
}

/** The files of one hart, in the order of their pages: supervisor, guest 1, guest 2, ... */
export class HartInterruptFiles {
  readonly files: InterruptFile[];

  constructor(guestFiles: number, identities: number, guestIdentities = identities, onPending?: PendingListener) {
    this.files = Array.from(
      { length: guestFiles + 1 },
      (_, number) => new InterruptFile(number === 0 ? identities : guestIdentities, onPending),
    );
  }

  get supervisor(): InterruptFile {
    return this.files[0];
  }

  /** The guest file with that number (VGEIN), undefined for 0 or one that is not there. */
  guest(number: number): InterruptFile | undefined {
    return number === 0 ? undefined : this.files[number];
  }

  /** hgeip: bit n set if guest file n raises its interrupt. */
  guestPending(): bigint {
    let bits = 0n;
    for (let n = 1; n < this.files.length; n++) if (this.files[n].raised()) bits |= 1n << BigInt(n);
    return bits;
  }

  save(): bigint[][] {
    return this.files.map((file) => file.save());
  }

  restore(saved: bigint[][]): void {
    saved.forEach((state, index) => this.files[index].restore(state));
  }
}

/**
 * Where the files lie: the same formula as the device tree's (riscv,imsics). Harts are in groups, each with a region of its own, and nothing in
 * between.
 */
export class Imsic {
  readonly base = 0x2800_0000;
  readonly guestIndexBits: number;
  readonly harts: HartInterruptFiles[];
  /** Highest identity of a supervisor file, and of a guest file. */
  readonly identities: number;
  readonly guestIdentities: number;
  readonly groups: number;
  /** One for each group. */
  readonly regions: { base: number; size: number }[];
  readonly #hartsOfGroup: number;
  /** Told of every change of what is pending in a file. */
  onPending: PendingListener | undefined;
  /** A message of a device arrives, whoever made the device send it. */
  fromDevice = false;

  constructor(harts: number, guestFiles: number, identities: number, guestIdentities = identities, groups = 1) {
    this.identities = identities;
    this.guestIdentities = guestIdentities;
    this.groups = groups;
    this.#hartsOfGroup = Math.ceil(harts / groups);
    this.guestIndexBits = Math.ceil(Math.log2(guestFiles + 1));
    this.harts = Array.from(
      { length: harts },
      () => new HartInterruptFiles(guestFiles, identities, guestIdentities, (...change) => this.onPending?.(...change)),
    );
    this.regions = Array.from({ length: groups }, (_, group) => ({
      base: this.base + group * 2 ** GROUP_SHIFT,
      size: Math.min(this.#hartsOfGroup, harts - group * this.#hartsOfGroup) * this.stride,
    }));
  }

  /** Bits of the hart's number in its group. */
  get hartIndexBits(): number {
    return Math.ceil(Math.log2(this.#hartsOfGroup));
  }

  /** Address of the page of file `number` of the hart in that place of the device tree. */
  pageOf(hart: number, number: number): number {
    const { base } = this.regions[Math.floor(hart / this.#hartsOfGroup)];
    return base + (hart % this.#hartsOfGroup) * this.stride + number * 4096;
  }

  /** Whether it is the address of a file's page, or of the place of a file that there is not. */
  covers(hpa: number): boolean {
    return this.regions.some(({ base, size }) => hpa >= base && hpa < base + size);
  }

  /** Bytes from one hart's files to the next one's. */
  get stride(): number {
    return 4096 << this.guestIndexBits;
  }

  /** A device's message with that identity, to file `number` of a hart; false if there is no such file. */
  message(hart: number, number: number, identity: number): boolean {
    const file = this.harts[hart]?.files[number];
    this.fromDevice = true;
    file?.setPending(identity);
    this.fromDevice = false;
    return file !== undefined;
  }

  /** A store to `offset` of the region of a group: seteipnum. Anything else is ignored. */
  write(group: number, offset: number, width: number, value: bigint): void {
    if (width !== 4) throw new MachineFault(`IMSIC: ${width}-byte store at offset ${hex(offset)}`);
    const files = this.harts[group * this.#hartsOfGroup + Math.floor(offset / this.stride)].files;
    const file = files.at(Math.floor((offset % this.stride) / 4096));
    const register = offset % 4096;
    if (register === 0) file?.setPending(Number(value));
    else if (register === 4) file?.setPending(swapBytes(Number(value)));
  }
}

/** Lowest bit of a group's number in the address of its files. */
export const GROUP_SHIFT = 24;

/** seteipnum_be takes the number with its bytes in the other order. */
function swapBytes(value: number): number {
  return ((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);
}
