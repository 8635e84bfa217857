/**
 * The user-mode helper's own address space. The hypervisor makes it (hypervisor/boot/helper-space.ts), one for each hart:
 *
 *     0x00_8000  context    one page, for the hypervisor only: the way in and out (machine/riscv/start.S)
 *     0x01_0000  image      text R-X, then constants R--, the same pages for all harts
 *     0x10_0000  request    R--  what is asked (request.ts)
 *     0x10_1000  input      R--  what a guest gave to it
 *     0x10_2000  output     RW-
 *     0x10_3000  scratch    RW-
 *     0x11_0000  stack      RW-  nothing is mapped on either side
 *
 * and, for the hypervisor only, the one page of its text that changes satp. Nothing else is there. The pages that can be written are zeroed for
 * each request.
 */
export const HELPER_CONTEXT: u64 = 0x8000;
export const HELPER_IMAGE: u64 = 0x1_0000;
export const HELPER_IMAGE_END: u64 = 0x10_0000;
export const HELPER_REQUEST: u64 = 0x10_0000;
export const HELPER_INPUT: u64 = 0x10_1000;
export const HELPER_OUTPUT: u64 = 0x10_2000;
export const HELPER_SCRATCH: u64 = 0x10_3000;
export const HELPER_STACK: u64 = 0x11_0000;
export const HELPER_STACK_PAGES: u64 = 2;
export const HELPER_STACK_TOP: u64 = 0x11_2000;
/** Bytes of the request, of the input, of the output and of the scratch memory. */
export const HELPER_AREA: u64 = 4096;

/** Hypercalls: number in a7, arguments in a0-a2, answer in a0. Anything else ends the request with an error, as any exception does. */
export const enum Hypercall {
  /** The helper found itself in a state that cannot be. Ends the request. */
  Panic = 0,
  /** The request is done: a0 = HelperStatus, a1 = bytes of the output, from its first byte on. */
  Done = 1,
  /** Ed25519 signature over a1 bytes at a0 (in the output), with the key of this request, to a2 (in the output; 64 bytes). Answers 0. */
  Sign = 2,
}

/** How a request ended. */
export const enum HelperStatus {
  Ok = 0,
  /** The input is not what it has to be. */
  BadInput = 1,
  /** The output has no room. */
  TooLong = 2,
  /** No such request. */
  Unknown = 3,
  /** The helper did not end by itself. Never said by the helper. */
  Crashed = 4,
}
