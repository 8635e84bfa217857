import { bootPrimary, waitForHost } from "./boot/boot";
import { secondaryMain } from "./boot/harts";
import { assertFailed, codeTrapped, trappedInHypervisor } from "./boot/panic";
import { finishRequest } from "./attestation/evidence";
import { thisHart } from "./hart";
import { helperTrapped } from "./helper/run";
import { EXC_ECALL_VS, SCAUSE } from "./riscv/csr";
import { csrRead } from "./riscv/hw";
import { handleEcall } from "./sbi/dispatch";
import { decideAction } from "./vm/schedule";
import { handleTrap } from "./vm/trap";

/**
 * Everything that the machine layer calls (machine/riscv/start.S, trap.S, wasm-rt.h). Each of the first three returns an Action
 * (hart.ts): what this hart does next.
 */

/** The firmware starts the machine: hart `hartId`, device tree at hpa `fdt`. On the boot stack, without translation. */
export function boot(hartId: u64, fdt: u64): u32 {
  return bootPrimary(hartId, <usize>fdt);
}

/** The firmware starts a hart that we asked for. On its own stack, without translation. */
export function bootSecondary(): u32 {
  return secondaryMain(thisHart());
}

/** A guest trapped, or the wait for an interrupt is over (scause then says interrupt 0). On the hart's empty stack. */
export function trap(): u32 {
  const hart = thisHart();
  const cause = csrRead(SCAUSE);
  if (cause == EXC_ECALL_VS) {
    handleEcall(hart, hart.vcpu);
  } else if (changetype<usize>(hart.vcpu) == 0) {
    return waitForHost(hart);
  } else {
    handleTrap(hart, cause);
  }
  return decideAction(hart);
}

/** The user-mode helper trapped, or was interrupted. On the hart's empty stack. */
export function helperTrap(): u32 {
  const hart = thisHart();
  if (helperTrapped(hart, csrRead(SCAUSE))) finishRequest(hart);
  return decideAction(hart);
}

/** The hypervisor itself trapped. `frame`: the 31 general registers. Never returns. */
export function panicTrap(scause: u64, sepc: u64, stval: u64, sp: u64, frame: u64): void {
  trappedInHypervisor(scause, sepc, stval, sp, <usize>frame);
}

/** An `assert` failed; `message` and `file` are literals. Never returns. */
export function panicAssert(message: usize, file: usize, line: u32, column: u32): void {
  assertFailed(message, file, line, column);
}

/** The compiled code trapped (wasm_trap_kind). Never returns. */
export function panicWasm(kind: u32): void {
  codeTrapped(kind);
}
