import { csrWrite, read64, sfenceVma, write64 } from "./hw";
import { allocateZeroed } from "./heap";
import { SATP } from "../../hypervisor/riscv/csr";

/**
 * First-stage (VS-stage) page tables of a test VM: Sv39, Sv48 or Sv57 (Privileged 12.3 to 12.6). While none is active,
 * addresses are guest physical addresses.
 */

export const PTE_VALID: u64 = 1 << 0;
export const PTE_READ: u64 = 1 << 1;
export const PTE_WRITE: u64 = 1 << 2;
export const PTE_EXECUTE: u64 = 1 << 3;
export const PTE_USER: u64 = 1 << 4;
export const PTE_ACCESSED: u64 = 1 << 6;
export const PTE_DIRTY: u64 = 1 << 7;
/** A leaf that allows everything in S-mode. */
export const PTE_RWX: u64 = PTE_VALID | PTE_READ | PTE_WRITE | PTE_EXECUTE | PTE_ACCESSED | PTE_DIRTY;
export const PTE_RW: u64 = PTE_VALID | PTE_READ | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY;

/** satp.MODE. */
export const enum PagingMode {
  Bare = 0,
  Sv39 = 8,
  Sv48 = 9,
  Sv57 = 10,
}

/** Levels of leaf entries. */
export const LEVEL_4K: u32 = 0;
export const LEVEL_2M: u32 = 1;
export const LEVEL_1G: u32 = 2;

@unmanaged
export class AddressSpace {
  root: u64;
  mode: u64;

  /** Number of levels of the tree. */
  get levels(): u32 {
    return <u32>this.mode - 5;
  }

  /** Maps the naturally aligned page of `level` at `virtual` to `gpa`. Missing tables come from the heap. */
  map(virtual: u64, gpa: u64, level: u32, flags: u64): void {
    write64(this.entryAddress(virtual, level), ((gpa >> 12) << 10) | flags);
  }

  /** Removes the leaf entry of `level` at `virtual`. */
  unmap(virtual: u64, level: u32): void {
    write64(this.entryAddress(virtual, level), 0);
  }

  /** Address of the entry for `virtual` at `level`, tables above it made where missing. */
  entryAddress(virtual: u64, level: u32): u64 {
    let table = this.root;
    for (let at = this.levels - 1; at > level; at--) {
      const entry = table + indexAt(virtual, at) * 8;
      let content = read64(entry);
      if ((content & PTE_VALID) == 0) {
        content = ((allocateZeroed(1) >> 12) << 10) | PTE_VALID;
        write64(entry, content);
      }
      assert((content & (PTE_READ | PTE_WRITE | PTE_EXECUTE)) == 0, "a larger page is mapped there");
      table = (content >> 10) << 12;
    }
    return table + indexAt(virtual, level) * 8;
  }

  get satp(): u64 {
    return (this.mode << 60) | (this.root >> 12);
  }
}

function indexAt(virtual: u64, level: u32): u64 {
  return (virtual >> (12 + 9 * <u64>level)) & 0x1ff;
}

/** A new, empty address space of `mode`; record and root from the heap. */
export function createAddressSpace(mode: u64): AddressSpace {
  const pages = allocateZeroed(2);
  const space = changetype<AddressSpace>(<usize>pages);
  space.root = pages + 4096;
  space.mode = mode;
  return space;
}

/** Turns translation on. The space must map the running code, its stack and its data at their own addresses. */
export function enterAddressSpace(space: AddressSpace): void {
  csrWrite(SATP, space.satp);
  sfenceVma();
}

/** Turns translation off. */
export function leaveAddressSpace(): void {
  csrWrite(SATP, 0);
  sfenceVma();
}
