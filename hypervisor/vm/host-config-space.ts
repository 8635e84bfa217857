import { Hart } from "../hart";
import { readVirtualConfig, writeVirtualConfig } from "../devices/pci/virtual-config";
import { segmentAt } from "../devices/pci/segment";
import { EXC_ILLEGAL, SEPC } from "../riscv/csr";
import { csrRead, csrWrite } from "../riscv/hw";
import { injectException } from "./inject";
import { dataRegister, putDataRegister, trappedAccess, trappedLength, TRAPPED_NOTHING } from "./mmio";
import { FP_REGISTERS, accessIsStore, accessRegister, accessWidth, loadedValue, storedValue } from "./mmio-decode";
import { Vcpu } from "./vcpu";

/**
 * The host's loads and stores in PCI configuration space, which is not mapped in its address space: emulated by devices/pci/virtual-config.ts.
 */

const WORD_MASK: u64 = 3;
const WIDEST: u32 = 4;

/**
 * The host's vCPU, which is current, took guest page fault `cause` (load or store) at `gpa`. False if no configuration space is there and
 * nothing is done. Naturally aligned accesses of up to 4 bytes work; wider ones read as all ones and write nothing.
 */
export function accessConfigSpace(hart: Hart, vcpu: Vcpu, cause: u64, gpa: u64): bool {
  // The host's configuration space is at the machine's addresses.
  const root = hart.root;
  const segment = segmentAt(root, gpa);
  if (segment == null) return false;
  const trapped = trappedAccess(cause, gpa);
  if (trapped == TRAPPED_NOTHING) return true;

  const access = <u32>trapped;
  if (accessRegister(access) >= FP_REGISTERS) {
    // Nobody reads a configuration register into a floating-point one.
    injectException(EXC_ILLEGAL, 0);
    return true;
  }
  const width = accessWidth(access);
  const offset = gpa - segment.ecam;
  const shift = (<u32>(offset & WORD_MASK)) << 3;
  if (accessIsStore(access)) {
    const value = <u32>storedValue(access, dataRegister(vcpu, access));
    const lanes: u32 = width == WIDEST ? ~(<u32>0) : (((<u32>1) << (width << 3)) - 1) << shift;
    if (width <= WIDEST) writeVirtualConfig(root, segment, offset & ~WORD_MASK, value << shift, lanes);
  } else {
    let value = ~(<u64>0);
    if (width <= WIDEST) value = <u64>(readVirtualConfig(root, segment, offset & ~WORD_MASK) >> shift);
    putDataRegister(vcpu, access, loadedValue(access, value));
  }
  csrWrite(SEPC, csrRead(SEPC) + <u64>trappedLength(trapped));
  return true;
}
