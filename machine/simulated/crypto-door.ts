import { get, i64Const, I32, I64, op, section, unsigned } from "./memory-door.ts";

/**
 * The door of the package crypto/ (crypto/hw.ts), as a wasm module: the field arithmetic calls it ten thousands of times for a signature.
 * It has what every hart could have; whether a hart has it is the caller's concern.
 */

interface PureFunction {
  name: string;
  parameters: number[];
  /** 64-bit variables beside the parameters. */
  locals: number;
  code: number[];
}

const set = (local: number): number[] => [op.localSet, local];
const low = (local: number): number[] => [...get(local), ...i64Const(0xffff_ffff), op.i64And];
const high = (local: number): number[] => [...get(local), ...i64Const(32), op.i64ShrU];
const rotated = (amount: number): number[] => [...get(0), ...i64Const(amount), op.i64Rotr];
const shifted = (amount: number): number[] => [...get(0), ...i64Const(amount), op.i64ShrU];

/** The upper half of a product, from four products of halves. */
const MULTIPLY_HIGH: number[] = [
  // 2: low x * high y + carry of the lowest product; 3: high x * low y + the lower half of it
  ...[...low(0), ...high(1), op.i64Mul, ...low(0), ...low(1), op.i64Mul, ...i64Const(32), op.i64ShrU, op.i64Add],
  ...set(2),
  ...[...high(0), ...low(1), op.i64Mul, ...low(2), op.i64Add, ...set(3)],
  ...[...high(0), ...high(1), op.i64Mul, ...high(2), op.i64Add, ...high(3), op.i64Add],
];

/** Swaps neighbouring groups of `bits` bits in local 0. */
function swapGroups(bits: number, mask: bigint): number[] {
  const maskConst = [op.i64Const, ...signedBig(mask)];
  return [
    ...[...get(0), ...i64Const(bits), op.i64ShrU, ...maskConst, op.i64And],
    ...[...get(0), ...maskConst, op.i64And, ...i64Const(bits), op.i64Shl, op.i64Or],
    ...set(0),
  ];
}

const FUNCTIONS: PureFunction[] = [
  { name: "multiplyHigh", parameters: [I64, I64], locals: 2, code: MULTIPLY_HIGH },
  { name: "opaque", parameters: [I64], locals: 0, code: get(0) },
  {
    name: "rotateRight64",
    parameters: [I64, I32],
    locals: 0,
    code: [...get(0), ...get(1), op.i64ExtendU, op.i64Rotr],
  },
  {
    name: "reverseBytes64",
    parameters: [I64],
    locals: 0,
    code: [
      ...swapGroups(8, 0x00ff_00ff_00ff_00ffn),
      ...swapGroups(16, 0x0000_ffff_0000_ffffn),
      ...[...get(0), ...i64Const(32), op.i64Rotr],
    ],
  },
  { name: "sha512Sum0", parameters: [I64], locals: 0, code: exclusiveOr(rotated(28), rotated(34), rotated(39)) },
  { name: "sha512Sum1", parameters: [I64], locals: 0, code: exclusiveOr(rotated(14), rotated(18), rotated(41)) },
  { name: "sha512Sigma0", parameters: [I64], locals: 0, code: exclusiveOr(rotated(1), rotated(8), shifted(7)) },
  { name: "sha512Sigma1", parameters: [I64], locals: 0, code: exclusiveOr(rotated(19), rotated(61), shifted(6)) },
];

/** What only harts with these extensions have. */
export const ZBB_FUNCTIONS = ["rotateRight64", "reverseBytes64"];
export const ZKNH_FUNCTIONS = FUNCTIONS.map(({ name }) => name).filter((name) => name.startsWith("sha512"));

function exclusiveOr(first: number[], second: number[], third: number[]): number[] {
  return [...first, ...second, op.i64Xor, ...third, op.i64Xor];
}

let module: WebAssembly.Module | undefined;

/** The functions that touch no memory, by name. */
export function cryptoDoor(): Record<string, (...args: never[]) => unknown> {
  module ??= new WebAssembly.Module(assemble());
  return new WebAssembly.Instance(module).exports as Record<string, (...args: never[]) => unknown>;
}

function assemble(): Uint8Array<ArrayBuffer> {
  const bodies = FUNCTIONS.map(({ locals, code }) => {
    const body = [1, locals, I64, ...code, op.end];
    return [...unsigned(body.length), ...body];
  });
  const text = (value: string): number[] => [value.length, ...new TextEncoder().encode(value)];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(
      1,
      FUNCTIONS.map(({ parameters }) => [0x60, parameters.length, ...parameters, 1, I64]),
    ),
    ...section(
      3,
      FUNCTIONS.map((_, index) => unsigned(index)),
    ),
    ...section(
      7,
      FUNCTIONS.map(({ name }, index) => [...text(name), 0x00, ...unsigned(index)]),
    ),
    ...section(10, bodies),
  ]);
}

/** LEB128 of a 64-bit number. */
function signedBig(value: bigint): number[] {
  const bytes: number[] = [];
  for (let rest = BigInt.asIntN(64, value); ; rest >>= 7n) {
    const byte = Number(rest & 127n);
    if ((rest >> 7n === 0n && byte < 64) || (rest >> 7n === -1n && byte >= 64)) return [...bytes, byte];
    bytes.push(byte | 128);
  }
}
