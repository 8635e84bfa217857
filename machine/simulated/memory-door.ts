import { MachineFault, hex } from "./errors.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import { LOG_CURSOR, LOG_ENTRY, LOG_KEPT_CURSOR, LOG_WORK } from "./write-log.ts";

/**
 * The part of the door that only touches memory and tp, as a wasm module of its own on the same memory.
 *
 * A call from wasm to wasm costs a few nanoseconds, one to JavaScript turns every 64-bit number into a BigInt; the hypervisor makes
 * hundreds of such calls in one trap. The functions check what metal would not forgive: an address outside RAM, or one that is not
 * naturally aligned. The module is small enough to be assembled here by hand.
 */

// Value types, instructions and sections of the WebAssembly binary format.
export const I32 = 0x7f;
export const I64 = 0x7e;
const VOID_BLOCK = 0x40;
export const op = {
  unreachable: 0x00,
  if: 0x04,
  end: 0x0b,
  call: 0x10,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  globalGet: 0x23,
  globalSet: 0x24,
  i32Load: 0x28,
  i64Load: 0x29,
  i32Load8: 0x2d,
  i32Load16: 0x2f,
  i32Store: 0x36,
  i64Store: 0x37,
  i32Store8: 0x3a,
  i32Store16: 0x3b,
  i32Const: 0x41,
  i64Const: 0x42,
  i32Eq: 0x46,
  i64Eq: 0x51,
  i64Ne: 0x52,
  i64GreaterEqual: 0x5a,
  i32Add: 0x6a,
  i32Or: 0x72,
  i64Add: 0x7c,
  i64Sub: 0x7d,
  i64Mul: 0x7e,
  i64And: 0x83,
  i64Or: 0x84,
  i64Xor: 0x85,
  i64ShrU: 0x88,
  i64Shl: 0x86,
  i64Rotr: 0x8a,
  i64ExtendU: 0xad,
} as const;
const MEMORY_COPY = [0xfc, 10, 0, 0];
const MEMORY_FILL = [0xfc, 11, 0];
/** Index of the imported function that reports a bad address. */
const WILD = 0;

interface DoorFunction {
  name: string;
  parameters: number[];
  results: number[];
  /** Local variables beside the parameters, by type. */
  locals: number[];
  code: number[];
}

export const get = (local: number): number[] => [op.localGet, local];
export const i64Const = (value: number): number[] => [op.i64Const, ...signed(value)];

/** Refuses [local, local + size) outside RAM, and (aligned) an address that is not a multiple of size. */
function check(memory: PhysicalMemory, local: number, size: number, aligned: boolean): number[] {
  const outside = [
    ...[...get(local), ...i64Const(memory.start), op.i64Sub],
    ...[...i64Const(memory.end - memory.start - size + 1), op.i64GreaterEqual],
  ];
  const misaligned = [...get(local), ...i64Const(size - 1), op.i64And, ...i64Const(0), op.i64Ne, op.i32Or];
  const report = [...get(local), ...i64Const(size), op.call, WILD, op.unreachable];
  return [...outside, ...(aligned && size > 1 ? misaligned : []), op.if, VOID_BLOCK, ...report, op.end];
}

/** Refuses a range whose length is in a local. */
function checkRange(memory: PhysicalMemory, start: number, length: number): number[] {
  const end = [...get(start), ...get(length), op.i64Add];
  const outside = [
    ...[...get(start), ...i64Const(memory.start), op.i64Sub],
    ...[...i64Const(memory.end - memory.start + 1), op.i64GreaterEqual],
    ...[...end, ...i64Const(memory.start), op.i64Sub],
    ...[...i64Const(memory.end - memory.start + 1), op.i64GreaterEqual, op.i32Or],
  ];
  return [...outside, op.if, VOID_BLOCK, ...get(start), ...get(length), op.call, WILD, op.unreachable, op.end];
}

/** Adds 1 to the count of calls. */
function countWork(): number[] {
  const at = i64Const(LOG_WORK);
  return [...at, ...at, op.i64Load, 3, 0, ...i64Const(1), op.i64Add, op.i64Store, 3, 0];
}

/** Appends (first, second) to the write log. */
function append(first: number[], second: number[]): number[] {
  const cursor = [...i64Const(LOG_CURSOR), op.i64Load, 3, 0];
  return [
    ...[...cursor, ...first, op.i64Store, 3, 0],
    ...[...cursor, ...second, op.i64Store, 3, 8],
    ...[...i64Const(LOG_CURSOR), ...cursor, ...i64Const(LOG_ENTRY), op.i64Add, op.i64Store, 3, 0],
  ];
}

/** Logs the 64-bit word that holds the address in a local, with what it holds now. */
function logWord(local: number): number[] {
  const word = [...get(local), ...i64Const(-8), op.i64And];
  return append(word, [...word, op.i64Load, 3, 0]);
}

/** Logs that a range from the address in local 0 on is written, and keeps what it holds now; `length` computes its bytes. */
function logRange(length: number[]): number[] {
  const kept = [...i64Const(LOG_KEPT_CURSOR), op.i64Load, 3, 0];
  return [
    ...append([...get(0), ...i64Const(-8), op.i64And, ...i64Const(1), op.i64Or], length),
    ...[...kept, ...get(0), ...length, ...MEMORY_COPY],
    ...[...i64Const(LOG_KEPT_CURSOR), ...kept, ...length, op.i64Add, op.i64Store, 3, 0],
  ];
}

function doorFunctions(memory: PhysicalMemory, cacheBlock: number, logged: boolean): DoorFunction[] {
  const functions: DoorFunction[] = [];
  const add = (name: string, parameters: number[], results: number[], locals: number[], code: number[]): void => {
    functions.push({ name, parameters, results, locals, code: [...(logged ? countWork() : []), ...code] });
  };
  const note = logged ? logWord(0) : [];
  const noteRange = (length: number[]): number[] => (logged ? logRange(length) : []);
  const loadStore = (size: number, load: number, store: number, type: number): void => {
    const align = Math.log2(size);
    const bits = size * 8;
    const read = [...check(memory, 0, size, true), ...get(0), load, align, 0];
    const write = [...check(memory, 0, size, true), ...note, ...get(0), ...get(1), store, align, 0];
    add(`read${bits}`, [I64], [type], [], read);
    // The hypervisor has no use for the other functions that there might be.
    if (size !== 2) add(`write${bits}`, [I64, type], [], [], write);
    if (size < 4) return;
    add(`loadAcquire${bits}`, [I64], [type], [], read);
    add(`storeRelease${bits}`, [I64, type], [], [], write);
    const wide = size === 8;
    // old = *hpa; *hpa = f(old, operand); return old: one step, because harts take turns.
    const modify = (combine: number[]): number[] => [
      ...check(memory, 0, size, true),
      ...note,
      ...[...get(0), load, align, 0, op.localTee, 2, ...get(0)],
      ...[...(combine.length > 0 ? [...get(2), ...get(1), ...combine] : get(1)), store, align, 0],
    ];
    add(`swap${bits}`, [I64, type], [type], [type], modify([]));
    if (!wide) add(`add${bits}`, [I64, type], [type], [type], modify([op.i32Add]));
    if (wide) add(`or${bits}`, [I64, type], [type], [type], modify([op.i64Or]));
    if (wide) add(`and${bits}`, [I64, type], [type], [type], modify([op.i64And]));
    const store2 = [...get(0), ...get(2), store, align, 0];
    add(
      `cas${bits}`,
      [I64, type, type],
      [type],
      [type],
      [
        ...check(memory, 0, size, true),
        ...note,
        ...[...get(0), load, align, 0, op.localTee, 3],
        ...[...get(3), ...get(1), wide ? op.i64Eq : op.i32Eq, op.if, VOID_BLOCK, ...store2, op.end],
      ],
    );
  };
  loadStore(1, op.i32Load8, op.i32Store8, I32);
  loadStore(2, op.i32Load16, op.i32Store16, I32);
  loadStore(4, op.i32Load, op.i32Store, I32);
  loadStore(8, op.i64Load, op.i64Store, I64);
  add(
    "copyBytes",
    [I64, I64, I64],
    [],
    [],
    [
      ...[...checkRange(memory, 0, 2), ...checkRange(memory, 1, 2), ...noteRange(get(2))],
      ...[...get(0), ...get(1), ...get(2), ...MEMORY_COPY],
    ],
  );
  const zero = [op.i32Const, 0];
  add(
    "zeroBytes",
    [I64, I64],
    [],
    [],
    [...checkRange(memory, 0, 1), ...noteRange(get(1)), ...get(0), ...zero, ...get(1), ...MEMORY_FILL],
  );
  if (cacheBlock > 0) {
    const block = [...get(0), ...i64Const(-cacheBlock), op.i64And];
    add(
      "cboZero",
      [I64],
      [],
      [],
      [
        ...[...check(memory, 0, 1, false), ...noteRange(i64Const(cacheBlock))],
        ...[...block, ...zero, ...i64Const(cacheBlock), ...MEMORY_FILL],
      ],
    );
  }
  add("fence", [], [], [], []);
  add("fenceWrites", [], [], [], []);
  add("hartRecord", [], [I64], [], [op.globalGet, 0]);
  add("setHartRecord", [I64], [], [], [...get(0), op.globalSet, 0]);
  return functions;
}

/** The functions, by name of the door, and tp, which holds the record of the hart that executes. */
export interface MemoryDoor {
  functions: Record<string, (...args: never[]) => unknown>;
  threadPointer: { value: unknown };
}

/**
 * `cacheBlock`: bytes that cbo.zero zeroes, 0 if there is no such instruction. `logged`: every write leaves an entry in the write log
 * (write-log.ts), and every call is counted.
 */
export function memoryDoor(memory: PhysicalMemory, cacheBlock: number, logged = false): MemoryDoor {
  const threadPointer = new WebAssembly.Global({ value: "i64", mutable: true }, 0n);
  const module = new WebAssembly.Module(assemble(doorFunctions(memory, cacheBlock, logged)));
  const wild = (address: bigint, size: bigint): never => {
    throw new MachineFault(`access of ${size} bytes at ${hex(address)}: not RAM, or not aligned`);
  };
  const instance = new WebAssembly.Instance(module, { env: { memory: memory.wasmMemory, tp: threadPointer, wild } });
  return { functions: instance.exports as MemoryDoor["functions"], threadPointer };
}

function assemble(functions: DoorFunction[]): Uint8Array {
  const wildType = [0x60, 2, I64, I64, 0];
  const types = functions.map(({ parameters, results }) => [
    ...[0x60, parameters.length, ...parameters],
    ...[results.length, ...results],
  ]);
  const text = (value: string): number[] => [value.length, ...new TextEncoder().encode(value)];
  const imports = [
    [...text("env"), ...text("memory"), 0x02, 0x04, 0],
    [...text("env"), ...text("tp"), 0x03, I64, 1],
    [...text("env"), ...text("wild"), 0x00, 0],
  ];
  const bodies = functions.map(({ locals, code }) => {
    const body = [locals.length, ...locals.flatMap((type) => [1, type]), ...code, op.end];
    return [...unsigned(body.length), ...body];
  });
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [wildType, ...types]),
    ...section(2, imports),
    ...section(
      3,
      functions.map((_, index) => unsigned(index + 1)),
    ),
    ...section(
      7,
      functions.map(({ name }, index) => [...text(name), 0x00, ...unsigned(index + 1)]),
    ),
    ...section(10, bodies),
  ]);
}

export function section(id: number, entries: number[][]): number[] {
  const content = [...unsigned(entries.length), ...entries.flat()];
  return [id, ...unsigned(content.length), ...content];
}

/** LEB128. */
export function unsigned(value: number): number[] {
  const bytes: number[] = [];
  for (;;) {
    const rest = Math.floor(value / 128);
    if (rest === 0) return [...bytes, value];
    bytes.push((value % 128) | 128);
    value = rest;
  }
}

function signed(value: number): number[] {
  const bytes: number[] = [];
  for (;;) {
    const low = ((value % 128) + 128) % 128;
    const rest = (value - low) / 128;
    if ((rest === 0 && low < 64) || (rest === -1 && low >= 64)) return [...bytes, low];
    bytes.push(low | 128);
    value = rest;
  }
}
