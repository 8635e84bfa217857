/**
 * The MMIO decoder against the GNU assembler: each load and store that a compiler emits, with each register, is assembled
 * and must be decoded as what was written; nothing else may be taken for one.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { pureModule } from "./pure-module.ts";

const { exports: decoder } = await pureModule({ files: ["hypervisor/vm/mmio-decode"] });
const A0 = 10;

interface Access {
  store: boolean;
  signed: boolean;
  width: number;
  /** x0-x31, or 32 + number of an f register. */
  register: number;
}

function decode(instruction: number): Access | undefined {
  const access = decoder.decodeAccess(instruction);
  if (access === 0) return undefined;
  return {
    store: decoder.accessIsStore(access) !== 0,
    signed: decoder.accessIsSigned(access) !== 0,
    width: decoder.accessWidth(access),
    register: decoder.accessRegister(access),
  };
}

/** Machine code of assembly lines, one instruction each, as numbers. */
function assemble(lines: string[]): number[] {
  const folder = mkdtempSync(path.join(tmpdir(), "mmio-"));
  try {
    const file = (name: string) => path.join(folder, name);
    writeFileSync(file("a.s"), lines.join("\n") + "\n");
    execFileSync("riscv64-unknown-elf-as", ["-march=rv64gcv", "-o", file("a.o"), file("a.s")]);
    execFileSync("riscv64-unknown-elf-objcopy", ["-O", "binary", "-j", ".text", file("a.o"), file("a.bin")]);
    const code = readFileSync(file("a.bin"));
    const instructions: number[] = [];
    for (let at = 0; at < code.length;) {
      const wide = (code[at] & 3) === 3;
      instructions.push(wide ? code.readUInt32LE(at) : code.readUInt16LE(at));
      at += wide ? 4 : 2;
    }
    assert.equal(instructions.length, lines.length);
    return instructions;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

interface Form {
  mnemonic: string;
  store: boolean;
  signed: boolean;
  width: number;
  fp: boolean;
  registers: number[];
  /** Base register and offsets. */
  base: string;
  offsets: number[];
  compressed: boolean;
}

const wide = (mnemonic: string, width: number, store: boolean, signed: boolean, fp = false): Form => ({
  ...{ mnemonic, width, store, signed, fp },
  ...{ registers: range(0, 31), base: "t3", offsets: [-2048, 0, 2047], compressed: false },
});
const short = (mnemonic: string, width: number, store: boolean, fp = false): Form => ({
  ...{ mnemonic, width, store, fp, signed: !store && !fp },
  ...{ registers: range(8, 15), base: "a5", offsets: [0, width, 31 * width], compressed: true },
});
const stack = (mnemonic: string, width: number, store: boolean, fp = false): Form => ({
  ...{ mnemonic, width, store, fp, signed: !store && !fp },
  ...{ registers: range(store || fp ? 0 : 1, 31), base: "sp", offsets: [0, width, 63 * width], compressed: true },
});

const FORMS: Form[] = [
  wide("lb", 1, false, true),
  wide("lh", 2, false, true),
  wide("lw", 4, false, true),
  wide("ld", 8, false, true),
  wide("lbu", 1, false, false),
  wide("lhu", 2, false, false),
  wide("lwu", 4, false, false),
  wide("sb", 1, true, false),
  wide("sh", 2, true, false),
  wide("sw", 4, true, false),
  wide("sd", 8, true, false),
  wide("flw", 4, false, false, true),
  wide("fld", 8, false, false, true),
  wide("fsw", 4, true, false, true),
  wide("fsd", 8, true, false, true),
  short("c.lw", 4, false),
  short("c.ld", 8, false),
  short("c.fld", 8, false, true),
  short("c.sw", 4, true),
  short("c.sd", 8, true),
  short("c.fsd", 8, true, true),
  stack("c.lwsp", 4, false),
  stack("c.ldsp", 8, false),
  stack("c.fldsp", 8, false, true),
  stack("c.swsp", 4, true),
  stack("c.sdsp", 8, true),
  stack("c.fsdsp", 8, true, true),
];

for (const form of FORMS) {
  test(`${form.mnemonic} is decoded with every register`, () => {
    const cases = form.registers.flatMap((register) => form.offsets.map((offset) => ({ register, offset })));
    const lines = cases.map(
      ({ register, offset }) =>
        `.option ${form.compressed ? "rvc" : "norvc"}; ` +
        `${form.mnemonic} ${form.fp ? "f" : "x"}${register}, ${offset}(${form.base})`,
    );
    for (const [index, instruction] of assemble(lines).entries()) {
      assert.equal(decoder.instructionLength(instruction & 0xffff), form.compressed ? 2 : 4, lines[index]);
      assert.deepEqual(
        decode(instruction),
        {
          store: form.store,
          signed: form.signed,
          width: form.width,
          register: cases[index].register + (form.fp ? 32 : 0),
        },
        lines[index],
      );
    }
  });
}

/** Zcb, which the assembler may be too old for: encodings of the specification, register a1 (rd' = 3). */
test("Zcb loads and stores are decoded", () => {
  const rd = 3 << 2;
  const base = (7 << 7) | 0; // rs1' = x15
  const quadrant0 = 0x8000;
  const access = (store: boolean, signed: boolean, width: number) => ({ store, signed, width, register: 11 });
  assert.deepEqual(decode(quadrant0 | (0 << 10) | base | rd), access(false, false, 1)); // c.lbu
  assert.deepEqual(decode(quadrant0 | (1 << 10) | base | rd), access(false, false, 2)); // c.lhu
  assert.deepEqual(decode(quadrant0 | (1 << 10) | base | (1 << 6) | rd), access(false, true, 2)); // c.lh
  assert.deepEqual(decode(quadrant0 | (2 << 10) | base | rd), access(true, false, 1)); // c.sb
  assert.deepEqual(decode(quadrant0 | (3 << 10) | base | rd), access(true, false, 2)); // c.sh
  assert.equal(decode(quadrant0 | (3 << 10) | base | (1 << 6) | rd), undefined);
  for (let reserved = 4; reserved < 8; reserved++) {
    assert.equal(decode(quadrant0 | (reserved << 10) | base | rd), undefined);
  }
});

test("half-precision loads and stores are decoded", () => {
  assert.deepEqual(decode((0x00011507 & ~0x7000) | 0x1000), { store: false, signed: false, width: 2, register: 42 });
  assert.deepEqual(decode(0x00a11027), { store: true, signed: false, width: 2, register: 42 });
});

test("nothing else is taken for a load or store", () => {
  const others = assemble([
    ".option norvc; addi x5, x6, 7",
    "add x5, x6, x7",
    "jalr x1, 4(x5)",
    "beq x5, x6, .",
    "lui x5, 1",
    "ecall",
    "wfi",
    "fence",
    "fence.i",
    "csrrw x5, sscratch, x6",
    "lr.w x5, (x6)",
    "lr.d x5, (x6)",
    "sc.w x5, x7, (x6)",
    "sc.d x5, x7, (x6)",
    "amoswap.w x5, x7, (x6)",
    "amoadd.d x5, x7, (x6)",
    "fadd.d f5, f6, f7",
    "vle8.v v4, (x6)",
    "vle64.v v4, (x6)",
    "vse16.v v4, (x6)",
    "vl1re8.v v4, (x6)",
    ".option rvc; c.addi4spn x8, sp, 16",
    "c.nop",
    "c.addi x5, 3",
    "c.li x5, 3",
    "c.lui x5, 3",
    "c.mv x5, x6",
    "c.add x5, x6",
    "c.jr x5",
    "c.jalr x5",
    "c.ebreak",
    "c.slli x5, 3",
    "c.beqz x8, .",
    "c.and x8, x9",
  ]);
  for (const instruction of others) assert.equal(decode(instruction), undefined, instruction.toString(16));
  // ldu (funct3 7), sdu, quad-precision loads and stores do not exist here; c.lwsp and c.ldsp to x0 are reserved.
  const reserved = [0x0007f503, 0x00a7c023, 0x0007c507, 0x00a7c027, 0x4002, 0x6002, 0x0000, 0xffff, 0xffffffff];
  for (const instruction of reserved) assert.equal(decode(instruction), undefined, instruction.toString(16));
});

test("of all 16-bit encodings only quadrants 0 and 2 have accesses, and each has a sane one", () => {
  for (let instruction = 0; instruction < 0x10000; instruction++) {
    if ((instruction & 3) === 3) continue;
    const access = decode(instruction);
    if (access === undefined) continue;
    assert.notEqual(instruction & 3, 1, instruction.toString(16));
    assert.ok([1, 2, 4, 8].includes(access.width) && access.register < 64, instruction.toString(16));
  }
});

test("the host is shown the access with a0 and nothing else", () => {
  const shown = (line: string): number => {
    const [instruction] = assemble([".option norvc; " + line]);
    return decoder.shownInstruction(decoder.decodeAccess(instruction)) >>> 0;
  };
  const inA0 = (line: string): number => assemble([".option norvc; " + line])[0] >>> 0;
  for (const load of ["lb", "lh", "lw", "ld", "lbu", "lhu", "lwu"]) {
    assert.equal(shown(`${load} x27, 123(x30)`), inA0(`${load} a0, 0(x0)`), load);
  }
  for (const store of ["sb", "sh", "sw", "sd"]) {
    assert.equal(shown(`${store} x27, 123(x30)`), inA0(`${store} a0, 0(x0)`), store);
  }
  assert.equal(shown("flw f27, 4(x30)"), inA0("lwu a0, 0(x0)"));
  assert.equal(shown("fld f27, 8(x30)"), inA0("ld a0, 0(x0)"));
  assert.equal(shown("fsw f27, 4(x30)"), inA0("sw a0, 0(x0)"));
  assert.equal(shown("fsd f27, 8(x30)"), inA0("sd a0, 0(x0)"));
  assert.equal((shown("sd x27, 8(x30)") >> 20) & 31, A0);
});

test("values are cut and extended to the width of the access", () => {
  const access = (line: string): number => decoder.decodeAccess(assemble([".option norvc; " + line])[0]);
  const all = 0xfedc_ba98_8765_4381n;
  const loaded = (line: string): bigint => BigInt.asUintN(64, decoder.loadedValue(access(line), all));
  const stored = (line: string): bigint => BigInt.asUintN(64, decoder.storedValue(access(line), all));
  assert.equal(loaded("lb x5, 0(x6)"), 0xffff_ffff_ffff_ff81n);
  assert.equal(loaded("lbu x5, 0(x6)"), 0x81n);
  assert.equal(loaded("lh x5, 0(x6)"), 0x4381n);
  assert.equal(loaded("lhu x5, 0(x6)"), 0x4381n);
  assert.equal(loaded("lw x5, 0(x6)"), 0xffff_ffff_8765_4381n);
  assert.equal(loaded("lwu x5, 0(x6)"), 0x8765_4381n);
  assert.equal(loaded("ld x5, 0(x6)"), all);
  assert.equal(loaded("flw f5, 0(x6)"), 0xffff_ffff_8765_4381n);
  assert.equal(loaded("fld f5, 0(x6)"), all);
  assert.equal(stored("sb x5, 0(x6)"), 0x81n);
  assert.equal(stored("sh x5, 0(x6)"), 0x4381n);
  assert.equal(stored("sw x5, 0(x6)"), 0x8765_4381n);
  assert.equal(stored("sd x5, 0(x6)"), all);
  assert.equal(stored("fsw f5, 0(x6)"), 0x8765_4381n);
});
