import { createHash } from "node:crypto";

/** The measurement registers of a TVM, computed from what went into it (docs/evidence.md, hypervisor/vm/measurement.ts). */

export const DIGEST_SIZE = 48;
export const PAGE_SIZE = 4096;
export const REGISTERS = 8;

/** Bits of the flags in register 1. */
export const CONFIGURATION_DEVELOPMENT_ROOT = 1n;
export const CONFIGURATION_RECORDING = 2n;

/** A register: 48 zero bytes, extended by d := SHA-384(d || data). */
export class MeasurementRegister {
  value: Buffer = Buffer.alloc(DIGEST_SIZE);

  extend(...data: Uint8Array[]): this {
    const hash = createHash("sha384").update(this.value);
    for (const part of data) hash.update(part);
    this.value = hash.digest();
    return this;
  }
}

/** Little-endian words of 64 bits. */
export function words(...values: (bigint | number)[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  values.forEach((value, index) => bytes.writeBigUInt64LE(BigInt(value), 8 * index));
  return bytes;
}

/** Bytes that a host puts at `gpa` (page-aligned), in 4 KiB pages, the rest of the last page zero. */
export interface MeasuredRange {
  gpa: bigint;
  bytes: Uint8Array;
  /** Pages that are measured, if they are more than the bytes need. */
  pages?: number;
}

/** Register 2: the pages, in the order in which the host adds them. */
export function pagesRegister(ranges: Iterable<MeasuredRange>): Buffer {
  const register = new MeasurementRegister();
  for (const { gpa, bytes, pages } of ranges) {
    const count = Math.max(pages ?? 0, Math.ceil(bytes.length / PAGE_SIZE));
    for (let index = 0; index < count; index++) {
      const page = Buffer.alloc(PAGE_SIZE);
      page.set(bytes.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE));
      register.extend(words(gpa + BigInt(index * PAGE_SIZE)), page);
    }
  }
  return register.value;
}

export const REGION_CONFIDENTIAL = 1;
export const REGION_INTERRUPT_FILES = 4;

export interface MeasuredRegion {
  start: bigint;
  end: bigint;
  type: number;
}

/** The parameters of TvmInitialize of COVI, and the file of each vCPU. */
export interface MeasuredInterruptFiles {
  base: bigint;
  groupBits: number;
  groupShift: number;
  hartBits: number;
  guestBits: number;
  files: { vcpu: number; address: bigint }[];
}

export interface Configuration {
  entry: bigint;
  argument: bigint;
  interruptFiles?: MeasuredInterruptFiles;
  regions: MeasuredRegion[];
  vcpus: number[];
}

/** Register 3: everything else that decides what a TVM is. */
export function configurationRegister(configuration: Configuration): Buffer {
  const register = new MeasurementRegister();
  register.extend(words(configuration.entry)).extend(words(configuration.argument));
  const files = configuration.interruptFiles;
  if (files) {
    register.extend(words(files.base));
    register.extend(words(BigInt(files.groupBits) | (BigInt(files.groupShift) << 32n)));
    register.extend(words(BigInt(files.hartBits) | (BigInt(files.guestBits) << 32n)));
    for (const { vcpu, address } of files.files) register.extend(words(vcpu)).extend(words(address));
  }
  const regions = mergedRegions(configuration.regions);
  const vcpus = [...configuration.vcpus].sort((a, b) => a - b);
  const layout = [regions.length, ...regions.flatMap(({ start, end, type }) => [start, end, type])];
  register.extend(words(...layout, vcpus.length, ...vcpus));
  return register.value;
}

/** Regions by address; neighbours of one type are one. */
function mergedRegions(regions: readonly MeasuredRegion[]): MeasuredRegion[] {
  const merged: MeasuredRegion[] = [];
  for (const region of [...regions].sort((a, b) => (a.start < b.start ? -1 : 1))) {
    const last = merged.at(-1);
    if (last && last.end === region.start && last.type === region.type) last.end = region.end;
    else merged.push({ ...region });
  }
  return merged;
}

/** Register 0: the hypervisor's own code and constants (`platformImage`). */
export function platformRegister(image: Uint8Array): Buffer {
  return new MeasurementRegister().extend(createHash("sha384").update(image).digest()).value;
}

/** Register 1. */
export function platformConfigurationRegister(flags: bigint, features: bigint): Buffer {
  return new MeasurementRegister().extend(words(flags, features)).value;
}

const ELF_MAGIC = 0x7f454c46;
const PT_LOAD = 1;
const PF_W = 2;

/**
 * What register 0 and a handover's code hash are about: text and constants of the hypervisor's ELF, one after the other.
 *
 * @throws RangeError if that is no 64-bit ELF file
 */
export function platformImage(elf: Uint8Array): Buffer {
  const file = Buffer.from(elf.buffer, elf.byteOffset, elf.byteLength);
  if (file.length < 64 || file.readUInt32BE(0) !== ELF_MAGIC || file[4] !== 2 || file[5] !== 1) {
    throw new RangeError("not a 64-bit little-endian ELF file");
  }
  const headers = Number(file.readBigUInt64LE(32));
  const size = file.readUInt16LE(54);
  const parts: Buffer[] = [];
  for (let index = 0; index < file.readUInt16LE(56); index++) {
    const at = headers + index * size;
    if (file.readUInt32LE(at) !== PT_LOAD || (file.readUInt32LE(at + 4) & PF_W) !== 0) continue;
    const offset = Number(file.readBigUInt64LE(at + 8));
    parts.push(file.subarray(offset, offset + Number(file.readBigUInt64LE(at + 32))));
  }
  return Buffer.concat(parts);
}
