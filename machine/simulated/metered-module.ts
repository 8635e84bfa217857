import type { HypervisorModule } from "./hypervisor-module.ts";
import { op, unsigned } from "./memory-door.ts";

/**
 * The hypervisor with a meter: an exported global to which every basic block adds the number of operations in it. Constants, reads of locals and what only gives
 * structure are none: a compiler makes no instruction of them. The code is the same otherwise.
 */

/** Name of the exported global (i64, mutable). */
export const METER = "meter";

const Section = { global: 6, export: 7, code: 10, custom: 0 } as const;
const I64_MUTABLE = [0x7e, 1];
const KIND_GLOBAL = 3;

/** Those operators that memory-door.ts does not name. */
const Op = {
  unreachable: 0x00,
  nop: 0x01,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  callIndirect: 0x11,
  drop: 0x1a,
  select: 0x1b,
  typedSelect: 0x1c,
  firstMemory: 0x28,
  lastMemory: 0x3e,
  firstNumeric: 0x45,
  lastNumeric: 0xc4,
  prefix: 0xfc,
} as const;
/** Operators after which another basic block begins. */
const ENDS_BLOCK = new Set<number>([
  ...[Op.unreachable, Op.loop, Op.if, Op.else, Op.end, Op.br, Op.brIf, Op.brTable, Op.return],
]);
/** Operators, beside the numeric ones, that nothing belongs to. */
const PLAIN = new Set<number>([Op.unreachable, Op.nop, Op.else, Op.end, Op.return, Op.drop, Op.select]);
const FREE = new Set<number>([
  ...[Op.nop, Op.block, Op.loop, Op.else, Op.end, Op.drop, op.localGet, op.i32Const, op.i64Const],
]);

/** @throws Error on what AssemblyScript never writes */
export function meteredModule(module: HypervisorModule): HypervisorModule {
  const binary = addMeter(module.binary);
  return { ...module, binary, wasm: new WebAssembly.Module(binary) };
}

/** The module with the meter, as a binary. */
export function addMeter(binary: Uint8Array): Uint8Array<ArrayBuffer> {
  const sections = readSections(binary);
  const globals = sections.find(({ id }) => id === Section.global);
  const meter = globals ? new Reader(globals.content).number() : 0;
  const definition = [...I64_MUTABLE, op.i64Const, 0, op.end];
  if (globals) globals.content = extended(globals.content, definition);
  else {
    const at = sections.findIndex(({ id }) => id !== Section.custom && id > Section.global);
    sections.splice(at, 0, { id: Section.global, content: [1, ...definition] });
  }
  for (const section of sections) {
    if (section.id === Section.export) {
      const name = new TextEncoder().encode(METER);
      section.content = extended(section.content, [name.length, ...name, KIND_GLOBAL, ...unsigned(meter)]);
    } else if (section.id === Section.code) {
      section.content = meterCode(section.content, meter);
    }
  }
  const bytes: number[] = [...binary.subarray(0, 8)];
  for (const { id, content } of sections) {
    bytes.push(id, ...unsigned(content.length));
    for (const byte of content) bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

interface WasmSection {
  id: number;
  content: ArrayLike<number> & Iterable<number>;
}

function readSections(binary: Uint8Array): WasmSection[] {
  const reader = new Reader(binary);
  reader.position = 8;
  const sections: WasmSection[] = [];
  while (reader.position < binary.length) {
    const id = reader.byte();
    const size = reader.number();
    sections.push({ id, content: binary.subarray(reader.position, reader.position + size) });
    reader.position += size;
  }
  return sections;
}

/** A vector with one more entry. */
function extended(content: ArrayLike<number> & Iterable<number>, entry: number[]): number[] {
  const reader = new Reader(content);
  const count = reader.number();
  return [...unsigned(count + 1), ...[...content].slice(reader.position), ...entry];
}

function meterCode(content: ArrayLike<number>, meter: number): number[] {
  const reader = new Reader(content);
  const count = reader.number();
  const result = unsigned(count);
  for (let i = 0; i < count; i++) {
    const end = reader.number() + reader.position;
    const body = meterBody(reader, end, meter);
    result.push(...unsigned(body.length));
    for (const byte of body) result.push(byte);
  }
  return result;
}

/** A function's body, which begins at the reader's position. */
function meterBody(reader: Reader, end: number, meter: number): number[] {
  const body: number[] = [];
  const copy = (from: number): void => {
    for (let at = from; at < reader.position; at++) body.push(reader.bytes[at]);
  };
  let blockStart = reader.position;
  for (let groups = reader.number(); groups > 0; groups--) {
    reader.number();
    reader.byte();
  }
  copy(blockStart);
  blockStart = reader.position;
  let operations = 0;
  while (reader.position < end) {
    const code = reader.operator();
    if (!FREE.has(code)) operations++;
    if (!ENDS_BLOCK.has(code)) continue;
    if (operations > 0) {
      const add = [op.i64Const, ...signedSmall(operations), op.i64Add];
      body.push(op.globalGet, ...unsigned(meter), ...add, op.globalSet, ...unsigned(meter));
    }
    copy(blockStart);
    blockStart = reader.position;
    operations = 0;
  }
  return body;
}

/** LEB128 with a sign, of a number that is not negative. */
function signedSmall(value: number): number[] {
  const bytes = unsigned(value);
  const last = bytes[bytes.length - 1];
  return last < 64 ? bytes : [...bytes.slice(0, -1), last | 128, 0];
}

class Reader {
  readonly bytes: ArrayLike<number>;
  position = 0;

  constructor(bytes: ArrayLike<number>) {
    this.bytes = bytes;
  }

  byte(): number {
    return this.bytes[this.position++];
  }

  /** LEB128; the value is right for those without sign. */
  number(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }

  /** Passes over one operator and what belongs to it. */
  operator(): number {
    const code = this.byte();
    if (code === Op.block || code === Op.loop || code === Op.if || code === Op.br || code === Op.brIf) this.number();
    else if (code === Op.brTable) for (let targets = this.number(); targets >= 0; targets--) this.number();
    else if (code === op.call || (code >= op.localGet && code <= op.globalSet)) this.number();
    else if (code === op.i32Const || code === op.i64Const) this.number();
    else if (code === Op.callIndirect) this.skip(2);
    else if (code >= Op.firstMemory && code <= Op.lastMemory) this.skip(2);
    else if (code === Op.typedSelect) for (let types = this.number(); types > 0; types--) this.byte();
    else if (code === Op.prefix) this.#prefixed();
    else if (!this.#isPlain(code)) throw new Error(`wasm: an operator that the meter does not know: ${code}`);
    return code;
  }

  skip(numbers: number): void {
    for (let i = 0; i < numbers; i++) this.number();
  }

  /** Saturating conversions have nothing behind them, memory.copy two memories, memory.fill one. */
  #prefixed(): void {
    const second = this.number();
    if (second === 10) this.skip(2);
    else if (second === 11) this.skip(1);
    else if (second > 7) throw new Error(`wasm: an operator that the meter does not know: 0xfc ${second}`);
  }

  #isPlain(code: number): boolean {
    if (code >= Op.firstNumeric && code <= Op.lastNumeric) return true;
    return PLAIN.has(code);
  }
}
