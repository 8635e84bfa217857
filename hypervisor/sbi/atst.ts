import { certificateForCsr, issuerChain } from "../attestation/evidence";
import { Hart } from "../hart";
import { copyToVm } from "../memory/guest-access";
import { workBytes } from "../memory/page-list";
import { EXC_STORE_GUEST_PAGE } from "../riscv/csr";
import { write64, write8, zeroBytes } from "../riscv/hw";
import { MEASUREMENT_REGISTERS, PADDED_DIGEST, STATIC_REGISTERS } from "../vm/measurement";
import { unlessMissing } from "../vm/missing-pages";
import { Vcpu } from "../vm/vcpu";
import { SBI_INVALID_PARAM, SBI_NOT_SUPPORTED } from "./errors";
import { extendRegister, pcrOfRegister, readRegister, SECURITY_VERSION } from "./measurement-calls";

/** Function numbers of ATST. */
const enum Atst {
  GetCapabilities = 0,
  GetEvidence = 1,
  ExtendMeasurement = 2,
  ReadMeasurement = 3,
}

/**
 * What GetCapabilities writes:
 *
 *     0 u64 security version   8 u8 hash   9 u8 evidence formats   10 u8 static registers   11 u8 runtime registers
 *     12  32 x { u8 TCB layer, u8 index, u8 PCR, u8 runtime }     140-143 zero
 */
const CAPABILITIES_SIZE: u64 = 144;
const DESCRIPTORS: u64 = 12;
const HASH_SHA384: u32 = 1;
/** In the set of formats; callers name it by its bit number, 0, or by this. */
export const FORMAT_DICE_TCB_INFO: u64 = 1;
/** The certificates of the key that signs evidence, in place of evidence. */
export const FORMAT_ISSUER_CHAIN: u64 = 16;

/** Registers are named by their PCR numbers: 0-3 static, 17-20 runtime. */
const NO_REGISTER: u32 = ~0;

/**
 * Attestation as callers of the original Salus know it, EID 0x41545354, for host and TVMs.
 *
 * Errors: INVALID_PARAM lengths, formats, register numbers, a static register, a CSR that is none, an output that is too short;
 * INVALID_ADDRESS a buffer; FAILED the helper did not end by itself.
 */
export function atstCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  if (fid > <u64>Atst.ReadMeasurement) return SBI_NOT_SUPPORTED;
  switch (<u32>fid) {
    case Atst.GetCapabilities:
      return getCapabilities(hart, caller, caller.a0, caller.a1);
    case Atst.GetEvidence:
      if (caller.a3 == FORMAT_ISSUER_CHAIN) return issuerChain(hart, caller, caller.a4, caller.a5);
      if (caller.a3 > FORMAT_DICE_TCB_INFO) return SBI_INVALID_PARAM;
      return certificateForCsr(hart, caller, caller.a0, caller.a1, caller.a2, caller.a4, caller.a5);
    case Atst.ExtendMeasurement:
      // A digest of 48 bytes is hashed with 16 zero bytes behind it: what callers expect depends on it.
      return extendRegister(hart, caller, caller.a0, caller.a1, indexOfPcr(caller.a2), PADDED_DIGEST);
    default:
      return readRegister(caller, caller.a0, caller.a1, indexOfPcr(caller.a2));
  }
}

function indexOfPcr(pcr: u64): u32 {
  for (let index: u32 = 0; index < MEASUREMENT_REGISTERS; index++) {
    if (<u64>pcrOfRegister(index) == pcr) return index;
  }
  return NO_REGISTER;
}

function getCapabilities(hart: Hart, caller: Vcpu, gpa: u64, length: u64): i64 {
  if (length < CAPABILITIES_SIZE) return SBI_INVALID_PARAM;
  const at = <u64>workBytes(hart);
  zeroBytes(at, CAPABILITIES_SIZE);
  write64(at, SECURITY_VERSION);
  write8(at + 8, HASH_SHA384);
  write8(at + 9, <u32>FORMAT_DICE_TCB_INFO);
  write8(at + 10, STATIC_REGISTERS);
  write8(at + 11, MEASUREMENT_REGISTERS - STATIC_REGISTERS);
  for (let index: u32 = 0; index < MEASUREMENT_REGISTERS; index++) {
    const descriptor = at + DESCRIPTORS + 4 * <u64>index;
    write8(descriptor + 1, index);
    write8(descriptor + 2, pcrOfRegister(index));
    write8(descriptor + 3, index < STATIC_REGISTERS ? 0 : 1);
  }
  const copied = copyToVm(caller.vm, gpa, <usize>at, CAPABILITIES_SIZE);
  return unlessMissing(hart, caller, copied, gpa, CAPABILITIES_SIZE, EXC_STORE_GUEST_PAGE);
}
