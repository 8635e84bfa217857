import { Hart } from "../hart";
import { SEPC } from "../riscv/csr";
import { csrRead, csrWrite } from "../riscv/hw";
import { Vcpu } from "../vm/vcpu";
import { VmKind } from "../vm/vm";
import { atstCall } from "./atst";
import { BASE_GET_SPEC_VERSION, SPEC_VERSION, baseCall } from "./base";
import { covgCall } from "./covg";
import { Covh, covhCall, tvmCpuRun } from "./covh";
import { coviCall } from "./covi";
import { dbcnCall } from "./dbcn";
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
import { hsmCall } from "./hsm";
import { ipiCall } from "./ipi";
import { legacyGetchar, legacyPutchar } from "./legacy";
import { naclCall } from "./nacl";
import { pmuCall } from "./pmu";
import { rfenceCall } from "./rfence";
import { srstCall } from "./srst";
import { timeCall } from "./time";

const ECALL_LENGTH: u64 = 4;

/**
 * An ecall of VS-mode, of the host or of a TVM: extension in a7, function in a6, arguments in a0-a5; answers in a0 (error) and a1 (value).
 *
 * A handler returns the answer as one number (negative = error, else the value). Where it has made another vCPU current, or
 * returns SBI_PENDING, there is nothing to write: the call is answered elsewhere, or made again.
 */
export function handleEcall(hart: Hart, vcpu: Vcpu): void {
  csrWrite(SEPC, csrRead(SEPC) + ECALL_LENGTH);
  // The cheapest call first: it is what a round trip is measured with.
  if (vcpu.a7 == <u64>EID_BASE && vcpu.a6 == BASE_GET_SPEC_VERSION) {
    vcpu.a0 = 0;
    vcpu.a1 = SPEC_VERSION;
    return;
  }
  // Then the one that every exit of a TVM is followed by.
  const runs = vcpu.a7 == <u64>EID_COVH && vcpu.a6 == <u64>Covh.TvmCpuRun;
  const answer = runs ? tvmCpuRun(hart, vcpu) : callOf(hart, vcpu);
  if (answer == SBI_PENDING) return;
  if (hart.vcpu != vcpu) return;
  vcpu.a0 = answer < 0 ? <u64>answer : 0;
  vcpu.a1 = answer < 0 ? 0 : <u64>answer;
}

/** The console calls of a TVM are exits, which have to be quick: they do not go through the table. */
// @ts-ignore: decorator
@inline
function callOf(hart: Hart, vcpu: Vcpu): i64 {
  if (vcpu.vm.kind == VmKind.Tvm) {
    if (vcpu.a7 == <u64>EID_DBCN) return dbcnCall(hart, vcpu, vcpu.a6);
    if (vcpu.a7 == <u64>EID_LEGACY_PUTCHAR) return legacyPutchar(hart, vcpu);
  }
  return dispatch(hart, vcpu);
}

function dispatch(hart: Hart, vcpu: Vcpu): i64 {
  const fid = vcpu.a6;
  if (vcpu.a7 >> 32 != 0) return SBI_NOT_SUPPORTED;
  // In the order of how often each is made.
  switch (<u32>vcpu.a7) {
    case EID_COVH:
      return covhCall(hart, vcpu, fid);
    case EID_DBCN:
      return dbcnCall(hart, vcpu, fid);
    case EID_LEGACY_PUTCHAR:
      return legacyPutchar(hart, vcpu);
    case EID_COVI:
      return coviCall(hart, vcpu, fid);
    case EID_TIME:
      return timeCall(hart, vcpu, fid);
    case EID_IPI:
      return ipiCall(hart, vcpu, fid);
    case EID_RFENCE:
      return rfenceCall(hart, vcpu, fid);
    case EID_COVG:
      return covgCall(hart, vcpu, fid);
    case EID_LEGACY_GETCHAR:
      return legacyGetchar(hart, vcpu);
    case EID_HSM:
      return hsmCall(hart, vcpu, fid);
    case EID_PMU:
      return pmuCall(hart, vcpu, fid);
    case EID_NACL:
      return naclCall(vcpu, fid);
    case EID_SRST:
      return srstCall(hart, vcpu, fid);
    case EID_ATST:
      return atstCall(hart, vcpu, fid);
    case EID_BASE:
      return baseCall(hart, vcpu, fid);
    default:
      return SBI_NOT_SUPPORTED;
  }
}
