import { Layer } from "../attestation/layer";
import { Region } from "../memory/regions";
import { PAGE_SIZE } from "../riscv/pte";
import { Vm } from "./vm";

/**
 * How the state pages that a parent donates for a TVM are used:
 *
 *     page 0       Vm record | vCPU pointers (128 x 8) | measurement registers (8 x 48) | DICE layer
 *     page 1       regions (128 x 24)
 */
export const TVM_STATE_PAGES: u64 = 2;
/** vCPUs that a TVM may have. */
export const MAX_VCPUS: u32 = 128;

const VCPU_TABLE_OFFSET: usize = 1024;
const MEASUREMENTS_OFFSET: usize = VCPU_TABLE_OFFSET + 128 * 8;
/** Bytes of one measurement register (SHA-384). */
export const MEASUREMENT_SIZE: usize = 48;

const LAYER_OFFSET: usize = MEASUREMENTS_OFFSET + 8 * 48;

/** Points the record's tables into its zeroed state pages at `hpa`, and returns it. */
export function layOutTvm(hpa: u64): Vm {
  const base = <usize>hpa;
  const vm = changetype<Vm>(base);
  vm.vcpus = base + VCPU_TABLE_OFFSET;
  vm.maxVcpus = MAX_VCPUS;
  vm.measurements = base + MEASUREMENTS_OFFSET;
  vm.layer = base + LAYER_OFFSET;
  vm.regions = base + <usize>PAGE_SIZE;
  vm.statePage = hpa;
  vm.statePages = TVM_STATE_PAGES;
  assert(offsetof<Vm>() <= VCPU_TABLE_OFFSET, "the VM record outgrew its place");
  assert(LAYER_OFFSET + offsetof<Layer>() <= <usize>PAGE_SIZE, "the DICE layer outgrew its place");
  assert(offsetof<Region>() * 128 <= <usize>PAGE_SIZE, "the regions outgrew their page");
  return vm;
}
