import {
  HELPER_AREA,
  HELPER_CONTEXT,
  HELPER_IMAGE,
  HELPER_IMAGE_END,
  HELPER_INPUT,
  HELPER_OUTPUT,
  HELPER_REQUEST,
  HELPER_SCRATCH,
  HELPER_STACK,
  HELPER_STACK_PAGES,
} from "../../umode/layout";
import { HelperContext } from "../helper/context";
import { HelperRun } from "../helper/run";
import { ImageSymbol, imageAddress } from "../riscv/hw";
import { PAGE_SIZE, PTE_R, PTE_U, PTE_W, PTE_X } from "../riscv/pte";
import { Root } from "../root";
import { BootAllocator } from "./boot-allocator";
import { KernelMap, initKernelMap, kernelMapSatp, mapPage } from "./kernel-map";
import { MemoryPlan } from "./memory-plan";

/**
 * The address spaces of the user-mode helper (umode/layout.ts): one for each hart, made at boot and never changed. Pages of the helper have the U bit, so that
 * we cannot reach them by its addresses (SUM is 0) and it cannot reach ours; nothing is both writable and executable.
 */

const USER_READ: u64 = PTE_U | PTE_R;
const USER_WRITE: u64 = PTE_U | PTE_R | PTE_W;
const USER_EXECUTE: u64 = PTE_U | PTE_R | PTE_X;

/** Context, request, input, output, scratch. */
const SINGLE_PAGES: u64 = 5;

/** Table pages of one address space: a root and two further down for the helper's range, two for the page of our text, one for each level above. */
function tablePages(levels: u64): u64 {
  return levels + 2;
}

/** Bytes of the helpers of `harts` harts, page aligned. */
export function helperBytes(harts: u64, levels: u64): u64 {
  return harts * (SINGLE_PAGES + HELPER_STACK_PAGES + tablePages(levels)) * PAGE_SIZE;
}

/** Makes the helper of every hart. After createHarts; root.satp is known. */
export function createHelpers(root: Root, plan: MemoryPlan): void {
  const own = plan.own;
  const allocator = plan.allocator;
  allocator.next = own.helpers;
  allocator.end = own.helpers + <usize>helperBytes(own.harts, plan.mapLevels);
  const map = changetype<KernelMap>(own.helperMap);
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const hart = root.hart(i);
    const context = changetype<HelperContext>(allocator.take(PAGE_SIZE, PAGE_SIZE));
    hart.helper = context;
    context.hart = changetype<usize>(hart);
    context.ownSatp = root.satp;
    context.run = own.helperRuns + <usize>i * offsetof<HelperRun>();
    context.request = takePage(allocator);
    context.input = takePage(allocator);
    context.output = takePage(allocator);
    context.scratch = takePage(allocator);
    context.stack = <u64>allocator.take(HELPER_STACK_PAGES * PAGE_SIZE, PAGE_SIZE);
    initKernelMap(map, allocator, plan.mapLevels);
    mapHelper(map, context);
    context.helperSatp = kernelMapSatp(map);
  }
}

function takePage(allocator: BootAllocator): u64 {
  return <u64>allocator.take(PAGE_SIZE, PAGE_SIZE);
}

function mapHelper(map: KernelMap, context: HelperContext): void {
  // For us: the registers, and the instructions that change satp, which are in the first page of text.
  mapPage(map, HELPER_CONTEXT, <u64>changetype<usize>(context), PTE_R | PTE_W);
  const text = imageAddress(ImageSymbol.Start);
  mapPage(map, text, text, PTE_R | PTE_X);

  const start = imageAddress(ImageSymbol.HelperStart);
  const constants = imageAddress(ImageSymbol.HelperConstants);
  const end = imageAddress(ImageSymbol.HelperEnd);
  assert(end - start <= HELPER_IMAGE_END - HELPER_IMAGE, "the user-mode helper is too large for its address space");
  for (let at = start; at < end; at += PAGE_SIZE) {
    mapPage(map, HELPER_IMAGE + (at - start), at, at < constants ? USER_EXECUTE : USER_READ);
  }
  mapPage(map, HELPER_REQUEST, context.request, USER_READ);
  mapPage(map, HELPER_INPUT, context.input, USER_READ);
  mapPage(map, HELPER_OUTPUT, context.output, USER_WRITE);
  mapPage(map, HELPER_SCRATCH, context.scratch, USER_WRITE);
  for (let offset: u64 = 0; offset < HELPER_STACK_PAGES * PAGE_SIZE; offset += PAGE_SIZE) {
    mapPage(map, HELPER_STACK + offset, context.stack + offset, USER_WRITE);
  }
  assert(HELPER_AREA == PAGE_SIZE, "an area of the helper is one page");
}
