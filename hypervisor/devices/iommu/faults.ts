import { beginLine, endLine, putDecimal, putHex, putText } from "../console";
import { lockAcquire, lockRelease } from "../../lib/spinlock";
import { Root } from "../../root";
import { EXC_STORE_ACCESS, EXC_STORE_GUEST_PAGE, EXC_STORE_MISALIGNED, EXC_STORE_PAGE, TIME } from "../../riscv/csr";
import { csrRead, read64 } from "../../riscv/hw";
import { putPciAddress } from "../pci/address";
import { PciFunction } from "../pci/function";
import { pciSegment } from "../pci/segment";
import { FAULT_LINES, Iommu, IommuState, iommuOf } from "./iommu";
import {
  FAULTS,
  FAULT_ERRORS,
  FAULT_SHIFT,
  FQCSR,
  FQH,
  FQT,
  IPSR,
  IPSR_FAULT,
  QUEUE_ENABLE,
  QUEUE_INTERRUPT,
  readRegister32,
  writeRegister32,
} from "./registers";

/**
 * What IOMMUs report (fault queue, 4.2): a device tried what it may not. The access is blocked already; this tells whoever reads the log, in a
 * few lines a second, however many faults there are.
 *
 *     record:  63       40 39   34 33   32 31  12 11   0
 *             +-----------+-------+------+----+------+-------+
 *           0 |    DID    | TTYP  | PRIV | PV | PID  | CAUSE |
 *          16 | iotval: the address that the device used     |
 */

/** Of the lines that may be printed, how many come back each second. */
const LINES_PER_SECOND: u64 = 4;

const CAUSE_MASK: u64 = 0xfff;
const TYPE_SHIFT: u64 = 34;
const TYPE_MASK: u64 = 63;
const DEVICE_SHIFT: u64 = 40;
const ADDRESS_OFFSET: u64 = 16;

// Kinds of requests (TTYP).
const TRANSLATED: u64 = 4;
const WRITE: u64 = 3;
const FIRST_OWN_CAUSE: u64 = 256;

/** Reads and reports what the fault queues hold: at most one queue of each IOMMU. */
export function reportFaults(root: Root): void {
  for (let i: u32 = 0; i < root.iommuCount; i++) {
    const iommu = iommuOf(root, i);
    if (iommu.state != IommuState.Working) continue;
    lockAcquire(iommu.lockAddress());
    drain(root, iommu);
    lockRelease(iommu.lockAddress());
  }
}

function drain(root: Root, iommu: Iommu): void {
  const registers = iommu.registers;
  // Cleared first: what comes from here on interrupts again.
  writeRegister32(registers, IPSR, IPSR_FAULT);
  const tail = readRegister32(registers, FQT) & (FAULTS - 1);
  const errors = readRegister32(registers, FQCSR) & FAULT_ERRORS;
  if (tail == iommu.faultHead && errors == 0) return;
  refill(root, iommu);
  while (iommu.faultHead != tail) {
    const record = iommu.faults + ((<u64>iommu.faultHead) << FAULT_SHIFT);
    if (iommu.faultLines != 0) {
      iommu.faultLines--;
      logFault(root, iommu, read64(record), read64(record + ADDRESS_OFFSET));
    } else {
      iommu.faultsHidden++;
    }
    iommu.faultHead = (iommu.faultHead + 1) & (FAULTS - 1);
  }
  writeRegister32(registers, FQH, tail);
  if (errors == 0) return;
  // Records were lost.
  iommu.faultsHidden++;
  writeRegister32(registers, FQCSR, errors | QUEUE_ENABLE | QUEUE_INTERRUPT);
}

/** Time brings new lines; the first of them says what was left out. */
function refill(root: Root, iommu: Iommu): void {
  const now = csrRead(TIME);
  const earned = (now - iommu.faultTime) / (root.timebaseFrequency / LINES_PER_SECOND);
  if (earned == 0) return;
  iommu.faultTime = now;
  iommu.faultLines = <u32>min<u64>(<u64>FAULT_LINES, <u64>iommu.faultLines + earned);
  if (iommu.faultsHidden == 0) return;
  beginLine();
  putText("salus: IOMMU: faults that were not shown: ");
  putDecimal(iommu.faultsHidden);
  endLine();
  iommu.faultsHidden = 0;
}

function logFault(root: Root, iommu: Iommu, head: u64, address: u64): void {
  const kind = (head >> TYPE_SHIFT) & TYPE_MASK;
  const cause = head & CAUSE_MASK;
  beginLine();
  putText("salus: IOMMU: blocked ");
  if (kind == 0) putText("an action of its own");
  else putText(kind > TRANSLATED ? "a translated request" : isWrite(cause, kind) ? "a write" : "a read");
  if (kind != 0) {
    putText(" by ");
    putDevice(root, iommu, <u32>(head >> DEVICE_SHIFT));
  }
  putText(" at ");
  putHex(address);
  putText(", cause ");
  putDecimal(cause);
  endLine();
}

/** Causes below 256 are those of harts, which tell reads and writes apart; QEMU 10 calls every request a write. */
function isWrite(cause: u64, kind: u64): bool {
  if (cause >= FIRST_OWN_CAUSE) return kind == WRITE;
  return (
    cause == EXC_STORE_MISALIGNED ||
    cause == EXC_STORE_ACCESS ||
    cause == EXC_STORE_PAGE ||
    cause == EXC_STORE_GUEST_PAGE
  );
}

/** The PCI address of the device with that id, or the id itself. */
function putDevice(root: Root, iommu: Iommu, id: u32): void {
  for (let s: u32 = 0; s < root.pciSegmentCount; s++) {
    const segment = pciSegment(root, s);
    for (let i: u32 = 0; i < segment.functionCount; i++) {
      const pci: PciFunction = segment.function(i);
      if (pci.iommu != changetype<usize>(iommu) || pci.deviceId != id) continue;
      putText("device ");
      return putPciAddress(segment.domain, pci.address);
    }
  }
  putText("unknown device id ");
  putHex(<u64>id);
}
