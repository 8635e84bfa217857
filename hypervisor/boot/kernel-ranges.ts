import { APLIC_SIZE } from "../devices/aplic";
import { alignDown, alignUp } from "../lib/arithmetic";
import { ImageSymbol, imageAddress } from "../riscv/hw";
import { PAGE_SIZE } from "../riscv/pte";
import {
  initKernelMap,
  KERNEL_EXECUTE,
  KERNEL_READ,
  KERNEL_READ_WRITE,
  KernelMap,
  kernelMapSatp,
  mapKernelList,
  mapKernelRange,
} from "./kernel-map";
import { nextPlatformIommu, platformRegisters } from "./describe-iommu";
import { MemoryPlan } from "./memory-plan";
import { HART_STACK_STRIDE } from "./own-memory";

/**
 * What the kernel map holds: the image by the permissions of its parts, all RAM that is not reserved, the stacks without their
 * guard pages, and the devices that we drive. Returns satp.
 */
export function buildKernelMap(plan: MemoryPlan): u64 {
  const own = plan.own;
  const description = plan.description;
  const map = changetype<KernelMap>(own.kernelMap);
  plan.allocator.next = own.kernelTablePages;
  plan.allocator.end = own.kernelTablePages + <usize>(own.kernelTables * PAGE_SIZE);
  initKernelMap(map, plan.allocator, plan.mapLevels);

  const text = imageAddress(ImageSymbol.Start);
  const constants = imageAddress(ImageSymbol.RodataStart);
  const data = imageAddress(ImageSymbol.DataStart);
  mapKernelRange(map, text, constants, KERNEL_EXECUTE);
  mapKernelRange(map, constants, data, KERNEL_READ);

  const memory = plan.spare;
  memory.copyFrom(plan.ram);
  memory.removeAll(plan.reserved);
  memory.remove(text, data);
  // The boot hart's first record lies below its stack and is no longer used.
  memory.remove(imageAddress(ImageSymbol.BootHart), imageAddress(ImageSymbol.BootHart) + PAGE_SIZE);
  memory.remove(own.stacks, own.stacks + own.harts * HART_STACK_STRIDE);
  mapKernelList(map, memory, KERNEL_READ_WRITE);
  for (let i: u64 = 0; i < own.harts; i++) {
    const guard = <u64>own.stacks + i * HART_STACK_STRIDE;
    mapKernelRange(map, guard + PAGE_SIZE, guard + HART_STACK_STRIDE, KERNEL_READ_WRITE);
  }

  // A firmware may reserve the tree that it gives us; it is read until the host has its own.
  const tree = plan.busy;
  for (let at = alignDown(tree.start(0), PAGE_SIZE); at < tree.end(0); at += PAGE_SIZE) {
    if (!memory.covers(at, at + PAGE_SIZE)) mapKernelRange(map, at, at + PAGE_SIZE, KERNEL_READ);
  }
  mapDevice(map, description.uart);
  mapDevice(map, description.testFinisher);
  for (let i: u64 = 0; i < description.imsicRegionCount; i++) {
    const region = description.imsicRegion(i);
    mapKernelRange(map, region.base, alignUp(region.base + region.size, PAGE_SIZE), KERNEL_READ_WRITE);
  }
  if (description.aplic != 0) {
    mapKernelRange(map, description.aplic, description.aplic + APLIC_SIZE, KERNEL_READ_WRITE);
  }
  for (let i: u32 = 0; i < description.pciSegmentCount; i++) {
    const segment = description.pciSegment(i);
    if (segment.ecam != 0) mapKernelRange(map, segment.ecam, segment.ecam + segment.ecamSize(), KERNEL_READ_WRITE);
    for (let w: u32 = 0; w < segment.windowCount; w++) {
      const window = segment.window(w);
      mapKernelRange(map, window.base + window.hostSize, window.base + window.size, KERNEL_READ_WRITE);
    }
  }
  for (let node = nextPlatformIommu(description, 0); node != 0; node = nextPlatformIommu(description, node)) {
    mapDevice(map, platformRegisters(description, node));
  }
  return kernelMapSatp(map);
}

function mapDevice(map: KernelMap, address: u64): void {
  if (address == 0) return;
  const page = alignDown(address, PAGE_SIZE);
  mapKernelRange(map, page, page + PAGE_SIZE, KERNEL_READ_WRITE);
}
