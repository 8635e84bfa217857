import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { cells64, treeNode } from "../../../machine/simulated/device-tree-blob.ts";
import { Iommu, type IommuOptions } from "../../../machine/simulated/iommu.ts";
import type { MachineOptions } from "../../../machine/simulated/machine-options.ts";
import { Csr } from "../../../machine/simulated/csr-numbers.ts";
import type { DoorReplacement } from "../../../machine/simulated/door.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { ECAM_BASE, PCI_WINDOW, type PciFunctionSpec } from "../../../machine/simulated/pci.ts";
import { CoveHost, TVM_MEMORY, type Tvm } from "../support/simulated/cove-host.ts";
import { changedTree } from "../support/simulated/pci-host.ts";
import { Covh, Eid, Sbi } from "../support/simulated/sbi.ts";

/** DMA of the host's devices: it reaches what the host reaches, and only as long as the host does. */

const DEVICE = 0x10;
const OTHER = 0x18;
const MASTER = 4;
const SOFTWARE = 1n << 1n;
/** A gpa where the host has nothing, though the machine has RAM there. */
const NOWHERE = 0x81f0_0000;
const IMSIC = 0x2800_0000;
const TARGET = TVM_MEMORY + 0x10_0000;
const IOMMU_FUNCTION = 8;
const IN_PCI: IommuOptions = { function: IOMMU_FUNCTION };
const DEVICES: PciFunctionSpec[] = [
  { devfn: DEVICE },
  { devfn: OTHER, bars: [{ index: 0, size: 0x1000, kind: "memory32" }] },
];

/** A host whose devices are bus masters, as far as they may be. */
async function boot(iommu: IommuOptions | undefined, options: Partial<MachineOptions> = {}): Promise<CoveHost> {
  const host = await CoveHost.boot({ options: { pci: DEVICES, iommu, ...options } });
  for (const devfn of [DEVICE, OTHER]) host.store(ECAM_BASE + (devfn << 12) + 4, 2, MASTER);
  return host;
}

interface Converted {
  host: CoveHost;
  iommu: Iommu;
  tvm: Tvm;
  page: number;
}

/** A TVM, and a page of the host that a device has written to, so the IOMMU knows it: converted and not fenced. */
async function converted(): Promise<Converted> {
  const host = await boot(IN_PCI);
  const tvm = host.buildTvm();
  const page = host.take(1);
  host.machine.dma(DEVICE, page, 1);
  host.must("convertPages", page, 1);
  return { host, iommu: host.machine.iommu!, tvm, page };
}

/** The page cannot be given to the TVM yet. */
function isHeldBack({ host, tvm, page }: Pick<Converted, "host" | "tvm" | "page">): void {
  host.refuses("invalidAddress", "addZeroPages", tvm.id, page, 0, 1, TARGET);
}

/** The page can be given to the TVM, and no device reaches it. */
function isGivenAway({ host, tvm, page }: Pick<Converted, "host" | "tvm" | "page">): void {
  host.must("addZeroPages", tvm.id, page, 0, 1, TARGET);
  assert.equal(host.machine.dma(DEVICE, page), undefined);
}

const kinds: [string, IommuOptions][] = [
  ["a PCI function, base contexts", IN_PCI],
  ["a PCI function, extended contexts", { ...IN_PCI, extended: true }],
  ["a platform device", { extended: true }],
  ["one level of directory", { ...IN_PCI, levels: 1 }],
  ["slow with its directory", { ...IN_PCI, busyReads: 20 }],
  ["left by the firmware as it lets everything pass", { ...IN_PCI, firmwareMode: 1 }],
];

describe("devices behind an IOMMU that is", () => {
  for (const [name, iommu] of kinds) {
    test(name, async () => {
      const host = await boot(iommu);
      const { machine } = host;
      const page = host.take(1);
      assert.equal(machine.dma(DEVICE, page, 1234), 1234);
      assert.equal(host.load(page, 4), 1234n);
      // The host sees neither the IOMMU nor its registers.
      assert.equal(host.load(ECAM_BASE + (IOMMU_FUNCTION << 12), 4), 0xffff_ffffn);
      // A message to the host's own interrupt file arrives in its guest file.
      machine.dma(DEVICE, IMSIC, 5);
      assert.equal(machine.imsic!.harts[0].guest(1)?.pending, 1n << 5n);
      host.checker.check();
    });
  }

  test("buses and aliases of bridges, directories of more levels", async () => {
    const behind: PciFunctionSpec[] = [{ devfn: 8, behind: [{ devfn: 0x20 }] }];
    for (const levels of [2, 3]) {
      const host = await CoveHost.boot({
        options: { pci: behind, iommu: { extended: true, levels } },
      });
      assert.match(host.machine.console, /levels of the device directory: 2 /);
      host.store(ECAM_BASE + (8 << 12) + 0x18, 4, 0x01_01_00);
      host.store(ECAM_BASE + (1 << 20) + (0x20 << 12) + 4, 2, MASTER);
      const page = host.take(1);
      assert.equal(host.machine.dma(0x120, page, 7), 7);
      assert.ok("hpa" in host.machine.iommu!.translate(0x100, BigInt(page), false));
    }
  });

  test("too few levels: a device without a context is no bus master, the others are", async () => {
    const host = await CoveHost.boot({
      options: { pci: [{ devfn: 0xf8 }, { devfn: DEVICE }], iommu: { extended: true, levels: 1 } },
    });
    assert.match(host.machine.console, /levels of the device directory: 1 \(extended\), devices of the host: 1$/m);
    for (const devfn of [0xf8, DEVICE]) host.store(ECAM_BASE + (devfn << 12) + 4, 2, MASTER);
    const page = host.take(1);
    assert.equal(host.machine.dma(0xf8, page, 1), undefined);
    assert.equal(host.machine.dma(DEVICE, page, 5), 5);
  });

  test("no directory at all: nobody is a bus master", async () => {
    const host = await CoveHost.boot({ options: { pci: [{ devfn: DEVICE }], iommu: { levels: 0 } } });
    assert.match(host.machine.console, /is not used: it accepts no device directory/);
    host.store(ECAM_BASE + (DEVICE << 12) + 4, 2, MASTER);
    assert.equal(host.machine.dma(DEVICE, host.take(1), 1), undefined);
  });
});

describe("memory that the host gave away", () => {
  for (const [name, iommu] of kinds) {
    test(`cannot be reached by its devices (${name})`, async () => {
      const host = await boot(iommu);
      const { machine } = host;
      const tvm = host.buildTvm();
      const page = host.take(1);
      machine.dma(DEVICE, page, 1);
      machine.dma(OTHER, page, 2);
      host.must("convertPages", page, 1);
      // Converted and not fenced: the IOMMU may still remember, so nobody can have it.
      isHeldBack({ host, tvm, page });
      host.fence();
      assert.equal(machine.dma(DEVICE, page, 3), undefined);
      host.must("addZeroPages", tvm.id, page, 0, 1, TARGET);
      assert.equal(machine.dma(DEVICE, page, 4), undefined);
      assert.equal(machine.dma(OTHER, page), undefined);
      host.checker.check();
    });
  }

  test("and reclaimed can be reached again", async () => {
    const host = await boot(IN_PCI);
    const page = host.take(1);
    host.must("convertPages", page, 1);
    host.fence();
    assert.equal(host.machine.dma(DEVICE, page, 1), undefined);
    host.must("reclaimPages", page, 1);
    assert.equal(host.machine.dma(DEVICE, page, 9), 9);
  });

  test("nor can what was never its: the hypervisor, devices, the IOMMU", async () => {
    const host = await boot(IN_PCI);
    // Behind the host's RAM, which is less than the machine's.
    const own = host.machine.root.address;
    const before = host.machine.memory.read64(own);
    host.machine.dma(DEVICE, own, 0xdead);
    assert.equal(host.machine.memory.read64(own), before);
    const registers = PCI_WINDOW.base + PCI_WINDOW.size - 0x1000;
    for (const address of [NOWHERE, 0x10_0000, registers, ECAM_BASE, 0x8000_0000_0000]) {
      assert.equal(host.machine.dma(DEVICE, address), undefined, address.toString(16));
    }
    assert.equal(host.trapOf({ kind: "load", gva: BigInt(registers), width: 4 } as never).cause, 5);
  });
});

describe("reports", () => {
  test("a blocked write is logged with the device's address", async () => {
    const host = await boot(IN_PCI);
    host.machine.dma(DEVICE, NOWHERE, 1);
    host.step();
    assert.match(host.machine.console, /IOMMU: blocked a write by device 0:0x0:0x2\.0 at 0x[0-9a-f]+, cause 23/);
  });

  test("all kinds of records: what the device wanted, who it was, and where", async () => {
    const host = await boot(IN_PCI);
    const READ = 2n;
    const WRITE = 3n;
    const record = (kind: bigint, cause: bigint, device = DEVICE): bigint =>
      cause | (kind << 34n) | (BigInt(device) << 40n);
    const records: [bigint, RegExp][] = [
      [record(0n, 272n), /blocked an action of its own at 0x1000, cause 272$/m],
      [record(6n, 260n), /blocked a translated request by device 0:0x0:0x2\.0 at 0x2000, cause 260$/m],
      [record(READ, 6n), /blocked a write by device 0:0x0:0x2\.0 at 0x3000, cause 6$/m],
      [record(READ, 7n), /blocked a write by device 0:0x0:0x2\.0 at 0x4000, cause 7$/m],
      [record(READ, 15n, OTHER), /blocked a write by device 0:0x0:0x3\.0 at 0x5000, cause 15$/m],
      // QEMU says "write" to whatever it is.
      [record(WRITE, 5n), /blocked a read by device 0:0x0:0x2\.0 at 0x6000, cause 5$/m],
      [record(WRITE, 258n, 0x77), /blocked a write by unknown device id 0x77 at 0x7000, cause 258$/m],
      [record(READ, 258n), /blocked a read by device 0:0x0:0x2\.0 at 0x8000, cause 258$/m],
    ];
    records.forEach(([head], index) => host.machine.iommu!.report(head, BigInt(index + 1) << 12n));
    host.step();
    for (const [, line] of records) assert.match(host.machine.console, line);
  });

  for (const [name, iommu, options] of [
    ["wires", { ...IN_PCI, wired: true }, {}],
    ["messages, without interrupt files", IN_PCI, { guestFiles: undefined }],
  ] as [string, IommuOptions, Partial<MachineOptions>][]) {
    test(`an IOMMU that interrupts by ${name}: faults are seen at the next fence`, async () => {
      const host = await boot(iommu, options);
      const page = host.take(1);
      assert.equal(host.machine.dma(DEVICE, page, 7), 7);
      assert.equal(host.machine.iommu!.read(0x300, 8), 0n, "messages go nowhere");
      assert.equal((host.machine.iommu!.read(0x08, 4) & 2n) !== 0n, iommu.wired ?? false);
      host.machine.dma(DEVICE, NOWHERE, 1);
      host.step();
      assert.doesNotMatch(host.machine.console, /blocked/);
      host.must("convertPages", page, 1);
      host.fence();
      assert.match(host.machine.console, /blocked a write by device 0:0x0:0x2\.0/);
      assert.equal(host.machine.dma(DEVICE, page, 8), undefined);
    });
  }

  test("a storm of faults is a few lines, and its end is counted", async () => {
    const host = await boot(IN_PCI);
    for (let i = 0; i < 1000; i++) host.machine.dma(DEVICE, NOWHERE);
    host.fence();
    const lines = (host.machine.console.match(/blocked a read/g) ?? []).length;
    assert.ok(lines >= 1 && lines <= 8, `${lines} lines`);
    host.machine.clock.advance(100_000_000n);
    host.machine.dma(OTHER, NOWHERE);
    host.fence();
    assert.match(host.machine.console, /faults that were not shown: \d+/);
    assert.match(host.machine.console, /blocked a read by device 0:0x0:0x3\.0/);
  });
});

const LOST_STUCK = /at 0x[0-9a-f]+, which cannot be turned off, does not answer/;

describe("IOMMUs that do not do what they should", () => {
  const useless: [string, IommuOptions, RegExp][] = [
    ["another version", { ...IN_PCI, version: 0x20 }, /version that is not known/],
    ["no mode for the host's tables", { ...IN_PCI, gStageModes: ["sv57"] }, /does not have the host's G-stage mode/],
    ["commands that are never executed", { ...IN_PCI, commands: "never" }, /does not answer/],
    ["commands that are refused", { ...IN_PCI, commands: "refuse" }, /does not answer/],
    ["another byte order", { ...IN_PCI, bigEndian: true }, /is not used: it insists on another byte order/],
    ["a directory pointer that the firmware left busy for ever", { neverReady: "since the firmware" }, LOST_STUCK],
    ["a directory pointer that is busy for ever", { ...IN_PCI, busyReads: Infinity }, LOST_STUCK],
    ["a directory that is never turned on", { neverReady: "when turned on" }, LOST_STUCK],
    [
      "another version, and it lets everything pass",
      { ...IN_PCI, version: 0x20, firmwareMode: 1, cannotStop: true },
      /at 0x[0-9a-f]+, which cannot be turned off, has a version that is not known/,
    ],
    ...(["command", "fault", "page"] as const).map((queue): [string, IommuOptions, RegExp] => [
      `a ${queue} queue that does not stop`,
      { ...IN_PCI, stuckQueue: { queue, on: true } },
      /is not used: it does not answer/,
    ]),
    ...(["command", "fault"] as const).map((queue): [string, IommuOptions, RegExp] => [
      `a ${queue} queue that does not start`,
      { ...IN_PCI, stuckQueue: { queue, on: false } },
      /is not used: it does not answer/,
    ]),
  ];
  for (const [name, iommu, complaint] of useless) {
    test(`${name}: no device is a bus master`, async () => {
      const host = await boot(iommu);
      assert.match(host.machine.console, complaint);
      assert.equal(host.load(ECAM_BASE + (DEVICE << 12) + 4, 2), 0n);
      assert.equal(host.machine.dma(DEVICE, host.take(1), 1), undefined);
      // The host goes on without DMA.
      const page = host.take(1);
      host.must("convertPages", page, 1);
      host.fence();
      host.must("addZeroPages", host.buildTvm().id, page, 0, 1, TARGET);
    });
  }

  test("one that gets slow holds fences back until it is done", async () => {
    const { host, iommu, tvm, page } = await converted();
    iommu.options.commands = "late";
    host.must("initiateFence");
    // It still remembers the page.
    isHeldBack({ host, tvm, page });
    host.refuses("alreadyStarted", "initiateFence");
    iommu.work();
    host.must("localFence");
    isGivenAway({ host, tvm, page });
  });

  test("one that is slow keeps nobody from an interrupt, and the call is over when it is done", async () => {
    const { host, iommu, tvm, page } = await converted();
    host.writeCsr("sie", SOFTWARE);
    host.writeCsr("sip", SOFTWARE);
    iommu.options.commands = "late";
    // Begun, and more it cannot do.
    host.must("initiateFence");
    isHeldBack({ host, tvm, page });
    const isMadeAgain = (call: number, ...args: number[]): void => {
      host.machine.begin(host.hart, operations.ecall(Eid.covh, call, ...args));
      for (let i = 0; i < 3; i++) host.machine.step(host.hart);
      assert.equal(host.context.ending, undefined, "it is made again");
    };
    const isOver = (): void => {
      iommu.work();
      const outcome = host.resume();
      assert("done" in outcome);
      assert.equal((outcome.done as { error: bigint }).error, Sbi.success);
    };
    isMadeAgain(Covh.initiateFence);
    host.context.pending = undefined;
    isMadeAgain(Covh.localFence);
    isOver();
    // Pages that come back are the host's, and the call waits until its devices see it.
    const back = host.take(1);
    host.must("convertPages", back, 1);
    iommu.options.commands = "at once";
    host.fence();
    iommu.options.commands = "late";
    isMadeAgain(Covh.reclaimPages, back, 1);
    isOver();
    assert.equal(host.load(back, 8), 0n);
    isGivenAway({ host, tvm, page });
  });

  test("two IOMMUs: a fence is complete when both have forgotten", async () => {
    const options: Partial<MachineOptions> = { pci: DEVICES, iommu: {} };
    const SECOND = { base: 0x0302_0000, phandle: 0x2001 };
    const deviceTree = await changedTree(options, ({ soc, bridges }) => {
      soc.children.push(
        treeNode("iommu@3020000", {
          compatible: "riscv,iommu",
          reg: cells64(SECOND.base, 0x1000),
          phandle: [SECOND.phandle],
        }),
      );
      bridges[0].properties["iommu-map"] = [DEVICE, 0x2000, DEVICE, 1, OTHER, SECOND.phandle, OTHER, 1];
    });
    const machine = await Machine.create({ options, deviceTree });
    const first = machine.iommu!;
    const second = new Iommu({}, machine.memory);
    machine.devices.devices.push({
      name: "second iommu",
      base: SECOND.base,
      size: 0x1000,
      read: (offset, width) => second.read(offset, width),
      write: (offset, width, value) => second.write(offset, width, value),
    });
    machine.boot();
    const host = CoveHost.on(machine);
    assert.equal(machine.console.match(/IOMMU at 0x30[12]0000, .*devices of the host: 1$/gm)?.length, 2);
    const tvm = host.buildTvm();
    for (const slow of [first, second]) {
      const page = host.take(1);
      const remembers = (iommu: Iommu): boolean => iommu.cachedLeaves().some(({ from }) => from === BigInt(page));
      // Away and back: it is mapped by itself then, and both know it.
      host.must("convertPages", page, 1);
      host.fence();
      host.must("reclaimPages", page, 1);
      assert.ok("hpa" in first.translate(DEVICE, BigInt(page), false));
      assert.ok("hpa" in second.translate(OTHER, BigInt(page), false));
      assert.ok(remembers(first) && remembers(second));
      host.must("convertPages", page, 1);
      slow.options.commands = "late";
      host.must("initiateFence");
      assert.deepEqual([remembers(first), remembers(second)], [slow === first, slow === second]);
      host.refuses("invalidAddress", "addZeroPages", tvm.id, page, 0, 1, TARGET + (slow === first ? 0 : 0x1000));
      slow.options.commands = "at once";
      slow.work();
      host.must("localFence");
      host.must("addZeroPages", tvm.id, page, 0, 1, TARGET + (slow === first ? 0 : 0x1000));
      assert.ok(!remembers(first) && !remembers(second));
    }
  });

  test("a look at it is short: the registers of the IOMMU are read a few hundred times between two looks at what is pending", async () => {
    let reads = 0;
    let most = 0;
    let all = 0;
    const door: DoorReplacement = (usual) => {
      const { mmioRead32, mmioRead64, csrRead } = usual as Record<string, (...args: unknown[]) => unknown>;
      const counted = (read: typeof csrRead) => (at: bigint) => {
        most = Math.max(most, ++reads);
        all++;
        return read(at);
      };
      return {
        mmioRead32: counted(mmioRead32),
        mmioRead64: counted(mmioRead64),
        csrRead: (csr: number) => {
          if (csr === Csr.sip) reads = 0;
          return csrRead(csr);
        },
      };
    };
    const host = await CoveHost.boot({ options: { pci: DEVICES, iommu: IN_PCI }, door });
    const { options } = host.machine.iommu!;
    host.must("convertPages", host.take(1), 1);
    options.commands = "never";
    most = reads = all = 0;
    host.must("initiateFence");
    host.must("localFence");
    // Then it refuses, and does not turn off for long.
    Object.assign(options, { commands: "refuse", busyReads: 1_000_000 });
    host.machine.iommu!.work();
    for (let i = 0; i < 4; i++) host.must("localFence");
    assert(all > 50_000, `${all} reads`);
    assert(most < 300, `${most} reads in one go`);
  });

  test("what comes back while it is at work is forgotten as well", async () => {
    const host = await boot(IN_PCI);
    const iommu = host.machine.iommu!;
    const [first, second] = [host.take(1), host.take(1)];
    host.must("convertPages", first, 1);
    host.must("convertPages", second, 1);
    host.fence();
    iommu.options.commands = "late";
    host.must("reclaimPages", first, 1);
    host.must("reclaimPages", second, 1);
    const invalidations = (): number => iommu.invalidations;
    const before = invalidations();
    iommu.work();
    assert.equal(invalidations(), before + 1);
    // Whoever looks next sends what was asked for meanwhile.
    host.must("localFence");
    iommu.work();
    assert.equal(invalidations(), before + 2);
  });

  test("one that begins to refuse commands is turned off", async () => {
    const { host, iommu, tvm, page } = await converted();
    iommu.options.commands = "refuse";
    host.fence();
    assert.equal(iommu.mode, 0);
    assert.match(host.machine.console, /it is turned off, its devices have no DMA any more/);
    assert.equal(host.machine.dma(DEVICE, host.take(1), 1), undefined);
    host.must("addZeroPages", tvm.id, page, 0, 1, TARGET);
    // Nobody asks it for anything any more, and nobody waits for it.
    const tail = iommu.read(0x24, 4);
    const back = host.take(1);
    host.must("convertPages", back, 1);
    host.fence();
    host.must("reclaimPages", back, 1);
    assert.equal(host.load(back, 8), 0n);
    assert.equal(iommu.read(0x24, 4), tail);
  });

  test("one that takes its time to turn off holds fences back until it has", async () => {
    const { host, iommu, tvm, page } = await converted();
    Object.assign(iommu.options, { commands: "refuse", busyReads: 50_000 });
    host.must("initiateFence");
    // Its devices still get to the page.
    assert.equal(host.machine.dma(DEVICE, page), 1);
    isHeldBack({ host, tvm, page });
    for (let i = 0; i < 3; i++) host.must("localFence");
    assert.match(host.machine.console, /it is turned off, its devices have no DMA any more/);
    isGivenAway({ host, tvm, page });
  });

  test("one that is never done with turning off is given up, and keeps pages where they are", async () => {
    const { host, iommu, tvm, page } = await converted();
    Object.assign(iommu.options, { commands: "refuse", busyReads: Infinity });
    host.must("initiateFence");
    for (let calls = 0; calls < 101; calls++) host.must("localFence");
    assert.match(host.machine.console, /it cannot be turned off, the host's pages stay where they are/);
    assert.equal(host.machine.dma(DEVICE, page), 1);
    isHeldBack({ host, tvm, page });
    host.refuses("alreadyStarted", "initiateFence");
  });

  test("one that never executes a command is turned off in the end, and nothing is given away before", async () => {
    const { host, iommu, tvm, page } = await converted();
    iommu.options.commands = "never";
    host.must("initiateFence");
    let calls = 0;
    while (!host.machine.console.includes("it is turned off")) {
      isHeldBack({ host, tvm, page });
      host.must("localFence");
      assert(++calls <= 100, "it is given up some time");
    }
    assert(calls > 50, "and not too early");
    isGivenAway({ host, tvm, page });
  });

  test("one that cannot even be turned off keeps pages where they are", async () => {
    const { host, iommu, tvm, page } = await converted();
    Object.assign(iommu.options, { commands: "refuse", cannotStop: true });
    host.covh("initiateFence");
    isHeldBack({ host, tvm, page });
  });
});

test("random conversions, fences and reclaims, with devices that never stop", async () => {
  const host = await boot({ ...IN_PCI, extended: true });
  const { machine } = host;
  const pages = 24;
  const first = host.take(pages);
  let seed = 4711;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const answers = new Set<bigint>();
  for (let turn = 0; turn < 600; turn++) {
    const page = first + random(pages) * 0x1000;
    const count = 1 + random(4);
    const call = random(6);
    if (call === 0) answers.add(host.covh("convertPages", page, count).error);
    else if (call === 1) answers.add(host.covh("reclaimPages", page, count).error);
    else if (call === 2) host.covh("initiateFence");
    else if (call === 3) host.covh("localFence");
    for (let i = 0; i < 3; i++) {
      // The checker looks at what the IOMMU remembers of this after each call.
      machine.dma(random(2) === 0 ? DEVICE : OTHER, first + random(pages) * 0x1000, random(2) === 0 ? turn : undefined);
    }
  }
  assert.deepEqual([...answers].sort(), [-5n, ...new Set([...answers].filter((each) => each === 0n))].sort());
  assert.ok(answers.has(0n));
});

describe("does the checker see it?", () => {
  test("a bus master without an IOMMU", async () => {
    const host = await boot(undefined);
    host.machine.pci!.at(0, DEVICE)!.writeRegister(4, MASTER);
    assert.throws(() => host.checker.check(), /no IOMMU confines it/);
  });

  test("an IOMMU that says it has forgotten and has not", async () => {
    const host = await boot(IN_PCI);
    const iommu = host.machine.iommu!;
    const page = host.take(1);
    host.machine.dma(DEVICE, page, 1);
    host.must("convertPages", page, 1);
    iommu.options.commands = "lie";
    assert.throws(() => host.fence(), /a stale translation can still be used/);
  });
});
