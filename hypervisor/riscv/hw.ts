/**
 * The door to the machine: every way in which the hypervisor touches anything but its own records.
 *
 * This is the one list of primitives. `machine/riscv/hw.h` implements each as inline C or assembly, and
 * `machine/simulated/` implements each in TypeScript on Node. The build refuses a list that differs. A declared function
 * becomes the wasm import "hw"."name" (AssemblyScript takes the module name from this file's name).
 *
 * A primitive of the door is never merged, moved across another one or removed by a compiler: memory that
 * another hart, a guest, a device or the table walker can change is read and written only through it.
 * Addresses are physical (hpa); the hypervisor runs identity-mapped.
 */

// ---- Control and status registers. `csr` must be a compile-time constant (it becomes one instruction).

export declare function csrRead(csr: u32): u64;
export declare function csrWrite(csr: u32, value: u64): void;
/** Writes `value`, returns the previous content. */
export declare function csrSwap(csr: u32, value: u64): u64;
export declare function csrSet(csr: u32, mask: u64): void;
export declare function csrClear(csr: u32, mask: u64): void;
/** True if reading `csr` in HS-mode does not trap on this hart. */
export declare function csrExists(csr: u32): bool;

// ---- Ordinary memory that others can touch. Natural alignment required.

export declare function read8(hpa: u64): u32;
export declare function read16(hpa: u64): u32;
export declare function read32(hpa: u64): u32;
export declare function read64(hpa: u64): u64;
export declare function write8(hpa: u64, value: u32): void;
export declare function write32(hpa: u64, value: u32): void;
export declare function write64(hpa: u64, value: u64): void;
/** Load that no later access of this hart can pass (fence r,rw after it). */
export declare function loadAcquire32(hpa: u64): u32;
export declare function loadAcquire64(hpa: u64): u64;
/** Store that no earlier access of this hart can pass (fence rw,w before it). */
export declare function storeRelease32(hpa: u64, value: u32): void;
export declare function storeRelease64(hpa: u64, value: u64): void;
/** Compare and swap (lr/sc or amocas, acquire and release). Returns what was there: success if it equals `expected`. */
export declare function cas32(hpa: u64, expected: u32, desired: u32): u32;
export declare function cas64(hpa: u64, expected: u64, desired: u64): u64;
/** Atomic read-modify-write with acquire and release; each returns the previous value. */
export declare function swap32(hpa: u64, value: u32): u32;
export declare function swap64(hpa: u64, value: u64): u64;
export declare function add32(hpa: u64, value: u32): u32;
export declare function or64(hpa: u64, value: u64): u64;
export declare function and64(hpa: u64, value: u64): u64;

// ---- Bulk. Each byte is read or written exactly once.

/** Copies `length` bytes; the ranges must not overlap. Any alignment. */
export declare function copyBytes(toHpa: u64, fromHpa: u64, length: u64): void;
/** Zeroes `length` bytes. Any alignment. */
export declare function zeroBytes(hpa: u64, length: u64): void;
/** cbo.zero of one cache block (Zicboz; only where the hart has it). */
export declare function cboZero(hpa: u64): void;

// ---- Device registers.

export declare function mmioRead8(hpa: u64): u32;
export declare function mmioRead32(hpa: u64): u32;
export declare function mmioRead64(hpa: u64): u64;
export declare function mmioWrite8(hpa: u64, value: u32): void;
export declare function mmioWrite32(hpa: u64, value: u32): void;
export declare function mmioWrite64(hpa: u64, value: u64): void;

// ---- Ordering and translation caches (this hart only).

/** fence rw,rw */
export declare function fence(): void;
/** fence w,w */
export declare function fenceWrites(): void;
/** fence.i */
export declare function fenceI(): void;
export declare function pause(): void;
/** sfence.vma x0, x0: the hypervisor's own translations. */
export declare function sfenceVma(): void;
/** hfence.gvma x0, x0: all G-stage translations of all VMIDs. */
export declare function hfenceGvmaAll(): void;
/** hfence.gvma x0, vmid */
export declare function hfenceGvmaVmid(vmid: u64): void;
/** hfence.vvma x0, x0: all VS-stage translations of the VMID in hgatp. */
export declare function hfenceVvmaAll(): void;

// ---- Guest instruction fetch: the only use of a guest's own translation.

/**
 * hlvx.hu at `gva`, with the current vsatp, hgatp, hstatus.SPVP and vsstatus. Returns the half word, or
 * -1 - scause if it faulted (the guest's page tables, our G-stage, or PMP).
 */
export declare function fetchGuestHalf(gva: u64): i64;

// ---- Firmware.

/** SBI call to the firmware; returns sbiret.error and stores sbiret.value at `valueOut` (own memory) unless 0. */
export declare function sbiCall(eid: u64, fid: u64, a0: u64, a1: u64, a2: u64, a3: u64, a4: u64, valueOut: usize): i64;

/**
 * The end of this hart: nothing of a guest is left on its stacks and in its registers, its state becomes Halted if it was Online, the
 * device register at `device` gets `value` (unless `device` is 0), and if that has not ended the machine after a while, the firmware the call.
 * Never returns.
 */
export declare function endHart(eid: u64, fid: u64, a0: u64, a1: u64, device: u64, value: u32): void;

// ---- Floating point and vector registers of the interrupted guest.

/** Stores f0-f31 (32 x 8 bytes) and fcsr (8 bytes) at `area`; sstatus.FS must not be Off. */
export declare function fpSave(area: usize): void;
export declare function fpRestore(area: usize): void;
/** Stores vstart, vl, vtype, vcsr (8 bytes each) and then v0-v31 (vlenb bytes each) at `area`; sstatus.VS must not be Off. */
export declare function vectorSave(area: usize): void;
export declare function vectorRestore(area: usize): void;

// ---- This hart and this image.

/** The record of the hart that executes this (kept in tp). */
export declare function hartRecord(): usize;
export declare function setHartRecord(record: usize): void;
/** Current stack pointer (for backtraces and to find the interrupted frame). */
export declare function stackPointer(): usize;
/** An address of the image's layout: see ImageSymbol. */
export declare function imageAddress(symbol: u32): u64;

/** What `imageAddress` can be asked for. */
export const enum ImageSymbol {
  /** First byte of the image (text starts here), 2 MiB aligned. */
  Start = 0,
  TextEnd = 1,
  RodataStart = 2,
  RodataEnd = 3,
  DataStart = 4,
  /** First byte after .bss, 4 KiB aligned: memory from here on is not part of the image. */
  End = 5,
  /** Where the firmware must start a secondary hart (a1 = its hart record). */
  SecondaryEntry = 6,
  /** The trap vector for stvec. */
  TrapEntry = 7,
  /** Low and high end of the boot hart's stack inside the image. */
  BootStackBottom = 8,
  BootStackTop = 9,
  /** Table of function symbols for backtraces (0 if absent). */
  SymbolTable = 10,
  /** Writable record of the boot hart inside .bss, HART_RECORD_SIZE bytes, usable before any memory is known. */
  BootHart = 11,
  /** Where the caller itself is executing. */
  ProgramCounter = 12,
  /** Log of the flavour that records what goes through the door; End in all others. */
  RecordLog = 13,
  /** Image of the user-mode helper: text, from HelperConstants on its read-only data. Whole pages. */
  HelperStart = 14,
  HelperConstants = 15,
  HelperEnd = 16,
}
