import { csrRead, csrSwap, csrWrite } from "../lib/hw";
import {
  bindImsic,
  convertImsic,
  reclaimImsic,
  setImsicAddress,
  tvmAiaInit,
  TVM_AIA_PARAMS_SIZE,
  writeAiaParams,
} from "../lib/covi";
import { checkSuccess } from "../lib/protocol";
import { PAGE_SIZE } from "../lib/records";
import { EID_COVI, probeExtension } from "../lib/sbi";
import { bootArgument, GUEST_DATA_PAGES, GUEST_IMSIC, GUEST_RAM_START } from "../lib/tvm-map";
import { HGEIE } from "../../hypervisor/riscv/csr";
import { fenceAllHarts } from "./fences";
import { interruptFile } from "./imsic";
import { parameterBuffer, state } from "./state";
import { Tvm } from "./tvm";
import { createTvm, guestImage, layOutTvm, loadAndFinalize, POOL_PAGES, releaseTvm } from "./tvm-builder";

/** The guest interrupt files of tellus' harts, and TVMs whose vCPUs use them. */

/** Bits of a hart number in the address of a vCPU's interrupt file: those of the original's TVM. */
export const GUEST_HART_BITS: u32 = 8;
export const GUEST_GROUP_SHIFT: u32 = 24;

/** Number of guest interrupt files of each hart, as hgeie says; leaves hgeie 0. */
export function guestFileCount(): u64 {
  csrWrite(HGEIE, ~(<u64>0));
  return popcnt<u64>(csrSwap(HGEIE, 0));
}

/** True if tellus can give `count` files of each hart to TVMs. */
export function hasGuestFiles(count: u64): bool {
  return probeExtension(EID_COVI) > 0 && guestFileCount() >= count;
}

/** Page of guest file `file` of hart `index`. */
export function guestFile(index: u64, file: u64): u64 {
  return interruptFile(index) + file * PAGE_SIZE;
}

/** Converts and fences guest file `file` of hart `index`. */
export function takeFile(index: u64, file: u64): bool {
  return checkSuccess(convertImsic(guestFile(index, file)), "ConvertImsic") && fenceAllHarts();
}

export function giveFileBack(index: u64, file: u64): bool {
  return checkSuccess(reclaimImsic(guestFile(index, file)), "ReclaimImsic");
}

/** TvmAiaInit and SetImsicAddress as the original does them: vCPU n has its file at GUEST_IMSIC + n pages. */
export function giveInterruptFiles(tvm: Tvm): bool {
  const params = parameterBuffer();
  writeAiaParams(params, GUEST_IMSIC, 0, GUEST_GROUP_SHIFT, GUEST_HART_BITS, 0);
  let ok = checkSuccess(tvmAiaInit(tvm.id, params, TVM_AIA_PARAMS_SIZE), "TvmAiaInit");
  for (let vcpu: u64 = 0; vcpu < tvm.vcpuCount; vcpu++) {
    ok = checkSuccess(setImsicAddress(tvm.id, vcpu, GUEST_IMSIC + vcpu * PAGE_SIZE), "SetImsicAddress") && ok;
  }
  return ok;
}

/** A finalized TVM with the guest image, one of its scenarios, and interrupt files, none bound. Check `tvm.id`. */
export function buildGuestWithFiles(scenario: u64, parameter: u64, vcpus: u64): Tvm {
  const tvm = layOutTvm(vcpus, GUEST_DATA_PAGES, POOL_PAGES);
  const argument = bootArgument(scenario, parameter, state().hasVectors != 0);
  const built =
    createTvm(tvm) && giveInterruptFiles(tvm) && loadAndFinalize(tvm, guestImage(), GUEST_RAM_START, argument);
  if (!built) releaseTvm(tvm);
  return tvm;
}

/** Takes guest file `file` of this hart and binds `vcpu` to it. */
export function bindFile(tvm: Tvm, vcpu: u64, index: u64, file: u64): bool {
  return takeFile(index, file) && checkSuccess(bindImsic(tvm.id, vcpu, (<u64>1) << file), "BindImsic");
}

/** hgeie as this VM has it. */
export function watchedFiles(): u64 {
  return csrRead(HGEIE);
}
