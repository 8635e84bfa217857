import { cryptoDoor } from "./crypto-door.ts";
import { hex, hypervisorFrames } from "./errors.ts";
import { PhysicalMemory } from "./physical-memory.ts";
import { fieldOffset, RecordView } from "./record-layout.ts";
import { ENTRY_TAG, EXIT_TAG } from "./recording.ts";
import type { Recording } from "./recording.ts";
import type { RecordedPrimitive } from "../../tools/build/recording-door.ts";

/**
 * Plays a recorded run into the module that was recorded, or into another one: each entry begins as it began on the machine, everything that comes in
 * through the door is what came in then, and what goes out has to be what went out. Own memory is real: what the module writes there it finds there.
 */

/** The module did something else than the recorded one. */
export class ReplayDifference extends Error {
  override name = "ReplayDifference";
}

export interface ReplayResult {
  entries: number;
  /** Calls of primitives. */
  calls: number;
  logBytes: number;
  /** How the recording ends: the hypervisor ended the machine or was ended by somebody, or the log was full. */
  end: "in a guest" | "in the hypervisor" | "log full";
}

/** Unwinds the hypervisor's frames: the recording ends within an entry. */
class RecordingOver extends Error {}

type Exports = Record<string, (...args: (bigint | number)[]) => number>;

const REGISTERS = 32;
/** trap.S may have the others of the host still in the machine. */
const CALLER_SAVED = 0xf003_fcf6;

export class Replay {
  readonly memory: PhysicalMemory;
  entries = 0;
  calls = 0;
  readonly #recording: Recording;
  readonly #log: Uint8Array;
  readonly #exports: Exports;
  readonly #byTag = new Map<number, string>();
  #position = 0;
  #digest = 0;
  #threadPointer = 0n;
  #entry = "";

  /** `module`: played instead of the recorded one. */
  constructor(recording: Recording, module: Uint8Array = recording.module) {
    this.#recording = recording;
    this.#log = recording.log;
    this.memory = new PhysicalMemory([recording.ram]);
    this.memory.write(recording.imageBase, recording.image);
    const hw: Record<string, WebAssembly.ImportValue> = {
      hartRecord: () => this.#threadPointer,
      setHartRecord: (record: bigint) => void (this.#threadPointer = record),
      // The door of crypto/ brings nothing in: it is not recorded, but computed again.
      ...cryptoDoor(),
      wipeBytes: (at: bigint, length: bigint) => void this.memory.bytes.fill(0, Number(at), Number(at + length)),
      wipeStack: () => {},
      lastHashVariant: () => 2,
    };
    for (const primitive of recording.primitives) {
      this.#byTag.set(primitive.tag, primitive.name);
      hw[primitive.name] = this.#primitive(primitive);
    }
    const abort = (...args: (bigint | number)[]): void => void this.#exports.panicAssert(...args);
    const imports = { env: { memory: this.memory.wasmMemory, abort }, hw };
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module), imports);
    this.#exports = instance.exports as unknown as Exports;
  }

  /** @throws ReplayDifference at the first one */
  run(): ReplayResult {
    let inside = false;
    while (this.#position < this.#log.length) {
      try {
        this.#playEntry();
      } catch (error) {
        if (error instanceof ReplayDifference) throw error;
        if (!(error instanceof RecordingOver)) this.#differ(`it fails: ${(error as Error).message}`);
        inside = true;
      }
    }
    const end = this.#recording.cutOff ? "log full" : inside ? "in the hypervisor" : "in a guest";
    return { entries: this.entries, calls: this.calls, logBytes: this.#log.length, end };
  }

  #playEntry(): void {
    const tag = this.#byte();
    const entry = this.#recording.entries[tag - ENTRY_TAG];
    if (entry === undefined) this.#differ(`the recording goes on with ${this.#name(tag)}, not with an entry`);
    this.#entry = entry.name;
    this.entries++;
    if (this.#byte() !== this.#digestByte()) this.#differ("what went out before this entry differs");
    this.#threadPointer = this.#value();
    const context = this.#value();
    // recording.ts: contextOf.
    const field = entry.name === "helperTrap" ? fieldOffset("hart", "helper") : 0;
    const current = this.memory.read64(Number(this.#threadPointer) + field);
    if (current !== context) this.#differ(`the context is ${hex(current)}, recorded was ${hex(context)}`);
    if (context !== 0n) {
      for (let n = 1; n < REGISTERS; n++) this.memory.write64(Number(context) + 8 * n, this.#value());
    }
    const args = Array.from({ length: entry.parameters }, () => this.#value());
    const action = this.#call(entry.name, args);
    const entered = this.memory.read64(Number(this.#threadPointer));
    this.#mix(entered);
    if (entered !== 0n) this.#mixRegisters(Number(entered));
    if (this.#position === this.#log.length) return;
    const exit = this.#byte();
    if (exit !== EXIT_TAG) this.#differ(`the entry is over, the recorded one went on with ${this.#name(exit)}`);
    if (this.#byte() !== this.#digestByte()) this.#differ("the context that is entered, or its registers, differ");
    const recorded = Number(this.#value());
    if (action !== recorded) this.#differ(`the action is ${action}, recorded was ${recorded}`);
  }

  /** recording.ts: recordExit. */
  #mixRegisters(context: number): void {
    const all = this.memory.read64(context) !== 0n;
    for (let n = 1; n < REGISTERS; n++) {
      if (all || ((CALLER_SAVED >>> n) & 1) !== 0) this.#mix(this.memory.read64(context + 8 * n));
    }
  }

  #call(name: string, args: bigint[]): number {
    try {
      return this.#exports[name](...args);
    } catch (error) {
      if (!(error instanceof WebAssembly.RuntimeError)) throw error;
      // wasm-rt.h: codes of TRAP.
      const kind = ["unreachable", "divide by zero", "overflow", "indirect"].findIndex((text) =>
        error.message.includes(text),
      );
      return this.#exports["panicWasm"](Math.max(kind, 0));
    }
  }

  /** The primitive as the module calls it. */
  #primitive({ name, tag, parameters, result, effect }: RecordedPrimitive): (...args: (bigint | number)[]) => unknown {
    const perform = performers[name];
    const wide = result === "u64";
    return (...args) => {
      if (this.#position >= this.#log.length) throw new RecordingOver();
      this.calls++;
      for (let i = 0; i < args.length; i++) {
        const arg = args[i];
        if (typeof arg === "bigint") this.#mix(arg);
        else this.#mixHalves(arg, 0);
      }
      const recorded = this.#byte();
      if (recorded !== tag)
        this.#differ(`it calls ${call(name, parameters, args)}, recorded was ${this.#name(recorded)}`);
      if (this.#byte() !== this.#digestByte()) {
        this.#differ(`it calls ${call(name, parameters, args)}: what goes out differs, here or just before`);
      }
      if (this.#position >= this.#log.length && (result !== "void" || effect)) throw new RecordingOver();
      const value = result === "void" ? 0n : this.#value();
      if (name === "cboZero") this.#zeroBlock(Number(args[0]));
      else perform?.(this.memory, args as never[], value);
      if (effect?.bytes) {
        const length = Number(args[effect.bytes.length]);
        this.memory.write(Number(args[effect.bytes.at]), this.#log.subarray(this.#position, this.#position + length));
        this.#position += length;
      }
      if (effect?.word !== undefined && args[effect.word] !== 0n) {
        this.memory.write64(Number(args[effect.word]), this.#value());
      }
      if (name === "endHart") throw new RecordingOver();
      return wide ? BigInt.asIntN(64, value) : Number(BigInt.asIntN(32, value));
    };
  }

  /** cbo.zero: how large a block is, the hypervisor knows. */
  #zeroBlock(address: number): void {
    const hart = new RecordView(this.memory, "hart", this.#threadPointer);
    const size = hart.follow("root", "root")!.number("cbozBlockSize");
    const start = address - (address % size);
    this.memory.bytes.fill(0, start, start + size);
  }

  #byte(): number {
    return this.#log[this.#position++];
  }

  #digestByte(): number {
    return this.#digest >>> 24;
  }

  /** LEB128. */
  #value(): bigint {
    let small = 0;
    let scale = 1;
    for (let i = 0; i < 7; i++) {
      const byte = this.#byte();
      small += (byte & 127) * scale;
      if (byte < 128) return BigInt(small);
      scale *= 128;
    }
    let value = BigInt(small);
    for (let shift = 49n; ; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128 || byte === undefined) return value;
    }
  }

  #mix(word: bigint): void {
    this.#mixHalves(Number(BigInt.asUintN(32, word)), Number(BigInt.asUintN(32, word >> 32n)));
  }

  /** recording.ts: recordWord. */
  #mixHalves(low: number, high: number): void {
    let h = Math.imul(this.#digest ^ low, 0x9e3779b1);
    h = Math.imul(((h << 15) | (h >>> 17)) ^ high, 0x85ebca77);
    this.#digest = h ^ (h >>> 13);
  }

  #name(tag: number): string {
    if (tag === EXIT_TAG) return "the end of the entry";
    const entry = this.#recording.entries[tag - ENTRY_TAG];
    if (entry)
      return `a new entry: ${entry.name}${entry.name === "panicTrap" ? " (the hypervisor itself trapped)" : ""}`;
    return this.#byTag.get(tag) ?? `the unknown tag ${tag}`;
  }

  #differ(what: string): never {
    const difference = new ReplayDifference(what);
    const frames = hypervisorFrames(difference);
    difference.message =
      `entry ${this.entries} (${this.#entry}), call ${this.calls}, byte ${this.#position} of the log: ${what}` +
      frames.map((frame) => `\n  in ${frame}`).join("");
    throw difference;
  }
}

function call(name: string, parameters: string[], args: (bigint | number)[]): string {
  return `${name}(${args.map((arg, index) => hex(parameters[index] === "u32" ? Number(arg) >>> 0 : arg)).join(", ")})`;
}

type Performer = (memory: PhysicalMemory, args: never[], result: bigint) => void;

/** What primitives do to memory, with the result that they had. Devices and CSRs are not there. */
const performers: Record<string, Performer | undefined> = {
  zeroBytes: (memory, [hpa, length]: bigint[]) => {
    const at = Number(hpa);
    if (length > 0n && memory.contains(at, Number(length))) memory.bytes.fill(0, at, at + Number(length));
  },
};
for (const width of [1, 2, 4, 8]) {
  const bits = width * 8;
  const write = (memory: PhysicalMemory, hpa: bigint, value: bigint | number): void => {
    if (memory.contains(Number(hpa), width))
      memory.writeNumber(Number(hpa), width, BigInt.asUintN(bits, BigInt(value)));
  };
  performers[`write${bits}`] = (memory, [hpa, value]: bigint[]) => write(memory, hpa, value);
  performers[`storeRelease${bits}`] = performers[`write${bits}`];
  performers[`swap${bits}`] = performers[`write${bits}`];
  performers[`cas${bits}`] = (memory, [hpa, expected, desired]: bigint[], old) => {
    if (BigInt.asUintN(bits, BigInt(expected)) === BigInt.asUintN(bits, old)) write(memory, hpa, desired);
  };
  performers[`add${bits}`] = (memory, [hpa, value]: bigint[], old) => write(memory, hpa, old + BigInt(value));
  performers[`or${bits}`] = (memory, [hpa, value]: bigint[], old) => write(memory, hpa, old | value);
  performers[`and${bits}`] = (memory, [hpa, value]: bigint[], old) => write(memory, hpa, old & value);
}
