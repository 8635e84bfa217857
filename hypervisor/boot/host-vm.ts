import { platformRegisters } from "../attestation/platform";
import { alignDown, alignUp, maximum, minimum } from "../lib/arithmetic";
import { MAX_GUEST_FILES } from "../devices/imsic";
import { filePage } from "../devices/imsic-file";
import { pciSegment } from "../devices/pci/segment";
import { Hart } from "../hart";
import { mapRange } from "../memory/gstage";
import { initFileRecords } from "../memory/interrupt-files";
import { MemoryRange, initRange, markPages, pageMapBytes } from "../memory/page-map";
import { PageState } from "../memory/page-record";
import { addTablePage } from "../memory/table-pool";
import { copyBytes, ImageSymbol, imageAddress, storeRelease64 } from "../riscv/hw";
import { PAGE_SHIFT, PAGE_SIZE } from "../riscv/pte";
import { Root } from "../root";
import { beginMeasurements } from "../vm/measurement";
import { initVcpu } from "../vm/vcpu-init";
import { fpAreaOffset, vectorAreaOffset } from "../vm/vcpu-layout";
import { Vcpu } from "../vm/vcpu";
import { Vm, VmKind, VmLifecycle } from "../vm/vm";
import { initVmTable } from "../vm/vm-table";
import { gstageMode } from "./gstage-modes";
import { CHUNK_SIZE, HostLayout, layoutHpa } from "./host-layout";
import { MemoryPlan } from "./memory-plan";
import { secretMarkPage } from "./secret-mark";

/**
 * The host VM: the records of its pages, its address space, and its vCPUs.
 */

/** Slot of the host in the VM table and in page records. */
const HOST_SLOT: u32 = 0;

/** Makes the records of all pages of RAM: reserved, ours, or the host's. */
export function createPageMap(root: Root, plan: MemoryPlan): void {
  const own = plan.own;
  const description = plan.description;
  let records = own.pageRecords;
  root.ranges = own.ranges;
  root.rangeCount = plan.ram.count;
  for (let i: u64 = 0; i < plan.ram.count; i++) {
    const start = plan.ram.start(i);
    const size = plan.ram.end(i) - start;
    const range = changetype<MemoryRange>(own.ranges + <usize>i * offsetof<MemoryRange>());
    initRange(range, start, size, records, <u64>description.numaNodeOf(start));
    records += <usize>pageMapBytes(size);
  }
  assert(description.memoryCount >= plan.ram.count, "RAM ranges out of nowhere");

  markOwn(imageAddress(ImageSymbol.Start), secretMarkPage() + PAGE_SIZE);
  markOwn(plan.firstStart, plan.firstEnd);
  markOwn(plan.ownStart, plan.ownEnd);
  const chunks = plan.layout.chunks;
  for (let i: u64 = 0; i < chunks.count; i++) {
    markPages(chunks.start(i), (chunks.end(i) - chunks.start(i)) >> PAGE_SHIFT, PageState.Owned, HOST_SLOT);
  }
}

function markOwn(start: u64, end: u64): void {
  markPages(start, (end - start) >> PAGE_SHIFT, PageState.Hypervisor, HOST_SLOT);
}

/** Moves the images that could not stay where the loader put them. Before anybody writes to host RAM. */
export function moveImages(layout: HostLayout): void {
  if (layout.kernelHpa != layout.kernelLoaded) {
    copyBytes(layout.kernelHpa, layout.kernelLoaded, layout.kernelSize);
  }
  if (layout.initrdSize != 0 && layout.initrdHpa != layout.initrdLoaded) {
    copyBytes(layout.initrdHpa, layout.initrdLoaded, layout.initrdSize);
  }
}

/**
 * Makes the host VM with its address space: RAM as the layout says, the devices that it gets, and the guest interrupt files of each hart, the
 * first at the address of that hart's own file and each other one at that of the file before it.
 */
export function createHostVm(root: Root, plan: MemoryPlan): Vm {
  const own = plan.own;
  const vm = changetype<Vm>(own.hostVm);
  vm.id = 0;
  vm.slot = HOST_SLOT;
  vm.kind = VmKind.Host;
  vm.lifecycle = VmLifecycle.Runnable;
  // 0 would look like "never flushed" and "flushed for version 0" at once.
  vm.version = 1;
  vm.rootTable = <u64>own.gstageRoot;
  vm.levels = plan.gstageLevels;
  vm.hgatp = gstageMode(vm.levels) | (vm.rootTable >> PAGE_SHIFT);
  vm.vcpus = own.vcpuTable;
  vm.measurements = own.measurements;
  vm.layer = own.hostLayer;
  beginMeasurements(vm, platformRegisters(root));
  initVmTable(root.vmSlots, vm);
  root.host = vm;
  // The last page first, so that tables are taken in ascending order.
  for (let i = own.gstageTables; i != 0; i--) {
    addTablePage(vm, <u64>own.gstageTablePages + ((i - 1) << PAGE_SHIFT));
  }

  const segments = plan.layout.segments;
  for (let i: u64 = 0; i < segments.count; i++) {
    mapOrFail(vm, segments.gpa(i), segments.hpa(i), segments.length(i));
  }
  const description = plan.description;
  if (description.hostUart != 0) mapOrFail(vm, description.hostUart, description.hostUart, PAGE_SIZE);
  if (description.hostRtc != 0) mapOrFail(vm, description.hostRtc, description.hostRtc, PAGE_SIZE);
  const files = root.guestFileMask;
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const hart = root.hart(i);
    initFileRecords(hart, files, HOST_SLOT);
    // File k + 1 is the host's file k, and its file 0 is that of its supervisor level.
    for (let file: u64 = 1; file <= MAX_GUEST_FILES && files >> file != 0; file++) {
      mapOrFail(vm, filePage(hart, file - 1), filePage(hart, file), PAGE_SIZE);
    }
  }
  mapPciWindows(root, vm);
  return vm;
}

/** The host's part of the windows of PCI, at their own addresses. */
function mapPciWindows(root: Root, vm: Vm): void {
  for (let i: u32 = 0; i < root.pciSegmentCount; i++) {
    const segment = pciSegment(root, i);
    for (let w: u32 = 0; w < segment.windowCount; w++) {
      const window = segment.window(w);
      if (window.hostSize != 0) mapOrFail(vm, window.base, window.base, window.hostSize);
    }
  }
}

function mapOrFail(vm: Vm, gpa: u64, hpa: u64, length: u64): void {
  assert(mapRange(vm, gpa, hpa, length, true), "the host's address space cannot be mapped");
}

/** Makes one stopped vCPU of the host for each hart in `root.harts`, with the hart's index as its id. */
export function createHostVcpus(root: Root, vm: Vm, plan: MemoryPlan): void {
  const own = plan.own;
  vm.maxVcpus = root.hartCount;
  vm.vcpuCount = root.hartCount;
  for (let i: u64 = 0; i < <u64>root.hartCount; i++) {
    const base = own.vcpus + <usize>(i * own.vcpuStride());
    const vcpu = changetype<Vcpu>(base);
    initVcpu(vcpu, vm, <u32>i, base + fpAreaOffset(), base + vectorAreaOffset());
    vm.setVcpu(i, vcpu);
    // Secondaries look for it as soon as they are awake.
    storeRelease64(<u64>(changetype<usize>(root.hart(i)) + offsetof<Hart>("hostVcpu")), <u64>base);
  }
}

/** `placeHostTree`: host RAM has no room for it. */
export const NO_TREE_PLACE: u64 = ~0;

/**
 * gpa for a device tree of `size` bytes: 2 MiB aligned, as high as possible in the range where host RAM starts (else in another one), clear
 * of the images.
 */
export function placeHostTree(layout: HostLayout, size: u64): u64 {
  const hostRam = layout.hostRam;
  let home: u64 = 0;
  // The kernel is in one of them.
  while (hostRam.end(home) <= layout.kernelGpa) home++;
  for (let i: u64 = 0; i < hostRam.count; i++) {
    // The home range first, then the others.
    const range = i == 0 ? home : i <= home ? i - 1 : i;
    const start = hostRam.start(range);
    let at = alignDown(hostRam.end(range), CHUNK_SIZE);
    while (at > start) {
      at -= CHUNK_SIZE;
      if (at + size > hostRam.end(range)) continue;
      if (isClear(layout, at, at + size)) return at;
    }
  }
  return NO_TREE_PLACE;
}

function isClear(layout: HostLayout, start: u64, end: u64): bool {
  const kernelBytes = maximum(layout.kernelSize, layout.kernelSpan);
  if (start < layout.kernelGpa + kernelBytes && end > layout.kernelGpa) return false;
  // Where there is none its place is 0, and as long.
  return end <= layout.initrdGpa || start >= alignUp(layout.initrdGpa + layout.initrdSize, PAGE_SIZE);
}

/** Copies bytes of ours into host RAM, which is contiguous for the host but not for us. */
export function copyToHost(layout: HostLayout, gpa: u64, from: u64, length: u64): void {
  const segments = layout.segments;
  let done: u64 = 0;
  while (done < length) {
    const at = gpa + done;
    const index = segments.find(at);
    const part = minimum(length - done, segments.gpa(index) + segments.length(index) - at);
    copyBytes(layoutHpa(layout, at), from + done, part);
    done += part;
  }
}
