/**
 * SBI error codes (SBI 3.0, chapter 3) as they are returned in a0. The table of which cause gives which code is docs/abi.md.
 *
 * Internal functions return one i64: negative is one of these, zero or more is the value.
 */
export const SBI_SUCCESS: i64 = 0;
/** Out of pages, ids or slots. */
export const SBI_FAILED: i64 = -1;
/** Unknown extension or function. */
export const SBI_NOT_SUPPORTED: i64 = -2;
/** Malformed argument, unknown guest or vCPU, bad length. */
export const SBI_INVALID_PARAM: i64 = -3;
/** Forbidden interrupt. */
export const SBI_DENIED: i64 = -4;
/** Misaligned, wrapping, unmapped, wrong owner or wrong page state. */
export const SBI_INVALID_ADDRESS: i64 = -5;
/** Exists already. */
export const SBI_ALREADY_AVAILABLE: i64 = -6;
/** A fence is in progress. */
export const SBI_ALREADY_STARTED: i64 = -7;
export const SBI_ALREADY_STOPPED: i64 = -8;
/** Shared memory is needed and not registered. */
export const SBI_NO_SHMEM: i64 = -9;
/** Wrong lifecycle or bind state. */
export const SBI_INVALID_STATE: i64 = -10;

/** Not an SBI code: the call is answered later (its vCPU was left, or waits); the dispatcher leaves a0 and a1 alone. */
export const SBI_PENDING: i64 = i64.MIN_VALUE;
