import { SHA384_DIGEST_SIZE, Sha512State, sha384Init, sha512Final, sha512Update } from "../../crypto/sha512";
import { thisHart } from "../hart";
import { PAGE_SIZE } from "../riscv/pte";
import { copyBytes, write64 } from "../riscv/hw";
import { hashVariant } from "./hash-variant";
import { MEASUREMENT_SIZE } from "./tvm-layout";
import { Vm } from "./vm";

/**
 * Measurement registers of a TVM: SHA-384, extended by d := SHA-384(d || data).
 * Register 2 holds the pages that the TVM starts with, register 3 its configuration (entry point and argument).
 */
export const enum Measurement {
  Pages = 2,
  Configuration = 3,
}

export const MEASUREMENT_REGISTERS: u32 = 8;

// @ts-ignore: decorator
@inline
function registerAddress(vm: Vm, index: u32): usize {
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
