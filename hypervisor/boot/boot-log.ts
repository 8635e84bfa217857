import { beginLine, endLine, putBytes, putChar, putDecimal, putHex, putSize, putText } from "../devices/console";
import { Hart } from "../hart";
import { ImageSymbol, imageAddress } from "../riscv/hw";
import { FEATURE_COUNT, featureName, hasFeature } from "../riscv/isa";
import { PAGE_SIZE } from "../riscv/pte";
import { Root } from "../root";
import { HostLayout } from "./host-layout";
import { MachineDescription } from "./machine-description";
import { MemoryPlan, memoryKept } from "./memory-plan";
import { secretMarkPage } from "./secret-mark";

/**
 * What boot tells whoever watches: the machine as it was found, and what became of it.
 */

const BITS_PER_BYTE: u64 = 8;
const HERTZ_PER_MEGAHERTZ: u64 = 1_000_000;
/** Hart ids shown before the rest is only counted. */
const MOST_HARTS: u64 = 16;

/** Harts, clock and extensions. */
export function logMachine(description: MachineDescription, bootHart: Hart, vlenb: u64): void {
  beginLine();
  putText("salus: ");
  putDecimal(description.hartCount);
  putText(description.hartCount == 1 ? " hart (id" : " harts (ids");
  for (let i: u64 = 0; i < description.hartCount && i < MOST_HARTS; i++) {
    putChar(0x20);
    putDecimal(description.hart(i).id);
  }
  if (description.hartCount > MOST_HARTS) putText(" ...");
  putText("), booting on hart ");
  putDecimal(bootHart.id);
  putText(", time in steps of 1/");
  if (description.timebaseFrequency % HERTZ_PER_MEGAHERTZ == 0) {
    putDecimal(description.timebaseFrequency / HERTZ_PER_MEGAHERTZ);
    putText(" us");
  } else {
    putDecimal(description.timebaseFrequency);
    putText(" s");
  }
  endLine();

  beginLine();
  putText("salus: extensions");
  for (let feature: u32 = 0; feature < FEATURE_COUNT; feature++) {
    if (!hasFeature(description.features, feature)) continue;
    putChar(0x20);
    putText(featureName(feature));
  }
  if (vlenb != 0) {
    putText(" (vectors of ");
    putDecimal(vlenb * BITS_PER_BYTE);
    putText(" bits)");
  }
  endLine();
}

/** RAM, and what in it is not the host's. */
export function logMemory(plan: MemoryPlan): void {
  logText("memory of the machine");
  for (let i: u64 = 0; i < plan.ram.count; i++) logRange("RAM", plan.ram.start(i), plan.ram.end(i));
  for (let i: u64 = 0; i < plan.reserved.count; i++) {
    logRange("  reserved, not mapped", plan.reserved.start(i), plan.reserved.end(i));
  }
  logRange("  code, r-x", imageAddress(ImageSymbol.Start), imageAddress(ImageSymbol.TextEnd));
  logRange("  constants, r--", imageAddress(ImageSymbol.RodataStart), imageAddress(ImageSymbol.RodataEnd));
  // The first block is right behind the data unless something else lies there.
  const dataEnd = secretMarkPage() + PAGE_SIZE;
  const together = plan.firstStart == dataEnd;
  logRange("  own data, rw-", imageAddress(ImageSymbol.DataStart), together ? plan.firstEnd : dataEnd);
  if (!together) logRange("  own data, rw-", plan.firstStart, plan.firstEnd);
  logRange("  own records and tables, rw-", plan.ownStart, plan.ownEnd);
}

/** Which devices we drive. */
export function logDevices(description: MachineDescription, root: Root): void {
  beginLine();
  putText("salus: console: ");
  if (description.uart != 0) {
    putText("ns16550a at ");
    putHex(description.uart);
  } else {
    putText("firmware");
  }
  endLine();
  if (root.imsic == 0) {
    logText("interrupts: no IMSIC; firmware IPIs");
    return;
  }
  beginLine();
  putText("salus: interrupts: IMSIC at ");
  putHex(description.imsicRegion(0).base);
  putText(", guest files per hart: ");
  putDecimal(countBits(root.guestFileMask));
  endLine();
}

/** Modes of address translation. */
export function logModes(plan: MemoryPlan, root: Root): void {
  beginLine();
  putText("salus: own map Sv");
  putDecimal(12 + 9 * plan.mapLevels);
  putText(", host in Sv");
  putDecimal(<u64>(12 + 9 * root.host.levels));
  putText("x4, TVMs in Sv");
  putDecimal(<u64>(12 + 9 * root.tvmLevels));
  putText("x4, ");
  putDecimal(root.vmidBits);
  putText(" bits of VMID");
  endLine();
}

/** The images that the loader left for the host, and where the host sees them. */
export function logHost(layout: HostLayout, description: MachineDescription, treeGpa: u64, treeSize: u64): void {
  const hostRam = layout.hostRam;
  logText("memory of the host, by its own addresses");
  for (let i: u64 = 0; i < hostRam.count; i++) logRange("RAM", hostRam.start(i), hostRam.end(i));
  logImage("  kernel", layout.kernelGpa, layout.kernelSize, layout.kernelLoaded, layout.kernelHpa);
  if (layout.initrdSize != 0) {
    logImage("  initrd", layout.initrdGpa, layout.initrdSize, layout.initrdLoaded, layout.initrdHpa);
  }
  logRange("  device tree", treeGpa, treeGpa + treeSize);
  if (description.bootArgumentsLength == 0) return;
  beginLine();
  putText("salus: host arguments: ");
  putBytes(<u64>description.bootArguments, description.bootArgumentsLength);
  endLine();
}

/** How much the host does not get because of us. */
export function logKept(plan: MemoryPlan): void {
  beginLine();
  putText("salus: ");
  putSize(memoryKept(plan));
  putText(" of ");
  putSize(plan.ram.total());
  putText(" kept (");
  putSize(plan.ownEnd - plan.ownStart + plan.firstEnd - imageAddress(ImageSymbol.Start));
  putText(" in use), ");
  putSize(plan.layout.hostRam.total());
  putText(" for the host");
  endLine();
}

/** Harts that came up: all that are left when those that did not are dropped (boot/harts.ts). */
export function logHarts(root: Root): void {
  beginLine();
  putText("salus: harts up: ");
  putDecimal(<u64>root.hartCount);
  endLine();
}

/** A line of text. */
export function logText(text: string): void {
  beginLine();
  putText("salus: ");
  putText(text);
  endLine();
}

/** A line for [start, end): addresses, size, name. */
function logRange(name: string, start: u64, end: u64): void {
  beginLine();
  putText("salus:   ");
  putHex(start);
  putText(" - ");
  putHex(end - 1);
  padHex(start);
  padHex(end - 1);
  putText("  ");
  putText(name);
  putText(", ");
  putSize(end - start);
  endLine();
}

function logImage(name: string, gpa: u64, size: u64, loaded: u64, hpa: u64): void {
  beginLine();
  putText("salus:   ");
  putHex(gpa);
  putText(" - ");
  putHex(gpa + size - 1);
  padHex(gpa);
  padHex(gpa + size - 1);
  putText("  ");
  putText(name);
  putText(", loaded at ");
  putHex(loaded);
  if (hpa != loaded) {
    putText(", moved to ");
    putHex(hpa);
  }
  endLine();
}

/** Spaces that make a hexadecimal number as wide as one of nine digits. */
function padHex(value: u64): void {
  for (let bits: u64 = 36; bits > 32 && value >> (bits - 4) == 0; bits -= 4) putChar(0x20);
}

function countBits(mask: u64): u64 {
  return popcnt<u64>(mask);
}

/** What register 1 of every VM is made of beside the root of trust: who predicts it has to know. */
export function logMeasured(root: Root): void {
  beginLine();
  putText("salus: measured features ");
  putHex(root.features);
  endLine();
}
