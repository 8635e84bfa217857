import { Hart } from "../hart";
import { lockAcquire, lockRelease } from "../lib/spinlock";
import { lockOfVm } from "../memory/claims";
import { refreshAddressSpace } from "../memory/fence";
import { NOT_MAPPED, translate } from "../memory/gstage";
import { RegionType, regionTypeAt } from "../memory/regions";
import {
  EXC_ECALL_HS,
  EXC_HARDWARE_ERROR,
  EXC_ILLEGAL,
  EXC_INST_ACCESS,
  EXC_INST_GUEST_PAGE,
  EXC_LOAD_ACCESS,
  EXC_LOAD_GUEST_PAGE,
  EXC_STORE_ACCESS,
  EXC_STORE_GUEST_PAGE,
  EXC_VIRTUAL_INST,
  HIE,
  HIP,
  HTVAL,
  IRQ_LCOFI,
  IRQ_SEI,
  IRQ_SGEI,
  IRQ_SSI,
  IRQ_STI,
  SCAUSE_INTERRUPT,
  SEPC,
  SIE,
  SIP,
  SSTATUS,
  SSTATUS_SPP,
  STVAL,
  VSIE,
  VSIP,
} from "../riscv/csr";
import { csrClear, csrRead, csrWrite } from "../riscv/hw";
import { counterOverflowed, emulateCounterRead, LCOFI } from "./counters";
import { exitFatal, exitInterrupt, exitPageFault, exitWfi } from "./exit";
import { grantExtensions } from "./extension-state";
import { FETCH_FAULTED, fetchInstruction } from "./fetch";
import { offerGuestExternal, ownFileRaised } from "./guest-external";
import { acknowledgeInterrupt } from "./hart-messages";
import { accessAplic } from "./host-aplic";
import { accessConfigSpace } from "./host-config-space";
import { emulateHostCsr } from "./host-csr";
import { injectException } from "./inject";
import { accessMmio } from "./mmio";
import { firmwareTimerFired, hasGuestComparator } from "./timer";
import { Vcpu } from "./vcpu";
import { Vm, VmKind } from "./vm";

/**
 * Every trap of a guest but the ecall of VS-mode. A guest cannot make us stop: what is not understood becomes an exception of the host, or
 * ends the TVM's vCPU.
 */

/** scause that the machine layer makes up when an interrupt is pending after a wait. */
const WOKEN: u64 = 0;
const WFI: u64 = 0x10500073;
const WFI_LENGTH: u64 = 4;

const SIP_SEIP: u64 = 1 << IRQ_SEI;
const SIP_SSIP: u64 = 1 << IRQ_SSI;
const SIP_STIP: u64 = 1 << IRQ_STI;
const HIP_SGEIP: u64 = 1 << IRQ_SGEI;
/** Bits of sie and hie. */
const INTERRUPT_BITS: u64 = 64;

/** Handles a trap with this scause. `settle` follows: requests of other harts are served there. */
export function handleTrap(hart: Hart, cause: u64): void {
  if ((cause & SCAUSE_INTERRUPT) != 0) return handleInterrupt(hart, cause & ~SCAUSE_INTERRUPT);
  switch (<u32>min<u64>(cause, 0xff)) {
    case <u32>EXC_INST_GUEST_PAGE:
    case <u32>EXC_LOAD_GUEST_PAGE:
    case <u32>EXC_STORE_GUEST_PAGE:
      return guestPageFault(hart, hart.vcpu, cause);
    case <u32>EXC_ILLEGAL:
      return illegalInstruction(hart, hart.vcpu);
    case <u32>EXC_VIRTUAL_INST:
      return virtualInstruction(hart, hart.vcpu);
    default:
      return unexpectedException(hart, hart.vcpu, cause);
  }
}

/**
 * The G-stage has no translation. The host gets an access fault: it touched memory that it gave away, or nothing at all. A TVM's fault is an access
 * to emulated memory, or its host's to resolve, or the end of the vCPU.
 */
function guestPageFault(hart: Hart, vcpu: Vcpu, cause: u64): void {
  const vm = vcpu.vm;
  const gpa = (csrRead(HTVAL) << 2) | (csrRead(STVAL) & 3);
  if (vm.kind == VmKind.Host) {
    // stval is the guest's virtual address (hstatus.GVA), whichever stage of the walk failed.
    if (mappedByNow(hart, vcpu, gpa)) return;
    if (cause != EXC_INST_GUEST_PAGE && accessAplic(hart, vcpu, cause, gpa)) return;
    if (cause != EXC_INST_GUEST_PAGE && accessConfigSpace(hart, vcpu, cause, gpa)) return;
    return injectException(accessFault(cause), csrRead(STVAL));
  }
  switch (regionOf(vm, gpa)) {
    case RegionType.Mmio:
      if (cause != EXC_INST_GUEST_PAGE) return accessMmio(hart, vcpu, cause, gpa);
      return exitFatal(hart, vcpu, cause);
    case RegionType.None:
      return exitFatal(hart, vcpu, cause);
    case RegionType.Imsic:
      // A store can be an interrupt to a vCPU whose file is not bound: the host may bind it.
      if (cause != EXC_STORE_GUEST_PAGE) return exitFatal(hart, vcpu, cause);
      break;
    default:
      break;
  }
  if (!mappedByNow(hart, vcpu, gpa)) exitPageFault(hart, vcpu, cause, gpa);
}

/** Whether another hart has mapped the page since the fault: then the guest tries again, without what this hart remembers of it. */
function mappedByNow(hart: Hart, vcpu: Vcpu, gpa: u64): bool {
  if (translate(vcpu.vm, gpa) == NOT_MAPPED) return false;
  refreshAddressSpace(hart, vcpu);
  return true;
}

/** The access fault that stands for a guest page fault. */
function accessFault(cause: u64): u64 {
  if (cause == EXC_INST_GUEST_PAGE) return EXC_INST_ACCESS;
  return cause == EXC_LOAD_GUEST_PAGE ? EXC_LOAD_ACCESS : EXC_STORE_ACCESS;
}

/** The lock is held for the look only: the host resolves a fault by calls that check again. */
function regionOf(vm: Vm, gpa: u64): u32 {
  lockAcquire(lockOfVm(vm));
  const type = regionTypeAt(vm, gpa);
  lockRelease(lockOfVm(vm));
  return type;
}

/** A TVM's first use of floating point or vectors; any other illegal instruction is the guest's own affair. */
function illegalInstruction(hart: Hart, vcpu: Vcpu): void {
  if (vcpu.vm.kind == VmKind.Tvm && grantExtensions(hart, vcpu)) return;
  injectException(EXC_ILLEGAL, csrRead(STVAL));
}

/**
 * What VS-mode may not do although HS-mode may: WFI of a TVM is an exit, unless what it waits for is there; a host has some hypervisor CSRs;
 * everything else does not exist in a VM.
 */
function virtualInstruction(hart: Hart, vcpu: Vcpu): void {
  let instruction = csrRead(STVAL);
  if (instruction == 0) {
    // The hardware need not say which.
    const fetched = fetchInstruction(csrRead(SEPC));
    if (fetched == FETCH_FAULTED) return;
    instruction = <u64>fetched;
  }
  const fromSupervisor = (csrRead(SSTATUS) & SSTATUS_SPP) != 0;
  const host = vcpu.vm.kind == VmKind.Host;
  if (instruction != WFI && emulateCounterRead(vcpu, instruction, fromSupervisor)) return;
  if (host && fromSupervisor && emulateHostCsr(hart, vcpu, instruction)) return;
  if (host || instruction != WFI || !fromSupervisor) return injectException(EXC_ILLEGAL, instruction);
  csrWrite(SEPC, csrRead(SEPC) + WFI_LENGTH);
  if ((csrRead(VSIP) & csrRead(VSIE)) == 0) exitWfi(hart, vcpu, instruction);
}

/** An exception that should have gone to the guest goes there; one that is not the guest's doing is a hardware error to the host. */
function unexpectedException(hart: Hart, vcpu: Vcpu, cause: u64): void {
  const delegated = cause < 64 && ((hart.root.hedeleg >> cause) & 1) != 0;
  if (delegated) return injectException(cause, csrRead(STVAL));
  if (vcpu.vm.kind == VmKind.Tvm) return exitFatal(hart, vcpu, cause);
  const known = cause < EXC_ECALL_HS || (cause > EXC_ECALL_HS + 2 && cause <= EXC_HARDWARE_ERROR);
  injectException(known ? cause : EXC_HARDWARE_ERROR, csrRead(STVAL));
}

function handleInterrupt(hart: Hart, interrupt: u64): void {
  switch (<u32>min<u64>(interrupt, 0xff)) {
    case <u32>IRQ_STI:
      return timerInterrupt(hart);
    case <u32>IRQ_SEI:
      return externalInterrupt(hart);
    case <u32>IRQ_SSI:
      return softwareInterrupt(hart);
    case <u32>IRQ_SGEI:
      return guestExternalInterrupt(hart);
    case <u32>IRQ_LCOFI:
      return counterOverflowed(hart);
    case <u32>WOKEN:
      return woken(hart);
    default:
      // Nobody enabled it: it must not come again.
      hart.strayInterrupts++;
      if (interrupt < INTERRUPT_BITS) csrClear(SIE, (<u64>1) << interrupt);
  }
}

/** After a wait nothing has trapped: what is pending is found here. Each may change the current vCPU. */
function woken(hart: Hart): void {
  const pending = csrRead(SIP) & csrRead(SIE);
  if ((pending & SIP_SEIP) != 0) externalInterrupt(hart);
  if ((pending & SIP_SSIP) != 0) softwareInterrupt(hart);
  if ((pending & SIP_STIP) != 0) timerInterrupt(hart);
  if ((pending & LCOFI) != 0) counterOverflowed(hart);
  if ((csrRead(HIP) & csrRead(HIE) & HIP_SGEIP) != 0) guestExternalInterrupt(hart);
}

/** The deadline of the host while a TVM runs; without Sstc also that of the current vCPU. */
function timerInterrupt(hart: Hart): void {
  const vcpu = hart.vcpu;
  if (!hasGuestComparator(hart.root)) {
    if (firmwareTimerFired(hart)) exitInterrupt(hart, vcpu, IRQ_STI);
    return;
  }
  if (vcpu != hart.hostVcpu) exitInterrupt(hart, vcpu, IRQ_STI);
  else csrClear(SIE, SIP_STIP);
}

/** Another hart, through the IMSIC. Without one nobody knows how to quiet the source: it is turned off. */
export function externalInterrupt(hart: Hart): void {
  if (hart.root.imsic != 0) return acknowledgeInterrupt(hart);
  hart.strayInterrupts++;
  csrClear(SIE, SIP_SEIP);
}

/** Another hart, through the firmware. With an IMSIC nobody sends these. */
export function softwareInterrupt(hart: Hart): void {
  if (hart.root.imsic == 0) return acknowledgeInterrupt(hart);
  hart.strayInterrupts++;
  csrClear(SIE, SIP_SSIP);
}

/** A guest file of this hart that hgeie selects: the host's own, or one that the host watches. */
function guestExternalInterrupt(hart: Hart): void {
  const vcpu = hart.vcpu;
  if (vcpu == hart.hostVcpu) offerGuestExternal(hart);
  else exitInterrupt(hart, vcpu, ownFileRaised(hart) ? IRQ_SEI : IRQ_SGEI);
}
