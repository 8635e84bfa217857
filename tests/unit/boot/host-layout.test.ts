import assert from "node:assert/strict";
import { before, test } from "node:test";
import fc from "fast-check";
import { Machine as Memory } from "../support/machine.ts";
import { compileModule, TEST_MEMORY } from "../support/module.ts";

/**
 * Where the host VM sees its RAM (hypervisor/boot/host-layout.ts), checked chunk by chunk against what must hold for every
 * machine: each chunk of host RAM has exactly one chunk of memory, nobody else's, and no chunk is lost.
 */

const MiB = 1 << 20;
const CHUNK = 2 * MiB;
const BASE = 0x8000_0000;

/** LayoutError of host-layout.ts. */
const LayoutError = {
  None: 0,
  KernelOutsideRam: 1,
  InitrdOutsideRam: 2,
  KernelOverlapsKept: 3,
  InitrdOverlapsKept: 4,
  ImagesOverlap: 5,
  NoRoomForKernel: 6,
  NoRoomForInitrd: 7,
  HomeTooSmall: 8,
};

interface Span {
  start: number;
  end: number;
}

interface Machine {
  ram: Span[];
  kept: Span[];
  busy: Span[];
  home: number;
  kernel: Span;
  /** Bytes that the kernel uses, if more than its size. */
  kernelSpan?: number;
  initrd?: Span;
}

interface Layout {
  error: number;
  kernelHpa: number;
  initrdHpa: number;
  kernelGpa: number;
  initrdGpa: number;
  hostRam: Span[];
  segments: { gpa: number; hpa: number; length: number }[];
}

const RECORD = TEST_MEMORY;
const ALLOCATOR = RECORD + 0x100;
const LISTS = RECORD + 0x1000;
const SCRATCH = RECORD + 0x10000;
const MEMORY_END = RECORD + 0x40000;

let memory: Memory;
before(async () => {
  const module = await compileModule({
    files: ["hypervisor/boot/interval-list", "hypervisor/boot/host-layout"],
    source: `
      import { placeHostTree } from "../../../hypervisor/boot/host-vm";
      export function treePlace(layout: usize, size: u64): u64 { return placeHostTree(changetype<HostLayout>(layout), size); }
      import { BootAllocator } from "../../../hypervisor/boot/boot-allocator";
      import { HostLayout, planHostLayout } from "../../../hypervisor/boot/host-layout";
      export function plan(layout: usize, allocator: usize, scratch: usize, scratchEnd: usize): u32 {
        const memory = changetype<BootAllocator>(allocator);
        memory.next = scratch;
        memory.end = scratchEnd;
        return planHostLayout(changetype<HostLayout>(layout), memory);
      }`,
  });
  memory = new Memory(module, MEMORY_END);
});

function planLayout(machine: Machine): Layout {
  const { initIntervalList, intervalListBytes, plan, hostLayoutBytes } = memory.exports;
  const word = (address: number) => Number(memory.view.getBigUint64(address, true));
  const setWord = (address: number, value: number) => memory.view.setBigUint64(address, BigInt(value), true);
  memory.bytes.fill(0, RECORD);
  let at = LISTS;
  const makeList = (spans: Span[]): number => {
    const address = at;
    initIntervalList(BigInt(address), BigInt(spans.length));
    at += Number(intervalListBytes(BigInt(spans.length)));
    setWord(address, spans.length);
    spans.forEach(({ start, end }, index) => {
      setWord(address + 16 + 16 * index, start);
      setWord(address + 24 + 16 * index, end);
    });
    return address;
  };
  const { ram, kept, busy, home, kernel, initrd } = machine;
  [
    makeList(ram),
    makeList(kept),
    makeList(busy),
    home,
    kernel.start,
    kernel.end - kernel.start,
    Math.max(machine.kernelSpan ?? 0, kernel.end - kernel.start),
    initrd?.start ?? 0,
    initrd ? initrd.end - initrd.start : 0,
  ].forEach((value, index) => setWord(RECORD + 8 * index, value));
  const needed = Number(hostLayoutBytes(BigInt(ram.length), BigInt(kept.length)));
  const error = Number(plan(BigInt(RECORD), BigInt(ALLOCATOR), BigInt(SCRATCH), BigInt(SCRATCH + needed)));

  const result = (index: number) => word(RECORD + 72 + 8 * index);
  const readWords = (list: number, size: number): number[][] =>
    list === 0
      ? []
      : Array.from({ length: word(list) }, (_, entry) =>
          Array.from({ length: size }, (_, index) => word(list + 16 + 8 * (size * entry + index))),
        );
  return {
    error,
    kernelHpa: result(0),
    initrdHpa: result(1),
    kernelGpa: result(2),
    initrdGpa: result(3),
    hostRam: readWords(result(5), 2).map(([start, end]) => ({ start, end })),
    segments: readWords(result(6), 3).map(([gpa, hpa, length]) => ({ gpa, hpa, length })),
  };
}

const down = (value: number) => Math.floor(value / CHUNK) * CHUNK;
const up = (value: number) => Math.ceil(value / CHUNK) * CHUNK;
const chunksOf = ({ start, end }: Span): number[] => {
  const chunks = [];
  for (let at = down(start); at < end; at += CHUNK) chunks.push(at);
  return chunks;
};
const overlap = (a: Span, b: Span) => a.start < b.end && b.start < a.end;

/** Chunks that the host must get: wholly RAM, and nothing in them is kept. */
function hostChunks(machine: Machine): Set<number> {
  const whole = machine.ram.flatMap(({ start, end }) =>
    up(start) < down(end) ? chunksOf({ start: up(start), end: down(end) }) : [],
  );
  const kept = new Set(machine.kept.flatMap(chunksOf));
  return new Set(whole.filter((chunk) => !kept.has(chunk)));
}

/** The rules of the module's comment, for a layout without an error. */
function checkLayout(machine: Machine, layout: Layout): void {
  const expected = hostChunks(machine);
  const home = up(machine.ram[machine.home].start);

  // One contiguous range of host RAM for each range of RAM, as long as the chunks that the host gets there.
  const lengths = machine.ram.map(
    ({ start, end }) => CHUNK * [...expected].filter((chunk) => chunk >= start && chunk < end).length,
  );
  assert.deepEqual(
    layout.hostRam,
    machine.ram
      .map(({ start }, index) => ({ start: up(start), end: up(start) + lengths[index] }))
      .filter(({ start, end }) => start < end),
  );

  // A permutation: every chunk of host RAM has one of the host's chunks, each is used once.
  const map = new Map<number, number>();
  for (const { gpa, hpa, length } of layout.segments) {
    assert.equal(gpa % CHUNK, 0);
    assert.equal(hpa % CHUNK, 0);
    for (let offset = 0; offset < length; offset += CHUNK) {
      assert.ok(!map.has(gpa + offset));
      map.set(gpa + offset, hpa + offset);
    }
  }
  assert.deepEqual(new Set(map.keys()), new Set(layout.hostRam.flatMap(chunksOf)));
  assert.equal(map.size, expected.size);
  assert.deepEqual(new Set(map.values()), expected);
  const toHpa = (gpa: number) => (map.get(down(gpa)) ?? NaN) + (gpa % CHUNK);

  // The images appear whole where they are said to be.
  const size = machine.kernel.end - machine.kernel.start;
  assert.equal(layout.kernelGpa, home + CHUNK);
  for (let offset = 0; offset < size; offset += CHUNK) {
    assert.equal(toHpa(layout.kernelGpa + offset), layout.kernelHpa + offset);
  }
  const { initrd } = machine;
  if (initrd) {
    for (const chunk of chunksOf({ start: layout.initrdHpa, end: layout.initrdHpa + initrd.end - initrd.start })) {
      const hpa = Math.max(chunk, layout.initrdHpa);
      assert.equal(toHpa(layout.initrdGpa + hpa - layout.initrdHpa), hpa);
    }
    // The kernel does not write over it before it can know better.
    const span = Math.max(machine.kernelSpan ?? 0, size);
    const disk = { start: layout.initrdGpa, end: layout.initrdGpa + initrd.end - initrd.start };
    assert.ok(!overlap(disk, { start: layout.kernelGpa, end: layout.kernelGpa + span }));
  }

  // An image stays where it was loaded if it can; else its new place touches nothing that still counts.
  const movedKernel = layout.kernelHpa !== machine.kernel.start;
  assert.equal(
    movedKernel,
    machine.kernel.start % CHUNK !== 0 || chunksOf(machine.kernel).some((chunk) => !expected.has(chunk)),
  );
  const places = (start: number, length: number) => ({ start: down(start), end: up(start + length) });
  if (movedKernel) {
    const place = places(layout.kernelHpa, size);
    for (const other of [machine.kernel, ...machine.busy, ...(initrd ? [initrd] : [])])
      assert.ok(!overlap(place, other));
  }
  if (initrd && layout.initrdHpa !== initrd.start) {
    const place = places(layout.initrdHpa, initrd.end - initrd.start);
    const kernelPlace = places(layout.kernelHpa, size);
    for (const other of [machine.kernel, kernelPlace, initrd, ...machine.busy]) assert.ok(!overlap(place, other));
  }
}

/** QEMU's `virt` with the given RAM, firmware at the start and us after it. */
function virtMachine(ramBytes: number, kernel: Span, initrd?: Span): Machine {
  const end = BASE + ramBytes;
  const tree = down(Math.min(end, 0xc000_0000) - 0x10000);
  return {
    ram: [{ start: BASE, end }],
    kept: [
      { start: BASE, end: BASE + 0x60000 },
      { start: BASE + 2 * MiB, end: BASE + 11 * MiB },
    ],
    busy: [{ start: tree, end: tree + 0x2000 }],
    home: 0,
    kernel,
    initrd,
  };
}

const span = (start: number, size: number): Span => ({ start, end: start + size });

test("2 GiB: the composite image of the original at its usual place", () => {
  const machine = virtMachine(2048 * MiB, span(0xc020_0000, 2.25 * MiB));
  const layout = planLayout(machine);
  assert.equal(layout.error, LayoutError.None);
  checkLayout(machine, layout);
  // 2 MiB of firmware and 10 of ours are missing at the end; all but the kernel, its way, and the back-fill is in place.
  assert.deepEqual(layout.hostRam, [{ start: BASE, end: BASE + (2048 - 12) * MiB }]);
  const identity = layout.segments.filter(({ gpa, hpa }) => gpa === hpa).reduce((sum, { length }) => sum + length, 0);
  assert.equal(identity, (2048 - 12 - 12 - 4) * MiB);
});

test("256 MiB: kernel and initrd close together, initrd at the very top", () => {
  for (const initrd of [span(0x8a50_0000, 3 * MiB), span(BASE + 246 * MiB + 123, 9 * MiB)]) {
    const machine = virtMachine(256 * MiB, span(0x8a20_0000, 2.5 * MiB), initrd);
    machine.busy = [];
    const layout = planLayout(machine);
    assert.equal(layout.error, LayoutError.None);
    checkLayout(machine, layout);
  }
});

test("an initrd that has to move goes right behind the kernel if that is all the room there is", () => {
  // 12 MiB of 64 are kept: the kernel ends 26 MiB after the host's first byte, and 26 more are left.
  const machine = virtMachine(64 * MiB, span(BASE + 12 * MiB, 24 * MiB), span(BASE + 38 * MiB, 26 * MiB));
  machine.busy = [];
  const layout = planLayout(machine);
  assert.equal(layout.error, LayoutError.None);
  checkLayout(machine, layout);
  assert.deepEqual([layout.kernelGpa, layout.initrdGpa], [BASE + 2 * MiB, BASE + 26 * MiB]);
  machine.kernel.end += 1;
  assert.equal(planLayout(machine).error, LayoutError.NoRoomForInitrd);
});

test("an initrd that has to move does not go to a range below the kernel that is too small for it", () => {
  const machine = virtMachine(16 * MiB, span(BASE + 94 * MiB, 24 * MiB), span(BASE + 66 * MiB, 26 * MiB));
  machine.ram.push(span(BASE + 64 * MiB, 64 * MiB));
  machine.busy = [];
  machine.home = 1;
  const layout = planLayout(machine);
  assert.equal(layout.error, LayoutError.None);
  checkLayout(machine, layout);
  assert.deepEqual([layout.kernelGpa, layout.initrdGpa], [BASE + 66 * MiB, BASE + 102 * MiB]);
});

test("two NUMA nodes whose ranges touch: the kernel comes from the second node", () => {
  const machine = virtMachine(1024 * MiB, span(0xc020_0000, 30 * MiB), span(0xc800_0000, 50 * MiB));
  machine.ram.push({ start: 0xc000_0000, end: 0x1_0000_0000 });
  const layout = planLayout(machine);
  assert.equal(layout.error, LayoutError.None);
  checkLayout(machine, layout);
  assert.equal(layout.hostRam.length, 2);
});

test("a kernel that is not 2 MiB aligned is moved", () => {
  const machine = virtMachine(256 * MiB, span(0x8a30_0000, 5 * MiB));
  const layout = planLayout(machine);
  assert.equal(layout.error, LayoutError.None);
  checkLayout(machine, layout);
  assert.equal(layout.kernelHpa % CHUNK, 0);
});

test("a RAM disk in the kernel's last chunk, which the kernel will overwrite, is moved", () => {
  const machine = virtMachine(256 * MiB, span(0x8a20_0000, 2.5 * MiB), span(0x8a20_0000 + 3 * MiB, MiB));
  const together = planLayout(machine);
  assert.deepEqual([together.error, together.initrdHpa], [LayoutError.None, machine.initrd!.start]);
  machine.kernelSpan = 6 * MiB;
  const apart = planLayout(machine);
  assert.equal(apart.error, LayoutError.None);
  checkLayout(machine, apart);
  assert.notEqual(apart.initrdHpa, machine.initrd!.start);
});

test("a RAM disk beyond the end of the host's RAM is at the top of the first range that has room", () => {
  const kernel = span(BASE + 4 * MiB, 4 * MiB);
  const [first, second] = [span(BASE, 16 * MiB), span(BASE + 64 * MiB, 64 * MiB)];
  const kept = [span(BASE, 2 * MiB), span(second.start, 4 * MiB)];
  // Not as large as the disk; large enough, but the kernel is there.
  for (const size of [20 * MiB, 10 * MiB]) {
    const initrd = span(second.end - size, size);
    const machine: Machine = { ram: [first, second], kept, busy: [], home: 0, kernel, initrd };
    const layout = planLayout(machine);
    assert.equal(layout.error, LayoutError.None);
    checkLayout(machine, layout);
    assert.equal(layout.initrdGpa, second.end - 4 * MiB - size);
  }
});

test("the host's device tree is as high as possible in the kernel's range, else in another one", () => {
  const ranges = [0, 64, 128].map((at) => span(BASE + at * MiB, 16 * MiB));
  const machine = (kernelSize: number, initrd?: Span): Machine => ({
    ram: ranges,
    kept: [],
    busy: [],
    home: 1,
    kernel: span(ranges[1].start + 2 * MiB, kernelSize),
    ...(initrd ? { initrd } : {}),
  });
  const place = (setup: Machine, size: number): number => {
    assert.equal(planLayout(setup).error, LayoutError.None);
    return Number(BigInt.asUintN(64, memory.exports["treePlace"](BigInt(RECORD), BigInt(size))));
  };
  assert.equal(place(machine(2 * MiB), 0x3000), ranges[1].end - CHUNK);
  assert.equal(place(machine(2 * MiB), CHUNK + 8), ranges[1].end - 2 * CHUNK, "it is larger than a chunk");
  // What is below the kernel's start is not enough for a large one.
  assert.equal(place(machine(14 * MiB), 0x3000), ranges[1].start);
  assert.equal(place(machine(14 * MiB), CHUNK + 8), ranges[0].end - 2 * CHUNK);
  assert.equal(place(machine(14 * MiB, ranges[0]), CHUNK + 8), ranges[2].end - 2 * CHUNK);
  // Nowhere are three chunks together.
  const spread = [ranges[0], ranges[1], span(ranges[2].start, 4 * MiB)];
  const full = { ...machine(14 * MiB, ranges[0]), ram: spread };
  assert.equal(place(full, 2 * CHUNK + 8), 2 ** 64);
});

test("what cannot work is named", () => {
  const kernel = span(0x8a20_0000, 2 * MiB);
  const errorOf = (change: (machine: Machine) => void): number => {
    const machine = virtMachine(256 * MiB, { ...kernel });
    change(machine);
    return planLayout(machine).error;
  };
  assert.equal(
    errorOf((machine) => (machine.kernel = span(0xc020_0000, MiB))),
    LayoutError.KernelOutsideRam,
  );
  assert.equal(
    errorOf((machine) => (machine.kernel = span(0x8ff0_0000, 2 * MiB))),
    LayoutError.KernelOutsideRam,
  );
  assert.equal(
    errorOf((machine) => (machine.kernel = span(0x8a20_0000, 0))),
    LayoutError.KernelOutsideRam,
  );
  assert.equal(
    errorOf((machine) => (machine.kernel = span(0x8020_0000, MiB))),
    LayoutError.KernelOverlapsKept,
  );
  assert.equal(
    errorOf((machine) => (machine.kernel = span(0x8fdf_0000, MiB))),
    LayoutError.KernelOverlapsKept,
  );
  assert.equal(
    errorOf((machine) => (machine.initrd = span(0x9000_0000, MiB))),
    LayoutError.InitrdOutsideRam,
  );
  assert.equal(
    errorOf((machine) => (machine.initrd = span(0x8000_0000, MiB))),
    LayoutError.InitrdOverlapsKept,
  );
  assert.equal(
    errorOf((machine) => (machine.initrd = span(0x8a30_0000, 64 * MiB))),
    LayoutError.ImagesOverlap,
  );
  assert.equal(
    errorOf((machine) => (machine.initrd = span(2 ** 64 - 4096, 8192))),
    LayoutError.InitrdOutsideRam,
  );
  assert.equal(
    errorOf((machine) => (machine.kernel = span(0x8410_0000, 130 * MiB))),
    LayoutError.NoRoomForKernel,
  );
  assert.equal(
    errorOf((machine) => {
      // The kernel is going to overwrite the disk behind it, and there is no other chunk.
      machine.ram = [{ start: BASE, end: BASE + 6 * MiB }];
      machine.kept = [];
      machine.busy = [];
      machine.kernel = span(BASE + 2 * MiB, MiB);
      machine.kernelSpan = 2 * MiB;
      machine.initrd = span(BASE + 3 * MiB, 3 * MiB);
    }),
    LayoutError.NoRoomForInitrd,
  );
  assert.equal(
    errorOf((machine) => {
      // Both fit, but not behind the 2 MiB that are before the kernel.
      machine.ram = [{ start: BASE, end: BASE + 16 * MiB }];
      machine.kept = [span(BASE, 4 * MiB)];
      machine.busy = [];
      machine.kernel = span(BASE + 4 * MiB, 4 * MiB);
      machine.initrd = span(BASE + 8 * MiB, 8 * MiB);
    }),
    LayoutError.NoRoomForInitrd,
  );
  assert.equal(
    errorOf((machine) => {
      machine.ram = [
        { start: BASE, end: BASE + 16 * MiB },
        { start: BASE + 32 * MiB, end: BASE + 64 * MiB },
      ];
      machine.busy = [];
      machine.kernel = span(BASE + 32 * MiB, 8 * MiB);
    }),
    LayoutError.HomeTooSmall,
  );
});

test("any machine: nothing is lost, nothing is given twice", () => {
  const unit = 0x8_0000; // a quarter of a chunk, so that ranges share chunks and are misaligned often
  const spans = (count: number, length: number) =>
    fc.array(fc.record({ gap: fc.nat(40), size: fc.integer({ min: 1, max: length }) }), {
      minLength: 1,
      maxLength: count,
    });
  /** Sorted, disjoint spans from gaps and sizes. */
  const lay = (start: number, list: { gap: number; size: number }[]): Span[] => {
    let at = start;
    return list.map(({ gap, size }) => {
      const from = at + gap * unit;
      at = from + size * unit;
      return { start: from, end: at };
    });
  };
  let planned = 0;
  fc.assert(
    fc.property(
      spans(4, 400),
      spans(6, 12),
      fc.array(fc.nat(1200), { maxLength: 2 }),
      fc.nat(),
      fc.tuple(fc.nat(1200), fc.integer({ min: 1, max: 60 }), fc.nat(3)),
      fc.option(fc.tuple(fc.nat(1200), fc.integer({ min: 1, max: 60 }), fc.nat(5000))),
      fc.nat(80),
      (ram, kept, busy, home, kernel, initrd, kernelSpan) => {
        const aligned = kernel[2] !== 0;
        const kernelStart = BASE + kernel[0] * unit;
        const machine: Machine = {
          ram: lay(BASE, ram),
          kept: lay(BASE, kept),
          busy: busy.map((at) => span(BASE + at * unit, 0x3000)).sort((a, b) => a.start - b.start),
          home: 0,
          kernel: span(aligned ? down(kernelStart) : kernelStart, kernel[1] * unit - 17),
          kernelSpan: kernelSpan * unit,
          initrd: initrd ? span(BASE + initrd[0] * unit + initrd[2], initrd[1] * unit) : undefined,
        };
        machine.busy = machine.busy.filter((one, index) => index === 0 || one.start !== machine.busy[index - 1].start);
        machine.home = home % machine.ram.length;
        const layout = planLayout(machine);
        const { kernel: image, initrd: disk } = machine;
        const covered = (one: Span) => {
          let at = one.start;
          for (const { start, end } of machine.ram) if (start <= at && at < end) at = end;
          return at >= one.end;
        };
        const clash = (one: Span) => [...machine.kept, ...machine.busy].some((other) => overlap(one, other));
        if (!covered(image)) assert.equal(layout.error, LayoutError.KernelOutsideRam);
        else if (clash(image)) assert.equal(layout.error, LayoutError.KernelOverlapsKept);
        else if (disk && !covered(disk)) assert.equal(layout.error, LayoutError.InitrdOutsideRam);
        else if (disk && clash(disk)) assert.equal(layout.error, LayoutError.InitrdOverlapsKept);
        else if (disk && overlap(image, disk)) assert.equal(layout.error, LayoutError.ImagesOverlap);
        else if (layout.error === LayoutError.None) {
          planned++;
          checkLayout(machine, layout);
        } else assert.ok(layout.error >= LayoutError.NoRoomForKernel);
      },
    ),
    { numRuns: 4000 },
  );
  assert.ok(planned > 300, `only ${planned} of the random machines had a layout`);
});
