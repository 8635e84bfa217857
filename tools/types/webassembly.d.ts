/**
 * The part of the WebAssembly interface that the tools and tests use, with 64-bit memories. TypeScript declares it for
 * browsers only, together with all that a browser has.
 */
declare namespace WebAssembly {
  type Bytes = ArrayBuffer | ArrayBufferView;
  type ExternalKind = "function" | "global" | "memory" | "table" | "tag";
  type ExportValue = ((...args: never[]) => unknown) | Memory | Global | Table;
  type Exports = Record<string, ExportValue>;
  type ImportValue = ((...args: never[]) => unknown) | Suspending | Memory | Global | Table | number | bigint;
  type Imports = Record<string, Record<string, ImportValue>>;

  interface MemoryDescriptor {
    /** Type of an address; sizes are bigints with "i64". */
    address?: "i32" | "i64";
    initial: number | bigint;
    maximum?: number | bigint;
    shared?: boolean;
  }

  class Memory {
    constructor(descriptor: MemoryDescriptor);
    readonly buffer: ArrayBuffer;
    grow(pages: number | bigint): number | bigint;
  }

  class Global {
    constructor(descriptor: { value: string; mutable?: boolean }, value?: unknown);
    value: unknown;
  }

  class Table {
    readonly length: number | bigint;
    get(index: number | bigint): unknown;
  }

  class Module {
    constructor(bytes: Bytes);
    static imports(module: Module): { module: string; name: string; kind: ExternalKind }[];
    static exports(module: Module): { name: string; kind: ExternalKind }[];
    static customSections(module: Module, name: string): ArrayBuffer[];
  }

  class Instance {
    constructor(module: Module, imports?: Imports);
    readonly exports: Exports;
  }

  /** An import whose promise suspends the module's stack (JavaScript Promise Integration). */
  class Suspending {
    constructor(work: (...args: never[]) => Promise<unknown>);
  }
  /** The export, on a stack that can be suspended. */
  function promising(exported: (...args: never[]) => unknown): (...args: bigint[]) => Promise<unknown>;

  class RuntimeError extends Error {}
  class CompileError extends Error {}
  class LinkError extends Error {}

  function compile(bytes: Bytes): Promise<Module>;
  function instantiate(module: Module, imports?: Imports): Promise<Instance>;
  function validate(bytes: Bytes): boolean;
}
