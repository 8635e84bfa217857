/**
 * The door of the user-mode helper: the one thing that it can do beside computing on its own memory. `machine/riscv/umode.h` implements it on metal,
 * `machine/simulated/helper.ts` on Node.
 */

/** Calls the hypervisor (layout.ts has the numbers); returns its answer. Memory that the call names may change. */
export declare function hypercall(number: u64, a0: u64, a1: u64, a2: u64): u64;
