import { WasmReader } from "./wasm-reader.ts";

/** The parts of a wasm binary that the build looks at: types, imports, globals, exports, static data, names. */
export interface WasmInfo {
  imports: { module: string; name: string; signature: string }[];
  /** Exported functions. */
  exports: { name: string; signature: string }[];
  mutableGlobals: number;
  data: { address: number; bytes: Uint8Array }[];
  /** Function names of the name section, by function index (imports first). */
  functionNames: string[];
  importedFunctions: number;
}

const Section = { Type: 1, Import: 2, Function: 3, Global: 6, Export: 7, Data: 11, Custom: 0 } as const;
const VALUE_TYPES: Record<number, string> = { 0x7f: "u32", 0x7e: "u64", 0x7d: "f32", 0x7c: "f64" };

/** Reads a module that AssemblyScript wrote. Throws on what it never writes. */
export function readWasm(binary: Uint8Array): WasmInfo {
  const info: WasmInfo = {
    imports: [],
    exports: [],
    mutableGlobals: 0,
    data: [],
    functionNames: [],
    importedFunctions: 0,
  };
  const types: string[] = [];
  const functionTypes: number[] = [];
  const all = new WasmReader(binary, 8, binary.length);
  while (all.position < all.end) {
    const id = all.byte();
    const size = all.unsigned();
    const section = new WasmReader(binary, all.position, all.position + size);
    all.position += size;
    if (id === Section.Type) section.list(() => types.push(readType(section)));
    else if (id === Section.Import) section.list(() => readImport(section, info, types, functionTypes));
    else if (id === Section.Function) section.list(() => functionTypes.push(section.unsigned()));
    else if (id === Section.Global) section.list(() => readGlobal(section, info));
    else if (id === Section.Export)
      section.list(() => {
        const name = section.text();
        const kind = section.byte();
        const index = section.unsigned();
        if (kind === 0) info.exports.push({ name, signature: types[functionTypes[index]] });
      });
    else if (id === Section.Data) section.list(() => readData(section, info));
    else if (id === Section.Custom && section.text() === "name") readNames(section, info);
  }
  return info;
}

function readType(reader: WasmReader): string {
  if (reader.byte() !== 0x60) throw new Error("wasm: a type that is not a plain function type");
  const value = (): string => VALUE_TYPES[reader.byte()] ?? "?";
  const parameters: string[] = [];
  reader.list(() => parameters.push(value()));
  const results: string[] = [];
  reader.list(() => results.push(value()));
  return `(${parameters.join(", ")}) => ${results.join(", ") || "void"}`;
}

function readImport(reader: WasmReader, info: WasmInfo, types: string[], functionTypes: number[]): void {
  const module = reader.text();
  const name = reader.text();
  const kind = reader.byte();
  if (kind === 0) {
    const type = reader.unsigned();
    functionTypes.push(type);
    info.importedFunctions++;
    info.imports.push({ module, name, signature: types[type] });
  } else if (kind === 2) {
    const flags = reader.byte();
    reader.unsigned();
    if (flags & 1) reader.unsigned();
  } else {
    throw new Error(`wasm: import ${module}.${name} is neither a function nor the memory`);
  }
}

function readGlobal(reader: WasmReader, info: WasmInfo): void {
  reader.byte();
  if (reader.byte() === 1) info.mutableGlobals++;
  reader.constant();
}

function readData(reader: WasmReader, info: WasmInfo): void {
  if (reader.unsigned() !== 0) throw new Error("wasm: passive data segment");
  const address = reader.constant();
  const length = reader.unsigned();
  info.data.push({ address, bytes: reader.bytes.slice(reader.position, reader.position + length) });
  reader.position += length;
}

function readNames(reader: WasmReader, info: WasmInfo): void {
  while (reader.position < reader.end) {
    const kind = reader.byte();
    const size = reader.unsigned();
    const next = reader.position + size;
    if (kind === 1)
      reader.list(() => {
        const index = reader.unsigned();
        info.functionNames[index] = reader.text();
      });
    reader.position = next;
  }
}
