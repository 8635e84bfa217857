import { typeScriptName } from "./checks.ts";
import { runTool } from "./image.ts";
import type { ImageModule } from "./modules.ts";

/**
 * Function symbols: their readable names for the ELF, and the table in the image that hypervisor/boot/backtrace.ts reads.
 *
 * Layout of the table, little-endian, sorted by address:
 *
 *     u32 count, u32 reserved
 *     count x { u32 offset of the function from the image's start
 *               u16 frame size in words of 8 bytes
 *               u16 bits 0-14: bytes of the prologue; bit 15: the return address is saved in the frame's top word
 *               u16 file name, u16 function name: offsets into the names }
 *     names: { u8 length, that many ASCII bytes }
 *
 * A function of the machine layer has no file name (offset 0 is the empty name) and no frame: a backtrace ends there.
 */

export interface FunctionSymbol {
  /** Name in the ELF before renaming. */
  symbol: string;
  /** "memory/fence.ts:initiateFence", or the assembly symbol. */
  name: string;
  address: number;
  frameSize: number;
  prologueBytes: number;
  savesReturnAddress: boolean;
  fromTypeScript: boolean;
}

/** All functions of a linked image, by address, with the frames that their prologues make. */
export async function readFunctions(
  elf: string,
  module: ImageModule,
  names: Map<string, string>,
  files: readonly string[],
  folder: string,
): Promise<FunctionSymbol[]> {
  const [symbols, listing] = await Promise.all([
    runTool("readelf", ["-sW", elf], names, folder),
    runTool("objdump", ["-d", "--no-show-raw-insn", "-M", "numeric", elf], names, folder),
  ]);
  const functions = new Map<number, FunctionSymbol>();
  for (const [, value, symbol] of symbols.matchAll(/^\s*\d+: ([0-9a-f]{16})\s+\S+ FUNC\s+\w+\s+\w+\s+\d+ (\S+)$/gm)) {
    const address = parseInt(value, 16);
    const [stem, clone] = splitClone(symbol);
    const wasmName = names.get(stem);
    const readable = wasmName === undefined ? symbol : readableName(wasmName, module, files) + clone;
    const known = functions.get(address);
    if (known && known.fromTypeScript) continue;
    functions.set(address, {
      symbol,
      name: readable,
      address,
      frameSize: 0,
      prologueBytes: 0,
      savesReturnAddress: false,
      fromTypeScript: wasmName !== undefined,
    });
  }
  readPrologues(listing, functions);
  return [...functions.values()].sort((a, b) => a.address - b.address);
}

/** "hypervisor/memory/fence/initiateFence" -> "memory/fence.ts:initiateFence". */
export function readableName(wasmName: string, module: ImageModule, files: readonly string[]): string {
  const name = typeScriptName(wasmName, files).replaceAll("#", ".").replace(/\s/g, "");
  return name.startsWith(module.namePrefix) ? name.slice(module.namePrefix.length) : name;
}

/** Names that objcopy gives: `old new` a line. */
export function renamings(functions: readonly FunctionSymbol[]): string {
  const used = new Set<string>();
  const lines: string[] = [];
  for (const { symbol, name } of functions) {
    if (symbol === name) continue;
    let unique = name;
    for (let copy = 2; used.has(unique); copy++) unique = `${name}.${copy}`;
    used.add(unique);
    lines.push(`${symbol} ${unique}`);
  }
  return lines.join("\n") + "\n";
}

/** Splits what gcc appends to a function that it cloned or split. */
function splitClone(symbol: string): [string, string] {
  const match = /^(.*?)((?:\.(?:part|constprop|isra|cold|lto_priv)(?:\.\d+)?)*)$/.exec(symbol)!;
  return [match[1], match[2]];
}

/** Fills in frame size, length of the prologue and whether ra is saved, from the first instructions of each function. */
function readPrologues(listing: string, functions: Map<number, FunctionSymbol>): void {
  let current: FunctionSymbol | undefined;
  let inPrologue = false;
  let large = 0;
  for (const line of listing.split("\n")) {
    const head = /^([0-9a-f]+) <.*>:$/.exec(line);
    if (head) {
      const next = functions.get(parseInt(head[1], 16));
      if (next) {
        current = next;
        inPrologue = true;
        large = 0;
      }
      continue;
    }
    if (!current || !inPrologue) continue;
    const instruction = /^\s*([0-9a-f]+):\s+(\S+)\s*(\S*)/.exec(line);
    if (!instruction) continue;
    const [, address, operation, operands] = instruction;
    const end = parseInt(address, 16);
    const adjust = /^x2,x2,(-?\d+|x5)$/.exec(operands);
    if ((operation === "addi" || operation === "add") && adjust) {
      current.frameSize -= adjust[1] === "x5" ? large : Number(adjust[1]);
      if (current.frameSize <= 0) current.frameSize = 0;
    } else if ((operation === "li" || operation === "lui") && operands.startsWith("x5,")) {
      const value = Number(operands.slice(3));
      large = operation === "lui" ? (value << 12) | 0 : value;
    } else if ((operation === "addi" || operation === "addiw") && operands.startsWith("x5,x5,")) {
      large += Number(operands.slice(6));
    } else if (operation === "sd" && /^x1,\d+\(x2\)$/.test(operands)) {
      current.savesReturnAddress = true;
    } else if (!(operation === "sd" && /\(x2\)$/.test(operands)) && !isMove(operation)) {
      inPrologue = false;
      continue;
    } else if (isMove(operation)) {
      continue;
    }
    if (current.frameSize > 0) current.prologueBytes = end + 2 - current.address;
  }
}

/** Instructions that the scheduler may put between those of a prologue. */
function isMove(operation: string): boolean {
  return !/^(c\.)?(j|jal|jalr|jr|ret|b\w+|ecall|ebreak|sret|sb|sh|sw|sd|unimp)$/.test(operation);
}

/** The table for `.symbol_table`. */
export function symbolTable(functions: readonly FunctionSymbol[], base: number): Uint8Array {
  const names: number[] = [0];
  const offsets = new Map<string, number>([["", 0]]);
  const nameOffset = (name: string): number => {
    const known = offsets.get(name);
    if (known !== undefined) return known;
    const offset = names.length;
    if (offset > 0xffff) return 0;
    const bytes = Buffer.from(name, "latin1").subarray(0, 255);
    names.push(bytes.length, ...bytes);
    offsets.set(name, offset);
    return offset;
  };
  const table = Buffer.alloc(8 + functions.length * 12);
  table.writeUInt32LE(functions.length, 0);
  functions.forEach((each, index) => {
    const colon = each.name.indexOf(":");
    const at = 8 + index * 12;
    table.writeUInt32LE(each.address - base, at);
    table.writeUInt16LE(Math.min(each.frameSize / 8, 0xffff), at + 4);
    table.writeUInt16LE(Math.min(each.prologueBytes, 0x7fff) | (each.savesReturnAddress ? 0x8000 : 0), at + 6);
    table.writeUInt16LE(nameOffset(colon < 0 ? "" : each.name.slice(0, colon)), at + 8);
    table.writeUInt16LE(nameOffset(each.name.slice(colon + 1)), at + 10);
  });
  return Buffer.concat([table, Buffer.from(names)]);
}
