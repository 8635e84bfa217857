import { Root } from "../root";
import { HSTATUS, HSTATUS_VGEIN, HSTATUS_VGEIN_SHIFT, VSIREG, VSISELECT } from "../riscv/csr";
import { csrRead, csrSet, csrSwap, csrWrite, mmioRead32, mmioWrite32 } from "../riscv/hw";
import { Hart } from "../hart";
import { InterruptState } from "./interrupt-state";
import { EIDELIVERY, EIE0, EIP0, EITHRESHOLD, SETEIPNUM, guestIdentities } from "./imsic";

/**
 * The whole state of a guest interrupt file of the hart that runs this, through vsiselect and vsireg with hstatus.VGEIN = the file (AIA 3.9).
 * Both registers are put back: they belong to the vCPU that is current.
 *
 * A file goes from one place to another without losing an interrupt, while others go on sending to it:
 *
 *     prepareSave   delivery off; enables, threshold and delivery are stored. What arrives becomes pending in the file.
 *     (fence)       from here on nothing arrives any more
 *     finishSave    the file's pending bits are added to the stored ones
 *     restore       in the new file: pending bits are added to those that arrived there meanwhile
 */

/** Turns the file off and forgets what is pending or enabled in it. */
export function clearFile(root: Root, file: u64): void {
  const status = selectFile(file);
  const select = csrRead(VSISELECT);
  write(EIDELIVERY, 0);
  write(EITHRESHOLD, 0);
  const words = wordCount(root);
  for (let i: u64 = 0; i < words; i++) {
    write(EIE0 + 2 * i, 0);
    write(EIP0 + 2 * i, 0);
  }
  csrWrite(VSISELECT, select);
  csrWrite(HSTATUS, status);
}

/** The file delivers nothing from now on; all of it but its pending bits is in `state`. */
export function prepareSave(root: Root, file: u64, state: InterruptState): void {
  const status = selectFile(file);
  const select = csrRead(VSISELECT);
  csrWrite(VSISELECT, EIDELIVERY);
  state.delivery = csrSwap(VSIREG, 0);
  state.threshold = read(EITHRESHOLD);
  const words = wordCount(root);
  for (let i: u64 = 0; i < words; i++) state.setEnabled(i, read(EIE0 + 2 * i));
  csrWrite(VSISELECT, select);
  csrWrite(HSTATUS, status);
}

/** Adds the file's pending interrupts to `state`. Nobody can reach the file any more. */
export function finishSave(root: Root, file: u64, state: InterruptState): void {
  const status = selectFile(file);
  const select = csrRead(VSISELECT);
  const words = wordCount(root);
  for (let i: u64 = 0; i < words; i++) state.setPending(i, state.pending(i) | read(EIP0 + 2 * i));
  csrWrite(VSISELECT, select);
  csrWrite(HSTATUS, status);
}

/** Gives the file, which was cleared and may have received interrupts since, the rest of its state. `state` then has nothing pending. */
export function restoreFile(root: Root, file: u64, state: InterruptState): void {
  const status = selectFile(file);
  const select = csrRead(VSISELECT);
  const words = wordCount(root);
  for (let i: u64 = 0; i < words; i++) {
    csrWrite(VSISELECT, EIP0 + 2 * i);
    csrSet(VSIREG, state.pending(i));
    state.setPending(i, 0);
    write(EIE0 + 2 * i, state.enabled(i));
  }
  write(EITHRESHOLD, state.threshold);
  write(EIDELIVERY, state.delivery);
  csrWrite(VSISELECT, select);
  csrWrite(HSTATUS, status);
}

/** Sends interrupt `identity` to guest file `file` of `hart`, any hart. It has arrived on return. */
export function sendToFile(hart: Hart, file: u64, identity: u64): void {
  const page = filePage(hart, file);
  mmioWrite32(page + SETEIPNUM, <u32>identity);
  // The load cannot pass the store to the same device, so whoever reads the file's pending bits after us finds this one.
  mmioRead32(page + SETEIPNUM);
}

/** hpa of the page of guest file `file` of `hart`. */
// @ts-ignore: decorator
@inline
export function filePage(hart: Hart, file: u64): u64 {
  return hart.imsicPage + (file << 12);
}

/** Makes vsireg reach guest file `file`; returns hstatus as it was. */
function selectFile(file: u64): u64 {
  const status = csrRead(HSTATUS);
  csrWrite(HSTATUS, (status & ~HSTATUS_VGEIN) | (file << HSTATUS_VGEIN_SHIFT));
  return status;
}

/** 64-bit words of pending or enable bits. */
function wordCount(root: Root): u64 {
  return (guestIdentities(root) + 1) >> 6;
}

function read(register: u64): u64 {
  csrWrite(VSISELECT, register);
  return csrRead(VSIREG);
}

function write(register: u64, value: u64): void {
  csrWrite(VSISELECT, register);
  csrWrite(VSIREG, value);
}
