import { Hart } from "../hart";
import { enterAddressSpace } from "../memory/fence";
import {
  HIE,
  HSTATUS,
  HTIMEDELTA,
  HVIP,
  SCOUNTEREN,
  SENVCFG,
  SEPC,
  SSTATUS,
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
import { csrRead, csrSwap, csrWrite, read64, write32 } from "../riscv/hw";
import { Root } from "../root";
import { OptionalState } from "./csr-policy";
import { switchCounters } from "./counters";
import { EXTENSION_FIELDS, loadExtensions, returnExtensions } from "./extension-state";
import { watchForHost, watchForTvm } from "./guest-external";
import { hasMessages, serveMessages } from "./messages";
import { armHostTimer, disarmHostTimer, refreshFirmwareTimer } from "./timer";
import { Vcpu, VcpuState } from "./vcpu";

/**
 * Which vCPU's supervisor state is in this hart: the host's, or that of a TVM vCPU that the host runs. While a vCPU is current its VS-level
 * CSRs, sepc and sstatus are in the machine and its record is out of date; general registers are always in the record (trap.S),
 * and hart.current tells trap.S whose to load.
 *
 * Every register that a VM can write is listed in `exchange`; what it cannot write is constant (vm/csr-policy.ts).
 *
 * vsatp is 0 from the moment the old guest's tables may not be walked any more until hgatp and the new guest's state are there: a speculative
 * walk in between finds nothing to walk. No lock is held across a switch.
 *
 * A vCPU's state says Running before its address space is entered, which has a full fence, and its messages are looked at after
 * that; senders post a message first and look at the state then.
 */

const TIMER_AND_INDIRECT: u64 = OptionalState.Timer | OptionalState.Indirect;
/** What is looked at in each switch; the usual machine has the first two, and nobody counts. */
const SWITCHED: u64 = TIMER_AND_INDIRECT | OptionalState.Counters;

/**
 * The TVM vCPU `vcpu`, whose state says Running, becomes current in place of its host, whose vsie is in its record already. The host's timer and external interrupts end the
 * run from now on.
 */
// @ts-ignore: decorator
@inline
export function enterTvm(hart: Hart, host: Vcpu, vcpu: Vcpu): void {
  const optional = optionalStateOf(hart);
  host.vsatp = csrSwap(VSATP, 0);
  host.sstatus = csrSwap(SSTATUS, vcpu.sstatus);
  exchange(hart, host, vcpu, optional);
  write32(host.stateAddress(), VcpuState.Runnable);
  enterAddressSpace(hart, vcpu);

  // An external interrupt of the host arrives as SGEI. hie's other bits are vsie's.
  csrWrite(HIE, watchForTvm(hart, host));
  csrWrite(VSIE, vcpu.vsie);
  csrWrite(VSATP, vcpu.vsatp);
  setCurrent(hart, vcpu);
  if ((optional & OptionalState.Timer) != 0) armHostTimer(host);
  else refreshFirmwareTimer(hart);
  if (hasMessages(vcpu)) serveMessages(vcpu);
}

/** The host vCPU becomes current again in place of the TVM vCPU that it runs, whose state is in its record then. */
// @ts-ignore: decorator
@inline
export function leaveTvm(hart: Hart, host: Vcpu, vcpu: Vcpu): void {
  const optional = optionalStateOf(hart);
  vcpu.vsatp = csrSwap(VSATP, 0);
  vcpu.vsie = csrRead(VSIE);
  const sstatus = csrSwap(SSTATUS, host.sstatus);
  vcpu.sstatus = sstatus & ~EXTENSION_FIELDS;
  exchange(hart, vcpu, host, optional);
  returnExtensions(hart, host, vcpu, sstatus);
  write32(host.stateAddress(), VcpuState.Running);
  enterAddressSpace(hart, host);

  csrWrite(HIE, watchForHost(hart, host));
  csrWrite(VSIE, host.vsie);
  csrWrite(VSATP, host.vsatp);
  setCurrent(hart, host);
  if ((optional & OptionalState.Timer) != 0) disarmHostTimer();
  else refreshFirmwareTimer(hart);
  if (hasMessages(host)) serveMessages(host);
}

/** The host vCPU of this hart, which was just reset, becomes current: at boot, and when it is started. No vCPU is current before. */
export function startHost(hart: Hart, host: Vcpu): void {
  const optional = optionalStateOf(hart);
  csrWrite(VSATP, 0);
  csrWrite(SSTATUS, host.sstatus);
  loadExtensions(hart, host);
  const enabled = host.vsie;
  // What is in the machine is nobody's; it ends in this record, which is out of date from now on.
  exchange(hart, host, host, optional);
  write32(host.stateAddress(), VcpuState.Running);
  enterAddressSpace(hart, host);
  csrWrite(HIE, 0);
  csrWrite(VSIE, enabled);
  setCurrent(hart, host);
  if ((optional & OptionalState.Timer) == 0) refreshFirmwareTimer(hart);
  if (hasMessages(host)) serveMessages(host);
}

/** Counters may come and go on other harts meanwhile, but not those of the vCPUs that are switched. */
// @ts-ignore: decorator
@inline
function optionalStateOf(hart: Hart): u64 {
  return read64(<u64>(changetype<usize>(hart.root) + offsetof<Root>("optionalState")));
}

// @ts-ignore: decorator
@inline
function setCurrent(hart: Hart, vcpu: Vcpu): void {
  hart.vcpu = vcpu;
  hart.current = changetype<usize>(vcpu);
}

/**
 * Puts the state of `to` into the machine and what was there into the record of `from`: everything but vsatp, sstatus and vsie. One swap a register is
 * less work than a read and a write. hstatus and htimedelta are ours: a guest does not change them.
 */
// @ts-ignore: decorator
@inline
function exchange(hart: Hart, from: Vcpu, to: Vcpu, optional: u64): void {
  from.sepc = csrSwap(SEPC, to.sepc);
  from.vsstatus = csrSwap(VSSTATUS, to.vsstatus);
  from.vstvec = csrSwap(VSTVEC, to.vstvec);
  from.vsscratch = csrSwap(VSSCRATCH, to.vsscratch);
  from.vsepc = csrSwap(VSEPC, to.vsepc);
  from.vscause = csrSwap(VSCAUSE, to.vscause);
  from.vstval = csrSwap(VSTVAL, to.vstval);
  from.hvip = csrSwap(HVIP, to.hvip);
  from.scounteren = csrSwap(SCOUNTEREN, to.scounteren);
  from.senvcfg = csrSwap(SENVCFG, to.senvcfg);
  csrWrite(HSTATUS, to.hstatus);
  csrWrite(HTIMEDELTA, to.htimedelta);
  if ((optional & SWITCHED) == TIMER_AND_INDIRECT) {
    from.vstimecmp = csrSwap(VSTIMECMP, to.vstimecmp);
    from.vsiselect = csrSwap(VSISELECT, to.vsiselect);
  } else exchangeOptional(hart, from, to, optional);
}

/** Machines that have only one of the two, or none; and some vCPU has counters. */
function exchangeOptional(hart: Hart, from: Vcpu, to: Vcpu, optional: u64): void {
  if ((optional & OptionalState.Timer) != 0) from.vstimecmp = csrSwap(VSTIMECMP, to.vstimecmp);
  if ((optional & OptionalState.Indirect) != 0) from.vsiselect = csrSwap(VSISELECT, to.vsiselect);
  if ((optional & OptionalState.Counters) != 0) switchCounters(hart, from, to);
}
