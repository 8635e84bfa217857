import { Hart } from "../hart";
import { Vcpu } from "../vm/vcpu";
import { VmKind } from "../vm/vm";
import { hasCovi } from "./covi";
import { SBI_NOT_SUPPORTED, SBI_PENDING } from "./errors";
import {
  EID_ATST,
  EID_BASE,
  EID_COVG,
  EID_COVH,
  EID_COVI,
  EID_DBCN,
  EID_HSM,
  EID_IPI,
  EID_LEGACY_GETCHAR,
  EID_LEGACY_PUTCHAR,
  EID_NACL,
  EID_PMU,
  EID_RFENCE,
  EID_SRST,
  EID_TIME,
} from "./extensions";
import { hasPmu } from "./pmu";

/** Function numbers of Base. */
export const BASE_GET_SPEC_VERSION: u64 = 0;
const enum Base {
  GetSpecVersion = 0,
  GetImplementationId = 1,
  GetImplementationVersion = 2,
  ProbeExtension = 3,
  GetVendorId = 4,
  GetArchitectureId = 5,
  GetImplementationIdOfHart = 6,
}

/** SBI 2.0: what the extensions below follow. */
export const SPEC_VERSION: u64 = 2 << 24;
/** Nobody's number in the SBI's list (the original's 7 is Xen's now): "SALU". */
const IMPLEMENTATION_ID: u64 = 0x53414c55;
/** 0.1.0, as 8-bit parts. */
const IMPLEMENTATION_VERSION: u64 = 0x000100;

/** Base extension, EID 0x10 (SBI 3.0 chapter 4). Never fails but for an unknown function. */
export function baseCall(hart: Hart, vcpu: Vcpu, fid: u64): i64 {
  if (fid > <u64>Base.GetImplementationIdOfHart) return SBI_NOT_SUPPORTED;
  switch (<u32>fid) {
    case Base.GetSpecVersion:
      return SPEC_VERSION;
    case Base.GetImplementationId:
      return IMPLEMENTATION_ID;
    case Base.GetImplementationVersion:
      return IMPLEMENTATION_VERSION;
    case Base.ProbeExtension:
      return probe(hart, vcpu);
    case Base.GetVendorId:
      return answerRaw(vcpu, hart.vendorId);
    case Base.GetArchitectureId:
      return answerRaw(vcpu, hart.architectureId);
    default:
      return answerRaw(vcpu, hart.implementationId);
  }
}

/** Answers with any 64-bit value: that of a commercial marchid has its highest bit set, and is no error. */
function answerRaw(vcpu: Vcpu, value: u64): i64 {
  vcpu.a0 = 0;
  vcpu.a1 = value;
  return SBI_PENDING;
}

/** 1 for an extension that this VM can call, else 0. */
function probe(hart: Hart, vcpu: Vcpu): i64 {
  const extension = vcpu.a0;
  if (extension >> 32 != 0) return 0;
  switch (<u32>extension) {
    case EID_LEGACY_PUTCHAR:
    case EID_LEGACY_GETCHAR:
    case EID_BASE:
    case EID_TIME:
    case EID_IPI:
    case EID_RFENCE:
    case EID_HSM:
    case EID_SRST:
    case EID_DBCN:
    case EID_NACL:
    case EID_ATST:
    case EID_COVH:
      return 1;
    case EID_PMU:
      return hasPmu(hart) ? 1 : 0;
    case EID_COVI:
      return hasCovi(hart, vcpu) ? 1 : 0;
    case EID_COVG:
      return vcpu.vm.kind == VmKind.Tvm ? 1 : 0;
    default:
      return 0;
  }
}
