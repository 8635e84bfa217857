import { Sha512State, sha512Final, sha512Init, sha512Update } from "../../crypto/sha512";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { copyBytes, loadAcquire32, write8, zeroBytes } from "../riscv/hw";
import { Root } from "../root";
import { Measurement, registerAddress } from "../vm/measurement";
import { MEASUREMENT_SIZE } from "../vm/tvm-layout";
import { Vm } from "../vm/vm";
import { CDI_SIZE, derive, SCRATCH_BYTES } from "./kdf";
import { completeLayer, Layer } from "./layer";
import { isDevelopment, platformLayer } from "./platform";

/**
 * The layer of a VM: its CDIs follow from the platform's and from what it started as, so another image, configuration or hypervisor has other keys. Made when it
 * is first asked for; the TVM's page keeps it.
 */

// Places in the scratch memory: the inputs (257 bytes), their digest, a hash state.
const INPUTS: u64 = 512;
const SALT: u64 = 832;
const STATE: u64 = 1024;
const HASH: u64 = 64;
const CODE: u64 = INPUTS;
const CONFIGURATION: u64 = INPUTS + HASH;
const MODE: u64 = INPUTS + 3 * HASH;
const INPUT_BYTES: u64 = 4 * HASH + 1;
const MODE_NORMAL: u32 = 1;
const MODE_DEBUG: u32 = 2;

/** Whether the key of `vm` is there. Any hart. */
export function isVmReady(vm: Vm): bool {
  return loadAcquire32(changetype<Layer>(vm.layer).readyAddress()) != 0;
}

/** The layer of `vm`, whose start is over. Any hart. */
export function vmLayer(root: Root, vm: Vm, scratch: u64): Layer {
  const layer = changetype<Layer>(vm.layer);
  if (loadAcquire32(layer.readyAddress()) != 0) return layer;
  const platform = platformLayer(root, scratch);
  const lock = changetype<usize>(vm) + offsetof<Vm>("layerLock");
  // Some hundred microseconds, once in the life of a VM; only its own vCPUs ever wait.
  lockAcquire(lock);
  if (layer.ready == 0) {
    inputs(root, vm, scratch, true);
    derive(layer.attestation(), CDI_SIZE, platform.attestation(), CDI_SIZE, scratch + SALT, "CDI_Attest", scratch);
    inputs(root, vm, scratch, false);
    derive(layer.sealing(), CDI_SIZE, platform.sealing(), CDI_SIZE, scratch + SALT, "CDI_Seal", scratch);
    completeLayer(layer, scratch);
  }
  lockRelease(lock);
  zeroBytes(scratch, SCRATCH_BYTES);
  return layer;
}

/** SHA-512 of the DICE inputs into the salt. What a VM may be configured to without losing its sealed data is not part of its sealing inputs. */
function inputs(root: Root, vm: Vm, scratch: u64, attestation: bool): void {
  zeroBytes(scratch + INPUTS, INPUT_BYTES);
  hashRegisters(vm, Measurement.Platform, Measurement.Pages, scratch, CODE);
  const platform = attestation ? Measurement.PlatformConfiguration : Measurement.Configuration;
  hashRegisters(vm, platform, Measurement.Configuration, scratch, CONFIGURATION);
  write8(scratch + MODE, isDevelopment(root) ? MODE_DEBUG : MODE_NORMAL);
  const state = changetype<Sha512State>(<usize>(scratch + STATE));
  sha512Init(state);
  sha512Update(state, <usize>(scratch + INPUTS), INPUT_BYTES);
  sha512Final(state, <usize>(scratch + SALT));
}

/** SHA-512 over registers `first` and `second` (over one if they are the same) to `offset` of the scratch memory. */
function hashRegisters(vm: Vm, first: u32, second: u32, scratch: u64, offset: u64): void {
  const state = changetype<Sha512State>(<usize>(scratch + STATE));
  const copy = scratch + SALT;
  sha512Init(state);
  if (first != second) {
    copyBytes(copy, <u64>registerAddress(vm, first), MEASUREMENT_SIZE);
    sha512Update(state, <usize>copy, MEASUREMENT_SIZE);
  }
  copyBytes(copy, <u64>registerAddress(vm, second), MEASUREMENT_SIZE);
  sha512Update(state, <usize>copy, MEASUREMENT_SIZE);
  sha512Final(state, <usize>(scratch + offset));
}
