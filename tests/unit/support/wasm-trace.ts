import { WasmReader } from "../../../tools/build/wasm-reader.ts";

/**
 * Makes a wasm module tell what an observer of its time could see: which way every branch goes, every address that is loaded from or
 * stored to, and the operands of divisions, whose time depends on them.
 *
 * The binary is rewritten instruction by instruction: in front of each such instruction, what it is about to use is handed to an import,
 * with the number of the place. The module has to import the three functions of `TRACE_SOURCE`; nothing else of it changes.
 */

/** Lines of an entry file that declare the imports and keep them alive. */
export const TRACE_SOURCE = `
  // @ts-ignore: decorator
  @external("trace", "branch") declare function traceBranch(condition: u32, place: u32): u32;
  // @ts-ignore: decorator
  @external("trace", "address") declare function traceAddress(address: u64, place: u32): u64;
  // @ts-ignore: decorator
  @external("trace", "operand") declare function traceOperand(operand: u64, place: u32): u64;
  export function traceImports(): u64 { return traceAddress(traceBranch(0, 0), 0) + traceOperand(0, 0); }`;

/** What happened at a place: `value` is a condition, an address or an operand. */
export type TraceEvent = (place: number, value: number | bigint) => void;

/** The imports that report to `event`. */
export function traceImports(event: TraceEvent): WebAssembly.Imports {
  const report = (value: number | bigint, place: number): number | bigint => {
    event(place, value);
    return value;
  };
  return { trace: { branch: report, address: report, operand: report } };
}

export interface TracedModule {
  binary: Uint8Array<ArrayBuffer>;
  /** Name of the function and the instruction of each place. */
  places: string[];
}

const I32 = 0x7f;
const I64 = 0x7e;
const op = {
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  call: 0x10,
  callIndirect: 0x11,
  select: 0x1b,
  selectTyped: 0x1c,
  localGet: 0x20,
  localSet: 0x21,
  tableSet: 0x26,
  firstLoad: 0x28,
  firstStore: 0x36,
  lastStore: 0x3e,
  memorySize: 0x3f,
  memoryGrow: 0x40,
  i32Const: 0x41,
  i64Const: 0x42,
  f32Const: 0x43,
  f64Const: 0x44,
  i32ExtendU: 0xad,
  prefixed: 0xfc,
} as const;
const STORES_OF_I32: readonly number[] = [0x36, 0x3a, 0x3b];
const DIVISIONS_I32: readonly number[] = [0x6d, 0x6e, 0x6f, 0x70];
const DIVISIONS_I64: readonly number[] = [0x7f, 0x80, 0x81, 0x82];
const MEMORY_COPY = 10;
const MEMORY_FILL = 11;
const SECTION = { type: 1, import: 2, function: 3, code: 10, custom: 0 } as const;

/** Rewrites a module. Throws on instructions that it does not know: nothing is left out silently. */
export function traceModule(binary: Uint8Array): TracedModule {
  const reader = new WasmReader(binary, 8, binary.length);
  const parts: number[] = [...binary.subarray(0, 8)];
  const places: string[] = [];
  const sections: { id: number; start: number; end: number }[] = [];
  while (reader.position < reader.end) {
    const id = reader.byte();
    const size = reader.unsigned();
    sections.push({ id, start: reader.position, end: reader.position + size });
    reader.position += size;
  }
  const section = (id: number): WasmReader => {
    const found = sections.find((each) => each.id === id);
    if (!found) throw new Error(`the module has no section ${id}`);
    return new WasmReader(binary, found.start, found.end);
  };
  const parameterCounts = readParameterCounts(section(SECTION.type));
  const imports = readImports(section(SECTION.import));
  const functionTypes: number[] = [];
  const functionReader = section(SECTION.function);
  functionReader.list(() => functionTypes.push(functionReader.unsigned()));
  const custom = sections.filter(({ id }) => id === SECTION.custom);
  const names = custom.flatMap(({ start, end }) => readNames(new WasmReader(binary, start, end)));
  const nameOf = new Map(names);

  for (const { id, start, end } of sections) {
    if (id !== SECTION.code) {
      parts.push(id, ...unsigned(end - start), ...binary.subarray(start, end));
      continue;
    }
    const code = new WasmReader(binary, start, end);
    const bodies: number[][] = [];
    code.list(() => {
      const size = code.unsigned();
      const index = bodies.length;
      const body = new WasmReader(binary, code.position, code.position + size);
      code.position += size;
      const name = nameOf.get(imports.count + index) ?? `function ${index}`;
      bodies.push(new BodyRewriter(body, parameterCounts[functionTypes[index]], imports, name, places).run());
    });
    const content = [...unsigned(bodies.length), ...bodies.flatMap((body) => [...unsigned(body.length), ...body])];
    parts.push(id, ...unsigned(content.length));
    for (const byte of content) parts.push(byte);
  }
  return { binary: Uint8Array.from(parts), places };
}

interface TraceFunctions {
  branch: number;
  address: number;
  operand: number;
  /** Functions that the module imports. */
  count: number;
}

/** Rewrites the body of one function. Two variables of each type are added, to reach what lies below the top of the stack. */
class BodyRewriter {
  readonly #body: WasmReader;
  readonly #parameters: number;
  readonly #imports: TraceFunctions;
  readonly #name: string;
  readonly #places: string[];
  readonly #out: number[] = [];

  constructor(body: WasmReader, parameters: number, imports: TraceFunctions, name: string, places: string[]) {
    this.#body = body;
    this.#parameters = parameters;
    this.#imports = imports;
    this.#name = name;
    this.#places = places;
  }

  run(): number[] {
    const groups: number[] = [];
    let count = 0;
    let locals = this.#parameters;
    this.#body.list(() => {
      const number = this.#body.unsigned();
      groups.push(...unsigned(number), this.#body.byte());
      locals += number;
      count++;
    });
    // The new variables: two of 64 bits, two of 32.
    groups.push(2, I64, 2, I32);
    this.#out.push(...unsigned(count + 2), ...groups);
    while (this.#body.position < this.#body.end) this.#instruction({ i64: locals, i32: locals + 2 });
    return this.#out;
  }

  /** Hands the value on top of the stack to an import, which gives it back. */
  #report(kind: "branch" | "address" | "operand", instruction: number): void {
    const place = this.#places.length;
    this.#places.push(`${this.#name}, instruction 0x${instruction.toString(16)} at byte ${this.#body.position}`);
    this.#out.push(op.i32Const, ...signed(place), op.call, ...unsigned(this.#imports[kind]));
  }

  #instruction(extra: { i64: number; i32: number }): void {
    const reader = this.#body;
    const start = reader.position;
    const code = reader.byte();
    const set = (local: number): number => this.#out.push(op.localSet, ...unsigned(local));
    const get = (local: number): number => this.#out.push(op.localGet, ...unsigned(local));
    if (code === op.if || code === op.brIf || code === op.brTable || code === op.callIndirect) {
      this.#report("branch", code);
    } else if (code === op.select || code === op.selectTyped) {
      // A compiler may make a branch of it.
      this.#report("branch", code);
    } else if (code >= op.firstLoad && code < op.firstStore) {
      this.#report("address", code);
    } else if (code >= op.firstStore && code <= op.lastStore) {
      const value = STORES_OF_I32.includes(code) ? extra.i32 : extra.i64;
      set(value);
      this.#report("address", code);
      get(value);
    } else if (DIVISIONS_I64.includes(code)) {
      this.#report("operand", code);
      set(extra.i64);
      this.#report("operand", code);
      get(extra.i64);
    } else if (DIVISIONS_I32.includes(code)) {
      // The operands as they are, widened for the import.
      set(extra.i32);
      set(extra.i32 + 1);
      for (const operand of [extra.i32 + 1, extra.i32]) {
        get(operand);
        this.#out.push(op.i32ExtendU);
        this.#report("operand", code);
        this.#out.push(op.localSet, ...unsigned(extra.i64));
      }
      get(extra.i32 + 1);
      get(extra.i32);
    } else if (code === op.prefixed) {
      const kind = reader.bytes[reader.position];
      if (kind !== MEMORY_COPY && kind !== MEMORY_FILL) throw new Error(`unknown instruction 0xfc ${kind}`);
      const middle = kind === MEMORY_COPY ? extra.i64 + 1 : extra.i32;
      this.#report("address", code);
      set(extra.i64);
      if (kind === MEMORY_COPY) this.#report("address", code);
      set(middle);
      this.#report("address", code);
      get(middle);
      get(extra.i64);
    }
    skipImmediates(reader, code);
    for (let i = start; i < reader.position; i++) this.#out.push(reader.bytes[i]);
  }
}

/** Steps over what follows an operation code. */
function skipImmediates(reader: WasmReader, code: number): void {
  if (code === op.block || code === op.loop || code === op.if) reader.skipNumber();
  else if (code === op.br || code === op.brIf || code === op.call) reader.skipNumber();
  else if (code === op.brTable) {
    reader.list(() => reader.skipNumber());
    reader.skipNumber();
  } else if (code === op.callIndirect) {
    reader.skipNumber();
    reader.skipNumber();
  } else if (code === op.selectTyped) reader.list(() => reader.skipNumber());
  else if (code >= op.localGet && code <= op.tableSet) reader.skipNumber();
  else if (code >= op.firstLoad && code <= op.lastStore) {
    reader.skipNumber();
    reader.skipNumber();
  } else if (code === op.memorySize || code === op.memoryGrow) reader.skipNumber();
  else if (code === op.i32Const || code === op.i64Const) reader.skipNumber();
  else if (code === op.f32Const) reader.position += 4;
  else if (code === op.f64Const) reader.position += 8;
  else if (code === op.prefixed) {
    const kind = reader.unsigned();
    reader.position += kind === MEMORY_COPY ? 2 : 1;
  } else if (code > 0xc4) throw new Error(`unknown instruction 0x${code.toString(16)}`);
}

function readParameterCounts(reader: WasmReader): number[] {
  const counts: number[] = [];
  reader.list(() => {
    if (reader.byte() !== 0x60) throw new Error("a type that is not a plain function type");
    let parameters = 0;
    reader.list(() => {
      reader.byte();
      parameters++;
    });
    reader.list(() => reader.byte());
    counts.push(parameters);
  });
  return counts;
}

function readImports(reader: WasmReader): TraceFunctions {
  const found = new Map<string, number>();
  let count = 0;
  reader.list(() => {
    const module = reader.text();
    const name = reader.text();
    const kind = reader.byte();
    if (kind === 0) {
      if (module === "trace") found.set(name, count);
      reader.unsigned();
      count++;
    } else if (kind === 2) {
      const flags = reader.unsigned();
      reader.unsigned();
      if (flags & 1) reader.unsigned();
    } else throw new Error(`import ${module}.${name} is neither a function nor memory`);
  });
  const index = (name: string): number => {
    const at = found.get(name);
    if (at === undefined) throw new Error(`the module does not import trace.${name}: add TRACE_SOURCE`);
    return at;
  };
  return { branch: index("branch"), address: index("address"), operand: index("operand"), count };
}

function readNames(reader: WasmReader): [number, string][] {
  if (reader.text() !== "name") return [];
  const names: [number, string][] = [];
  while (reader.position < reader.end) {
    const kind = reader.byte();
    const size = reader.unsigned();
    const next = reader.position + size;
    if (kind === 1) reader.list(() => names.push([reader.unsigned(), reader.text()]));
    reader.position = next;
  }
  return names;
}

function unsigned(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
}

/** LEB128 of a number that is not negative, where a signed one is expected. */
function signed(value: number): number[] {
  const bytes = unsigned(value);
  if (bytes[bytes.length - 1] < 64) return bytes;
  bytes[bytes.length - 1] |= 128;
  return [...bytes, 0];
}
