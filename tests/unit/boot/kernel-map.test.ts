import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Machine } from "../support/machine.ts";
import { compileModule, TEST_MEMORY } from "../support/module.ts";

/**
 * The hypervisor's own page tables (hypervisor/boot/kernel-map.ts), walked here as the hardware does, and the interval
 * lists (interval-list.ts) that boot divides memory with.
 */

const PAGE = 4096n;
const ALLOCATOR = TEST_MEMORY;
const MAP = TEST_MEMORY + 0x100;
const LIST = TEST_MEMORY + 0x1000;
const TABLES = TEST_MEMORY + 0x10000;
const MEMORY_END = 16 * TEST_MEMORY;

const READ = 2n;
const WRITE = 4n;
const EXECUTE = 8n;

const module = await compileModule({
  files: ["hypervisor/boot/interval-list"],
  source: `
    import { BootAllocator } from "../../../hypervisor/boot/boot-allocator";
    import { IntervalList } from "../../../hypervisor/boot/interval-list";
    import { initKernelMap, KernelMap, kernelMapLevels, kernelMapSatp, kernelMapTables, mapKernelRange } from "../../../hypervisor/boot/kernel-map";
    export function start(map: usize, allocator: usize, from: usize, to: usize, levels: u64): void {
      const tables = changetype<BootAllocator>(allocator);
      tables.next = from;
      tables.end = to;
      initKernelMap(changetype<KernelMap>(map), tables, levels);
    }
    export function map(map: usize, start: u64, end: u64, permissions: u64): void {
      mapKernelRange(changetype<KernelMap>(map), start, end, permissions);
    }
    export function used(allocator: usize): usize { return changetype<BootAllocator>(allocator).next; }
    export function satp(map: usize): u64 { return kernelMapSatp(changetype<KernelMap>(map)); }
    export function levelsFor(end: u64): u64 { return kernelMapLevels(end); }
    export function tablesFor(levels: u64, ranges: u64, bytes: u64, dense: u64): u64 { return kernelMapTables(levels, ranges, bytes, dense); }
    export function add(list: usize, start: u64, end: u64): void { changetype<IntervalList>(list).add(start, end); }
    export function remove(list: usize, start: u64, end: u64): void { changetype<IntervalList>(list).remove(start, end); }
    export function covers(list: usize, start: u64, end: u64): bool { return changetype<IntervalList>(list).covers(start, end); }
    export function overlaps(list: usize, start: u64, end: u64): bool { return changetype<IntervalList>(list).overlaps(start, end); }
    export function total(list: usize): u64 { return changetype<IntervalList>(list).total(); }`,
});
const machine = new Machine(module, MEMORY_END);
const calls = machine.exports;
const word = (address: bigint): bigint => machine.view.getBigUint64(Number(address), true);

/** The leaf that the hardware finds for a virtual address, or null. */
function walk(address: bigint, levels: number): bigint | null {
  let table = (calls.satp(BigInt(MAP)) & ((1n << 44n) - 1n)) * PAGE;
  for (let level = levels - 1; level >= 0; level--) {
    const entry = word(table + 8n * ((address >> BigInt(12 + 9 * level)) & 511n));
    if ((entry & 1n) === 0n) return null;
    const target = ((entry >> 10n) & ((1n << 44n) - 1n)) * PAGE;
    if ((entry & (READ | WRITE | EXECUTE)) === 0n) {
      table = target;
      continue;
    }
    const offset = address & ((1n << BigInt(12 + 9 * level)) - 1n);
    assert.equal(target + offset, address, "not the identity");
    assert.equal(target & ((1n << BigInt(12 + 9 * level)) - 1n), 0n, "misaligned leaf");
    return entry;
  }
  return null;
}

test("the least mode that reaches all addresses is chosen", () => {
  assert.equal(calls.levelsFor(0x1_0000_0000n), 3n);
  assert.equal(calls.levelsFor(1n << 38n), 3n);
  assert.equal(calls.levelsFor((1n << 38n) + 1n), 4n);
  assert.equal(calls.levelsFor(1n << 47n), 4n);
  assert.equal(calls.levelsFor((1n << 47n) + 1n), 5n);
  assert.equal(calls.levelsFor((1n << 56n) + 1n), 0n);
});

test("2 GiB of RAM take two tables", () => {
  machine.bytes.fill(0, TABLES);
  calls.start(BigInt(MAP), BigInt(ALLOCATOR), BigInt(TABLES), BigInt(MEMORY_END), 3n);
  calls.map(BigInt(MAP), 0x8040_0000n, 0x1_0000_0000n, READ | WRITE);
  assert.equal(calls.used(BigInt(ALLOCATOR)), BigInt(TABLES) + 2n * PAGE);
  assert.equal(BigInt.asUintN(64, calls.satp(BigInt(MAP))) >> 60n, 8n);
});

test("any set of ranges: each page maps to itself with its permissions, and nothing else is mapped", () => {
  const permissions = fc.constantFrom(READ, READ | WRITE, READ | EXECUTE);
  const length = fc.oneof(fc.nat(40), fc.nat(2000), fc.nat(600_000));
  const pieces = fc.array(fc.tuple(length, length, permissions), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(pieces, fc.constantFrom(3, 4, 5), fc.nat(60_000_000), (list, levels, base) => {
      machine.bytes.fill(0, TABLES);
      calls.start(BigInt(MAP), BigInt(ALLOCATOR), BigInt(TABLES), BigInt(MEMORY_END), BigInt(levels));
      let at = BigInt(base);
      let mapped = 0n;
      const ranges = list.map(([gap, pages, permission]) => {
        const start = at + BigInt(gap);
        at = start + BigInt(pages);
        mapped += BigInt(pages);
        return { start: start * PAGE, end: at * PAGE, permission };
      });
      for (const { start, end, permission } of ranges) calls.map(BigInt(MAP), start, end, permission);
      const used = (calls.used(BigInt(ALLOCATOR)) - BigInt(TABLES)) / PAGE;
      assert.ok(
        used <= calls.tablesFor(BigInt(levels), BigInt(ranges.length), mapped * PAGE, 0n),
        "too few were counted",
      );

      const permissionAt = (address: bigint) =>
        ranges.find(({ start, end }) => address >= start && address < end)?.permission;
      const edges = ranges.flatMap(({ start, end }) => [start, end, (start + end) / 2n]);
      for (const edge of edges) {
        for (const address of [edge - PAGE, edge - 1n, edge, edge + PAGE, edge + (1n << 21n), edge - (1n << 30n)]) {
          if (address < 0n) continue;
          const leaf = walk(address, levels);
          const expected = permissionAt(address);
          assert.equal(leaf === null ? undefined : leaf & (READ | WRITE | EXECUTE), expected);
          // Accessed and dirty are set, it is not a user page.
          if (leaf !== null) assert.equal(leaf & 0xd0n, 0xc0n);
        }
      }
    }),
    { numRuns: 200 },
  );
});

test("two uses of one address are refused", () => {
  machine.bytes.fill(0, TABLES);
  calls.start(BigInt(MAP), BigInt(ALLOCATOR), BigInt(TABLES), BigInt(MEMORY_END), 3n);
  calls.map(BigInt(MAP), 0x8000_0000n, 0x8040_0000n, READ);
  assert.throws(() => calls.map(BigInt(MAP), 0x8020_1000n, 0x8020_2000n, READ | EXECUTE), /two uses/);
  assert.throws(() => calls.map(BigInt(MAP), 0x8000_0000n, 0x8020_0000n, READ), /two uses/);
});

test("interval lists do what sets do", () => {
  const end = 40;
  const interval = fc.tuple(fc.boolean(), fc.nat(end), fc.nat(end));
  fc.assert(
    fc.property(fc.array(interval, { maxLength: 30 }), fc.tuple(fc.nat(end), fc.nat(end)), (steps, [from, to]) => {
      calls.initIntervalList(BigInt(LIST), 30n);
      const model = new Set<number>();
      for (const [adds, start, stop] of steps) {
        (adds ? calls.add : calls.remove)(BigInt(LIST), BigInt(start), BigInt(stop));
        for (let i = start; i < stop; i++) model[adds ? "add" : "delete"](i);
      }
      const found = new Set<number>();
      let last = -1;
      for (let i = 0n; i < word(BigInt(LIST)); i++) {
        const [start, stop] = [0n, 8n].map((offset) => Number(word(BigInt(LIST) + 16n + 16n * i + offset)));
        assert.ok(start > last && stop > start, "not sorted, not disjoint or empty");
        last = stop - 1;
        for (let at = start; at < stop; at++) found.add(at);
      }
      assert.deepEqual(
        [...found].sort((a, b) => a - b),
        [...model].sort((a, b) => a - b),
      );
      const asked = Array.from({ length: Math.max(0, to - from) }, (_, index) => from + index);
      assert.equal(
        Boolean(calls.covers(BigInt(LIST), BigInt(from), BigInt(to))),
        asked.every((at) => model.has(at)),
      );
      assert.equal(
        Boolean(calls.overlaps(BigInt(LIST), BigInt(from), BigInt(to))),
        asked.some((at) => model.has(at)),
      );
      assert.equal(calls.total(BigInt(LIST)), BigInt(model.size));
    }),
    { numRuns: 1000 },
  );
});
