import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { IommuOptions } from "../../../machine/simulated/iommu.ts";
import { ECAM_BASE, PCI_WINDOW, SECOND_BRIDGE, type PciFunctionSpec } from "../../../machine/simulated/pci.ts";
import { bridgesOf, cellsOf, hostTree } from "../support/simulated/host-tree.ts";
import { CoveHost, TVM_MEMORY } from "../support/simulated/cove-host.ts";

/** Two host bridges: segments with spaces of their own, the second with buses that begin at 16 and device ids beyond 64 Ki. */

const { ecam, window, firstBus, idBase } = SECOND_BRIDGE;
const COMMAND = 4;
const BAR0 = 0x10;
const BUSES = 0x18;
const MEMORY = 2;
const MASTER = 4;
const DEVICE = 0x08;
const BRIDGE = 0x10;

const CARD: PciFunctionSpec = { devfn: DEVICE, device: 0x1111, bars: [{ index: 0, size: 0x1000, kind: "memory32" }] };
const SECOND: PciFunctionSpec[] = [
  { ...CARD, device: 0x2222 },
  { devfn: BRIDGE, behind: [{ ...CARD, devfn: 0, device: 0x3333 }] },
];
const config = (base: number, bus: number, devfn: number, offset: number): number =>
  base + (bus << 20) + (devfn << 12) + offset;

const boot = (iommu?: IommuOptions): Promise<CoveHost> =>
  CoveHost.boot({ options: { pci: [CARD], secondPci: SECOND, iommu } });

describe("two segments", () => {
  test("are both in the host's device tree, with their own numbers", async () => {
    const host = await boot();
    const bridges = bridgesOf(hostTree(host.machine, host));
    assert.deepEqual(
      bridges.map((bridge) => [cellsOf(bridge, "linux,pci-domain")[0], cellsOf(bridge, "bus-range")]),
      [
        [0, [0, 7]],
        [1, [firstBus, firstBus + 7]],
      ],
    );
  });

  test("have their own functions and buses", async () => {
    const host = await boot();
    assert.equal(host.load(config(ECAM_BASE, 0, DEVICE, 0), 4) >> 16n, 0x1111n);
    assert.equal(host.load(config(ecam, 0, DEVICE, 0), 4) >> 16n, 0x2222n);
    assert.equal(host.load(config(ecam, 1, 0, 0), 4), 0xffff_ffffn, "not numbered yet");
    host.store(config(ecam, 0, BRIDGE, BUSES), 4, ((firstBus + 1) << 16) | ((firstBus + 1) << 8) | firstBus);
    assert.equal(host.load(config(ecam, 1, 0, 0), 4) >> 16n, 0x3333n);
    assert.deepEqual(
      host.machine.secondPci!.all().map(({ id }) => id),
      [(firstBus << 8) | DEVICE, (firstBus << 8) | BRIDGE, (firstBus + 1) << 8],
    );
  });

  test("do not lend each other their windows", async () => {
    const host = await boot();
    const card = host.machine.secondPci!.functions[0];
    const at = (offset: number): number => config(ecam, 0, DEVICE, offset);
    host.store(at(COMMAND), 2, MEMORY);
    for (const base of [PCI_WINDOW.base, ecam, ECAM_BASE, window.base + window.size]) {
      host.store(at(BAR0), 4, base);
      assert.deepEqual(card.decoded(), [], `it decodes ${base.toString(16)}`);
    }
    host.store(at(BAR0), 4, window.base + 0x2000);
    assert.deepEqual(
      card.decoded().map(({ base }) => base),
      [window.base + 0x2000],
    );
    host.store(window.base + 0x2010, 4, 0x1234);
    assert.equal(host.load(window.base + 0x2010, 4), 0x1234n);
  });
});

const kinds: [string, IommuOptions][] = [
  ["a platform device, base contexts", {}],
  ["a platform device, extended contexts", { extended: true }],
];
for (const [name, iommu] of kinds) {
  test(`an IOMMU with a directory of three levels confines both segments: ${name}`, async () => {
    const host = await boot(iommu);
    const { machine } = host;
    assert.match(machine.console, /levels of the device directory: 3 /);
    host.store(config(ECAM_BASE, 0, DEVICE, COMMAND), 2, MASTER);
    host.store(config(ecam, 0, DEVICE, COMMAND), 2, MASTER);
    host.store(config(ecam, 0, BRIDGE, BUSES), 4, ((firstBus + 1) << 16) | ((firstBus + 1) << 8) | firstBus);
    host.store(config(ecam, 1, 0, COMMAND), 2, MASTER);
    const ids = [DEVICE, idBase + (firstBus << 8) + DEVICE, idBase + ((firstBus + 1) << 8)];
    const tvm = host.buildTvm();
    const page = host.take(1);
    ids.forEach((id, index) => assert.equal(machine.dma(id, page, index + 1), index + 1));
    assert.equal(host.load(page, 4), 3n);
    host.must("convertPages", page, 1);
    host.fence();
    host.must("addZeroPages", tvm.id, page, 0, 1, TVM_MEMORY + 0x10_0000);
    for (const id of ids) assert.equal(machine.dma(id, page, 9), undefined);
    host.fence();
    assert.match(machine.console, /blocked a write by device 0:0x0:0x1\.0 at/);
    assert.match(machine.console, /blocked a write by device 1:0x10:0x1\.0 at/);
    assert.match(machine.console, /blocked a write by device 1:0x11:0x0\.0 at/);
  });
}

test("an IOMMU with two levels confines those that it reaches, the others have no DMA", async () => {
  const host = await boot({ levels: 2 });
  const { machine } = host;
  assert.match(machine.console, /levels of the device directory: 2 /);
  const page = host.take(1);
  host.store(config(ECAM_BASE, 0, DEVICE, COMMAND), 2, MASTER);
  host.store(config(ecam, 0, DEVICE, COMMAND), 2, MASTER);
  assert.equal(machine.dma(DEVICE, page, 7), 7);
  assert.equal(machine.dma(idBase + (firstBus << 8) + DEVICE, page, 1), undefined);
  host.checker.check();
});
