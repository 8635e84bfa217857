import { Hart } from "../hart";
import { EXT_CLEAN, SSTATUS, SSTATUS_FS, SSTATUS_FS_SHIFT, SSTATUS_VS, SSTATUS_VS_SHIFT } from "../riscv/csr";
import { csrRead, csrSet, csrWrite, fpRestore, fpSave, read64, vectorRestore, vectorSave, write64 } from "../riscv/hw";
import { Vcpu } from "./vcpu";

/**
 * Floating-point and vector registers. Those of a hart belong to one vCPU, their owner, and only the owner can touch them: with
 * sstatus.FS and VS off, no instruction of a guest reaches them, whatever its vsstatus says.
 *
 *   - A host vCPU owns them whenever it runs: nothing of a TVM is left in them then, not even for a speculative read.
 *   - A TVM vCPU is entered with FS and VS off. Its first use is an illegal instruction, which comes to us (they are not delegated): the
 *     owner's registers are stored, its own are loaded, and the instruction is executed again. A TVM that uses none costs nothing.
 *
 * What is in the machine is stored when the owner changes, if the owner changed it (FS or VS is Dirty; the hardware sets that
 * whatever vsstatus says). A host vCPU's sstatus always says Clean or Dirty, a TVM vCPU's record always says Off.
 */

/** sstatus.FS and VS. */
export const EXTENSION_FIELDS: u64 = SSTATUS_FS | SSTATUS_VS;
/** sstatus.FS and VS of registers that are as they were loaded. */
export const EXTENSIONS_CLEAN: u64 = (EXT_CLEAN << SSTATUS_FS_SHIFT) | (EXT_CLEAN << SSTATUS_VS_SHIFT);

/**
 * The current TVM vCPU took an illegal-instruction exception. If the registers are not its own yet they are now, and the result is true: the
 * instruction is to be tried again.
 */
export function grantExtensions(hart: Hart, vcpu: Vcpu): bool {
  if (hart.extensionOwner == changetype<usize>(vcpu)) return false;
  csrSet(SSTATUS, EXTENSIONS_CLEAN);
  if (hart.extensionOwner != 0) {
    const owner = changetype<Vcpu>(hart.extensionOwner);
    storeRegisters(owner, owner.sstatus);
    owner.sstatus = (owner.sstatus & ~EXTENSION_FIELDS) | EXTENSIONS_CLEAN;
  }
  loadRegisters(hart, vcpu);
  csrWrite(SSTATUS, (csrRead(SSTATUS) & ~EXTENSION_FIELDS) | EXTENSIONS_CLEAN);
  return true;
}

/**
 * The host vCPU is about to be entered again after a run of `vcpu`, whose `sstatus` at the exit is given: the registers become the host's.
 */
// @ts-ignore: decorator
@inline
export function returnExtensions(hart: Hart, host: Vcpu, vcpu: Vcpu, sstatus: u64): void {
  if (hart.extensionOwner == changetype<usize>(host)) return;
  storeRegisters(vcpu, sstatus);
  loadExtensions(hart, host);
}

/** The registers become those of a host vCPU whose sstatus is in the machine; what was in them has been stored, or is nobody's. */
export function loadExtensions(hart: Hart, host: Vcpu): void {
  loadRegisters(hart, host);
  // Loading made them dirty.
  csrWrite(SSTATUS, host.sstatus);
}

/** Stores the registers of their owner as far as its `sstatus` says that it changed them. FS and VS are not Off. */
function storeRegisters(owner: Vcpu, sstatus: u64): void {
  if ((sstatus & SSTATUS_FS) == SSTATUS_FS && owner.fpArea != 0) fpSave(owner.fpArea);
  if ((sstatus & SSTATUS_VS) == SSTATUS_VS && owner.vectorArea != 0) vectorSave(owner.vectorArea);
}

/** FS and VS are not Off. */
function loadRegisters(hart: Hart, vcpu: Vcpu): void {
  if (vcpu.fpArea != 0) fpRestore(vcpu.fpArea);
  if (vcpu.vectorArea != 0) vectorRestore(vcpu.vectorArea);
  hart.extensionOwner = changetype<usize>(vcpu);
}

/** f`index` of the current vCPU, which just used it, so owns it. */
export function readFpRegister(vcpu: Vcpu, index: u32): u64 {
  const sstatus = csrRead(SSTATUS);
  storeRegisters(vcpu, sstatus);
  return read64(<u64>vcpu.fpArea + ((<u64>index) << 3));
}

/** Writes f`index` of a TVM vCPU that is not current; its guest sees its floating-point state as changed. */
export function writeFpRegister(vcpu: Vcpu, index: u32, value: u64): void {
  write64(<u64>vcpu.fpArea + ((<u64>index) << 3), value);
  vcpu.vsstatus |= SSTATUS_FS;
}
