import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import type { DoorFunctions } from "../../../machine/simulated/door.ts";
import { MachineEnded } from "../../../machine/simulated/errors.ts";
import { ImageSymbol } from "../../../machine/simulated/image-layout.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import type { HypervisorFailure, MachineState } from "../../../machine/simulated/machine.ts";

/** What the hypervisor says of its own end (boot/panic.ts), and how it finds out who called whom (boot/backtrace.ts). */

/** Where the tests have a symbol table and text: memory of the host, which nobody uses here. */
const TABLE = 0x8100_0000;
const TEXT = 0x8110_0000;
const TEXT_END = TEXT + 0x1_0000;
const PC = TEXT + 0x123;

interface Fn {
  offset: number;
  /** Bytes of the frame. */
  frame: number;
  prologue: number;
  savesReturnAddress: boolean;
  file: string;
  name: string;
}

let machine: Machine;
let booted: MachineState;

before(async () => {
  const addresses: Record<number, number> = {
    [ImageSymbol.start]: TEXT,
    [ImageSymbol.textEnd]: TEXT_END,
    [ImageSymbol.symbolTable]: TABLE,
    [ImageSymbol.programCounter]: PC,
  };
  let moved = false;
  machine = await Machine.create({
    panics: true,
    options: { harts: [0, 3] },
    door: (usual: DoorFunctions) => ({
      imageAddress: (symbol: number) =>
        moved && symbol in addresses
          ? BigInt(addresses[symbol])
          : (usual.imageAddress as unknown as (symbol: number) => bigint)(symbol),
    }),
  });
  machine.boot();
  moved = true;
  booted = machine.save();
});

/** Lets the hypervisor fail on the boot hart; returns what it says. */
function fails(failure: HypervisorFailure, prepare: () => void = () => {}): string {
  machine.restore(booted);
  prepare();
  const said = machine.console.length;
  assert.throws(
    () => machine.failInHypervisor(machine.harts[0], failure),
    (error: unknown) => error instanceof MachineEnded && error.type === 0 && error.reason === 1,
  );
  return machine.console.slice(said).replaceAll("\r\n", "\n");
}

function trapped(scause: bigint, more: Partial<Extract<HypervisorFailure, { kind: "trap" }>> = {}): HypervisorFailure {
  return { kind: "trap", scause, sepc: 0n, stval: 0n, sp: 0n, ra: 0n, ...more };
}

/** Puts the table into memory: entries in the order of their offsets, then the names. */
function writeTable(functions: readonly Fn[]): void {
  const { memory } = machine;
  const names: number[] = [0];
  const nameOf = (text: string): number => {
    if (text === "") return 0;
    const at = names.length;
    names.push(text.length, ...new TextEncoder().encode(text));
    return at;
  };
  memory.write64(TABLE, BigInt(functions.length));
  functions.forEach(({ offset, frame, prologue, savesReturnAddress, file, name }, index) => {
    const at = TABLE + 8 + 12 * index;
    memory.view.setUint32(at, offset, true);
    memory.view.setUint16(at + 4, frame / 8, true);
    memory.view.setUint16(at + 6, prologue | (savesReturnAddress ? 0x8000 : 0), true);
    memory.view.setUint16(at + 8, nameOf(file), true);
    memory.view.setUint16(at + 10, nameOf(name), true);
  });
  memory.write(TABLE + 8 + 12 * functions.length, Uint8Array.from(names));
}

const FUNCTIONS: Fn[] = [
  { offset: 0, frame: 0, prologue: 0, savesReturnAddress: false, file: "", name: "_start" },
  { offset: 0x100, frame: 32, prologue: 8, savesReturnAddress: true, file: "main.ts", name: "trap" },
  { offset: 0x200, frame: 64, prologue: 8, savesReturnAddress: true, file: "sbi/dispatch.ts", name: "handleEcall" },
  { offset: 0x300, frame: 16, prologue: 4, savesReturnAddress: false, file: "lib/spinlock.ts", name: "leaf" },
];

const stackTop = (): number => machine.harts[0].record.number("stackTop");
/** Lines of the backtrace: what stands behind the addresses. */
const frames = (text: string): string[] =>
  [...text.matchAll(/^ {4}(?:0x[0-9a-f]+ ?(.*)|(\.\.\.))$/gm)].map(([, name, more]) => more ?? name);

describe("what a panic says", () => {
  test("of a failed assertion: the sentence with its place, or none", () => {
    // Nobody has to wait for the other hart, which has never come up.
    assert.equal(
      fails({ kind: "assertion", message: 0, file: 0, line: 0, column: 0 }),
      "salus: panic on hart 0: assertion failed\n    0x81100123\nsalus: the machine is powered off\n",
    );
    // A literal of the hypervisor's; its characters have 16 bits.
    const name = "hypervisor/boot/device-tree/reader.ts";
    const constants = Number(machine.image.address(ImageSymbol.textEnd));
    const at = Buffer.from(machine.memory.slice(constants, 1 << 16)).indexOf(Buffer.from(name, "utf16le"));
    assert(at > 0);
    const said = fails({ kind: "assertion", message: 0, file: constants + at, line: 12, column: 34 });
    assert.match(
      said,
      /^salus: panic on hart 0: assertion failed \(hypervisor\/boot\/device-tree\/reader\.ts:12:34\)\n/,
    );
  });

  const codes = [
    "code that cannot be reached was reached",
    "division by zero",
    "a quotient does not fit",
    "call of a function that does not exist",
    "the compiled code trapped",
  ];
  codes.forEach((text, code) => {
    test(`of compiled code that trapped: ${text}`, () => {
      const said = fails({ kind: "code", code });
      assert(said.startsWith(`salus: panic on hart 0: ${text}\n`), said);
      assert.match(said, /salus: the machine is powered off\n$/);
    });
  });

  const causes: [bigint, string][] = [
    [(1n << 63n) | 5n, "interrupt"],
    [0n, "misaligned access"],
    [1n, "instruction access fault"],
    [2n, "illegal instruction"],
    [3n, "breakpoint"],
    [4n, "misaligned access"],
    [5n, "load access fault"],
    [6n, "misaligned access"],
    [7n, "store access fault"],
    [12n, "instruction page fault"],
    [13n, "load page fault"],
    [15n, "store page fault"],
    [20n, "guest page fault"],
    [21n, "guest page fault"],
    [23n, "guest page fault"],
    [18n, "trap"],
  ];
  for (const [scause, text] of causes) {
    test(`of a trap with cause ${scause}: ${text}`, () => {
      const said = fails(trapped(scause, { sepc: 0x8020_1234n, stval: 0xdead_0000n, sp: 0x10n, ra: 0x8020_4444n }));
      assert(said.startsWith(`salus: panic on hart 0: ${text} in the hypervisor\n`), said);
      assert.match(said, /pc 0x80201234 {2}scause 0x[0-9a-f]+ {2}stval 0xdead0000\n/);
      assert.match(said, /ra 0x80204444 {2}sp 0x10 /);
      assert.doesNotMatch(said, /overflown/);
    });
  }

  test("of a stack that has overflown", () => {
    const bottom = (): bigint => machine.harts[0].record.word("stackBottom");
    machine.restore(booted);
    const inGuard = [bottom(), bottom() - 1n, bottom() - 4096n];
    for (const stval of inGuard) assert.match(fails(trapped(7n, { stval })), /the stack has overflown/);
    for (const stval of [bottom() + 8n, bottom() - 4097n])
      assert.doesNotMatch(fails(trapped(7n, { stval })), /overflown/);
    const unknown = fails(trapped(7n, { stval: 0n }), () => machine.harts[0].record.set("stackBottom", 0));
    assert.doesNotMatch(unknown, /overflown/);
  });

  test("within a panic nothing: the machine ends at once", () => {
    const said = fails(trapped(5n), () => machine.harts[0].record.set("panicking", 1));
    assert.equal(said, "");
  });

  test("while another hart ends the machine nothing: the hart halts", () => {
    machine.restore(booted);
    const said = machine.console.length;
    machine.root.set("endingHart", machine.harts[1].threadPointer);
    machine.failInHypervisor(machine.harts[0], trapped(5n));
    assert.equal(machine.harts[0].state, "off");
    assert.equal(machine.console.length, said);
  });

  test("before there is a root record as much as after it", () => {
    const said = fails(trapped(5n), () => machine.harts[0].record.set("root", 0));
    assert.match(said, /^salus: panic on hart 0: load access fault in the hypervisor\n/);
  });

  test("with a hart that does not stop, that the next boot scrubs", () => {
    const said = fails(trapped(5n), () => {
      const other = machine.harts[1].record;
      other.set("state", 2);
      machine.harts[1].csr.setRaw("sie", 0n);
      machine.harts[1].state = "guest";
      // Nothing that it could be interrupted by gets through.
      machine.harts[1].pendingInterrupt = () => undefined;
    });
    Reflect.deleteProperty(machine.harts[1], "pendingInterrupt");
    assert.match(said, /\nsalus: a hart does not stop; the next boot will scrub all memory\n/);
  });
});

describe("a backtrace", () => {
  /** Traps at `offset` of the text, with these words at the stack pointer. */
  function trace(offset: number, words: Record<number, bigint>, ra = 0n, depth = 512, functions = FUNCTIONS): string[] {
    const sp = () => stackTop() - depth;
    return frames(
      fails(
        { ...trapped(5n), sepc: BigInt(TEXT + offset), sp: BigInt(stackTop() - depth), ra } as HypervisorFailure,
        () => {
          writeTable(functions);
          for (const [at, word] of Object.entries(words)) machine.memory.write64(sp() + Number(at), word);
        },
      ),
    );
  }

  const at = (offset: number): bigint => BigInt(TEXT + offset);

  test("goes by the return addresses in the frames, to the assembly that has none", () => {
    // handleEcall (64 bytes) called by trap (32 bytes) called by _start.
    const words = { 56: at(0x140), 88: at(0x20) };
    assert.deepEqual(trace(0x240, words), ["sbi/dispatch.ts:handleEcall", "main.ts:trap", "_start"]);
  });

  test("of a hart that does not know its stack yet looks at the one in the image only", () => {
    const top = stackTop();
    const early = (): void => {
      machine.harts[0].record.set("stackBottom", 0);
      writeTable(FUNCTIONS);
      machine.memory.write64(top - 512 + 56, at(0x140));
      machine.memory.write64(top - 512 + 88, at(0x20));
    };
    const from = (sp: number): string[] =>
      frames(fails({ ...trapped(5n), sepc: at(0x240), sp: BigInt(sp) } as HypervisorFailure, early));
    assert.deepEqual(from(top - 512), ["sbi/dispatch.ts:handleEcall", "main.ts:trap", "_start"]);
    assert.deepEqual(from(0x8100_0000), ["sbi/dispatch.ts:handleEcall"]);
  });

  test("from a function that has not made its frame, by ra", () => {
    assert.deepEqual(trace(0x200, { 24: at(0x20) }, at(0x140)), [
      "sbi/dispatch.ts:handleEcall",
      "main.ts:trap",
      "_start",
    ]);
  });

  test("from within the prologue the frame is there already", () => {
    assert.deepEqual(trace(0x204, { 88: at(0x20) }, at(0x140)), [
      "sbi/dispatch.ts:handleEcall",
      "main.ts:trap",
      "_start",
    ]);
  });

  test("from a leaf by ra; behind it a leaf is the end", () => {
    assert.deepEqual(trace(0x310, { 40: at(0x20) }, at(0x140)), ["lib/spinlock.ts:leaf", "main.ts:trap", "_start"]);
    assert.deepEqual(trace(0x310, {}), ["lib/spinlock.ts:leaf"]);
    assert.deepEqual(trace(0x240, { 56: at(0x310) }), ["sbi/dispatch.ts:handleEcall", "lib/spinlock.ts:leaf"]);
  });

  test("a return address right behind a function is that function's", () => {
    assert.deepEqual(trace(0x240, { 56: at(0x200), 88: at(0x20) }), [
      "sbi/dispatch.ts:handleEcall",
      "main.ts:trap",
      "_start",
    ]);
  });

  test("ends at an address that is no code, and where the stack ends", () => {
    for (const bad of [0n, BigInt(TEXT - 4), BigInt(TEXT_END + 4)]) {
      assert.deepEqual(trace(0x240, { 56: bad }), ["sbi/dispatch.ts:handleEcall", ""]);
    }
    assert.deepEqual(trace(0x240, { 56: at(0x20) }, 0n, 64), ["sbi/dispatch.ts:handleEcall", "_start"]);
    assert.deepEqual(trace(0x240, {}, 0n, 56), ["sbi/dispatch.ts:handleEcall"]);
    assert.deepEqual(trace(0x240, {}, 0n, 60), ["sbi/dispatch.ts:handleEcall"]);
    assert.deepEqual(trace(0x240, {}, 0n, 0x10_0000), ["sbi/dispatch.ts:handleEcall"]);
  });

  test("of a circle ends after 40 frames", () => {
    const words = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [24 + 32 * i, at(0x140)]));
    const found = trace(0x140, words, 0n, 4096);
    assert.equal(found.length, 41);
    assert.equal(found.at(-1), "...");
  });

  test("without a table it is the address", () => {
    assert.deepEqual(trace(0x240, {}, 0n, 512, []), [""]);
  });

  test("of a failed assertion begins where the hart is", () => {
    const said = fails({ kind: "assertion", message: 0, file: 0, line: 0, column: 0 }, () => writeTable(FUNCTIONS));
    assert.equal(frames(said)[0], "main.ts:trap");
  });
});
