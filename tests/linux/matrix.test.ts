import assert from "node:assert/strict";
import { test } from "node:test";
import { buildHypervisorOnly } from "../../tools/artifacts.ts";
import { linuxBoot } from "../../tools/linux/boot.ts";
import { locateQemu } from "../../tools/qemu/locate.ts";
import { DEFAULT_MACHINE, qemuArguments, type Machine } from "../../tools/qemu/machine.ts";
import { lastLines, LINUX_ALL_OK, ProtocolReader, shortcomings } from "../../tools/qemu/protocol.ts";
import { runQemu } from "../../tools/qemu/runner.ts";

/** Linux as the host on many machines: Debian's stable kernel and its newest one boot, test themselves and turn the machine off. */

const TIMEOUT_SECONDS = 300;
const GIB = 1024;
/** All that QEMU has, but what needs the machine's consent in ways that the firmware does not know. */
const MAX = "max,ztso=off,smctr=off,ssctr=off";
const RVA23 = "rva23s64,pmp=on";

interface Entry {
  name: string;
  kernel?: string;
  machine?: Partial<Machine>;
  hotplug?: number;
}

const MATRIX: Entry[] = [
  { name: "1 hart, 512 MiB", machine: { harts: 1, memoryMiB: 512 } },
  { name: "4 harts, 2 NUMA nodes", machine: { harts: 4, numaNodes: 2 } },
  { name: "8 harts, 8 GiB", machine: { harts: 8, memoryMiB: 8 * GIB } },
  { name: "2 harts, 16 GiB, max", machine: { memoryMiB: 16 * GIB, cpu: MAX } },
  { name: "2 harts, 1 GiB, rva23s64", machine: { memoryMiB: GIB, cpu: RVA23 } },
  { name: "2 harts, which go offline and online 100 times", hotplug: 100 },
  { name: "newest kernel, 2 harts, max", kernel: "newest", machine: { cpu: MAX } },
  {
    name: "newest kernel, 4 harts, rva23s64, 2 NUMA nodes",
    kernel: "newest",
    machine: { harts: 4, cpu: RVA23, numaNodes: 2 },
  },
];

const qemu = locateQemu(process.env["QEMU"]);
assert(qemu !== undefined, "QEMU is missing; to install it, run: node bin/salus.js setup");
const flavour = process.env["SALUS_FLAVOUR"] === "debug" ? "debug" : "release";
const hypervisor = await buildHypervisorOnly({ flavour, log: () => {} });

for (const { name, kernel, machine: special, hotplug } of MATRIX) {
  test(name, async () => {
    const machine = { ...DEFAULT_MACHINE, ...special };
    const boot = await linuxBoot({ kernel, check: { harts: machine.harts, hotplug: hotplug ?? 1 } }, () => {});
    const result = await runQemu({
      executable: qemu,
      arguments: qemuArguments(machine, { ...boot, hypervisor }),
      timeoutSeconds: TIMEOUT_SECONDS,
      until: (line) => /Kernel panic - not syncing/.test(line),
    });
    const reader = new ProtocolReader(LINUX_ALL_OK);
    for (const line of result.lines) reader.read(line);
    const reasons = shortcomings(reader, result);
    assert.equal(reasons.length, 0, `${reasons.join("\n")}\nThe last lines:\n${lastLines(result.lines)}`);
  });
}
