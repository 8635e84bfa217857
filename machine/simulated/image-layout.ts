import { readWasm } from "../../tools/build/wasm-module.ts";
import { staticDataBlock } from "../../tools/build/image.ts";
import { HELPER_BASE, IMAGE_BASE, STACK_SIZE } from "../../tools/build/modules.ts";
import { MachineFault } from "./errors.ts";
import type { HypervisorModule } from "./hypervisor-module.ts";

/** What imageAddress can be asked for (ImageSymbol of hypervisor/riscv/hw.ts). */
export const ImageSymbol = {
  start: 0,
  textEnd: 1,
  rodataStart: 2,
  rodataEnd: 3,
  dataStart: 4,
  end: 5,
  secondaryEntry: 6,
  trapEntry: 7,
  bootStackBottom: 8,
  bootStackTop: 9,
  symbolTable: 10,
  bootHart: 11,
  programCounter: 12,
  recordLog: 13,
  helperStart: 14,
  helperConstants: 15,
  helperEnd: 16,
} as const;

const PAGE = 4096;

/**
 * Where the parts of the image are in simulated RAM. Text is as large as the module leaves room for and holds nothing; static data is where the
 * module puts it; then come the boot hart's record and stack.
 */
export class ImageLayout {
  readonly #addresses = new Map<number, number>();

  /** Static data of the user-mode helper, at helperConstants. */
  readonly helperData: Uint8Array;

  constructor(module: HypervisorModule, helper: HypervisorModule) {
    const data = readWasm(module.binary).data;
    const dataEnd = Math.max(module.dataBase, ...data.map(({ address, bytes }) => address + bytes.length));
    // An empty table: nobody's code is here. Backtraces are the test's.
    const symbolTable = Math.ceil(dataEnd / 8) * 8;
    const helperStart = pageUp(symbolTable + 8);
    const helperConstants = helperStart + helper.dataBase - HELPER_BASE;
    this.helperData = staticDataBlock(readWasm(helper.binary), helper.dataBase);
    const writable = pageUp(helperConstants + this.helperData.length);
    const stackBottom = writable + PAGE;
    const end = stackBottom + STACK_SIZE;
    const set = (symbol: number, address: number): void => void this.#addresses.set(symbol, address);
    set(ImageSymbol.start, IMAGE_BASE);
    set(ImageSymbol.textEnd, module.dataBase);
    set(ImageSymbol.rodataStart, module.dataBase);
    set(ImageSymbol.rodataEnd, writable);
    set(ImageSymbol.dataStart, writable);
    set(ImageSymbol.bootHart, writable);
    set(ImageSymbol.bootStackBottom, stackBottom);
    set(ImageSymbol.bootStackTop, end);
    set(ImageSymbol.end, end);
    set(ImageSymbol.recordLog, end);
    // Nobody looks at what is there.
    set(ImageSymbol.secondaryEntry, IMAGE_BASE + 0x40);
    set(ImageSymbol.trapEntry, IMAGE_BASE + 0x80);
    set(ImageSymbol.programCounter, IMAGE_BASE + 0x100);
    set(ImageSymbol.symbolTable, symbolTable);
    set(ImageSymbol.helperStart, helperStart);
    set(ImageSymbol.helperConstants, helperConstants);
    set(ImageSymbol.helperEnd, writable);
  }

  address(symbol: number): bigint {
    const address = this.#addresses.get(symbol);
    if (address === undefined) throw new MachineFault(`the image has no symbol ${symbol}`);
    return BigInt(address);
  }
}

function pageUp(address: number): number {
  return Math.ceil(address / PAGE) * PAGE;
}
