import { Hart } from "../hart";
import { enterAddressSpace } from "../memory/fence";
import {
  HIE,
  HSTATUS,
  HTIMEDELTA,
  HVIP,
  IRQ_SEI,
  SCOUNTEREN,
  SENVCFG,
  SEPC,
  SSTATUS,
  SSTATUS_FS,
  SSTATUS_VS,
  VSATP,
  VSCAUSE,
  VSEPC,
  VSIE,
  VSISELECT,
  VSSCRATCH,
  VSSTATUS,
  VSTIMECMP,
  VSTVAL,
  VSTVEC,
} from "../riscv/csr";
import { csrRead, csrSet, csrSwap, csrWrite, write32 } from "../riscv/hw";
import { OptionalState, VS_INTERRUPTS } from "./csr-policy";
import { disownExtensionState, loadExtensionState, saveExtensionState } from "./extension-state";
import { hasMessages, serveMessages } from "./messages";
import { refreshFirmwareTimer } from "./timer";
import { Vcpu, VcpuState } from "./vcpu";

/**
 * Which vCPU's supervisor state is in this hart. While a vCPU is current its VS-level CSRs, sepc, sstatus and hstatus are in the machine
 * and its record is out of date; general registers are always in the record (trap.S), and hart.current tells it whose to load.
 *
 * Every register that a VM can write is listed in both functions; what it cannot write is constant (vm/csr-policy.ts).
 *
 * vsatp is 0 from the moment the old guest's tables may not be walked any more until hgatp and the new guest's state are there: a speculative
 * walk in between finds nothing to walk. No lock is held across a switch.
 */

const SIE_SEIE: u64 = 1 << IRQ_SEI;
/** From bit 9 (vsie.SEIE of the host) to bit 12 (hie.SGEIE). */
const SEIE_TO_SGEIE: u64 = 3;

/** Takes the state of the current vCPU out of the machine. Another vCPU has to be loaded before a guest is entered. */
export function saveWorld(hart: Hart, vcpu: Vcpu): void {
  const optional = hart.root.optionalState;
  vcpu.vsatp = csrSwap(VSATP, 0);
  vcpu.sepc = csrRead(SEPC);
  vcpu.sstatus = saveExtensionState(vcpu, csrRead(SSTATUS));
  vcpu.vsstatus = csrRead(VSSTATUS);
  vcpu.vsie = csrRead(VSIE);
  vcpu.vstvec = csrRead(VSTVEC);
  vcpu.vsscratch = csrRead(VSSCRATCH);
  vcpu.vsepc = csrRead(VSEPC);
  vcpu.vscause = csrRead(VSCAUSE);
  vcpu.vstval = csrRead(VSTVAL);
  vcpu.hvip = csrRead(HVIP);
  vcpu.scounteren = csrRead(SCOUNTEREN);
  vcpu.senvcfg = csrRead(SENVCFG);
  if ((optional & OptionalState.Timer) != 0) vcpu.vstimecmp = csrRead(VSTIMECMP);
  if ((optional & OptionalState.Indirect) != 0) vcpu.vsiselect = csrRead(VSISELECT);
}

/**
 * Makes `vcpu`, whose state says Running already, the current one: enters its address space, loads its state, and does what other harts
 * asked of it meanwhile. vsatp is 0 and sstatus.FS and VS are not Off (so it is after `saveWorld`).
 */
export function loadWorld(hart: Hart, vcpu: Vcpu): void {
  const optional = hart.root.optionalState;
  enterAddressSpace(hart, vcpu);
  loadExtensionState(hart, vcpu);
  csrWrite(SEPC, vcpu.sepc);
  csrWrite(SSTATUS, vcpu.sstatus);
  csrWrite(HSTATUS, vcpu.hstatus);
  csrWrite(VSSTATUS, vcpu.vsstatus);
  csrWrite(VSTVEC, vcpu.vstvec);
  csrWrite(VSSCRATCH, vcpu.vsscratch);
  csrWrite(VSEPC, vcpu.vsepc);
  csrWrite(VSCAUSE, vcpu.vscause);
  csrWrite(VSTVAL, vcpu.vstval);
  csrWrite(HVIP, vcpu.hvip);
  csrWrite(HTIMEDELTA, vcpu.htimedelta);
  csrWrite(SCOUNTEREN, vcpu.scounteren);
  csrWrite(SENVCFG, vcpu.senvcfg);
  if ((optional & OptionalState.Timer) != 0) csrWrite(VSTIMECMP, vcpu.vstimecmp);
  if ((optional & OptionalState.Indirect) != 0) csrWrite(VSISELECT, vcpu.vsiselect);

  // vsie is hie's VS bits; an external interrupt of the host that runs a TVM arrives as SGEI.
  let enabled = (vcpu.vsie << 1) & VS_INTERRUPTS;
  const host = hart.hostVcpu;
  if (vcpu != host) enabled |= (host.vsie & SIE_SEIE) << SEIE_TO_SGEIE;
  csrWrite(HIE, enabled);
  csrWrite(VSATP, vcpu.vsatp);

  hart.vcpu = vcpu;
  hart.current = changetype<usize>(vcpu);
  if ((optional & OptionalState.Timer) == 0) refreshFirmwareTimer(hart);
  // Senders set the message first and look at the state then; enterAddressSpace has a full fence since the state said Running.
  if (hasMessages(vcpu)) serveMessages(vcpu);
}

/** Makes `vcpu` (reset, or saved) the current one of a hart on which no vCPU is: at boot, and when a host vCPU starts. */
export function startWorld(hart: Hart, vcpu: Vcpu): void {
  write32(vcpu.stateAddress(), VcpuState.Running);
  csrWrite(VSATP, 0);
  csrSet(SSTATUS, SSTATUS_FS | SSTATUS_VS);
  disownExtensionState(hart);
  loadWorld(hart, vcpu);
}
