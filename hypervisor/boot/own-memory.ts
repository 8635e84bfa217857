import { alignUp } from "../lib/arithmetic";
import { Layer } from "../attestation/layer";
import { platformBytes } from "../attestation/platform";
import { CONSOLE_RECORD_SIZE } from "../devices/console";
import { Aplic } from "../devices/aplic";
import { ImsicGeometry } from "../devices/imsic";
import { Hart } from "../hart";
import { HelperRun } from "../helper/run";
import { FILE_RECORDS } from "../memory/interrupt-files";
import { DirectoryPages } from "../devices/iommu/directory";
import { Iommu } from "../devices/iommu/iommu";
import { functionSize } from "../devices/pci/function";
import { MemoryRange, pageMapBytes } from "../memory/page-map";
import { PAGE_SIZE } from "../riscv/pte";
import { Root } from "../root";
import { vcpuRecordBytes } from "../vm/vcpu-layout";
import { Vm } from "../vm/vm";
import { vmTableBytes } from "../vm/vm-table";
import { BootAllocator } from "./boot-allocator";
import { helperBytes } from "./helper-space";
import { HostTreePlan } from "./host-device-tree";
import { KernelMap } from "./kernel-map";

/**
 * All memory that we keep while the machine runs, beside the image: one block, divided once at boot.
 *
 * The same function counts the bytes and hands them out, so the two cannot differ.
 */
@unmanaged
export class OwnMemory {
  // ---- how much of each is needed
  harts: u64;
  vlenb: u64;
  /** Levels of the kernel map and of the helpers' maps. */
  mapLevels: u64;
  /** Bytes of RAM that have page records, and the number of ranges. */
  ramBytes: u64;
  ramRanges: u64;
  /** Bytes for the host's layout (boot/host-layout.ts) and for its device tree. */
  layoutBytes: u64;
  treeBytes: u64;
  /** Page-table pages of the kernel map and of the host's G-stage, without its root. */
  kernelTables: u64;
  gstageTables: u64;
  /** Functions of PCI devices. */
  pciFunctions: u64;
  /** IOMMUs, and pages for them. */
  iommus: u64;
  iommuPageCount: u64;

  // ---- where each is
  root: usize;
  console: usize;
  imsic: usize;
  aplic: usize;
  /** Records of guest interrupt files: FILE_RECORDS for each hart. */
  fileRecords: usize;
  /** Record of the kernel map (boot/kernel-map.ts). */
  kernelMap: usize;
  /** Array of Hart pointers. */
  hartTable: usize;
  /** `harts` records, HART_RECORD_STRIDE apart. */
  hartRecords: usize;
  /** `harts` stacks, HART_STACK_STRIDE apart, each above its guard page. */
  stacks: usize;
  /** Three pages for each hart. */
  workPages: usize;
  /** Pages of the user-mode helper of each hart (boot/helper-space.ts), and HelperRun records; the map under construction. */
  helpers: usize;
  helperRuns: usize;
  helperMap: usize;
  /** Host vCPUs, vcpuStride apart, and the array of pointers to them. */
  vcpus: usize;
  vcpuTable: usize;
  hostVm: usize;
  measurements: usize;
  /** DICE layer of the host (attestation/layer.ts), and what the platform itself has (attestation/platform.ts). */
  hostLayer: usize;
  platform: usize;
  /** MemoryRange records, and the page records themselves. */
  ranges: usize;
  pageRecords: usize;
  vmSlots: usize;
  /** Records of PCI functions. */
  pciRecords: usize;
  /** Records of IOMMUs, of their pages, and the pages. */
  iommuRecords: usize;
  directoryPages: usize;
  iommuPages: usize;
  layout: usize;
  /** HostTreePlan, and the host's device tree while it is made. */
  treePlan: usize;
  tree: usize;
  kernelTablePages: usize;
  gstageRoot: usize;
  gstageTablePages: usize;

  /** Bytes from one host vCPU record to the next. */
  vcpuStride(): u64 {
    return alignUp(vcpuRecordBytes(this.vlenb), CACHE_LINE);
  }
}

/** Bytes of the stack of one hart; the build checks that the worst case fits (tools/build/modules.ts). */
export const HART_STACK_SIZE: u64 = 16 * 1024;
/** From one stack to the next: an unmapped page lies below each. */
export const HART_STACK_STRIDE: u64 = HART_STACK_SIZE + PAGE_SIZE;
export const WORK_PAGES: u64 = 3;
export const GSTAGE_ROOT_SIZE: u64 = 4 * PAGE_SIZE;
/** The strictest alignment of anything in the block. */
export const OWN_MEMORY_ALIGNMENT: u64 = GSTAGE_ROOT_SIZE;

const CACHE_LINE: u64 = 64;
const MEASUREMENT_BYTES: u64 = 8 * 48;

/** From one hart record to the next: harts do not share cache lines. */
export function hartRecordStride(): u64 {
  return alignUp(<u64>offsetof<Hart>(), CACHE_LINE);
}

/** Bytes of the block. */
export function ownMemoryBytes(own: OwnMemory, counter: BootAllocator): u64 {
  counter.next = 0;
  counter.end = <usize>-1;
  divideOwnMemory(own, counter);
  return alignUp(<u64>counter.next, PAGE_SIZE);
}

/** Takes every part from the allocator. Touches no memory but the record. */
export function divideOwnMemory(own: OwnMemory, allocator: BootAllocator): void {
  // Pages with the strictest alignment first, small records last, so that little is lost between them.
  own.gstageRoot = allocator.take(GSTAGE_ROOT_SIZE, GSTAGE_ROOT_SIZE);
  own.gstageTablePages = allocator.take(own.gstageTables * PAGE_SIZE, PAGE_SIZE);
  own.kernelTablePages = allocator.take(own.kernelTables * PAGE_SIZE, PAGE_SIZE);
  own.iommuPages = allocator.take(own.iommuPageCount * PAGE_SIZE, PAGE_SIZE);
  own.stacks = allocator.take(own.harts * HART_STACK_STRIDE, PAGE_SIZE);
  own.workPages = allocator.take(own.harts * WORK_PAGES * PAGE_SIZE, PAGE_SIZE);
  own.helpers = allocator.take(helperBytes(own.harts, own.mapLevels), PAGE_SIZE);
  own.pageRecords = allocator.take(pageMapBytes(own.ramBytes), PAGE_SIZE);
  own.hartRecords = allocator.take(own.harts * hartRecordStride(), CACHE_LINE);
  own.vcpus = allocator.take(own.harts * own.vcpuStride(), CACHE_LINE);
  own.root = allocator.take(<u64>offsetof<Root>(), CACHE_LINE);
  own.hostVm = allocator.take(<u64>offsetof<Vm>(), CACHE_LINE);
  own.vmSlots = allocator.take(vmTableBytes(), CACHE_LINE);
  own.console = allocator.take(<u64>CONSOLE_RECORD_SIZE, CACHE_LINE);
  own.imsic = allocator.take(<u64>offsetof<ImsicGeometry>(), CACHE_LINE);
  own.aplic = allocator.take(<u64>offsetof<Aplic>(), CACHE_LINE);
  own.fileRecords = allocator.take(own.harts * FILE_RECORDS * 8, CACHE_LINE);
  own.helperRuns = allocator.take(own.harts * <u64>offsetof<HelperRun>(), CACHE_LINE);
  own.helperMap = allocator.take(<u64>offsetof<KernelMap>(), CACHE_LINE);
  own.kernelMap = allocator.take(<u64>offsetof<KernelMap>(), CACHE_LINE);
  own.hartTable = allocator.take(own.harts * sizeof<usize>(), CACHE_LINE);
  own.vcpuTable = allocator.take(own.harts * sizeof<usize>(), CACHE_LINE);
  own.measurements = allocator.take(MEASUREMENT_BYTES, CACHE_LINE);
  own.hostLayer = allocator.take(<u64>offsetof<Layer>(), CACHE_LINE);
  own.platform = allocator.take(platformBytes(), CACHE_LINE);
  own.ranges = allocator.take(own.ramRanges * <u64>offsetof<MemoryRange>(), CACHE_LINE);
  own.pciRecords = allocator.take(own.pciFunctions * <u64>functionSize(), CACHE_LINE);
  own.iommuRecords = allocator.take(own.iommus * <u64>offsetof<Iommu>(), CACHE_LINE);
  own.directoryPages = allocator.take(<u64>offsetof<DirectoryPages>(), 8);
  own.layout = allocator.take(own.layoutBytes, CACHE_LINE);
  own.treePlan = allocator.take(<u64>offsetof<HostTreePlan>(), CACHE_LINE);
  own.tree = allocator.take(own.treeBytes, CACHE_LINE);
}
