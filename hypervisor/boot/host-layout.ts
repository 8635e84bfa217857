import { alignDown, alignUp, isAligned, maximum, minimum } from "../lib/arithmetic";
import { BootAllocator } from "./boot-allocator";
import { IntervalList, initIntervalList, intervalListBytes } from "./interval-list";
import { SegmentList, initSegmentList, segmentListBytes } from "./segment-list";

/**
 * Where the host VM sees its RAM.
 *
 * The host gets every 2 MiB chunk of RAM that nobody else needs. To it, each RAM range of the machine is one contiguous range from
 * the same base on, only shorter by the chunks that are kept from it, and its kernel lies 2 MiB above the start of the range
 * that holds us. All of that is a permutation of chunks: nothing is copied.
 *
 *      hpa  | firmware | Salus ... |   a   |  b  | kernel |  c  |   d   |  e  |
 *            \_________ kept ____/                                       |    |
 *      gpa  |     d    | kernel    |   a   |  b  |   e    |  c  | end of host RAM
 *
 * Chunks stay where they are (gpa == hpa) except for the images, what lies in the way of the images, and what fills the
 * holes: the chunks above the new end first.
 */
@unmanaged
export class HostLayout {
  // ---- given
  /** RAM of the machine, sorted by hpa; ranges that touch are not joined. */
  ram: IntervalList;
  /** What the host cannot have: firmware, reserved memory, and what we keep. */
  kept: IntervalList;
  /** What must not be written before the host runs, though the host may have it then: the firmware's device tree. */
  busy: IntervalList;
  /** Index in `ram` of the range where host RAM starts. */
  home: u64;
  /** Kernel image: hpa where the loader put it, bytes. */
  kernelLoaded: u64;
  kernelSize: u64;
  /** Bytes that the kernel uses from its start on before it reads a memory map: at least kernelSize. */
  kernelSpan: u64;
  /** Initial RAM disk, size 0 if there is none. */
  initrdLoaded: u64;
  initrdSize: u64;

  // ---- worked out
  /** hpa of the images; the caller moves them there if that is not where they were loaded. */
  kernelHpa: u64;
  initrdHpa: u64;
  kernelGpa: u64;
  initrdGpa: u64;
  /** Chunks of the host, by hpa. */
  chunks: IntervalList;
  /** The host's RAM ranges, by gpa: one for each range of `ram` that has chunks for the host. */
  hostRam: IntervalList;
  segments: SegmentList;
}

/** Granularity of what the host gets and of what is kept. */
export const CHUNK_SIZE: u64 = 0x20_0000;

/** Distance of the kernel from the start of host RAM: RISC-V kernels want it, and images of the original are linked for it. */
export const KERNEL_OFFSET: u64 = CHUNK_SIZE;

/** Why there is no layout. */
export const enum LayoutError {
  None = 0,
  /** An image is not in RAM. */
  KernelOutsideRam = 1,
  InitrdOutsideRam = 2,
  /** An image overlaps firmware, reserved memory or us. */
  KernelOverlapsKept = 3,
  InitrdOverlapsKept = 4,
  ImagesOverlap = 5,
  /** An image has to be moved and there is no room for it. */
  NoRoomForKernel = 6,
  NoRoomForInitrd = 7,
  /** The range where host RAM starts is too small for the kernel. */
  HomeTooSmall = 8,
}

/** What is wrong, as a sentence. */
export function layoutErrorText(error: LayoutError): string {
  switch (error) {
    case LayoutError.None:
      return "the host's memory is laid out";
    case LayoutError.KernelOutsideRam:
      return "the host's kernel image is not in RAM";
    case LayoutError.InitrdOutsideRam:
      return "the host's initial RAM disk is not in RAM";
    case LayoutError.KernelOverlapsKept:
      return "the host's kernel image overlaps firmware, reserved memory, the device tree or the hypervisor";
    case LayoutError.InitrdOverlapsKept:
      return "the host's initial RAM disk overlaps firmware, reserved memory, the device tree or the hypervisor";
    case LayoutError.ImagesOverlap:
      return "the host's kernel image and initial RAM disk overlap";
    case LayoutError.NoRoomForKernel:
      return "the host's kernel image is not 2 MiB aligned, or shares 2 MiB with kept memory, and cannot be moved";
    case LayoutError.NoRoomForInitrd:
      return "the host's RAM has no room for its initial RAM disk";
    default:
      return "the RAM range with the hypervisor is too small for the host's kernel image";
  }
}

/** Scratch lists of one planning run. */
@unmanaged
class Work {
  /** gpas that have no memory yet. */
  holes: IntervalList;
  /** Chunks that have no gpa yet. */
  free: IntervalList;
  /** One list for intermediate results. */
  other: IntervalList;
}

/**
 * Fills in the part of `layout` that is worked out; the lists and the scratch memory come from `allocator`
 * (hostLayoutBytes). Touches nothing but these records.
 */
export function planHostLayout(layout: HostLayout, allocator: BootAllocator): u32 {
  const capacity = listCapacity(layout.ram.count, layout.kept.count);
  layout.chunks = takeList(allocator, capacity);
  layout.hostRam = takeList(allocator, capacity);
  layout.segments = initSegmentList(allocator.take(segmentListBytes(4 * capacity), 8), 4 * capacity);
  const work = changetype<Work>(allocator.take(<u64>offsetof<Work>(), 8));
  work.holes = takeList(allocator, capacity);
  work.free = takeList(allocator, capacity);
  work.other = takeList(allocator, capacity);

  const wrong = checkImages(layout);
  if (wrong != LayoutError.None) return wrong;
  collectChunks(layout);
  const stuck = settleImages(layout, work);
  if (stuck != LayoutError.None) return stuck;
  const tight = placeImages(layout);
  if (tight != LayoutError.None) return tight;
  fillHoles(layout, work);
  return LayoutError.None;
}

/** Bytes that `planHostLayout` takes from its allocator. */
export function hostLayoutBytes(ramRanges: u64, keptRanges: u64): u64 {
  const capacity = listCapacity(ramRanges, keptRanges);
  return 5 * intervalListBytes(capacity) + segmentListBytes(4 * capacity) + 64;
}

/** hpa of the host's memory at `gpa`; it must be host RAM. */
export function layoutHpa(layout: HostLayout, gpa: u64): u64 {
  const segments = layout.segments;
  const index = segments.find(gpa);
  assert(index < segments.count, "gpa is not host RAM");
  return segments.hpa(index) + (gpa - segments.gpa(index));
}

/** Every interval of RAM can be cut by every kept one and by both images, at both ends. */
function listCapacity(ramRanges: u64, keptRanges: u64): u64 {
  return 2 * (ramRanges + keptRanges) + 16;
}

function takeList(allocator: BootAllocator, capacity: u64): IntervalList {
  return initIntervalList(allocator.take(intervalListBytes(capacity), 8), capacity);
}

function checkImages(layout: HostLayout): u32 {
  const kernel = layout.kernelLoaded;
  const kernelEnd = kernel + layout.kernelSize;
  if (kernelEnd <= kernel || !layout.ram.covers(kernel, kernelEnd)) return LayoutError.KernelOutsideRam;
  if (layout.kept.overlaps(kernel, kernelEnd) || layout.busy.overlaps(kernel, kernelEnd)) {
    return LayoutError.KernelOverlapsKept;
  }
  if (layout.initrdSize == 0) return LayoutError.None;
  const initrd = layout.initrdLoaded;
  const initrdEnd = initrd + layout.initrdSize;
  if (initrdEnd <= initrd || !layout.ram.covers(initrd, initrdEnd)) return LayoutError.InitrdOutsideRam;
  if (layout.kept.overlaps(initrd, initrdEnd) || layout.busy.overlaps(initrd, initrdEnd)) {
    return LayoutError.InitrdOverlapsKept;
  }
  return initrd < kernelEnd && kernel < initrdEnd ? LayoutError.ImagesOverlap : LayoutError.None;
}

/** Finds the chunks that are wholly RAM and not kept, and so how long each range of host RAM is. */
function collectChunks(layout: HostLayout): void {
  const ram = layout.ram;
  const kept = layout.kept;
  const chunks = layout.chunks;
  for (let i: u64 = 0; i < ram.count; i++)
    chunks.append(alignUp(ram.start(i), CHUNK_SIZE), alignDown(ram.end(i), CHUNK_SIZE));
  for (let i: u64 = 0; i < kept.count; i++) {
    chunks.remove(alignDown(kept.start(i), CHUNK_SIZE), alignUp(kept.end(i), CHUNK_SIZE));
  }
  for (let i: u64 = 0; i < ram.count; i++) {
    let length: u64 = 0;
    for (let c: u64 = 0; c < chunks.count; c++) {
      if (chunks.start(c) >= ram.start(i) && chunks.start(c) < ram.end(i)) length += chunks.end(c) - chunks.start(c);
    }
    const start = alignUp(ram.start(i), CHUNK_SIZE);
    layout.hostRam.append(start, start + length);
  }
}

/** Decides where in host physical memory the images will be: where they are if their chunks can be the host's, else somewhere free. */
function settleImages(layout: HostLayout, work: Work): u32 {
  const free = work.free;
  free.copyFrom(layout.chunks);
  removeChunks(free, layout.kernelLoaded, layout.kernelSize);
  removeChunks(free, layout.initrdLoaded, layout.initrdSize);
  for (let i: u64 = 0; i < layout.busy.count; i++) {
    removeChunks(free, layout.busy.start(i), layout.busy.end(i) - layout.busy.start(i));
  }

  layout.kernelHpa = layout.kernelLoaded;
  layout.initrdHpa = layout.initrdLoaded;
  const aligned = isAligned(layout.kernelLoaded, CHUNK_SIZE);
  if (!aligned || !coversChunks(layout.chunks, layout.kernelLoaded, layout.kernelSize)) {
    layout.kernelHpa = findRun(free, chunkBytes(layout.kernelSize));
    if (layout.kernelHpa == NOWHERE) return LayoutError.NoRoomForKernel;
    removeChunks(free, layout.kernelHpa, layout.kernelSize);
  }
  // An initrd in the kernel's last chunk stays with it unless the kernel would overwrite it.
  const overwritten =
    layout.initrdLoaded > layout.kernelHpa &&
    layout.initrdLoaded < layout.kernelHpa + maximum(layout.kernelSpan, layout.kernelSize) &&
    alignDown(layout.initrdLoaded, CHUNK_SIZE) < layout.kernelHpa + chunkBytes(layout.kernelSize);
  if (layout.initrdSize != 0 && (overwritten || !coversChunks(layout.chunks, layout.initrdLoaded, layout.initrdSize))) {
    layout.initrdHpa = findRun(free, chunkBytes(layout.initrdSize));
    if (layout.initrdHpa == NOWHERE) return LayoutError.NoRoomForInitrd;
  }
  free.count = 0;
  return LayoutError.None;
}

/** Decides at which gpas the images are, and maps their chunks there. */
function placeImages(layout: HostLayout): u32 {
  const hostRam = layout.hostRam;
  const base = alignUp(layout.ram.start(layout.home), CHUNK_SIZE);
  layout.kernelGpa = base + KERNEL_OFFSET;
  let kernelBytes = chunkBytes(layout.kernelSize);
  const initrdStart = alignDown(layout.initrdHpa, CHUNK_SIZE);
  const initrdEnd = alignUp(layout.initrdHpa + layout.initrdSize, CHUNK_SIZE);
  const hasInitrd = layout.initrdSize != 0;
  // An initrd that starts in the kernel's last chunk moves with the kernel.
  const together = hasInitrd && initrdStart < layout.kernelHpa + kernelBytes && initrdEnd > layout.kernelHpa;
  if (together) {
    kernelBytes = initrdEnd - layout.kernelHpa;
    layout.initrdGpa = layout.kernelGpa + (layout.initrdHpa - layout.kernelHpa);
  }
  const kernelEnd = layout.kernelGpa + maximum(kernelBytes, chunkBytes(layout.kernelSpan));
  if (!insideOne(hostRam, base, kernelEnd)) return LayoutError.HomeTooSmall;
  layout.segments.insert(layout.kernelGpa, layout.kernelHpa, kernelBytes);
  if (!hasInitrd || together) return LayoutError.None;

  const bytes = initrdEnd - initrdStart;
  let gpa = initrdStart;
  if (!insideOne(hostRam, gpa, gpa + bytes) || (gpa < kernelEnd && gpa + bytes > layout.kernelGpa)) {
    // Its own place is beyond the end of host RAM, or the kernel's: take the highest one of the ranges, from the first on.
    gpa = NOWHERE;
    for (let i: u64 = 0; i < hostRam.count && gpa == NOWHERE; i++) {
      const end = hostRam.end(i);
      if (end - hostRam.start(i) < bytes) continue;
      const place = end - bytes;
      if (place >= kernelEnd || end <= layout.kernelGpa) gpa = place;
    }
    if (gpa == NOWHERE) return LayoutError.NoRoomForInitrd;
  }
  layout.segments.insert(gpa, initrdStart, bytes);
  layout.initrdGpa = gpa + (layout.initrdHpa - initrdStart);
  return LayoutError.None;
}

/** Gives every other gpa its chunk: the same address where that is possible, else one of the same range, else any. */
function fillHoles(layout: HostLayout, work: Work): void {
  const segments = layout.segments;
  const holes = work.holes;
  const free = work.free;
  const same = work.other;
  holes.copyFrom(layout.hostRam);
  free.copyFrom(layout.chunks);
  for (let i: u64 = 0; i < segments.count; i++) {
    holes.remove(segments.gpa(i), segments.gpa(i) + segments.length(i));
    free.remove(segments.hpa(i), segments.hpa(i) + segments.length(i));
  }

  for (let i: u64 = 0; i < holes.count; i++) {
    for (let j: u64 = 0; j < free.count; j++) {
      const start = maximum(holes.start(i), free.start(j));
      const end = minimum(holes.end(i), free.end(j));
      if (start < end) same.append(start, end);
    }
  }
  for (let i: u64 = 0; i < same.count; i++) segments.insert(same.start(i), same.start(i), same.end(i) - same.start(i));
  holes.removeAll(same);
  free.removeAll(same);

  const ram = layout.ram;
  for (let i: u64 = 0; i < ram.count; i++) pairUp(segments, holes, free, ram.start(i), ram.end(i));
  pairUp(segments, holes, free, 0, <u64>-1);
  assert(holes.count == 0 && free.count == 0, "host memory does not add up");
}

/** Gives the holes of [start, end) the free chunks of [start, end), in order, until either is used up. */
function pairUp(segments: SegmentList, holes: IntervalList, free: IntervalList, start: u64, end: u64): void {
  while (true) {
    const hole = firstIn(holes, start, end);
    const chunk = firstIn(free, start, end);
    if (hole == holes.count || chunk == free.count) return;
    const gpa = maximum(holes.start(hole), start);
    const hpa = maximum(free.start(chunk), start);
    const length = minimum(minimum(holes.end(hole), end) - gpa, minimum(free.end(chunk), end) - hpa);
    segments.insert(gpa, hpa, length);
    holes.remove(gpa, gpa + length);
    free.remove(hpa, hpa + length);
  }
}

/** Index of the first interval that reaches into [start, end), or the count. */
function firstIn(list: IntervalList, start: u64, end: u64): u64 {
  let index: u64 = 0;
  while (index < list.count && (list.end(index) <= start || list.start(index) >= end)) index++;
  return index;
}

/** `findRun`: there is none. */
const NOWHERE: u64 = ~0;

/** The lowest chunk-aligned run of `bytes` in the list, or NOWHERE. */
function findRun(list: IntervalList, bytes: u64): u64 {
  for (let i: u64 = 0; i < list.count; i++) {
    if (list.end(i) - list.start(i) >= bytes) return list.start(i);
  }
  return NOWHERE;
}

/** Whether one interval of the list holds all of [start, end). */
function insideOne(list: IntervalList, start: u64, end: u64): bool {
  for (let i: u64 = 0; i < list.count; i++) {
    if (list.start(i) <= start && list.end(i) >= end) return true;
  }
  return false;
}

/** Bytes rounded up to whole chunks. */
// @ts-ignore: decorator
@inline
function chunkBytes(bytes: u64): u64 {
  return alignUp(bytes, CHUNK_SIZE);
}

/** Whether the list has every chunk that [start, start + size) touches. */
function coversChunks(list: IntervalList, start: u64, size: u64): bool {
  return list.covers(alignDown(start, CHUNK_SIZE), alignUp(start + size, CHUNK_SIZE));
}

/** Takes every chunk that [start, start + size) touches out of the list. */
function removeChunks(list: IntervalList, start: u64, size: u64): void {
  if (size != 0) list.remove(alignDown(start, CHUNK_SIZE), alignUp(start + size, CHUNK_SIZE));
}
