import { SHA384_DIGEST_SIZE, Sha512State, sha384Init, sha512Final, sha512Update } from "../../crypto/sha512";
import { thisHart } from "../hart";
import { PAGE_SIZE } from "../riscv/pte";
import { copyBytes, write64 } from "../riscv/hw";
import { region } from "../memory/regions";
import { hashVariant } from "./hash-variant";
import { MEASUREMENT_SIZE } from "./tvm-layout";
import { Vm } from "./vm";

/**
 * Measurement registers of a VM: SHA-384, extended by d := SHA-384(d || data). docs/evidence.md says what goes into each. 0 to 3 are static: they
 * say what the VM started as. 4 to 7 are the guest's own.
 */
export const enum Measurement {
  Platform = 0,
  PlatformConfiguration = 1,
  Pages = 2,
  Configuration = 3,
  Runtime = 4,
}

export const MEASUREMENT_REGISTERS: u32 = 8;
export const STATIC_REGISTERS: u32 = 4;
/** What ATST hashes of a digest: that, and zeros (sbi/atst.ts). */
export const PADDED_DIGEST: u64 = 64;

/** Registers 0 and 1 of a new VM are the platform's, 48 bytes each at `platform`. */
export function beginMeasurements(vm: Vm, platform: usize): void {
  copyBytes(registerAddress(vm, Measurement.Platform), platform, 2 * MEASUREMENT_SIZE);
}

/** Address of register `index` < MEASUREMENT_REGISTERS. */
// @ts-ignore: decorator
@inline
export function registerAddress(vm: Vm, index: u32): usize {
  return vm.measurements + <usize>index * MEASUREMENT_SIZE;
}

/** Extends `Pages` by the page at `hpa` that the TVM sees at `gpa`: d := SHA-384(d || gpa as LE64 || page). `scratch`: one work page. */
export function measurePage(vm: Vm, hpa: u64, gpa: u64, scratch: usize): void {
  const state = begin(vm, Measurement.Pages, scratch);
  const word = scratch + offsetof<Sha512State>();
  write64(word, gpa);
  sha512Update(state, word, 8);
  sha512Update(state, <usize>hpa, PAGE_SIZE);
  end(vm, Measurement.Pages, state, scratch);
}

/** Extends `Configuration` by one word (LE64). */
export function measureWord(vm: Vm, value: u64, scratch: usize): void {
  const state = begin(vm, Measurement.Configuration, scratch);
  const word = scratch + offsetof<Sha512State>();
  write64(word, value);
  sha512Update(state, word, 8);
  end(vm, Measurement.Configuration, state, scratch);
}

/** Extends register `index` by `length` bytes at `data`, memory of ours. `scratch`: one work page. Caller holds the VM's lock. */
export function extendMeasurement(vm: Vm, index: u32, data: u64, length: u64, scratch: usize): void {
  const state = begin(vm, index, scratch);
  sha512Update(state, <usize>data, length);
  end(vm, index, state, scratch);
}

/** Extends `Configuration` by the layout of the TVM: its regions and its vCPUs, in one message of LE64 words. */
export function measureLayout(vm: Vm, scratch: usize): void {
  const state = begin(vm, Measurement.Configuration, scratch);
  const word = scratch + offsetof<Sha512State>();
  putWord(state, word, <u64>vm.regionCount);
  for (let i: u32 = 0; i < vm.regionCount; i++) {
    const found = region(vm, i);
    putWord(state, word, found.start);
    putWord(state, word, found.end);
    putWord(state, word, found.type);
  }
  putWord(state, word, <u64>vm.vcpuCount);
  for (let id: u64 = 0; id < <u64>vm.maxVcpus; id++) if (vm.vcpu(id) != null) putWord(state, word, id);
  end(vm, Measurement.Configuration, state, scratch);
}

// @ts-ignore: decorator
@inline
function putWord(state: Sha512State, word: usize, value: u64): void {
  write64(word, value);
  sha512Update(state, word, 8);
}

function begin(vm: Vm, index: u32, scratch: usize): Sha512State {
  const state = changetype<Sha512State>(scratch);
  sha384Init(state);
  state.variant = hashVariant(thisHart().root.features);
  sha512Update(state, registerAddress(vm, index), SHA384_DIGEST_SIZE);
  return state;
}

function end(vm: Vm, index: u32, state: Sha512State, scratch: usize): void {
  const digest = scratch + offsetof<Sha512State>() + 64;
  sha512Final(state, digest);
  copyBytes(registerAddress(vm, index), digest, SHA384_DIGEST_SIZE);
}
