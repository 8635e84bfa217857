import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { buildFdt, cells64, node, type FdtNode } from "../support/fdt.ts";
import { Machine } from "../support/machine.ts";
import { compileModule, TEST_MEMORY } from "../support/module.ts";
import { sampleRoot } from "../support/trees.ts";

/**
 * Where boot puts what it keeps (hypervisor/boot/first-block.ts, memory-plan.ts, own-memory.ts): in RAM, on nothing that is
 * still needed, and never twice in one place.
 */

const MiB = 1n << 20n;
const PAGE = 4096n;
const CHUNK = 2n * MiB;
const IMAGE = { start: 0x8020_0000n, end: 0x8024_0000n };

const FDT = TEST_MEMORY;
const BLOCK = 4 * TEST_MEMORY;
const MEMORY_END = 8 * TEST_MEMORY;
const NO_PLACE = (1n << 64n) - 1n;

const PLAN = "hypervisor/boot/memory-plan";
const OWN = "hypervisor/boot/own-memory";
const OWN_PARTS = [
  "root",
  "console",
  "imsic",
  "kernelMap",
  "hartTable",
  "hartRecords",
  "stacks",
  "workPages",
  "vcpus",
  "vcpuTable",
  "hostVm",
  "measurements",
  "ranges",
  "pageRecords",
  "vmSlots",
  "layout",
  "treePlan",
  "tree",
  "kernelTablePages",
  "gstageRoot",
  "gstageTablePages",
];
const OWN_COUNTS = ["harts", "ramBytes", "kernelTables", "gstageTables"];

const module = await compileModule({
  files: [],
  fields: {
    [PLAN]: { MemoryPlan: ["ownStart", "ownEnd", "physicalEnd", "hostEnd"] },
    [OWN]: { OwnMemory: [...OWN_PARTS, ...OWN_COUNTS] },
  },
  source: `
    import { BootAllocator } from "../../../hypervisor/boot/boot-allocator";
    import { findFirstBlock as find } from "../../../hypervisor/boot/first-block";
    import { hostTreeBound } from "../../../hypervisor/boot/host-device-tree";
    import { describe, describeSize } from "../../../hypervisor/boot/machine-description";
    import { beginMemoryPlan, leftoverMemory, memoryKept, memoryPlanBytes, placeOwnMemory } from "../../../hypervisor/boot/memory-plan";
    import { divideOwnMemory } from "../../../hypervisor/boot/own-memory";
    export function firstBytes(fdt: usize): u64 { return describeSize(fdt) + memoryPlanBytes(fdt); }
    export function findFirstBlock(fdt: usize, bytes: u64): u64 { return find(fdt, bytes); }
    /** The window that holds a device of ours, -1 if none does. */
    let ours: i32 = -1;
    export function placeDevice(window: i32): void { ours = window; }
    let uart: bool = true;
    export function showUart(shown: bool): void { uart = shown; }
    export function makePlan(fdt: usize, block: usize, first: u64, firstEnd: u64): usize {
      const allocator = changetype<BootAllocator>(block);
      allocator.next = block + 64;
      allocator.end = block + <usize>firstBytes(fdt) + 256;
      const description = describe(fdt, allocator.take(describeSize(fdt), 8));
      assert(description.error == 0, "no description");
      if (!uart) description.hostUart = 0;
      if (ours >= 0) description.pciSegment(0).window(ours).hostSize -= 4096;
      return changetype<usize>(beginMemoryPlan(description, allocator, first, firstEnd));
    }
    export function place(plan: usize, vlenb: u64, levels: u32): u64 {
      const p = changetype<MemoryPlan>(plan);
      p.gstageLevels = levels;
      const start = placeOwnMemory(p, vlenb, hostTreeBound(p.description, p.ram.count));
      p.allocator.next = <usize>p.ownStart;
      p.allocator.end = <usize>p.ownEnd;
      if (start != ~0) divideOwnMemory(p.own, p.allocator);
      return start;
    }
    export function own(plan: usize): usize { return changetype<usize>(changetype<MemoryPlan>(plan).own); }
    export function kept(plan: usize): u64 { return memoryKept(changetype<MemoryPlan>(plan)); }
    export function leftover(plan: usize): usize { return changetype<usize>(leftoverMemory(changetype<MemoryPlan>(plan))); }`,
});
const machine = new Machine(module, MEMORY_END, {
  imageAddress: (symbol: number) => (symbol === 0 ? IMAGE.start : IMAGE.end),
});
const calls = machine.exports;

interface Span {
  start: bigint;
  end: bigint;
}

interface Tree {
  harts: number;
  memory: Span[];
  reserved: Span[];
  kernel: Span;
  initrd?: Span;
  /** Windows of PCI memory. */
  windows?: Span[];
  rtc?: boolean;
}

interface Plan {
  first: Span;
  own: Span;
  kept: bigint;
  parts: { name: string; start: bigint }[];
  counts: Record<string, bigint>;
  leftover: Span[];
  /** What lies behind all that we map, and behind all that the host has. */
  physicalEnd: bigint;
  hostEnd: bigint;
}

const size = ({ start, end }: Span): bigint => end - start;
const overlap = (a: Span, b: Span): boolean => a.start < b.end && b.start < a.end;
const span = (start: bigint, bytes: bigint): Span => ({ start, end: start + bytes });

function bridge(windows: Span[]): FdtNode {
  return node("pci@30000000", {
    compatible: "pci-host-ecam-generic",
    device_type: "pci",
    "#address-cells": [3],
    "#size-cells": [2],
    "bus-range": [0, 7],
    reg: cells64(0x3000_0000n, 0x80_0000n),
    ranges: windows.flatMap((window) => [0x0300_0000, ...cells64(window.start, window.start, size(window))]),
  });
}

function blobOf({ harts, memory, reserved, kernel, initrd, windows, rtc }: Tree): Uint8Array {
  const multiboot = (kind: string, image: Span) =>
    node(`module@${image.start.toString(16)}`, {
      compatible: [`multiboot,${kind}`, "multiboot,module"],
      reg: cells64(image.start, size(image)),
    });
  const tree = sampleRoot({
    harts,
    memory: memory.map((range, numaNode) => ({ base: range.start, size: size(range), numaNode })),
    reserved: reserved.map((range, index) =>
      node(`reserved${index}`, { reg: cells64(range.start, size(range)), "no-map": true }),
    ),
    modules: [multiboot("kernel", kernel), ...(initrd ? [multiboot("ramdisk", initrd)] : [])],
    devices: [
      ...(windows ? [bridge(windows)] : []),
      ...(rtc ? [node("rtc@101000", { compatible: "google,goldfish-rtc", reg: cells64(0x10_1000n, 0x1000n) })] : []),
    ],
  });
  return buildFdt(tree);
}

/** The whole survey as boot makes it, but with the first block's content in test memory. Null if something has no place. */
function planMemory(tree: Tree, vlenb = 32, levels = 3): Plan | null {
  machine.bytes.fill(0, FDT);
  machine.put(FDT, blobOf(tree));
  const bytes = (BigInt(calls.firstBytes(BigInt(FDT))) + 256n + PAGE - 1n) & ~(PAGE - 1n);
  const first = BigInt.asUintN(64, calls.findFirstBlock(BigInt(FDT), bytes));
  if (first === NO_PLACE) return null;
  const plan = calls.makePlan(BigInt(FDT), BigInt(BLOCK), first, first + bytes);
  if (BigInt.asUintN(64, calls.place(plan, BigInt(vlenb), levels)) === NO_PLACE) return null;
  const own = calls.own(plan);
  const field = (name: string): bigint => calls[`get_OwnMemory_${name}`](own);
  const kept = calls.kept(plan);
  const list = Number(calls.leftover(plan));
  const word = (address: number): bigint => machine.view.getBigUint64(address, true);
  return {
    first: span(first, bytes),
    own: { start: calls.get_MemoryPlan_ownStart(plan), end: calls.get_MemoryPlan_ownEnd(plan) },
    kept,
    physicalEnd: calls.get_MemoryPlan_physicalEnd(plan),
    hostEnd: calls.get_MemoryPlan_hostEnd(plan),
    parts: OWN_PARTS.map((name) => ({ name, start: field(name) })),
    counts: Object.fromEntries(OWN_COUNTS.map((name) => [name, field(name)])),
    leftover: Array.from({ length: Number(word(list)) }, (_, index) => ({
      start: word(list + 16 + 16 * index),
      end: word(list + 24 + 16 * index),
    })),
  };
}

const FIRMWARE = span(0x8000_0000n, 0x6_0000n);
const virt = (bytes: bigint, kernel: Span): Tree => ({
  harts: 8,
  memory: [span(0x8000_0000n, bytes)],
  reserved: [FIRMWARE],
  kernel,
});

test("at 2 GiB and 8 harts less than 12 MiB are kept, right behind the image", () => {
  const plan = planMemory(virt(2048n * MiB, span(0xc020_0000n, 30n * MiB)));
  assert.ok(plan);
  assert.ok(plan.kept < 12n * MiB, `${plan.kept / MiB} MiB`);
  assert.equal(plan.first.start, IMAGE.end + PAGE);
  assert.ok(plan.own.start - plan.first.end < 16n * 1024n);
});

test("page records and tables are counted for all RAM", () => {
  const plan = planMemory({ ...virt(1024n * MiB, span(0x8820_0000n, MiB)), harts: 2 });
  assert.ok(plan);
  assert.equal(plan.counts.harts, 2n);
  assert.equal(plan.counts.ramBytes, 1024n * MiB);
  // One table for each 2 MiB, one for the GiB, and the same for the IMSIC's page range and for the UART's page.
  assert.equal(plan.counts.gstageTables, 512n + 1n + 2n + 2n);
});

test("the host's UART, its clock and windows of PCI, the first one too, get tables", () => {
  const plain = virt(1024n * MiB, span(0x8820_0000n, MiB));
  const far = span(1n << 40n, 1024n * MiB);
  const tables = (tree: Tree, levels: number): bigint => planMemory(tree, 32, levels)!.counts.gstageTables;
  for (const [levels, window] of [
    [3, 4n],
    [4, 5n],
    [5, 6n],
  ] as const) {
    // One for the 2 MiB that its page is in, and one for each level above.
    assert.equal(tables({ ...plain, rtc: true }, levels) - tables(plain, levels), BigInt(levels) - 1n);
    assert.equal(tables({ ...plain, windows: [far] }, levels) - tables(plain, levels), window);
    const all = tables(plain, levels);
    calls.showUart(0);
    assert.equal(all - tables(plain, levels), BigInt(levels) - 1n, "the UART");
    calls.showUart(1);
  }
});

test("a window of PCI is the host's to its end, and ours if it holds a device of ours, be it the first or not", () => {
  const far = span(1n << 40n, 1024n * MiB);
  const near = span(0x4000_0000n, 256n * MiB);
  const ramEnd = 0x8000_0000n + 1024n * MiB;
  for (const windows of [
    [far, near],
    [near, far],
  ]) {
    for (const ours of [-1, 0, 1]) {
      calls.placeDevice(ours);
      const plan = planMemory({ ...virt(1024n * MiB, span(0x8820_0000n, MiB)), windows });
      calls.placeDevice(-1);
      assert.ok(plan);
      assert.equal(plan.physicalEnd, windows[ours] === far ? far.end : ramEnd);
      assert.equal(plan.hostEnd, far.end);
    }
  }
});

test("a machine without room is refused", () => {
  assert.ok(planMemory(virt(256n * MiB, span(0x8a20_0000n, MiB))));
  const crowded = virt(16n * MiB, span(0x8040_0000n, 4n * MiB));
  crowded.reserved = [span(0x8000_0000n, 2n * MiB), span(0x8024_2000n, 0x1b_e000n), span(0x8080_0000n, 8n * MiB)];
  assert.equal(planMemory(crowded), null);
});

test("what lies right behind the image is left alone", () => {
  for (const bytes of [0x1000n, 0x9_0000n, 0x30_0000n]) {
    const tree = virt(256n * MiB, span(0x8a20_0000n, MiB));
    tree.initrd = span(IMAGE.end + PAGE, bytes);
    const plan = planMemory(tree);
    assert.ok(plan);
    assert.ok(plan.first.start >= tree.initrd.end);
    assert.ok(!overlap(plan.own, tree.initrd));
  }
});

test("any machine: all that is kept is free RAM, and every part has its own place", () => {
  const unit = 0x1_0000n;
  const runs = fc.array(fc.record({ gap: fc.nat(300), length: fc.integer({ min: 1, max: 2500 }) }), {
    minLength: 1,
    maxLength: 4,
  });
  const lay = (start: bigint, list: { gap: number; length: number }[]): Span[] => {
    let at = start;
    return list.map(({ gap, length }) => {
      const from = at + BigInt(gap) * unit;
      at = from + BigInt(length) * unit;
      return { start: from, end: at };
    });
  };
  const image = fc.record({ at: fc.nat(4000), length: fc.integer({ min: 1, max: 400 }) });
  let planned = 0;
  fc.assert(
    fc.property(
      runs,
      fc.array(fc.record({ gap: fc.nat(600), length: fc.integer({ min: 1, max: 40 }) }), { maxLength: 5 }),
      image,
      fc.option(image),
      fc.constantFrom(1, 2, 8, 40),
      fc.constantFrom(0, 16, 128),
      fc.constantFrom(3, 4, 5),
      (memory, reserved, kernel, initrd, harts, vlenb, levels) => {
        const ranges = lay(IMAGE.end, memory);
        // The range with the image begins before it.
        ranges[0].start = 0x8000_0000n;
        const at = ({ at, length }: { at: number; length: number }) =>
          span(IMAGE.end + BigInt(at) * unit + 0x123n, BigInt(length) * unit);
        const tree: Tree = {
          harts,
          memory: ranges,
          reserved: [FIRMWARE, ...lay(IMAGE.end + CHUNK, reserved)],
          kernel: at(kernel),
          initrd: initrd ? at(initrd) : undefined,
        };
        const plan = planMemory(tree, vlenb, levels);
        if (!plan) return;
        planned++;
        const taken = [IMAGE, ...tree.reserved, tree.kernel, ...(tree.initrd ? [tree.initrd] : [])];
        for (const block of [plan.first, plan.own]) {
          assert.ok(
            ranges.some(({ start, end }) => block.start >= start && block.end <= end),
            "kept memory is not RAM",
          );
          for (const other of taken) assert.ok(!overlap(block, other), "kept memory was not free");
        }
        assert.ok(!overlap(plan.first, plan.own));

        const starts = plan.parts.map(({ start }) => start).sort((a, b) => (a < b ? -1 : 1));
        assert.equal(new Set(starts).size, starts.length, "two parts in one place");
        assert.ok(starts[0] >= plan.own.start && starts[starts.length - 1] < plan.own.end);
        const part = (name: string) => plan.parts.find((one) => one.name === name)?.start ?? 0n;
        assert.equal(part("gstageRoot") % (4n * PAGE), 0n);
        for (const name of ["stacks", "workPages", "kernelTablePages", "gstageTablePages"]) {
          assert.equal(part(name) % PAGE, 0n, name);
        }
        assert.ok(part("stacks") + BigInt(harts) * 5n * PAGE <= part("workPages"));
        assert.ok(part("gstageTablePages") + plan.counts.gstageTables * PAGE <= part("kernelTablePages"));

        // What a boot after an uncontrolled reset zeroes: all other RAM, and own memory, which is not in use yet.
        const needed = [...taken, plan.first];
        for (const block of plan.leftover) for (const other of needed) assert.ok(!overlap(block, other));
        assert.ok(plan.leftover.some(({ start, end }) => start <= plan.own.start && end >= plan.own.end));
        const total = (list: Span[]) => list.reduce((sum, one) => sum + size(one), 0n);
        const edges = [...ranges, ...needed].flatMap(({ start, end }) => [start, end]).sort((a, b) => (a < b ? -1 : 1));
        let free = 0n;
        for (let i = 0; i + 1 < edges.length; i++) {
          const piece = { start: edges[i], end: edges[i + 1] };
          if (size(piece) === 0n || needed.some((other) => overlap(piece, other))) continue;
          if (ranges.some((range) => overlap(piece, range))) free += size(piece);
        }
        assert.ok(free - total(plan.leftover) < PAGE * BigInt(2 * needed.length), "memory is left with what was in it");
      },
    ),
    { numRuns: 300 },
  );
  assert.ok(planned > 50, `only ${planned} of the random machines could be planned`);
});
