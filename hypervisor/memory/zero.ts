import { thisHart } from "../hart";
import { cboZero, copyBytes, zeroBytes } from "../riscv/hw";
import { PAGE_SIZE } from "../riscv/pte";

/** Cache blocks that are zeroed in one turn of the loop. */
const BLOCKS: u64 = 16;

/** Zeroes `pages` pages from `hpa` on, by cache block where the harts have Zicboz (and a turn is no more than a page). */
export function zeroPages(hpa: u64, pages: u64): void {
  const block = thisHart().root.cbozBlockSize;
  if (block == 0 || block > PAGE_SIZE / BLOCKS) {
    zeroBytes(hpa, pages * PAGE_SIZE);
    return;
  }
  const end = hpa + pages * PAGE_SIZE;
  for (let at = hpa; at < end;) at = zeroFour(zeroFour(zeroFour(zeroFour(at, block), block), block), block);
}

/** Zeroes four cache blocks; returns the address after them. */
// @ts-ignore: decorator
@inline
function zeroFour(at: u64, block: u64): u64 {
  const second = at + block;
  const third = second + block;
  const fourth = third + block;
  cboZero(at);
  cboZero(second);
  cboZero(third);
  cboZero(fourth);
  return fourth + block;
}

export function zeroPage(hpa: u64): void {
  zeroPages(hpa, 1);
}

/** Copies one page. */
export function copyPage(toHpa: u64, fromHpa: u64): void {
  copyBytes(toHpa, fromHpa, PAGE_SIZE);
}
