import binaryen from "assemblyscript/binaryen";

/**
 * Copies of the records that the hypervisor writes without the door, kept beside them in wasm memory, where they are made, compared and put back
 * by a loop of wasm: an exploration does this millions of times.
 *
 *     BASE           ranges: address and bytes, 32 bits each
 *     BASE + 1 page  copy of depth 0, copy of depth 1, ...
 *
 * Behind the write log and below RAM, where no address of the machine is.
 */
const BASE = 0x6000_0000;
const END = 0x8000_0000;
const LIST = 64 * 1024;
const RANGE = 8;

/** `$each` is what happens for each range: `$at` is its address, `$size` its bytes, `$copy` where its copy is. */
const overRanges = (name: string, each: string): string => `
  (func $${name} (export "${name}") (param $count i32) (param $first i32) (result i32)
    (local $list i64) (local $at i64) (local $size i64) (local $copy i64) (local $end i64)
    (local.set $list (i64.const ${BASE}))
    (local.set $copy (i64.extend_i32_u (local.get $first)))
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $count)))
      (local.set $at (i64.load32_u (local.get $list)))
      (local.set $size (i64.load32_u offset=4 (local.get $list)))
      ${each}
      (local.set $list (i64.add (local.get $list) (i64.const ${RANGE})))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br $next)))
    (i32.const 0))`;

/** Answers the address of the first word that differs, 0 if none does. Leaves $copy behind the range's copy. */
const COMPARE = `
      (local.set $end (i64.add (local.get $at) (local.get $size)))
      (loop $word
        (if (i64.ne (i64.load (local.get $at)) (i64.load (local.get $copy)))
          (then (return (i32.wrap_i64 (local.get $at)))))
        (local.set $at (i64.add (local.get $at) (i64.const 8)))
        (local.set $copy (i64.add (local.get $copy) (i64.const 8)))
        (br_if $word (i64.lt_u (local.get $at) (local.get $end))))`;

const advance = `(local.set $copy (i64.add (local.get $copy) (local.get $size)))`;

const TEXT = `(module
  (import "env" "memory" (memory i64 0))
  ${overRanges("save", `(memory.copy (local.get $copy) (local.get $at) (local.get $size)) ${advance}`)}
  ${overRanges("restore", `(memory.copy (local.get $at) (local.get $copy) (local.get $size)) ${advance}`)}
  ${overRanges("firstDifference", COMPARE)}
)`;

interface Functions {
  save(count: number, copy: number): number;
  restore(count: number, copy: number): number;
  firstDifference(count: number, copy: number): number;
}

export interface Range {
  address: number;
  /** A multiple of 8, as the address is. */
  bytes: number;
}

export class RecordCopies {
  readonly #functions: Functions;
  readonly #count: number;
  readonly #bytes: number;

  /** RAM has to lie from 2 to 4 GiB, which the write log has made sure of. */
  constructor(memory: WebAssembly.Memory, ranges: readonly Range[]) {
    const list = new Uint32Array(memory.buffer, BASE, LIST / 4);
    ranges.forEach(({ address, bytes }, index) => {
      if (address % 8 !== 0 || bytes % 8 !== 0 || bytes === 0) throw new Error(`range of ${bytes} bytes at ${address}`);
      list.set([address, bytes], index * 2);
    });
    this.#count = ranges.length;
    this.#bytes = ranges.reduce((sum, { bytes }) => sum + bytes, 0);
    const module = binaryen.parseText(TEXT);
    module.setFeatures(binaryen.Features.Memory64 | binaryen.Features.BulkMemory);
    const binary = module.emitBinary();
    module.dispose();
    const instance = new WebAssembly.Instance(new WebAssembly.Module(binary), { env: { memory } });
    this.#functions = instance.exports as unknown as Functions;
  }

  #copyOf(depth: number): number {
    const copy = BASE + LIST + depth * this.#bytes;
    if (copy + this.#bytes > END) throw new Error(`no room for a copy of depth ${depth}`);
    return copy;
  }

  save(depth: number): void {
    this.#functions.save(this.#count, this.#copyOf(depth));
  }

  restore(depth: number): void {
    this.#functions.restore(this.#count, this.#copyOf(depth));
  }

  /** Address of the first word of the first `count` ranges that is not as in the copy; undefined if there is none. */
  firstDifference(depth: number, count: number): number | undefined {
    const address = this.#functions.firstDifference(count, this.#copyOf(depth));
    return address === 0 ? undefined : address >>> 0;
  }
}
