import assert from "node:assert/strict";
import type { PropertyValue } from "../../../machine/simulated/device-tree-blob.ts";
import { describe, test } from "node:test";
import { machineTree } from "../../../machine/simulated/device-tree-builder.ts";
import { cells64, writeDeviceTree, type TreeNode } from "../../../machine/simulated/device-tree-blob.ts";
import { Imsic } from "../../../machine/simulated/imsic.ts";
import { operations } from "../../../machine/simulated/guest-script.ts";
import { machineOptions, type MachineOptions } from "../../../machine/simulated/machine-options.ts";
import { Machine } from "../../../machine/simulated/machine.ts";
import { nodeAt } from "../support/fdt.ts";
import { CoveHost } from "../support/simulated/cove-host.ts";
import { hostTree } from "../support/simulated/host-tree.ts";

/** The host's wired interrupts: whatever it writes to the APLIC, interrupts reach its own files and nobody else's. */

const BASE = 0x0d00_0000;
const [DOMAINCFG, SETIP, SETIPNUM, SETIE, SETIENUM, CLRIENUM] = [0, 0x1c00, 0x1cdc, 0x1e00, 0x1edc, 0x1fdc];
const [SETIPNUM_LE, GENMSI] = [0x2000, 0x3000];
const sourcecfg = (source: number): number => 4 * source;
const target = (source: number): number => 0x3000 + 4 * source;
const LEVEL_HIGH = 6;
const IE = 0x100;
const SOURCE = 10;
const LAST = 63;

class WiredHost {
  readonly host: CoveHost;
  constructor(host: CoveHost) {
    this.host = host;
  }
  static async boot(options: Partial<MachineOptions> = {}): Promise<WiredHost> {
    return new WiredHost(await CoveHost.boot({ options: { harts: [0, 1], ...options } }));
  }
  read(offset: number): number {
    return Number(this.host.load(BASE + offset, 4, { signed: false }));
  }
  write(offset: number, value: number): void {
    this.host.store(BASE + offset, 4, value);
  }
  /** Identities that are pending, by hart and file. */
  get pending(): Record<string, number[]> {
    const found: Record<string, number[]> = {};
    this.host.machine.imsic!.harts.forEach((hart, index) =>
      hart.files.forEach((file, number) => {
        const identities = Array.from({ length: 256 }, (_, id) => id).filter((id) => (file.pending >> BigInt(id)) & 1n);
        if (identities.length > 0) found[`${index}.${number}`] = identities;
      }),
    );
    return found;
  }
  /** As Linux sets a source up. */
  connect(source: number, to: number): void {
    this.write(DOMAINCFG, IE);
    this.write(sourcecfg(source), LEVEL_HIGH);
    this.write(target(source), to);
    this.write(SETIENUM, source);
  }
  raise(source: number): void {
    this.host.machine.aplic!.raise(source);
  }
}

describe("wired interrupts", () => {
  test("go to the host's file of the hart that it names", async () => {
    const wired = await WiredHost.boot();
    wired.connect(SOURCE, (1 << 18) | 77);
    assert.equal(wired.read(target(SOURCE)), (1 << 18) | 77, "the host sees what it wrote");
    assert.equal(wired.read(sourcecfg(SOURCE)), LEVEL_HIGH);
    assert.equal(wired.read(SETIE), 1 << SOURCE);
    wired.raise(SOURCE);
    assert.deepEqual(wired.pending, { "1.1": [77] });
    wired.connect(LAST, 255);
    wired.write(SETIPNUM_LE, LAST);
    assert.deepEqual(wired.pending, { "1.1": [77], "0.1": [255] });
  });

  test("of the firmware are off when the host gets them", async () => {
    const wired = await WiredHost.boot();
    assert.equal(wired.read(SETIE) | wired.read(SETIE + 4) | wired.read(SETIP), 0);
    wired.write(DOMAINCFG, IE);
    for (let source = 1; source <= LAST; source++) wired.raise(source);
    wired.write(SETIENUM, SOURCE);
    wired.write(SETIPNUM, SOURCE);
    assert.deepEqual(wired.pending, {});
  });

  test("have no target but files of the host's", async () => {
    const wired = await WiredHost.boot();
    wired.connect(SOURCE, (1 << 18) | 77);
    // Guest files, harts that do not exist, identities that files do not have.
    for (const value of [(1 << 12) | 5, (2 << 12) | 5, (63 << 12) | 5, 2 << 18, (0x3fff << 18) >>> 0, 256, 2047]) {
      wired.write(target(SOURCE), value);
      assert.equal(wired.read(target(SOURCE)), (1 << 18) | 77, value.toString(16));
    }
    wired.raise(SOURCE);
    assert.deepEqual(wired.pending, { "1.1": [77] });
  });

  test("have a harmless target from the moment on at which they are active", async () => {
    const wired = await WiredHost.boot();
    wired.write(DOMAINCFG, IE);
    wired.write(sourcecfg(SOURCE), LEVEL_HIGH);
    assert.equal(wired.read(target(SOURCE)), 0);
    wired.write(SETIENUM, SOURCE);
    wired.raise(SOURCE);
    assert.deepEqual(wired.pending, {});
  });

  test("keep their target when their mode changes", async () => {
    const wired = await WiredHost.boot();
    wired.connect(SOURCE, (1 << 18) | 77);
    wired.write(sourcecfg(SOURCE), 4);
    assert.equal(wired.read(target(SOURCE)), (1 << 18) | 77);
  });

  test("can be turned off, one and all", async () => {
    const wired = await WiredHost.boot();
    wired.connect(SOURCE, 77);
    wired.write(CLRIENUM, SOURCE);
    wired.raise(SOURCE);
    wired.write(DOMAINCFG, 0);
    wired.write(SETIENUM, SOURCE);
    assert.deepEqual(wired.pending, {});
    assert.equal(wired.read(SETIP), 1 << SOURCE);
    wired.write(DOMAINCFG, IE);
    assert.deepEqual(wired.pending, { "0.1": [77] });
  });
});

describe("registers of the APLIC", () => {
  test("domaincfg stays in MSI mode and little-endian", async () => {
    const wired = await WiredHost.boot();
    for (const [written, read] of [
      [0, 0x8000_0004],
      [0xffff_ffff, 0x8000_0104],
      [1, 0x8000_0004],
    ]) {
      wired.write(DOMAINCFG, written);
      assert.equal(wired.read(DOMAINCFG), read);
    }
  });

  test("sourcecfg does not delegate; sources that are not there do nothing", async () => {
    const wired = await WiredHost.boot();
    wired.write(sourcecfg(SOURCE), 0x400 | 3);
    assert.equal(wired.read(sourcecfg(SOURCE)), 3);
    for (const offset of [
      sourcecfg(LAST + 1),
      sourcecfg(1023),
      target(LAST + 1),
      target(1023),
      0x1bc0,
      0x2ffc,
      0x2008,
    ]) {
      wired.write(offset, 0xffff_ffff);
      assert.equal(wired.read(offset), 0, offset.toString(16));
    }
    assert.equal(wired.read(GENMSI), 0);
  });

  test("genmsi reaches the host's files only", async () => {
    const wired = await WiredHost.boot();
    wired.write(GENMSI, (1 << 18) | 9);
    wired.write(GENMSI, (1 << 18) | 255);
    assert.deepEqual(wired.pending, { "1.1": [9, 255] }, "the last identity of a file");
    for (const value of [(2 << 18) | 9, 256, 2047]) wired.write(GENMSI, value);
    assert.deepEqual(wired.pending, { "1.1": [9, 255] });
  });

  test("have 32 bits: other accesses are access faults", async () => {
    const wired = await WiredHost.boot();
    for (const width of [1, 2, 8] as const) {
      assert.equal(wired.host.trapOf(operations.load(BASE, width)).cause, 5);
      assert.equal(wired.host.trapOf(operations.store(BASE, width, 0)).cause, 7);
    }
    assert.equal(wired.host.trapOf(operations.load(BASE + 0x4000, 4)).cause, 5, "what is behind them");
    assert.equal(wired.host.trapOf(operations.load(BASE - 4, 4)).cause, 5, "what is before them");
  });

  test("are not there if it has no MSI mode", async () => {
    const machine = await Machine.create({ options: { harts: [0, 1] } });
    const aplic = machine.aplic!;
    const read = aplic.read.bind(aplic);
    aplic.read = (offset, width) => (offset === DOMAINCFG ? read(offset, width) & ~4n : read(offset, width));
    machine.boot();
    const host = CoveHost.on(machine);
    assert.equal(host.trapOf(operations.load(BASE, 4)).cause, 5);
    const nodes = nodeAt(hostTree(machine, host), "/soc")!.children.map(({ name }) => name);
    assert.ok(!nodes.includes("interrupt-controller@d000000"), nodes.join());
  });

  test("of a device whose interrupts lead to nothing that the tree knows are not the host's", async () => {
    for (const [parent, wires] of [
      [{ "interrupt-parent": [0x1001] }, true],
      [{ "interrupt-parent": [0x1002] }, false],
      [{}, false],
    ] as [Record<string, PropertyValue>, boolean][]) {
      const tree = machineTree(machineOptions({ harts: [0, 1] }), new Imsic(2, 3, 255));
      const uart = tree.children.find(({ name }) => name === "soc")!.children[0];
      delete uart.properties["interrupt-parent"];
      Object.assign(uart.properties, parent);
      const host = await CoveHost.boot({ options: { harts: [0, 1] }, deviceTree: writeDeviceTree(tree, 0) });
      const serial = nodeAt(hostTree(host.machine, host), "/soc/serial@10000000")!;
      assert.equal(serial.properties.has("interrupts"), wires, JSON.stringify(parent));
      assert.equal(serial.properties.has("interrupt-parent"), wires);
    }
  });

  test("are not there without an IMSIC, guest files or a sane description", async () => {
    const odd = (change: TreeNode["properties"], files: TreeNode["properties"] = {}): Uint8Array => {
      const tree = machineTree(machineOptions({ harts: [0, 1] }), new Imsic(2, 3, 255));
      const soc = tree.children.find(({ name }) => name === "soc")!;
      const aplic = soc.children.find(({ name }) => name === "interrupt-controller@d000000")!;
      Object.assign(aplic.properties, change);
      Object.assign(soc.children.find(({ name }) => name.startsWith("interrupt-controller@28"))!.properties, files);
      return writeDeviceTree(tree, 0);
    };
    const sane = await CoveHost.boot({ options: { harts: [0, 1] }, deviceTree: odd({}) });
    assert.equal(sane.load(BASE, 4, { signed: false }), 0x8000_0004n);
    for (const setup of [
      { options: { guestFiles: undefined } },
      { options: { guestFiles: 0 } },
      { options: { aplicSources: 0 } },
      ...(
        [
          { reg: cells64(BASE, 0x3000) },
          { reg: cells64(BASE + 4, 0x8000) },
          { reg: cells64(0x8040_0000, 0x8000) },
          { reg: cells64(0x2800_2000, 0x8000) },
          { "riscv,num-sources": [0] },
          { "riscv,num-sources": [1024] },
          { "msi-parent": [0x1002] },
          { reg: [] },
          { reg: cells64(0, 0x8000) },
          { status: "disabled" },
        ] as Record<string, PropertyValue>[]
      ).map((change) => ({ options: { harts: [0, 1] }, deviceTree: odd(change) })),
      // Messages that lead to nobody are not the messages to files that nobody can name.
      { options: { harts: [0, 1] }, deviceTree: odd({ "msi-parent": [0] }, { phandle: [0] }) },
    ]) {
      const host = await CoveHost.boot(setup);
      assert.equal(host.trapOf(operations.load(BASE, 4)).cause, 5);
    }
  });
});
