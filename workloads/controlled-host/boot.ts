import { imageAddress, ImageSymbol, read8 } from "../lib/hw";
import { endLine, print, printCharacter, printDecimal, printHex, printLine } from "../lib/console";
import { bigEndianCells, FdtCursor, fdtOpen, FdtToken } from "../lib/fdt";
import { allocateZeroed } from "../lib/heap";
import { afterImage, startTestVm } from "../lib/start";
import { useHeapRange } from "../tellus/host-memory";
import { GUEST_IMAGE_DISTANCE, readMachine } from "../tellus/machine";
import { startOtherHarts } from "../tellus/other-harts";
import { state } from "../tellus/state";
import { askTsm } from "../tellus/tsm";
import { serveCommands } from "./commands";

/** Boot hart: device tree, memory, the other harts; then commands for ever. */
export function bootControlledHost(hartId: u64, fdt: u64): void {
  const vm = startTestVm(hartId, afterImage(), imageAddress(ImageSymbol.Start) + GUEST_IMAGE_DISTANCE);
  assert(readMachine(fdt), "there is no device tree");
  vm.timebase = state().timebase;
  vm.hasVectors = state().hasVectors;
  vm.hasStimecmp = state().hasStimecmp;
  describeImage();
  describeMemory();
  describeChosen(fdt);
  useHeapRange();
  const harts = startOtherHarts(vm);
  print("host: harts ");
  printDecimal(harts);
  endLine();
  askTsm();
  printLine("host: ready");
  serveCommands();
}

function describeImage(): void {
  print("host: image ");
  printHex(imageAddress(ImageSymbol.Start));
  endLine();
}

function describeMemory(): void {
  for (let i: u32 = 0; i < state().ramCount; i++) {
    const ram = state().ram(i);
    print("host: memory ");
    printHex(ram.start);
    print(" ");
    printHex(ram.end - ram.start);
    endLine();
  }
}

/** The initial RAM disk and the boot arguments, as far as /chosen names them. */
function describeChosen(fdt: u64): void {
  let inChosen: bool = false;
  let start: u64 = 0;
  const cursor = changetype<FdtCursor>(<usize>allocateZeroed(1));
  fdtOpen(cursor, fdt);
  while (cursor.next() != FdtToken.End) {
    if (cursor.token == FdtToken.BeginNode) inChosen = cursor.depth == 2 && cursor.isNode("chosen");
    if (cursor.token != FdtToken.Property || !inChosen) continue;
    const cells = <u32>(cursor.valueLength / 4);
    if (cursor.isProperty("linux,initrd-start")) start = bigEndianCells(cursor.value, cells);
    if (cursor.isProperty("linux,initrd-end")) {
      print("host: initrd ");
      printHex(start);
      print(" ");
      printHex(bigEndianCells(cursor.value, cells) - start);
      endLine();
    }
    if (cursor.isProperty("bootargs")) {
      print("host: arguments ");
      for (let i: u64 = 0; i + 1 < cursor.valueLength; i++) printCharacter(read8(cursor.value + i));
      endLine();
    }
  }
}
