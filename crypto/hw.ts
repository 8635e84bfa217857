/**
 * The door of this package: what its code cannot say in plain TypeScript. A build maps each function to the machine: `machine/riscv/crypto.h`
 * is C for RISC-V, `machine/simulated/crypto-door.ts` a small wasm module for Node. AssemblyScript takes the module name "hw" from this
 * file's name. Everything else in this folder imports nothing from outside.
 */

/** Upper 64 bits of the 128-bit product. Takes the same time for all operands. */
export declare function multiplyHigh(x: u64, y: u64): u64;

/** `value`, of which the compiler knows nothing any more: a mask stays a mask and does not become a branch. */
export declare function opaque(value: u64): u64;

/** Zeroes `length` bytes (any alignment); no compiler drops it. */
export declare function wipeBytes(at: usize, length: u64): void;

/** Zeroes what functions that have returned left below the stack pointer (1 KiB; nothing where the stack is not memory). */
export declare function wipeStack(): void;

/** The last Sha512Variant that may be asked for: a constant, so a program that needs few can leave out the code of the others. */
export declare function lastHashVariant(): u32;

// ---- Zbb: only on harts that have it. `amount` must be a compile-time constant.

export declare function rotateRight64(value: u64, amount: u32): u64;
export declare function reverseBytes64(value: u64): u64;

// ---- Zknh: only on harts that have it. The functions of FIPS 180-4, 4.1.3: sum is written as an upper-case sigma there.

export declare function sha512Sum0(value: u64): u64;
export declare function sha512Sum1(value: u64): u64;
export declare function sha512Sigma0(value: u64): u64;
export declare function sha512Sigma1(value: u64): u64;
