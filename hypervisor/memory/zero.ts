import { thisHart } from "../hart";
import { cboZero, copyBytes, zeroBytes } from "../riscv/hw";
import { PAGE_SIZE } from "../riscv/pte";

/** Zeroes `pages` pages from `hpa` on, by cache block where the harts have Zicboz. */
export function zeroPages(hpa: u64, pages: u64): void {
  const block = thisHart().root.cbozBlockSize;
  if (block == 0) {
    zeroBytes(hpa, pages * PAGE_SIZE);
    return;
  }
  const end = hpa + pages * PAGE_SIZE;
  const turn = block << 2;
  for (let at = hpa; at < end; at += turn) {
    cboZero(at);
    cboZero(at + block);
    cboZero(at + block * 2);
    cboZero(at + block * 3);
  }
}

export function zeroPage(hpa: u64): void {
  zeroPages(hpa, 1);
}

/** Copies one page. */
export function copyPage(toHpa: u64, fromHpa: u64): void {
  copyBytes(toHpa, fromHpa, PAGE_SIZE);
}
