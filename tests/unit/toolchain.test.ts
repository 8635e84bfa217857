import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { compileTypeScript } from "../../tools/build/assemblyscript.ts";
import { BuildFailure } from "../../tools/build/failure.ts";
import { buildModule, type BuildResult } from "../../tools/build/index.ts";
import { lintSource } from "../../tools/build/lint.ts";
import { HYPERVISOR, IMAGE_BASE, workloadModule, type ImageModule } from "../../tools/build/modules.ts";
import { readWasm } from "../../tools/build/wasm-module.ts";

const repository = path.resolve(import.meta.dirname, "../..");
const folder = "build/tests/toolchain";
mkdirSync(path.join(repository, folder), { recursive: true });

/** Writes a source file of a module and returns its name. */
function source(name: string, text: string): string {
  const file = `${folder}/${name}.ts`;
  writeFileSync(path.join(repository, file), text);
  return file;
}

/** Compiles `text`, optimises it as a release does, and instantiates it in Node. */
async function instantiate(name: string, text: string, memoryBase = 0x1000): Promise<Record<string, any>> {
  const entry = source(name, text);
  const { module } = await compileTypeScript({ root: repository, entry, memoryBase, log: () => {} });
  assert.ok(module.validate(), "valid before optimising");
  module.optimize(3, 0, true);
  assert.ok(module.validate(), "valid after optimising");
  const binary = module.toBinary(null).output;
  const memory = new WebAssembly.Memory({ initial: 16n, address: "i64" } as unknown as WebAssembly.MemoryDescriptor);
  const abort = (): never => {
    throw new Error("abort");
  };
  const instance = await WebAssembly.instantiate(binary, { env: { memory, abort } });
  return {
    ...((instance as unknown as { instance: WebAssembly.Instance }).instance.exports as object),
    memory,
    binary,
  };
}

/** A test VM with only the functions that the machine layer calls, `text` before them. */
const REST = {
  main: "export function main(hartId: u64, opaque: u64): void {}",
  secondaryMain: "export function secondaryMain(hartId: u64, stackTop: u64): void {}",
  trap: "export function trap(frame: usize): void {}",
  panicAssert: "export function panicAssert(message: usize, file: usize, line: u32, column: u32): void {}",
  panicWasm: "export function panicWasm(kind: u32): void {}",
};

function testModule(name: string, text: string, changes: Partial<ImageModule> = {}): ImageModule {
  const rest = Object.entries(REST).filter(([each]) => !text.includes(`function ${each}(`));
  const module = workloadModule(name);
  return {
    ...module,
    entry: source(name, [text, ...rest.map(([, line]) => line)].join("\n")),
    rawMemoryFolders: [],
    namePrefix: `${folder}/`,
    ...changes,
  };
}

function build(module: ImageModule, force = true): Promise<BuildResult> {
  return buildModule(module, { outputFolder: path.join(repository, folder), force });
}

/** The reasons for which the pipeline refuses a module. */
async function refusal(name: string, text: string, changes: Partial<ImageModule> = {}): Promise<string> {
  try {
    await build(testModule(name, text, changes));
  } catch (error) {
    if (error instanceof BuildFailure) return error.reasons.join("\n");
    throw error;
  }
  return assert.fail(`${name} was built`);
}

function disassemble(elf: string, symbol: string): string {
  const listing = execFileSync("riscv64-unknown-elf-objdump", ["-d", "--no-show-raw-insn", elf], { encoding: "utf8" });
  const start = listing.indexOf(`<${symbol}>:\n`);
  assert.notEqual(start, -1, `${symbol} is in the image`);
  return listing.slice(start, listing.indexOf("\n\n", start));
}

describe("AssemblyScript with a 64-bit memory", () => {
  test("conditions on pointers are compared with zero", async () => {
    const wasm = await instantiate(
      "conditions",
      `@unmanaged class Node { next: Node | null; value: u64; }
      function at(p: usize): Node | null { return changetype<Node | null>(p); }
      export function ifPointer(p: usize): u32 { if (at(p)) return 1; return 2; }
      export function ternary(p: usize): u32 { return at(p) ? 1 : 2; }
      export function not(p: usize): u32 { return !at(p) ? 1 : 2; }
      export function both(p: usize, q: usize): u32 { return p && q ? 1 : 2; }
      export function either(p: usize, q: usize): u32 { return p || q ? 1 : 2; }
      export function nonNull(p: usize): u64 { return at(p)!.value; }
      export function asserted(p: usize): u32 { assert(p); return 1; }
      export function list(p: usize): u64 {
        let sum: u64 = 0;
        for (let n = at(p); n; n = n!.next) sum += n!.value;
        let again = at(p);
        while (again) { sum += 100; again = again!.next; }
        do { sum += 1000; p = 0; } while (p);
        return sum;
      }
      export function set(p: usize, next: usize, value: u64): void {
        const n = changetype<Node>(p);
        n.next = at(next);
        n.value = value;
      }`,
    );
    const high = 0x1_0000_0000n; // a pointer whose low half is zero is not null
    assert.deepEqual([wasm.ifPointer(0n), wasm.ifPointer(high)], [2, 1]);
    assert.deepEqual([wasm.ternary(0n), wasm.ternary(high)], [2, 1]);
    assert.deepEqual([wasm.not(0n), wasm.not(high)], [1, 2]);
    assert.deepEqual([wasm.both(high, 0n), wasm.both(high, high)], [2, 1]);
    assert.deepEqual([wasm.either(0n, 0n), wasm.either(0n, high)], [2, 1]);
    assert.throws(() => wasm.asserted(0n), /abort/);
    assert.equal(wasm.asserted(high), 1);
    wasm.set(0x8000n, 0x8010n, 3n);
    wasm.set(0x8010n, 0n, 4n);
    assert.equal(wasm.list(0x8000n), 1207n);
    assert.equal(wasm.nonNull(0x8010n), 4n);
    assert.throws(() => wasm.nonNull(0n));
  });

  test("addresses, fields, literals, tables and constant arrays are 64-bit and lie where they were put", async () => {
    const wasm = await instantiate(
      "layout",
      `@unmanaged class Pair { first: u32; pointer: usize; last: u8; }
      type Binary = (a: u64, b: u64) => u64;
      function add(a: u64, b: u64): u64 { return a + b; }
      function multiply(a: u64, b: u64): u64 { return a * b; }
      const operations: StaticArray<Binary> = [add, multiply];
      const numbers: StaticArray<u16> = [10, 20, 30];
      enum Colour { Red = 5, Green }
      export function pointerSize(): u32 { return <u32>sizeof<usize>(); }
      export function lastOffset(): u64 { return offsetof<Pair>("last"); }
      export function operate(index: i32, a: u64, b: u64): u64 { return operations[index](a, b); }
      export function number(index: i32): u32 { return numbers[index]; }
      export function colour(): u32 { return Colour.Green; }
      export function literal(): usize { return changetype<usize>("hello"); }
      export function copy(to: usize, from: usize, n: usize): void { memory.copy(to, from, n); memory.fill(from, 7, n); }`,
      0x2000,
    );
    assert.equal(wasm.pointerSize(), 8);
    assert.equal(wasm.lastOffset(), 16n);
    assert.deepEqual([wasm.operate(0, 6n, 7n), wasm.operate(1, 6n, 7n)], [13n, 42n]);
    assert.equal(wasm.number(2), 30);
    assert.throws(() => wasm.number(3), /abort/);
    assert.equal(wasm.colour(), 6);
    const bytes = new Uint8Array(wasm.memory.buffer as ArrayBuffer);
    const at = Number(wasm.literal());
    assert.ok(at >= 0x2000 && at < 0x3000);
    assert.equal(new TextDecoder("utf-16le").decode(bytes.subarray(at, at + 10)), "hello");
    wasm.copy(0x9000n, BigInt(at), 10n);
    assert.equal(new TextDecoder("utf-16le").decode(bytes.subarray(0x9000, 0x900a)), "hello");
    assert.equal(bytes[at + 9], 7);
    const info = readWasm(wasm.binary as Uint8Array);
    assert.ok(info.data.every(({ address }) => address >= 0x2000));
    assert.equal(info.mutableGlobals, 0);
  });

  test("errors name the TypeScript file, line and column", async () => {
    assert.match(
      await refusal("typo", "export function bad(): u32 {\n  return missing;\n}"),
      /toolchain\/typo\.ts:2:10: TS\d+: /,
    );
    assert.match(await refusal("nofile", 'import { x } from "./absent";\nexport const y = x;'), /absent/);
  });
});

describe("the pipeline refuses", () => {
  test("mutable globals", async () => {
    const text = "let counter: u32 = 0;\nexport function trap(frame: usize): void { counter += <u32>frame; }";
    assert.match(await refusal("global", text), /toolchain\/global\.ts:counter: mutable global/);
  });
  test("managed memory", async () => {
    const text =
      "class Box { value: u32 = 1; }\nfunction make(): Box { return new Box(); }\n" +
      "export function trap(frame: usize): void { make().value = <u32>frame; }";
    assert.match(await refusal("managed", text), /toolchain\/managed\.ts:\S+: managed memory \(__new\)/);
  });
  test("strings that are made at run time", async () => {
    const text = 'export function trap(frame: usize): void { assert(("a" + frame.toString()).length == 0); }';
    assert.match(await refusal("concat", text), /managed memory/);
  });
  test("recursion, direct and through others", async () => {
    const direct =
      "function f(n: usize): usize { return n == 0 ? 0 : f(n - 1) + n; }\nexport function trap(frame: usize): void { f(frame); }";
    assert.match(await refusal("direct", direct), /recursion: \S+direct\.ts:f -> \S+direct\.ts:f/);
    const mutual =
      "function f(n: usize): usize { return n == 0 ? 0 : g(n - 1) + n; }\nfunction g(n: usize): usize { return f(n) + 1; }\n" +
      "export function trap(frame: usize): void { f(frame); }";
    assert.match(await refusal("mutual", mutual), /recursion: .*mutual\.ts:f/);
  });
  test("exports that differ from what assembly calls", async () => {
    assert.match(
      await refusal("wrong", "export function trap(frame: u32): void {}"),
      /export trap is \(u32\) => void, expected \(u64\) => void/,
    );
    assert.match(await refusal("extra", "export function more(): void {}"), /export more is not part/);
    const missing = await refusal("missing", "", {
      exports: { ...workloadModule("missing").exports, absent: "() => void" },
    });
    assert.match(missing, /has to export absent: \(\) => void/);
  });
  test("primitives outside the list, and lists that differ from the C", async () => {
    const text = "declare function invented(): void;\nexport function trap(frame: usize): void { invented(); }";
    assert.match(await refusal("invented", text), /invented\.ts:1:1: only workloads\/lib\/hw\.ts declares primitives/);
    const door = source(
      "door",
      readFileSync(path.join(repository, "workloads/lib/hw.ts"), "utf8").replace("fenceI(): void", "fenceX(): u64"),
    );
    const failure = await refusal("otherdoor", "", { door });
    assert.match(failure, /fenceX has no implementation/);
    const signature = source(
      "door",
      readFileSync(path.join(repository, "workloads/lib/hw.ts"), "utf8").replace("wfi(): void", "wfi(): u64"),
    );
    assert.match(await refusal("otherdoor", "", { door: signature }), /wfi is \(\) => u64, its C is \(\) => void/);
  });
  test("raw access to memory outside an @unmanaged class", () => {
    const text = `// load<u32>(1) in a comment
      const text = "store<u32>(1, 2)";
      // @ts-ignore: decorator
      @unmanaged
      export class Owner { get(): u32 { return load<u32>(changetype<usize>(this)); } }
      export function get(p: usize): u32 { memory.copy(p, p, 1); return load<u32>(p); }`;
    const found = lintSource(HYPERVISOR, "hypervisor/vm/x.ts", text);
    assert.deepEqual(found, [
      "hypervisor/vm/x.ts:6:44: raw access to memory (memory.copy) outside an @unmanaged class",
      "hypervisor/vm/x.ts:6:73: raw access to memory (load) outside an @unmanaged class",
    ]);
    assert.deepEqual(lintSource(HYPERVISOR, "hypervisor/lib/x.ts", text), []);
    assert.match(lintSource(HYPERVISOR, "hypervisor/lib/x.ts", "memory.data(8);")[0], /writable variable/);
  });
  test("floating point", async () => {
    const text = "export function trap(frame: usize): void { assert(<f64>frame != 0.5); }";
    assert.match(await refusal("float", text), /floating point/);
  });
  test("CSR numbers that are not constant", async () => {
    const text =
      'import { csrRead } from "../../../workloads/lib/hw";\nexport function trap(frame: usize): void { assert(csrRead(<u32>frame) != 0); }';
    assert.match(await refusal("csr", text), /must be a compile-time constant/);
  });
  test("more stack than there is", async () => {
    const text =
      'import { zeroBytes } from "../../../workloads/lib/hw";\nexport function main(hartId: u64, opaque: u64): void { for (;;) zeroBytes(hartId, opaque); }';
    const stacks = [{ what: "a small stack", size: 8, entries: ["main"] }];
    assert.match(
      await refusal("stack", text, { stacks }),
      /a small stack has 8 bytes, but up to \d+ are used: stack\.ts:main/,
    );
  });
});

describe("the image", () => {
  const text = `import { mmioRead32, mmioWrite32 } from "../../../workloads/lib/hw";
    export function literal(): usize { return changetype<usize>("literal"); }
    export function registers(p: u64): u32 { mmioWrite32(p, 1); return mmioRead32(p); }
    export function aliasing(p: usize, q: usize): u64 { store<u64>(p, 1); store<u32>(q, 2); return load<u64>(p); }
    export function nullCheck(p: usize): u64 { const v = load<u64>(p); return p == 0 ? 17 : v; }
    export function clear(p: usize, n: usize): void { for (let i: usize = 0; i < n; i++) store<u8>(p + i, 0); }`;
  const changes = {
    rawMemoryFolders: [`${folder}/`],
    exports: {
      ...workloadModule("image").exports,
      literal: "() => u64",
      registers: "(u64) => u32",
      aliasing: "(u64, u64) => u64",
      nullCheck: "(u64) => u64",
      clear: "(u64, u64) => void",
    },
  };
  const built = build(testModule("image", text, changes));

  test("accesses of different types to one address stay in order (-fno-strict-aliasing)", async () => {
    assert.match(disassemble((await built).elf, "image.ts:aliasing"), /\bsd\b[\s\S]*\bsw\b[\s\S]*\bld\b/);
  });
  test("device stores are ordered behind memory that the device reads, and before the release of a lock", async () => {
    const code = disassemble((await built).elf, "image.ts:registers");
    assert.match(code, /fence\s+w,o\s[^]*\bsw\b[^]*fence\s+o,w\s[^]*\blw\b[^]*fence\s+i,ir/);
  });
  test("address 0 can be read (-fno-delete-null-pointer-checks)", async () => {
    const code = disassemble((await built).elf, "image.ts:nullCheck");
    assert.match(code, /\bld\b/);
    assert.match(code, /\bb(eq|ne)z\b/);
  });
  test("loops do not become calls of memset, least of all in memset (-fno-tree-loop-distribute-patterns)", async () => {
    const { elf } = await built;
    for (const name of ["image.ts:clear", "memset", "memcpy"]) {
      assert.doesNotMatch(disassemble(elf, name), /<mem(set|cpy|move)>$/m, name);
    }
  });
  test("starts with _start, and no segment is writable and executable", async () => {
    const { elf, bin } = await built;
    const headers = execFileSync("riscv64-unknown-elf-readelf", ["-hlW", elf], { encoding: "utf8" });
    assert.match(headers, new RegExp(`Entry point address:\\s+0x${IMAGE_BASE.toString(16)}`));
    const flags = [...headers.matchAll(/^ {2}LOAD .* 0x\w+ 0x\w+ ([RWE ]+) 0x/gm)].map(([, each]) =>
      each.replaceAll(" ", ""),
    );
    assert.deepEqual(flags, ["RE", "R", "RW"]);
    const symbols = execFileSync("riscv64-unknown-elf-nm", [elf], { encoding: "utf8" });
    assert.match(symbols, new RegExp(`^0*${IMAGE_BASE.toString(16)} T _start$`, "m"));
    assert.ok(readFileSync(bin).length % 4096 === 0);
  });
  test("static data lies in the image at its wasm address, once", async () => {
    const { bin, wasm, memoryBase } = await built;
    const image = readFileSync(bin);
    const { data } = readWasm(readFileSync(wasm));
    assert.ok(data.length > 0);
    for (const { address, bytes } of data) {
      assert.ok(address >= memoryBase);
      const offset = address - IMAGE_BASE;
      assert.ok(image.subarray(offset, offset + bytes.length).equals(bytes));
    }
    const literal = Buffer.from("literal", "utf16le");
    assert.equal(image.indexOf(literal), image.lastIndexOf(literal));
  });
  test("functions carry TypeScript names, and the table in the image lists them in order", async () => {
    const { elf, bin } = await built;
    const symbols = execFileSync("riscv64-unknown-elf-nm", [elf], { encoding: "utf8" });
    const address = (name: string): number => parseInt(new RegExp(`^(\\w+) \\w ${name}$`, "m").exec(symbols)![1], 16);
    assert.ok(address("image.ts:aliasing") > IMAGE_BASE);
    const image = readFileSync(bin);
    const table = address("image_SymbolTable") - IMAGE_BASE;
    const count = image.readUInt32LE(table);
    const names = table + 8 + count * 12;
    const name = (offset: number): string =>
      image.toString("latin1", names + offset + 1, names + offset + 1 + image[names + offset]);
    const entries = Array.from({ length: count }, (_, index) => {
      const at = table + 8 + index * 12;
      return {
        offset: image.readUInt32LE(at),
        name: `${name(image.readUInt16LE(at + 8))}:${name(image.readUInt16LE(at + 10))}`,
      };
    });
    assert.deepEqual(
      entries.map(({ offset }) => offset),
      entries.map(({ offset }) => offset).sort((a, b) => a - b),
    );
    const first = entries.find((entry) => entry.name === "image.ts:aliasing");
    assert.equal(first?.offset, address("image.ts:aliasing") - IMAGE_BASE);
  });
  test("is not built again if nothing changed", async () => {
    await built;
    const module = testModule("image", text, changes);
    assert.equal((await build(module, false)).rebuilt, false);
    assert.equal((await build(testModule("image", text + "\n", changes), false)).rebuilt, true);
  });
});
