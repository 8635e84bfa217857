import { HOST_FILE_SHIFT, filesForTvms, hostGuestFileMask } from "../devices/imsic";
import { Hart, HartRequest } from "../hart";
import {
  HGEIE,
  HGEIP,
  HIE,
  HVICTL,
  HVICTL_IID_SHIFT,
  HVICTL_IPRIOM,
  HVICTL_VTI,
  IRQ_SEI,
  IRQ_SGEI,
  SIE,
  IRQ_STI,
  SSTATUS,
  SSTATUS_SIE,
  SSTATUS_SPP,
  STIMECMP,
  TIME,
  VSSTATUS,
} from "../riscv/csr";
import { and64, csrClear, csrRead, csrSet, csrWrite, or64 } from "../riscv/hw";
import { injectInterrupt } from "./inject";
import { hasGuestComparator } from "./timer";
import { Vcpu } from "./vcpu";

/**
 * Guest external interrupts (SGEI): a guest interrupt file of this hart that hgeie selects has something to deliver.
 *
 * While a TVM runs, the host's own file and those that the host watches (its hie and hgeie, vm/host-csr.ts) end the run. While the host
 * runs, its own file interrupts it directly, and a watched one has to become interrupt 12 of the host. hvictl does that
 * (AIA 6.3.2): VTI makes an interrupt of our choice pending for VS-mode, also in its stopi. Not every machine takes a trap for it
 * (QEMU 10 does not), so while the host can take interrupts the trap is made by us, and while it cannot we look again soon.
 *
 * HartRequest.GuestExternal of the hart itself says that the interrupt is offered: then the end of every trap looks whether it still is.
 */

const SGEIE: u64 = 1 << IRQ_SGEI;
const SEIE: u64 = 1 << IRQ_SEI;
const SIE_STIE: u64 = 1 << IRQ_STI;
const OFFER: u64 = HVICTL_VTI | (IRQ_SGEI << HVICTL_IID_SHIFT) | HVICTL_IPRIOM;

/** Looks at a host that cannot take the interrupt now, in a second. */
const RETRIES_PER_SECOND: u64 = 10_000;

/** The files that the host watches, as bits of the machine's hgeie. */
// @ts-ignore: decorator
@inline
function watchedFiles(host: Vcpu): u64 {
  return (host.virtualHie & SGEIE) != 0 ? host.virtualHgeie << HOST_FILE_SHIFT : 0;
}

/** A TVM is about to run in place of `host`, which is saved: sets hgeie; returns the bit of hie. */
// @ts-ignore: decorator
@inline
export function watchForTvm(hart: Hart, host: Vcpu): u64 {
  const own = (host.vsie & SEIE) != 0 ? hostGuestFileMask(hart.root) : 0;
  return enableFiles(hart, own | watchedFiles(host));
}

/** The host is about to run: sets hgeie, unless it watches nothing; returns the bit of hie. */
// @ts-ignore: decorator
@inline
export function watchForHost(hart: Hart, host: Vcpu): u64 {
  const files = watchedFiles(host);
  return files != 0 ? enableFiles(hart, files) : 0;
}

// @ts-ignore: decorator
@inline
function enableFiles(hart: Hart, files: u64): u64 {
  if (files != hart.guestFileEnables) {
    hart.guestFileEnables = files;
    csrWrite(HGEIE, files);
  }
  return files != 0 ? SGEIE : 0;
}

/** Whether the host's own file is among those that raise SGEI now. */
export function ownFileRaised(hart: Hart): bool {
  return (csrRead(HGEIP) & hart.guestFileEnables & hostGuestFileMask(hart.root)) != 0;
}

/** The host's hgeip. */
export function hostFilesPending(hart: Hart): u64 {
  return (csrRead(HGEIP) >> HOST_FILE_SHIFT) & filesForTvms(hart.root);
}

/** Whether interrupt 12 is pending and enabled for the host, which is current. */
export function watchedFileRaised(hart: Hart): bool {
  return (csrRead(HGEIP) & watchedFiles(hart.hostVcpu)) != 0;
}

/** The host, which is current, changed what it watches. */
export function rewatch(hart: Hart): void {
  const bit = watchForHost(hart, hart.hostVcpu);
  if (isOffered(hart)) return;
  if (bit != 0) csrSet(HIE, SGEIE);
  else csrClear(HIE, SGEIE);
}

/** Whether interrupt 12 is offered to the host. */
// @ts-ignore: decorator
@inline
export function isOffered(hart: Hart): bool {
  return (hart.requests & HartRequest.GuestExternal) != 0;
}

/** SGEI while the host is current: it is offered to the host from now on, and must not come here again meanwhile. */
export function offerGuestExternal(hart: Hart): void {
  csrClear(HIE, SGEIE);
  or64(hart.requestsAddress(), HartRequest.GuestExternal);
}

/** The end of a trap with the offer standing and the host about to be entered: the host takes the interrupt now if it can. */
export function renewOffer(hart: Hart): void {
  if (!watchedFileRaised(hart)) return withdrawOffer(hart);
  csrWrite(HVICTL, OFFER);
  const fromSupervisor = (csrRead(SSTATUS) & SSTATUS_SPP) != 0;
  if (!fromSupervisor || (csrRead(VSSTATUS) & SSTATUS_SIE) != 0) return injectInterrupt(IRQ_SGEI);
  if (!hasGuestComparator(hart.root)) return;
  csrWrite(STIMECMP, csrRead(TIME) + hart.root.timebaseFrequency / RETRIES_PER_SECOND);
  csrSet(SIE, SIE_STIE);
}

/** Takes the offer back: the interrupt is gone, or the host is not to run. If it is still there it comes again as SGEI. */
export function withdrawOffer(hart: Hart): void {
  if (!isOffered(hart)) return;
  and64(hart.requestsAddress(), ~(<u64>HartRequest.GuestExternal));
  csrWrite(HVICTL, 0);
  if (hasGuestComparator(hart.root)) csrClear(SIE, SIE_STIE);
  if (watchForHost(hart, hart.hostVcpu) != 0) csrSet(HIE, SGEIE);
}
