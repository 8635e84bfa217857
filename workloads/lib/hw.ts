/**
 * The door of a test VM to the machine: every primitive that its TypeScript can call in VS-mode.
 *
 * `machine/riscv/workload.h` implements each as inline C or assembly; the build refuses a list that differs. A declared
 * function becomes the wasm import "hw"."name". CSR numbers come from `hypervisor/riscv/csr.ts`: in VS-mode the hardware
 * (or the hypervisor) answers the supervisor ones with the VS registers.
 *
 * What the machine layer calls in the module, all of them exported by its entry file:
 *
 *     main(hartId: u64, opaque: u64): void         boot hart, boot stack, interrupts off, stvec set, tp = 0
 *     secondaryMain(hartId: u64, stackTop: u64): void   hart started at ImageSymbol.SecondaryEntry with opaque = top of its
 *                                                  stack (16-byte aligned); tp = 0
 *     trap(frame: usize): void                     any trap that no probe expects; `frame` is a TrapFrame (trap-frame.ts)
 *     panicAssert(message: usize, file: usize, line: u32, column: u32): void   a failed assert; both texts are UTF-16
 *                                                  literals with their byte length in the u32 before them (0 = no message)
 *     panicWasm(kind: u32): void                   unreachable or a bad indirect call
 *
 * If main or secondaryMain return, the hart waits for ever.
 */

// ---- Control and status registers. `csr` must be a compile-time constant (it becomes one instruction).

export declare function csrRead(csr: u32): u64;
export declare function csrWrite(csr: u32, value: u64): void;
/** Writes `value`, returns the previous content. */
export declare function csrSwap(csr: u32, value: u64): u64;
/** Sets the bits of `mask`. */
export declare function csrSet(csr: u32, mask: u64): void;
/** Clears the bits of `mask`. */
export declare function csrClear(csr: u32, mask: u64): void;
/** Reads `csr` and returns PROBE_OK, or the scause of the trap (2 illegal, 22 virtual instruction). */
export declare function csrProbe(csr: u32): u64;

// ---- Memory that others can touch. Natural alignment required.

export declare function read8(address: u64): u32;
export declare function read32(address: u64): u32;
export declare function read64(address: u64): u64;
export declare function write8(address: u64, value: u32): void;
export declare function write16(address: u64, value: u32): void;
export declare function write32(address: u64, value: u32): void;
export declare function write64(address: u64, value: u64): void;
/** Load that no later access of this hart can pass. */
export declare function loadAcquire64(address: u64): u64;
/** Store that no earlier access of this hart can pass. */
export declare function storeRelease64(address: u64, value: u64): void;
/** Atomic read-modify-write with acquire and release; each returns the previous value. */
export declare function swap64(address: u64, value: u64): u64;
export declare function add64(address: u64, value: u64): u64;

// ---- Bulk.

/** Copies `length` bytes; the ranges must not overlap. Any alignment. */
export declare function copyBytes(to: u64, from: u64, length: u64): void;
/** Zeroes `length` bytes. Any alignment. */
export declare function zeroBytes(address: u64, length: u64): void;

// ---- Device registers.

export declare function mmioRead8(address: u64): u32;
export declare function mmioRead32(address: u64): u32;
export declare function mmioRead64(address: u64): u64;
export declare function mmioWrite32(address: u64, value: u32): void;
export declare function mmioWrite64(address: u64, value: u64): void;

// ---- Probes: accesses that may fault. Each returns PROBE_OK or the scause of the exception; stval and htval hold what the
// trap left there. Interrupts that arrive meanwhile go to trap() as ever. Probes use sscratch.

/** Value of a probe that did not fault. */
export const PROBE_OK: u64 = ~0;
/** Loads `width` (1, 2, 4, 8) bytes. */
export declare function probeLoad(address: u64, width: u32): u64;
/** Stores the low `width` (1, 2, 4, 8) bytes of `value`. */
export declare function probeStore(address: u64, width: u32, value: u64): u64;
/** Calls the code at `address`, which must return (`ret`) or fault on its first instruction. */
export declare function probeCall(address: u64): u64;

// ---- Ordering and translation caches (this hart only).

/** fence iorw,iorw */
export declare function fence(): void;
export declare function fenceI(): void;
/** sfence.vma x0, x0 */
export declare function sfenceVma(): void;
export declare function pause(): void;
export declare function wfi(): void;

// ---- Measurement (bench/README.md): hints that do nothing, between which the benchmark's QEMU plugin counts instructions.

export declare function markStart(): void;
export declare function markEnd(): void;

// ---- SBI.

/**
 * SBI call with all six argument registers; returns sbiret.error and stores sbiret.value at `valueOut` (own memory) unless
 * 0.
 */
export declare function ecall(
  eid: u64,
  fid: u64,
  a0: u64,
  a1: u64,
  a2: u64,
  a3: u64,
  a4: u64,
  a5: u64,
  valueOut: usize,
): i64;

// ---- Floating point and vector registers. sstatus.FS / VS must not be Off.

/** Writes a pattern that depends on `seed` into f0-f31 and fcsr. */
export declare function fpFill(seed: u64): void;
/** True if f0-f31 and fcsr hold the pattern of `seed`. */
export declare function fpMatches(seed: u64): bool;
/** True if f0-f31 and fcsr are all zero. */
export declare function fpIsZero(): bool;
/** Writes a pattern that depends on `seed` into every byte of v0-v31, and sets vl, vtype and vcsr. */
export declare function vectorFill(seed: u64): void;
/** True if v0-v31, vl, vtype and vcsr hold what vectorFill(seed) left. */
export declare function vectorMatches(seed: u64): bool;
/** True if every byte of v0-v31 is zero. */
export declare function vectorIsZero(): bool;

// ---- This hart and this image.

/** A word that belongs to this hart (kept in tp), 0 until set. */
export declare function hartRecord(): usize;
export declare function setHartRecord(record: usize): void;
export declare function stackPointer(): usize;
/** Stops this hart's instruction stream for ever (wfi loop): last resort after a failed shutdown. */
export declare function parkForever(): void;
/** An address of the image's layout: see ImageSymbol. */
export declare function imageAddress(symbol: u32): u64;

/** What `imageAddress` can be asked for; the numbers are those of hypervisor/riscv/hw.ts. */
export const enum ImageSymbol {
  /** First byte of the image, where the boot hart starts. */
  Start = 0,
  TextEnd = 1,
  RodataStart = 2,
  RodataEnd = 3,
  DataStart = 4,
  /** First byte after .bss, 4 KiB aligned. */
  End = 5,
  /** Start address for SBI HSM hart_start; its opaque argument is the top of the hart's stack. */
  SecondaryEntry = 6,
  TrapEntry = 7,
  /** Low and high end of the boot hart's stack. */
  BootStackBottom = 8,
  BootStackTop = 9,
}
