import { mmioRead32, mmioWrite64, read64, write64 } from "../../lib/hw";
import { convertPages } from "../../lib/covh";
import { deadlineIn, hasPassed, PATIENCE } from "../../lib/deadline";
import { FdtCursor } from "../../lib/fdt";
import { allocatePages, allocateZeroed } from "../../lib/heap";
import { beginTest, check, checkEqual, endTest } from "../../lib/protocol";
import { fenceAllHarts } from "../fences";
import { enablePciDevice, findPciBridge, findPciDevice, PCI_COMMAND, PCI_MASTER, PCI_MEMORY, PciBridge } from "../pci";
import { reclaimAndVerify } from "../tvm-builder";

/** QEMU's "edu" device, which copies between memory and a buffer of its own: DMA of the host reaches what the host reaches. */
const EDU: u32 = 0x11e8_1234;
const DMA_SOURCE: u64 = 0x80;
const DMA_DESTINATION: u64 = 0x88;
const DMA_COUNT: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;
const DMA_START: u32 = 1;
const DMA_TO_MEMORY: u32 = 2;
/** Its buffer, by its own addresses. */
const BUFFER: u64 = 0x4_0000;

const WORD: u64 = 0x0123_4567_89ab_cdef;

/** Runs where the machine has the device. */
export function testDma(): void {
  const bridge = changetype<PciBridge>(<usize>allocateZeroed(1));
  findPciBridge(bridge, changetype<FdtCursor>(<usize>allocateZeroed(1)));
  const config = findPciDevice(bridge, EDU);
  if (config == 0) return;
  const registers = bridge.window;
  beginTest("a device's registers are the host's");
  const enabled = enablePciDevice(config, registers);
  check((enabled & PCI_MEMORY) != 0, "it decodes its registers");
  checkEqual(<u64>(mmioRead32(registers) & 0xff), 0xed, "identification");
  endTest();
  if ((enabled & PCI_MASTER) == 0) return testWithoutIommu(config);

  const from = allocatePages(1);
  const to = allocatePages(1);
  const converted = allocatePages(1);
  write64(from, WORD);
  write64(to, 0);
  beginTest("a device reads and writes the host's memory");
  copy(registers, from, BUFFER, DMA_START);
  copy(registers, BUFFER, to, DMA_START | DMA_TO_MEMORY);
  checkEqual(read64(to), WORD, "the word that it copied");
  copy(registers, BUFFER, converted, DMA_START | DMA_TO_MEMORY);
  checkEqual(read64(converted), WORD, "the word in the page that will be converted");
  endTest();

  beginTest("a device can neither write nor read a page that the host converted");
  checkEqual(<u64>convertPages(converted, 1), 1, "pages converted");
  fenceAllHarts();
  copy(registers, BUFFER, converted, DMA_START | DMA_TO_MEMORY);
  copy(registers, converted, BUFFER, DMA_START);
  reclaimAndVerify(converted, 1);
  copy(registers, from, BUFFER, DMA_START);
  copy(registers, BUFFER, converted, DMA_START | DMA_TO_MEMORY);
  checkEqual(read64(converted), WORD, "the page can be written again when it is reclaimed");
  endTest();
}

/** Without an IOMMU there is no DMA. */
function testWithoutIommu(config: u64): void {
  beginTest("no bus mastering without an IOMMU");
  checkEqual(<u64>(mmioRead32(config + PCI_COMMAND) & PCI_MASTER), 0, "the bit in its command register");
  endTest();
}

/** Lets the device copy 8 bytes and waits until it has. */
function copy(registers: u64, from: u64, to: u64, command: u32): void {
  mmioWrite64(registers + DMA_SOURCE, from);
  mmioWrite64(registers + DMA_DESTINATION, to);
  mmioWrite64(registers + DMA_COUNT, 8);
  mmioWrite64(registers + DMA_COMMAND, <u64>command);
  const deadline = deadlineIn(PATIENCE);
  while ((mmioRead32(registers + DMA_COMMAND) & DMA_START) != 0) {
    if (!check(!hasPassed(deadline), "the device ends its copy")) return;
  }
}
