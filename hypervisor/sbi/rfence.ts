import { Hart } from "../hart";
import { SEPC } from "../riscv/csr";
import { csrRead, csrWrite } from "../riscv/hw";
import { maskIsValid } from "../vm/hart-mask";
import { Vcpu, VcpuMessage } from "../vm/vcpu";
import { fenceAndWait } from "../vm/wait";
import { SBI_INVALID_ADDRESS, SBI_INVALID_PARAM, SBI_NOT_SUPPORTED, SBI_PENDING } from "./errors";

/** Function numbers of RFENCE that a VM without the hypervisor extension has. */
const enum Rfence {
  FenceI = 0,
  SfenceVma = 1,
  SfenceVmaAsid = 2,
}

const ECALL_LENGTH: u64 = 4;
const EVERYTHING: u64 = ~0;

/**
 * RFENCE extension, EID 0x52464E43 (SBI 3.0 chapter 8): remote fence.i and sfence.vma for harts of the caller's VM. Returns when every one of them
 * has executed the fence, or will before it runs the next instruction of the VM. An address range, or an ASID, gets a fence
 * of everything: VS-stage translations of one vCPU.
 *
 * INVALID_PARAM if a hart does not exist; INVALID_ADDRESS if the range wraps. The firmware's own RFENCE is of no use here: VMIDs are per hart, so it would
 * fence the wrong one.
 */
export function rfenceCall(hart: Hart, caller: Vcpu, fid: u64): i64 {
  if (fid > <u64>Rfence.SfenceVmaAsid) return SBI_NOT_SUPPORTED;
  const mask = caller.a0;
  const base = caller.a1;
  if (!maskIsValid(caller.vm, mask, base)) return SBI_INVALID_PARAM;
  const instructions = fid == <u64>Rfence.FenceI;
  if (!instructions && rangeWraps(caller.a2, caller.a3)) return SBI_INVALID_ADDRESS;

  const messages: u64 = instructions ? VcpuMessage.FenceI : VcpuMessage.FenceVma;
  if (fenceAndWait(hart, caller, mask, base, messages)) return 0;
  // The call is not over, and is made again if the caller is preempted before it is.
  csrWrite(SEPC, csrRead(SEPC) - ECALL_LENGTH);
  return SBI_PENDING;
}

/** [start, start + size) leaves 64 bits; size -1 means everything. */
function rangeWraps(start: u64, size: u64): bool {
  return size != EVERYTHING && size != 0 && start + (size - 1) < start;
}
