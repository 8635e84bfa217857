import { SEPC } from "../riscv/csr";
import { csrRead, csrWrite } from "../riscv/hw";
import { SBI_PENDING } from "../sbi/errors";

const ECALL_LENGTH: u64 = 4;

/**
 * The current vCPU makes its call again, after the interrupts that it has to take: the registers are as they were and sepc is at the ecall. To
 * be returned by the call's handler.
 */
export function callAgain(): i64 {
  csrWrite(SEPC, csrRead(SEPC) - ECALL_LENGTH);
  return SBI_PENDING;
}
