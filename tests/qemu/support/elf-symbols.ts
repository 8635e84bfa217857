import { readFileSync } from "node:fs";

const SYMBOL_TABLE = 2;
const SECTION_BYTES = 64;
const SYMBOL_BYTES = 24;

/** Addresses of an ELF's symbols by name (64-bit, little-endian). */
export function readSymbols(elf: string): Map<string, bigint> {
  const file = readFileSync(elf);
  const sections = Number(file.readBigUInt64LE(40));
  const section = (index: number) => {
    const at = sections + index * SECTION_BYTES;
    return {
      type: file.readUInt32LE(at + 4),
      offset: Number(file.readBigUInt64LE(at + 24)),
      size: Number(file.readBigUInt64LE(at + 32)),
      link: file.readUInt32LE(at + 40),
    };
  };
  const symbols = new Map<string, bigint>();
  for (let index = 0; index < file.readUInt16LE(60); index++) {
    const table = section(index);
    if (table.type !== SYMBOL_TABLE) continue;
    const names = section(table.link).offset;
    for (let at = table.offset; at < table.offset + table.size; at += SYMBOL_BYTES) {
      const name = names + file.readUInt32LE(at);
      symbols.set(file.toString("latin1", name, file.indexOf(0, name)), file.readBigUInt64LE(at + 8));
    }
  }
  return symbols;
}

/** Address of a function of the hypervisor, by its name in backtraces. */
export function addressOf(symbols: Map<string, bigint>, name: string): bigint {
  const address = symbols.get(name);
  if (address === undefined) throw new Error(`the image has no function ${name}`);
  return address;
}
