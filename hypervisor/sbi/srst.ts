import { resetMachine } from "../boot/reset";
import { Hart } from "../hart";
import { exitByFinalCall } from "../vm/exit";
import { Vcpu } from "../vm/vcpu";
import { VmKind } from "../vm/vm";
import { SBI_INVALID_PARAM, SBI_NOT_SUPPORTED, SBI_PENDING } from "./errors";

const SYSTEM_RESET: u64 = 0;

/** Types: shutdown, cold reboot, warm reboot; then reserved, then vendor-specific ones, 32 bits in all. */
const TYPE_WARM_REBOOT: u64 = 2;
/** Reasons: none, system failure; then reserved, then those of the SBI implementation and of vendors. */
const REASON_SYSTEM_FAILURE: u64 = 1;
const RESERVED_END: u64 = 0xe000_0000;
const VENDOR_TYPES: u64 = 0xf000_0000;
const VALUE_END: u64 = 0x1_0000_0000;

/**
 * System reset, EID 0x53525354 (SBI 3.0 chapter 10): the host's ends or restarts the machine, after everything secret was scrubbed. A TVM's
 * turns the calling vCPU off and tells its host, who decides about the rest.
 *
 * INVALID_PARAM reserved type or reason; NOT_SUPPORTED a vendor's.
 */
export function srstCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  if (fid != SYSTEM_RESET) return SBI_NOT_SUPPORTED;
  const type = caller.a0;
  const reason = caller.a1;
  if (type > TYPE_WARM_REBOOT) {
    return type >= VENDOR_TYPES && type < VALUE_END ? SBI_NOT_SUPPORTED : SBI_INVALID_PARAM;
  }
  if (reason > REASON_SYSTEM_FAILURE) {
    return reason >= RESERVED_END && reason < VALUE_END ? SBI_NOT_SUPPORTED : SBI_INVALID_PARAM;
  }
  if (caller.vm.kind == VmKind.Host) resetMachine(<u32>type, <u32>reason);
  else exitByFinalCall(hart, caller, 2);
  return SBI_PENDING;
}
