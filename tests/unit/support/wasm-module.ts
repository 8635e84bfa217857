import path from "node:path";
import { compileTypeScript } from "../../../tools/build/assemblyscript.ts";

/** A module in the AssemblyScript dialect, compiled and instantiated for a unit test, with its memory. */
export interface LoadedModule {
  exports: Record<string, (...args: unknown[]) => unknown>;
  memory: WebAssembly.Memory;
  view: DataView;
  bytes: Uint8Array;
}

const root = path.resolve(import.meta.dirname, "../../..");
const PAGE_BYTES = 0x10000;

/**
 * Compiles the module with the entry file `entry` (relative to the repository) and starts it with `bytes` bytes of memory.
 * A failed `assert` in it throws an Error with its text.
 */
export async function loadModule(
  entry: string,
  bytes = 4 << 20,
  imports: WebAssembly.Imports = {},
): Promise<LoadedModule> {
  const { module } = await compileTypeScript({ root, entry, memoryBase: 64, log: (line) => console.warn(line) });
  module.optimize(2, 0, true);
  if (!module.validate()) throw new Error(`${entry}: the compiled module is not valid`);
  const { output } = module.toBinary(null);
  module.dispose();
  const memory = new WebAssembly.Memory({
    address: "i64",
    initial: BigInt(bytes / PAGE_BYTES),
  } as unknown as WebAssembly.MemoryDescriptor);
  const view = new DataView(memory.buffer);
  const literal = (address: bigint): string => {
    const start = Number(address);
    return new TextDecoder("utf-16le").decode(memory.buffer.slice(start, start + view.getUint32(start - 4, true)));
  };
  const abort = (message: bigint, file: bigint, line: number): void => {
    throw new Error(`${literal(message)} (${literal(file)}:${line})`);
  };
  const instance = await WebAssembly.instantiate(await WebAssembly.compile(output as BufferSource), {
    ...imports,
    env: { memory, abort, ...(imports.env ?? {}) },
  });
  return { exports: instance.exports as LoadedModule["exports"], memory, view, bytes: new Uint8Array(memory.buffer) };
}
