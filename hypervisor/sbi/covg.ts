import { RequestKind } from "../../umode/request";
import { evidenceForKey, issuerChain } from "../attestation/evidence";
import { Hart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { lockOfVm } from "../memory/claims";
import { copyToVm } from "../memory/guest-access";
import { gpaRangeValid } from "../memory/gstage";
import { workBytes } from "../memory/page-list";
import { RegionType, addRegion, changeRegion } from "../memory/regions";
import { EXC_STORE_GUEST_PAGE } from "../riscv/csr";
import { write32, write64, write8, zeroBytes } from "../riscv/hw";
import { PAGE_SIZE } from "../riscv/pte";
import { allowInterrupt } from "../vm/external-line";
import { callAgain } from "../vm/call-again";
import { exitForwardedCall, exitNotification } from "../vm/exit";
import { MEASUREMENT_REGISTERS, STATIC_REGISTERS } from "../vm/measurement";
import { unlessMissing } from "../vm/missing-pages";
import { MEASUREMENT_SIZE } from "../vm/tvm-layout";
import { PendingExit, Vcpu } from "../vm/vcpu";
import { Vm, VmKind } from "../vm/vm";
import { FORMAT_ISSUER_CHAIN } from "./atst";
import { SBI_INVALID_ADDRESS, SBI_INVALID_PARAM, SBI_NOT_SUPPORTED, SBI_PENDING } from "./errors";
import { extendRegister, pcrOfRegister, readRegister, SECURITY_VERSION } from "./measurement-calls";

/** Function numbers of COVG. */
const enum Covg {
  AddMmioRegion = 0,
  RemoveMmioRegion = 1,
  ShareMemory = 2,
  UnshareMemory = 3,
  AllowExternalInterrupt = 4,
  DenyExternalInterrupt = 5,
  GetAttestationCapabilities = 6,
  ExtendMeasurement = 7,
  GetEvidence = 8,
  RetrieveSecret = 9,
  ReadMeasurement = 10,
}

/** Formats of evidence: bits of the capabilities (CoVE 0.7), and the certificates of the key that signs, in place of evidence. */
const FORMAT_CBOR: u64 = 1;
const FORMAT_X509: u64 = 2;

/**
 * What GetAttestationCapabilities writes (CoVE 0.7):
 *
 *     0 u64 security version   8 u32 hash   12 u32 formats   16 u8 initial registers   17 u8 runtime registers
 *     20  26 x { u32 hash, u32 type, u8 PCR }, 12 bytes each     332-335 zero
 */
const CAPABILITIES_SIZE: u64 = 336;
const DESCRIPTORS: u64 = 20;
const DESCRIPTOR_SIZE: u64 = 12;
const HASH_SHA384: u32 = 0;
const REGISTER_RUNTIME: u32 = 1;

/**
 * The guest side of CoVE, EID 0x434F5647, for TVMs only (CoVE 0.7 §9.6). Errors go to the guest without an exit to its host:
 * INVALID_PARAM length 0 or not in pages, or (share, unshare) a range that is not of the right kind, or (allow, deny) no such interrupt;
 * INVALID_ADDRESS misaligned, outside the address space, overlapping; FAILED too many regions.
 */
export function covgCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  if (caller.vm.kind != VmKind.Tvm || fid > <u64>Covg.ReadMeasurement) return SBI_NOT_SUPPORTED;
  if (fid >= <u64>Covg.GetAttestationCapabilities) return attestationCall(hart, caller, fid);
  const gpa = caller.a0;
  if (fid >= <u64>Covg.AllowExternalInterrupt) {
    const denied = fid == Covg.DenyExternalInterrupt;
    const result = allowInterrupt(hart.root, caller, gpa, !denied);
    if (result == 0) exitNotification(hart, caller, 1);
    return result;
  }
  const length = caller.a1;
  const bad = checkRange(caller.vm, gpa, length);
  if (bad != 0) return bad;
  switch (<u32>fid) {
    case Covg.AddMmioRegion:
      return changeMmio(hart, caller, gpa, length, true);
    case Covg.RemoveMmioRegion:
      return changeMmio(hart, caller, gpa, length, false);
    case Covg.ShareMemory:
      return beginShare(hart, caller, gpa, length, RegionType.Confidential, RegionType.ConfidentialRemovable);
    default:
      return beginShare(hart, caller, gpa, length, RegionType.Shared, RegionType.SharedRemovable);
  }
}

/**
 * COVG 6 to 10 (CoVE 0.7 §9.6): as ATST (sbi/atst.ts), with registers by their index. RetrieveSecret needs a TVM that was promoted in one step, which does not exist.
 *
 * INVALID_PARAM lengths, formats, register numbers, an output that is too short; INVALID_ADDRESS a buffer; FAILED the helper did not end by itself.
 */
function attestationCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  switch (<u32>fid) {
    case Covg.GetAttestationCapabilities:
      return getCapabilities(hart, caller, caller.a0, caller.a1);
    case Covg.ExtendMeasurement:
      return extendRegister(hart, caller, caller.a0, caller.a1, registerIndex(caller.a2), MEASUREMENT_SIZE);
    case Covg.GetEvidence:
      return getEvidence(hart, caller, caller.a3);
    case Covg.ReadMeasurement:
      return readRegister(caller, caller.a0, caller.a1, registerIndex(caller.a2));
    default:
      return SBI_NOT_SUPPORTED;
  }
}

/** GetEvidence(public key, its length, challenge of 64 bytes, format, output, its length). */
function getEvidence(hart: Hart, caller: Vcpu, format: u64): i64 {
  if (format == FORMAT_ISSUER_CHAIN) return issuerChain(hart, caller, caller.a4, caller.a5);
  if (format != FORMAT_CBOR && format != FORMAT_X509) return SBI_INVALID_PARAM;
  const kind = format == FORMAT_CBOR ? RequestKind.Token : RequestKind.KeyCertificate;
  return evidenceForKey(hart, caller, kind, caller.a0, caller.a1, caller.a2, caller.a4, caller.a5);
}

function registerIndex(index: u64): u32 {
  return <u32>min<u64>(index, <u64>MEASUREMENT_REGISTERS);
}

function getCapabilities(hart: Hart, caller: Vcpu, gpa: u64, length: u64): i64 {
  if (length < CAPABILITIES_SIZE) return SBI_INVALID_PARAM;
  const at = <u64>workBytes(hart);
  zeroBytes(at, CAPABILITIES_SIZE);
  write64(at, SECURITY_VERSION);
  write32(at + 8, HASH_SHA384);
  write32(at + 12, <u32>(FORMAT_CBOR | FORMAT_X509));
  write8(at + 16, STATIC_REGISTERS);
  write8(at + 17, MEASUREMENT_REGISTERS - STATIC_REGISTERS);
  for (let index: u32 = 0; index < MEASUREMENT_REGISTERS; index++) {
    const descriptor = at + DESCRIPTORS + DESCRIPTOR_SIZE * <u64>index;
    write32(descriptor, HASH_SHA384);
    write32(descriptor + 4, index < STATIC_REGISTERS ? 0 : REGISTER_RUNTIME);
    write8(descriptor + 8, pcrOfRegister(index));
  }
  const copied = copyToVm(caller.vm, gpa, <usize>at, CAPABILITIES_SIZE);
  return unlessMissing(hart, caller, copied, gpa, CAPABILITIES_SIZE, EXC_STORE_GUEST_PAGE);
}

function checkRange(vm: Vm, gpa: u64, length: u64): i64 {
  if (length == 0 || (length & (PAGE_SIZE - 1)) != 0) return SBI_INVALID_PARAM;
  if ((gpa & (PAGE_SIZE - 1)) != 0 || !gpaRangeValid(vm, gpa, length)) return SBI_INVALID_ADDRESS;
  return 0;
}

/** COVG 0 and 1: takes effect at once; the host is told by an exit that it cannot refuse. */
function changeMmio(hart: Hart, caller: Vcpu, gpa: u64, length: u64, add: bool): i64 {
  const vm = caller.vm;
  lockAcquire(lockOfVm(vm));
  if (vm.inRangeCall != 0) {
    lockRelease(lockOfVm(vm));
    return callAgain();
  }
  const result = add
    ? addRegion(vm, gpa, length, RegionType.Mmio)
    : changeRegion(vm, gpa, length, RegionType.Mmio, RegionType.None);
  lockRelease(lockOfVm(vm));
  if (result == 0) exitNotification(hart, caller);
  return result;
}

/** COVG 2 and 3: the host may remove the range's pages from now on; vm/share.ts completes the call when it runs the vCPU again. */
function beginShare(hart: Hart, caller: Vcpu, gpa: u64, length: u64, from: u32, removable: u32): i64 {
  const vm = caller.vm;
  lockAcquire(lockOfVm(vm));
  if (vm.inRangeCall != 0) {
    lockRelease(lockOfVm(vm));
    return callAgain();
  }
  const changed = changeRegion(vm, gpa, length, from, removable);
  lockRelease(lockOfVm(vm));
  // The standard has INVALID_PARAM for a range that is not wholly of the kind.
  if (changed == SBI_INVALID_ADDRESS) return SBI_INVALID_PARAM;
  if (changed != 0) return changed;
  caller.pendingGpa = gpa;
  caller.pendingLength = length;
  caller.pendingChecked = gpa;
  exitForwardedCall(
    hart,
    caller,
    from == RegionType.Confidential ? PendingExit.ShareMemory : PendingExit.UnshareMemory,
  );
  return SBI_PENDING;
}
