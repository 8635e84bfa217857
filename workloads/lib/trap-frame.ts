import { GeneralRegisters } from "../../hypervisor/riscv/general-registers";

/**
 * What the trap vector of a test VM (`machine/riscv/workload-start.S`) saves on the interrupted stack: the argument of the
 * exported trap(). Whatever it holds when trap() returns is loaded back.
 */
@unmanaged
export class TrapFrame extends GeneralRegisters {
  /** sstatus: SPP and SPIE decide the mode that the hart returns to. */
  status: u64;

  /** sepc, in the slot of x0: where the hart continues. */
  get pc(): u64 {
    return this.zero;
  }

  set pc(value: u64) {
    this.zero = value;
  }
}
