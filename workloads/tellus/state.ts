import { NACL_PAGES, naclRegister } from "../lib/nacl";
import { PAGE_SIZE, TestHart, thisHart, thisVm } from "../lib/records";

/** What tellus knows about its machine and the TSM: one record, filled on the boot hart, constant afterwards. */
@unmanaged
export class TellusState {
  fdt: u64;
  fdtEnd: u64;
  /** RAM of the device tree, and what lies in it that must not be used. Arrays of Range. */
  ramCount: u32;
  holeCount: u32;
  /** Number of harts that the device tree names. */
  hartCount: u64;
  /** u64 hart ids, in device-tree order. */
  hartIds: usize;
  timebase: u64;
  hasVectors: u32;
  hasStimecmp: u32;
  /** 1 if the senvcfg CSR exists. */
  hasEnvironment: u32;
  /** ResetTest, from the boot arguments. */
  resetTest: u32;
  /** NONCE_BYTES for the guest's evidence, 0 if nobody asked. */
  nonce: u64;
  /** u64 addresses of the harts' interrupt files, in device-tree order; 0 without an IMSIC. */
  interruptFiles: usize;
  /** Code of a single ecall (secret-run.ts), 0 until it is made. */
  runCall: u64;
  /** NACL_PAGES for each hart, by index. */
  naclAreas: u64;

  // ---- TsmGetInfo
  tvmStatePages: u64;
  vcpuStatePages: u64;
  maxVcpus: u64;

  /** RAM range `index`. */
  ram(index: u32): Range {
    return changetype<Range>(changetype<usize>(this) + RAM_OFFSET + ((<usize>index) << 4));
  }

  /** Hole `index`: reserved memory, the images, the device tree. */
  hole(index: u32): Range {
    return changetype<Range>(changetype<usize>(this) + HOLE_OFFSET + ((<usize>index) << 4));
  }
}

/** The reset test that the boot arguments ask for. */
export const enum ResetTest {
  None = 0,
  /** tellus resets the machine. */
  Own = 1,
  /** Somebody else resets it. */
  Await = 2,
}

/** [start, end) in guest physical addresses of this VM. */
@unmanaged
export class Range {
  start: u64;
  end: u64;
}

const RAM_OFFSET: usize = 256;
export const MAX_RAM_RANGES: u32 = 16;
const HOLE_OFFSET: usize = 512;
export const MAX_HOLES: u32 = 32;

/** What one hart of tellus saw when a vCPU last exited on it. */
@unmanaged
export class Exit {
  /** sbiret.error of the run, 0 if the vCPU ran. */
  error: i64;
  /** 1 if the vCPU is off now. */
  terminated: u64;
  cause: u64;
  value: u64;
  htval: u64;
  htinst: u64;
  /** Guest physical address of a guest page fault. */
  gpa: u64;
  /** Runs on this hart so far. */
  count: u64;
}

/** The record of the machine. */
export function state(): TellusState {
  return changetype<TellusState>(thisVm().program);
}

/** The last exit on this hart. */
export function lastExit(): Exit {
  return changetype<Exit>(thisHart().program);
}

/** This hart's own pages for NACL shared memory. */
export function naclArea(): u64 {
  return state().naclAreas + thisHart().index * NACL_PAGES * PAGE_SIZE;
}

/** Registers this hart's NACL shared memory unless it has some. */
export function ensureNacl(): i64 {
  return thisHart().nacl != 0 ? 0 : naclRegister(naclArea());
}

/** Memory for SBI parameters, 128 bytes for each hart. */
export function parameterBuffer(): u64 {
  return <u64>thisHart().program + 128;
}

/** The record of hart `index` of this VM. */
export function hartAt(index: u64): TestHart {
  return thisVm().hart(index);
}

/** Number of harts that were started. */
export function hartCount(): u64 {
  return <u64>thisVm().hartCount;
}
