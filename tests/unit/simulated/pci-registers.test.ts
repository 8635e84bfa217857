import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { PciFunctionModel, PciCapabilitySpec, PciFunctionSpec } from "../../../machine/simulated/pci.ts";
import { PCI_WINDOW } from "../../../machine/simulated/pci.ts";
import { bootPci, type PciHostDriver } from "../support/simulated/pci-host.ts";

/** Register by register: what the host reads, and what of its writes gets to the device. */

const DEVICE = 8;
const BRIDGE = 8;
const ONES = 0xffff_ffff;
const [COMMAND, BUSES, IO, PREFETCH, PREFETCH_BASE, PREFETCH_LIMIT, IO_UPPER, LIST] = [
  0x04, 0x18, 0x1c, 0x24, 0x28, 0x2c, 0x30, 0x34,
];
const CLOSED = 0xfff0;
/** The low bits say that it has 32. */
const CLOSED_IO = 0x1f1;

/** A capability: its control half, then 32-bit words. */
function capability(offset: number, id: number, control: number, ...words: number[]): PciCapabilitySpec {
  const bytes = new Uint8Array(4 + 4 * words.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, id | (control << 16), true);
  words.forEach((word, index) => view.setUint32(4 + 4 * index, word, true));
  return { offset, bytes: [...bytes] };
}

/** An extended capability of version 1. */
function extended(offset: number, id: number, next: number, ...words: number[]): PciCapabilitySpec {
  return capability(offset, id, 1 | (next << 4), ...words);
}

async function boot(...pci: PciFunctionSpec[]): Promise<{ host: PciHostDriver; device: PciFunctionModel }> {
  const { machine, host } = await bootPci({ options: { pci } });
  return { host, device: machine.pci!.functions[0] };
}

const stored = (device: PciFunctionModel, offset: number): number => device.config.getUint32(offset, true);

/** Offsets of the capabilities that the host finds. */
function listed(host: PciHostDriver): number[] {
  const found: number[] = [];
  for (let at = host.read(DEVICE, LIST); at !== 0; at = host.read(DEVICE, at + 1, 1)) found.push(at);
  return found;
}

describe("message signalled interrupts", () => {
  const WIDE = 0x80;
  const MASKING = 0x100;
  const kinds: [string, number, number[]][] = [
    ["32 bits", 0, [0xffff_fffc, 0xffff]],
    ["64 bits", WIDE, [0xffff_fffc, ONES, 0xffff]],
    ["32 bits and masks", MASKING, [0xffff_fffc, 0xffff, ONES, 0]],
    ["64 bits and masks", WIDE | MASKING, [0xffff_fffc, ONES, 0xffff, ONES, 0]],
  ];
  for (const [name, control, expected] of kinds) {
    test(`${name}: address, data and mask are the host's, pending bits the device's`, async () => {
      const { host, device } = await boot({
        devfn: DEVICE,
        capabilities: [capability(0x40, 5, control, 0, 0, 0, 0, 0)],
      });
      assert.equal(host.read(DEVICE, 0x42, 2), control);
      for (let at = 4; at < 24; at += 4) host.write(DEVICE, 0x40 + at, ONES);
      const words = [4, 8, 12, 16, 20].map((at) => stored(device, 0x40 + at));
      // What is behind the capability is nobody's.
      assert.deepEqual(words, [...expected, 0, 0, 0, 0].slice(0, 5));
      assert.deepEqual(
        [4, 8, 12, 16, 20].map((at) => host.read(DEVICE, 0x40 + at)),
        words,
      );
      host.write(DEVICE, 0x42, 0xffff, 2);
      assert.equal(host.read(DEVICE, 0x42, 2), control | 0x71, "enabled, number of messages");
    });
  }
});

describe("PCI Express", () => {
  /** Version 2 of the kind `type`, with a slot, and something in each register. */
  const express = (type: number, version = 2, slot = 0): PciCapabilitySpec =>
    capability(
      0x70,
      0x10,
      version | (type << 4) | slot,
      ...[0x1000_8001, 0, 0x0004_3c11, 0, 0x55, 0x66, 0, 0, 0x3f, 0, 0, 0, 0, 0],
    );

  test("no reset of the function, no slot, no ARI; the rest of the capabilities is shown", async () => {
    const { host } = await boot({ devfn: DEVICE, capabilities: [express(0, 2, 0x100)] });
    assert.equal(host.read(DEVICE, 0x72, 2), 2);
    assert.equal(host.read(DEVICE, 0x74), 0x8001);
    assert.equal(host.read(DEVICE, 0x7c), 0x0004_3c11);
    assert.equal(host.read(DEVICE, 0x84), 0, "slot");
    assert.equal(host.read(DEVICE, 0x88), 0, "slot");
    assert.equal(host.read(DEVICE, 0x94), 0x1f);
  });

  test("controls are merged, everything else stays", async () => {
    const { host, device } = await boot({ devfn: DEVICE, capabilities: [express(0)] });
    const before = Array.from({ length: 15 }, (_, index) => stored(device, 0x70 + 4 * index));
    for (let at = 0; at < 60; at += 4) host.write(DEVICE, 0x70 + at, ONES);
    const changed = new Map<number, number>([
      [0x08, 0x000f_79ff],
      [0x10, 0xc000_00cb],
      [0x1c, 0x1f],
      [0x20, 0x1_0000],
      [0x28, 0x41f],
    ]);
    before.forEach((word, index) => {
      assert.equal(stored(device, 0x70 + 4 * index), changed.get(4 * index) ?? word, `register ${4 * index}`);
    });
    // What ones clear is not set by them: controls take zeros too.
    for (const [at, bits] of [
      [0x08, 0x79ff],
      [0x28, 0x41f],
    ]) {
      host.write(DEVICE, 0x70 + at + 1, 0, 1);
      assert.equal(stored(device, 0x70 + at) & bits, bits & 0xff, `register ${at}, a byte of it`);
      host.write(DEVICE, 0x70 + at, 0);
      assert.equal(stored(device, 0x70 + at) & bits, 0, `register ${at}`);
    }
  });

  test("version 1 ends behind the link", async () => {
    const { host, device } = await boot({ devfn: DEVICE, capabilities: [express(0, 1)] });
    assert.equal(host.read(DEVICE, 0x7c), 0x0004_3c11);
    assert.equal(host.read(DEVICE, 0x94), 0);
    host.write(DEVICE, 0x98, ONES);
    assert.equal(stored(device, 0x98), 0);
  });

  const bridges: [string, PciCapabilitySpec[], boolean][] = [
    ["a root port", [express(4, 2, 0x100)], true],
    ["a port of a switch that leads down", [express(6)], true],
    ["a port of a switch that leads up", [express(5)], false],
    ["a bridge to conventional PCI", [express(7)], false],
    ["a bridge with a list in circles", [{ ...capability(0x60, 9, 8, 1), next: 0x60 }], false],
    ["a bridge with other capabilities first", [capability(0x60, 9, 8, 1), express(4)], true],
  ];
  for (const [name, capabilities, link] of bridges) {
    test(`behind ${name} ${link ? "is one device, whatever answers" : "are all devices"}`, async () => {
      const behind = [0, DEVICE].map((devfn) => ({ devfn, device: 0x1000 + devfn }));
      const { host } = await boot({ devfn: BRIDGE, capabilities, behind });
      host.write(BRIDGE, BUSES, 0x01_01_00);
      assert.equal(host.read(0, 2, 2, 1), 0x1000);
      assert.equal(host.read(DEVICE, 2, 2, 1), link ? 0xffff : 0x1000 + DEVICE);
    });
  }
});

describe("other capabilities", () => {
  test("a bridge's subsystem can be read", async () => {
    const { host, device } = await boot({
      devfn: BRIDGE,
      behind: [],
      capabilities: [capability(0x40, 0x0d, 0, 0x4321_1b36)],
    });
    assert.deepEqual(listed(host), [0x40]);
    assert.equal(host.read(BRIDGE, 0x44), 0x4321_1b36);
    host.write(BRIDGE, 0x44, 0);
    assert.equal(stored(device, 0x44), 0x4321_1b36);
  });

  test("error reports: ones clear, masks are merged, the log and what follows is the device's", async () => {
    const words = Array.from({ length: 10 }, (_, index) => 0x1111_1111 * (index + 1));
    const { host, device } = await boot({ devfn: DEVICE, capabilities: [extended(0x100, 1, 0, ...words)] });
    assert.equal(host.read(DEVICE, 0x104), words[0]);
    host.write(DEVICE, 0x104, 0x20);
    assert.equal(stored(device, 0x104), 0x20, "the device gets the host's ones and no others");
    host.write(DEVICE, 0x111, 0x80, 1);
    assert.equal(stored(device, 0x110), 0x8000);
    host.write(DEVICE, 0x108, 0xaa, 1);
    assert.equal(stored(device, 0x108), 0x2222_22aa);
    host.write(DEVICE, 0x118, ONES);
    assert.equal(stored(device, 0x118), ONES);
    for (const offset of [0x100, 0x11c, 0x128]) {
      const before = stored(device, offset);
      host.write(DEVICE, offset, ONES);
      assert.equal(stored(device, offset), before);
    }
  });

  test("a serial number; what the host does not know is left out of the list", async () => {
    const capabilities = [
      extended(0x100, 1, 0x140, ...new Array<number>(10).fill(0)),
      extended(0x140, 0x0b, 0x160, 1, 2),
      extended(0x160, 3, 0, 0x89ab_cdef, 0x0123_4567),
    ];
    const { host, device } = await boot({ devfn: DEVICE, capabilities });
    assert.equal(host.read(DEVICE, 0x100), 0x1601_0001);
    assert.equal(host.read(DEVICE, 0x140), 0);
    assert.deepEqual([host.read(DEVICE, 0x164), host.read(DEVICE, 0x168)], [0x89ab_cdef, 0x0123_4567]);
    host.write(DEVICE, 0x164, 0);
    assert.equal(stored(device, 0x164), 0x89ab_cdef);
  });

  test("a function with nothing to show in one of the two lists", async () => {
    const power = capability(0x40, 1, 3, 0);
    const serial = extended(0x100, 0x0b, 0x140, 1);
    const { host } = await boot({ devfn: DEVICE, capabilities: [power, serial, extended(0x140, 3, 0, 7, 8)] });
    assert.deepEqual(listed(host), []);
    assert.equal(host.read(DEVICE, COMMAND) & (1 << 20), 0);
    assert.equal(host.read(DEVICE, 0x100), 0x140 << 20, "the list begins where it must");
    const { host: other } = await boot({ devfn: DEVICE, capabilities: [capability(0x50, 9, 8, 1)] });
    assert.deepEqual(listed(other), [0x50]);
    assert.equal(other.read(DEVICE, 0x100), 0);
  });
});

describe("BARs and windows", () => {
  test("an I/O BAR of 16 bits", async () => {
    const { host, device } = await boot({
      devfn: DEVICE,
      bars: [{ index: 0, size: 0x20, kind: "io", narrow: true }],
    });
    host.write(DEVICE, 0x10, ONES);
    assert.equal(host.read(DEVICE, 0x10), 0xffff_ffe1);
    host.write(DEVICE, COMMAND, 1, 2);
    assert.deepEqual(device.decoded(), [], "that address is not the host's");
    host.write(DEVICE, 0x10, 0x140);
    assert.deepEqual(
      device.decoded().map(({ base, size }) => [base, size]),
      [[0x140, 0x20]],
    );
  });

  test("a bridge without windows of I/O and prefetchable memory", async () => {
    const { host, device } = await boot({ devfn: BRIDGE, behind: [{ devfn: 0 }], windows: { io: 0, prefetch: 0 } });
    for (const offset of [IO, PREFETCH, PREFETCH_BASE, PREFETCH_LIMIT, IO_UPPER]) {
      host.write(BRIDGE, offset, 0x4010_2010);
      assert.equal(host.read(BRIDGE, offset), 0, `register ${offset}`);
      assert.equal(stored(device, offset), 0);
    }
  });

  test("a bridge whose windows have 16 and 32 bits", async () => {
    const { host, device } = await boot({ devfn: BRIDGE, behind: [{ devfn: 0 }], windows: { io: 16, prefetch: 32 } });
    for (const offset of [PREFETCH_BASE, PREFETCH_LIMIT, IO_UPPER]) {
      host.write(BRIDGE, offset, 1);
      assert.equal(host.read(BRIDGE, offset), 0);
    }
    host.write(BRIDGE, IO, 0x2010, 2);
    assert.equal(host.read(BRIDGE, IO, 2), 0x2010);
    assert.equal(stored(device, IO), 0x2010);
    const window = (PCI_WINDOW.base >>> 16) | PCI_WINDOW.base;
    host.write(BRIDGE, PREFETCH, window);
    assert.equal(host.read(BRIDGE, PREFETCH), window);
    assert.equal(stored(device, PREFETCH), window);
    // RAM is not the host's to decode.
    host.write(BRIDGE, PREFETCH, 0x8080_8080);
    assert.equal(stored(device, PREFETCH), CLOSED);
  });

  test("a bridge whose windows have 32 and 64 bits", async () => {
    const { host, device } = await boot({ devfn: BRIDGE, behind: [{ devfn: 0 }] });
    host.write(BRIDGE, IO, 0x2010, 2);
    assert.equal(stored(device, IO) & 0xffff, 0x2111, "the low bits say that it has 32");
    host.write(BRIDGE, IO_UPPER, 0x0001_0001);
    assert.deepEqual(
      [stored(device, IO) & 0xffff, stored(device, IO_UPPER)],
      [CLOSED_IO, 0],
      "there I/O has no window",
    );
    host.write(BRIDGE, IO_UPPER, 1);
    assert.equal(stored(device, IO) & 0xffff, CLOSED_IO, "it begins behind its end");
    assert.equal(host.read(BRIDGE, PREFETCH), 0x0001_fff1);
    host.write(BRIDGE, PREFETCH, 0x4010_4000);
    assert.equal(stored(device, PREFETCH), 0x4011_4001, "the low bits say that it has 64");
    for (const offset of [PREFETCH_BASE, PREFETCH_LIMIT]) host.write(BRIDGE, offset, 1);
    assert.deepEqual([host.read(BRIDGE, PREFETCH_BASE), host.read(BRIDGE, PREFETCH_LIMIT)], [1, 1]);
    assert.equal(stored(device, PREFETCH), CLOSED | 0x0001_0001, "beyond 4 GiB there is no window");
    assert.equal(stored(device, PREFETCH_BASE), 0);
  });
});
