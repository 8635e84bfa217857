import { write32 } from "../lib/hw";
import {
  addMeasuredPages,
  addMemoryRegion,
  addPageTablePages,
  convertPages,
  cpuCreate,
  cpuRun,
  PAGE_DIRECTORY_PAGES,
  PageType,
  tsmInitiateFence,
  tvmCreate,
  tvmDestroy,
  tvmFinalize,
} from "../lib/covh";
import { Reg } from "../lib/assembler";
import { allocatePagesAligned, allocateZeroed } from "../lib/heap";
import { guestRegister } from "../lib/nacl";
import { HUGE_PAGE_SIZE, PAGE_SIZE } from "../lib/records";
import { EID_LEGACY_PUTCHAR } from "../lib/sbi";
import { GUEST_RAM_START } from "../lib/tvm-map";
import { ensureNacl, parameterBuffer, state } from "../tellus/state";
import { expect } from "./announce";

/** TVMs of one page of code, of which there can be hundreds. */

/** Tables for one page: the levels below the page directory. */
const TABLE_PAGES: u64 = 3;

/** What a small TVM does: with a number of vCPUs, vCPU 0 starts the others and all make calls that exit, for ever. */
// @ts-ignore: decorator
@inline
export function exiting(vcpus: u64): u64 {
  return vcpus;
}
/** It computes for ever and never exits by itself. */
export const SPINNING: u64 = 1 << 16;

/** Where small TVMs get their pages: one stretch of host memory, converted and fenced at once. */
@unmanaged
export class TvmPages {
  next: u64;
  end: u64;
}

/** Pages of a TVM with `vcpus` vCPUs, with what is lost by alignment. */
export function pagesOf(vcpus: u64): u64 {
  const pages = PAGE_DIRECTORY_PAGES + state().tvmStatePages + state().vcpuStatePages * vcpus + TABLE_PAGES + 1;
  return (pages + PAGE_DIRECTORY_PAGES - 1) & ~(PAGE_DIRECTORY_PAGES - 1);
}

/** Converts and fences pages for `tvms` TVMs of `vcpus` vCPUs each. */
export function convertedPages(tvms: u64, vcpus: u64): TvmPages {
  const pages = changetype<TvmPages>(<usize>allocateZeroed(1));
  const count = tvms * pagesOf(vcpus);
  pages.next = allocatePagesAligned(count, PAGE_DIRECTORY_PAGES * PAGE_SIZE);
  pages.end = pages.next + count * PAGE_SIZE;
  expect(convertPages(pages.next, count), count);
  expect(tsmInitiateFence(), 0);
  return pages;
}

/** The code of every small TVM, in a page of the host. */
export function smallProgram(): u64 {
  const page = allocateZeroed(1);
  // Entered with a0 = vCPU id and, on vCPU 0, a1 = the argument.
  write32(page + 0x00, 0x0105d293); // srli  t0, a1, 16
  write32(page + 0x04, 0x04029263); // bnez  t0, 0x48
  write32(page + 0x08, 0x00058493); // mv    s1, a1
  write32(page + 0x0c, 0x00100413); // li    s0, 1
  write32(page + 0x10, 0x02945663); // bge   s0, s1, 0x3c
  write32(page + 0x14, 0x00040513); // mv    a0, s0
  write32(page + 0x18, 0x00000597); // auipc a1, 0
  write32(page + 0x1c, 0x02458593); // addi  a1, a1, 0x24
  write32(page + 0x20, 0x00000613); // li    a2, 0
  write32(page + 0x24, 0x00000813); // li    a6, 0 (HSM hart_start)
  write32(page + 0x28, 0x004858b7); // lui   a7, 0x485
  write32(page + 0x2c, 0x34d8889b); // addiw a7, a7, 0x34d
  write32(page + 0x30, 0x00000073); // ecall
  write32(page + 0x34, 0x00140413); // addi  s0, s0, 1
  write32(page + 0x38, 0xfd9ff06f); // j     0x10
  write32(page + 0x3c, 0x00100893); // li    a7, 1 (putchar)
  write32(page + 0x40, 0x00000073); // ecall
  write32(page + 0x44, 0xffdff06f); // j     0x40
  write32(page + 0x48, 0x0000006f); // j     0x48
  return page;
}

/** Makes a TVM that does what `program` does with `argument`; returns its id. */
export function createSmallTvm(pages: TvmPages, program: u64, vcpus: u64, argument: u64): u64 {
  const directory = pages.next;
  const statePages = directory + PAGE_DIRECTORY_PAGES * PAGE_SIZE;
  const vcpuPages = statePages + state().tvmStatePages * PAGE_SIZE;
  const tables = vcpuPages + state().vcpuStatePages * vcpus * PAGE_SIZE;
  pages.next = directory + pagesOf(vcpus) * PAGE_SIZE;
  assert(pages.next <= pages.end, "pages for a TVM");
  const id = tvmCreate(parameterBuffer(), directory, statePages);
  assert(id > 0, "TvmCreate");
  const tvm = <u64>id;
  assert(addPageTablePages(tvm, tables, TABLE_PAGES) >= 0, "AddPageTablePages");
  expect(addMemoryRegion(tvm, GUEST_RAM_START, HUGE_PAGE_SIZE), 0);
  for (let i: u64 = 0; i < vcpus; i++) {
    expect(cpuCreate(tvm, i, vcpuPages + state().vcpuStatePages * i * PAGE_SIZE), 0);
  }
  expect(addMeasuredPages(tvm, program, tables + TABLE_PAGES * PAGE_SIZE, PageType.Page4K, 1, GUEST_RAM_START), 1);
  expect(tvmFinalize(tvm, GUEST_RAM_START, argument), 0);
  return tvm;
}

/** Runs vCPU 0 until it has started the others and makes its endless calls. */
export function runToExits(tvm: u64): void {
  assert(ensureNacl() >= 0, "NACL shared memory");
  do {
    expect(cpuRun(tvm, 0), 0);
  } while (guestRegister(Reg.A7) != EID_LEGACY_PUTCHAR);
}

export function destroySmallTvm(tvm: u64): void {
  expect(tvmDestroy(tvm), 0);
}
