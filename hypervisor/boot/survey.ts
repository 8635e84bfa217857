import { thisHart } from "../hart";
import { alignUp } from "../lib/arithmetic";
import { HGATP } from "../riscv/csr";
import { csrExists, ImageSymbol, imageAddress } from "../riscv/hw";
import { PAGE_SIZE } from "../riscv/pte";
import { BootAllocator } from "./boot-allocator";
import { findTestFinisher } from "./describe-devices";
import { memoryRangeCount } from "./describe-memory";
import { treeCheck, TreeError, treeErrorText } from "./device-tree/check";
import { nextPlatformIommu } from "./describe-iommu";
import { dropWindow } from "./describe-pci";
import { findFirstBlock, NO_PLACE } from "./first-block";
import { gstageLevels, gstageReach, mostGstageLevels } from "./gstage-modes";
import { hostTreeBound } from "./host-device-tree";
import { endOfBus, nextFunction, numberBuses } from "../devices/pci/buses";
import { placeOwnBars } from "../devices/pci/own-bars";
import { isIommu } from "../devices/pci/probe";
import { functionExists } from "../devices/pci/registers";
import { PciSegment } from "../devices/pci/segment";
import { describe, DescribeError, describeErrorText, describeSize, MachineDescription } from "./machine-description";
import { beginMemoryPlan, MemoryPlan, memoryPlanBytes, NO_OWN_PLACE, placeOwnMemory } from "./memory-plan";
import { panic, panicBecause } from "./panic";
import { secretMarkPage } from "./secret-mark";

/**
 * The first step of boot: what machine is this, can we run on it, and where is everything going to be. Writes only to the
 * first block, which holds the description and the plan. Every fault of the machine ends the boot with a sentence.
 *
 * `vlenb`: bytes of a vector register of this hart, 0 without vectors.
 */
export function surveyMachine(fdt: usize, hartId: u64, vlenb: u64): MemoryPlan {
  const wrong = treeCheck(fdt);
  if (wrong != TreeError.None) panicBecause("the device tree ", treeErrorText(wrong));
  thisHart().earlyFinisher = findTestFinisher(fdt);
  const descriptionBytes = describeSize(fdt);
  const bytes = alignUp(2 * <u64>offsetof<BootAllocator>() + descriptionBytes + memoryPlanBytes(fdt) + 64, PAGE_SIZE);
  const block = findFirstBlock(fdt, bytes);
  if (block == NO_PLACE) {
    if (memoryRangeCount(fdt) == 0) panicBecause("the device tree ", describeErrorText(DescribeError.NoMemory));
    panic("there is no free memory for the description of the machine");
  }

  const allocator = changetype<BootAllocator>(<usize>block);
  allocator.next = <usize>block + offsetof<BootAllocator>();
  allocator.end = <usize>(block + bytes);
  const description = describe(fdt, allocator.take(descriptionBytes, 8));
  if (description.error != DescribeError.None) panicBecause("the device tree ", describeErrorText(description.error));
  checkMachine(description, hartId);
  surveyPci(description);

  const plan = beginMemoryPlan(description, allocator, block, block + bytes);
  if (!plan.ram.covers(imageAddress(ImageSymbol.Start), secretMarkPage() + PAGE_SIZE)) {
    panic("the device tree's memory does not include the hypervisor itself");
  }
  if (plan.mapLevels == 0) panic("memory lies beyond the reach of any address-space mode");
  plan.gstageLevels = gstageLevels(plan.hostEnd);
  if (plan.gstageLevels == 0) panic("the hart has no G-stage mode that reaches all memory");
  const own = placeOwnMemory(plan, vlenb, hostTreeBound(description, plan.ram.count));
  if (own == NO_OWN_PLACE) panic("there is no contiguous free memory that is large enough for the hypervisor's tables");
  return plan;
}

/** Numbers the buses of PCI and counts what is there. Devices are still as the firmware left them; translation is off. */
function surveyPci(description: MachineDescription): void {
  const reach = gstageReach(mostGstageLevels());
  for (let i: u32 = 0; i < description.pciSegmentCount; i++) {
    const segment = description.pciSegment(i);
    for (let w: u32 = 0; w < segment.windowCount; w++) {
      const window = segment.window(w);
      if (window.base + window.size > reach) dropWindow(window);
    }
    if (segment.ecam == 0) continue;
    if (segment.ecam + segment.ecamSize() > reach) {
      segment.ecam = 0;
      continue;
    }
    description.pciFunctionCount += numberBuses(segment);
    description.iommuCount += placeIommus(segment);
  }
  for (let node = nextPlatformIommu(description, 0); node != 0; node = nextPlatformIommu(description, node)) {
    description.iommuCount++;
  }
}

/** Finds places for the registers of IOMMUs on the root bus; returns how many there are. */
function placeIommus(segment: PciSegment): u32 {
  let found: u32 = 0;
  let devfn: u32 = 0;
  while (devfn < endOfBus(segment, segment.firstBus)) {
    const config = segment.configOf(segment.firstBus, devfn);
    if (!functionExists(config)) {
      devfn += (devfn & 7) == 0 ? 8 : 1;
      continue;
    }
    if (isIommu(config) && placeOwnBars(segment, config)) found++;
    devfn = nextFunction(config, devfn);
  }
  return found;
}

/** Ends the boot of a machine that cannot work. */
function checkMachine(description: MachineDescription, hartId: u64): void {
  if (description.hartIndexOf(hartId) < 0) panic("the device tree does not name the hart that boots");
  if (!csrExists(HGATP) || mostGstageLevels() == 0) panic("the hart has no hypervisor extension");
  if (description.kernelSize == 0) panic("no image of a host kernel (a module with multiboot,kernel) is in /chosen");
}
