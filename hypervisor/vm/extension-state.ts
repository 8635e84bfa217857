import { Hart } from "../hart";
import { EXT_CLEAN, SSTATUS, SSTATUS_FS, SSTATUS_FS_SHIFT, SSTATUS_VS, SSTATUS_VS_SHIFT } from "../riscv/csr";
import { csrRead, csrWrite, fpRestore, fpSave, read64, vectorRestore, vectorSave, write64 } from "../riscv/hw";
import { Vcpu } from "./vcpu";

/**
 * Floating-point and vector registers. Each hart's files have an owner, a vCPU; they are stored when it leaves and has changed them
 * (sstatus.FS / VS = Dirty, which the hardware sets whatever vsstatus says), and loaded whenever the owner changes, so that a VM
 * never finds another one's values. Loading on first use instead would need illegal-instruction exceptions, which VMs take themselves.
 *
 * While a vCPU is current, sstatus.FS and VS are Clean or Dirty, never Off: vsstatus is the guest's own switch.
 */

const FS_CLEAN: u64 = EXT_CLEAN << SSTATUS_FS_SHIFT;
const VS_CLEAN: u64 = EXT_CLEAN << SSTATUS_VS_SHIFT;
const STATUS_FIELDS: u64 = SSTATUS_FS | SSTATUS_VS;

/**
 * Stores what the current vCPU has changed of its registers, given its `sstatus`; returns that with both files marked clean.
 * The registers stay in the machine.
 */
// @ts-ignore: decorator
@inline
export function saveExtensionState(vcpu: Vcpu, sstatus: u64): u64 {
  if ((sstatus & SSTATUS_FS) == SSTATUS_FS && vcpu.fpArea != 0) fpSave(vcpu.fpArea);
  if ((sstatus & SSTATUS_VS) == SSTATUS_VS && vcpu.vectorArea != 0) vectorSave(vcpu.vectorArea);
  return (sstatus & ~STATUS_FIELDS) | FS_CLEAN | VS_CLEAN;
}

/** Loads the registers of `vcpu` unless they are in the machine. sstatus.FS and VS are not Off. */
// @ts-ignore: decorator
@inline
export function loadExtensionState(hart: Hart, vcpu: Vcpu): void {
  const owner = changetype<usize>(vcpu);
  if (hart.fpOwner != owner) {
    if (vcpu.fpArea != 0) fpRestore(vcpu.fpArea);
    hart.fpOwner = owner;
  }
  if (hart.vectorOwner != owner) {
    if (vcpu.vectorArea != 0) vectorRestore(vcpu.vectorArea);
    hart.vectorOwner = owner;
  }
}

/** The areas of this hart's next vCPU were written behind its back (reset): whatever is in the machine is nobody's. */
export function disownExtensionState(hart: Hart): void {
  hart.fpOwner = 0;
  hart.vectorOwner = 0;
}

/** f`index` of the current vCPU. */
export function readFpRegister(vcpu: Vcpu, index: u32): u64 {
  csrWrite(SSTATUS, saveExtensionState(vcpu, csrRead(SSTATUS)));
  return read64(<u64>vcpu.fpArea + ((<u64>index) << 3));
}

/** Writes f`index` of a vCPU that is not current; its guest sees its floating-point state as changed. */
export function writeFpRegister(vcpu: Vcpu, index: u32, value: u64): void {
  write64(<u64>vcpu.fpArea + ((<u64>index) << 3), value);
  vcpu.vsstatus |= SSTATUS_FS;
}
