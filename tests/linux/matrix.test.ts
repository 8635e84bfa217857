import assert from "node:assert/strict";
import { truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { buildHypervisorOnly } from "../../tools/artifacts.ts";
import { linuxBoot } from "../../tools/linux/boot.ts";
import { locateQemu } from "../../tools/qemu/locate.ts";
import { DEFAULT_MACHINE, MIB, qemuArguments, type Machine } from "../../tools/qemu/machine.ts";
import { lastLines, LINUX_ALL_OK, ProtocolReader, shortcomings } from "../../tools/qemu/protocol.ts";
import { runQemu } from "../../tools/qemu/runner.ts";
import { withTemporaryFolder } from "../qemu/support/workshop.ts";

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
  /** A disk and a network, behind this IOMMU. */
  devices?: "PCI IOMMU" | "platform IOMMU" | "no IOMMU";
}

const MATRIX: Entry[] = [
  { name: "1 hart, 512 MiB", machine: { harts: 1, memoryMiB: 512 } },
  { name: "4 harts, 2 NUMA nodes", machine: { harts: 4, numaNodes: 2 } },
  { name: "8 harts, 8 GiB", machine: { harts: 8, memoryMiB: 8 * GIB } },
  { name: "2 harts, 16 GiB, max", machine: { memoryMiB: 16 * GIB, cpu: MAX } },
  { name: "2 harts, 1 GiB, rva23s64", machine: { memoryMiB: GIB, cpu: RVA23 } },
  { name: "2 harts, which go offline and online 100 times", hotplug: 100 },
  { name: "disk and network behind the PCI IOMMU", devices: "PCI IOMMU" },
  { name: "disk and network behind the platform IOMMU, 4 harts", devices: "platform IOMMU", machine: { harts: 4 } },
  { name: "disk and network and no IOMMU: they are hidden, and the log says why", devices: "no IOMMU" },
  { name: "newest kernel, disk and network behind the PCI IOMMU", kernel: "newest", devices: "PCI IOMMU" },
  { name: "newest kernel, disk and network behind the platform IOMMU", kernel: "newest", devices: "platform IOMMU" },
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

for (const entry of MATRIX) {
  test(entry.name, () => withTemporaryFolder((folder) => bootsAndTestsItself(entry, folder)));
}

async function bootsAndTestsItself(entry: Entry, folder: string): Promise<void> {
  const { kernel, devices } = entry;
  const machine = { ...DEFAULT_MACHINE, ...entry.machine };
  const withDma = devices === "PCI IOMMU" || devices === "platform IOMMU";
  const check = { harts: machine.harts, hotplug: entry.hotplug ?? 1 };
  const boot = await linuxBoot({ kernel, check, append: withDma ? "salus.scratch=/dev/vda" : undefined }, () => {});
  if (devices !== undefined) {
    const file = path.join(folder, "disk.img");
    writeFileSync(file, "");
    truncateSync(file, 64 * MIB);
    boot.disks = [{ file, format: "raw" }];
    boot.sshPort = 0;
    machine.iommu = devices === "PCI IOMMU";
    if (devices === "platform IOMMU") machine.extraArguments = ["-M", "iommu-sys=on"];
  }
  const { lines, ...result } = await runQemu({
    executable: qemu!,
    arguments: qemuArguments(machine, { ...boot, hypervisor }),
    timeoutSeconds: TIMEOUT_SECONDS,
    until: (line) => /Kernel panic - not syncing/.test(line),
  });
  const reader = new ProtocolReader(LINUX_ALL_OK);
  for (const line of lines) reader.read(line);
  const reasons = shortcomings(reader, { lines, ...result });
  const said = `The last lines:\n${lastLines(lines)}`;
  assert.equal(reasons.length, 0, `${reasons.join("\n")}\n${said}`);

  const passed = reader.steps.map(({ name }) => name);
  const log = lines.join("\n");
  for (const step of ["linux: the disk keeps what is written", "linux: the network answers"]) {
    assert.equal(passed.includes(step), withDma, `${step}. ${said}`);
  }
  assert.equal(/no IOMMU: PCI devices of the host stay without bus mastering/.test(log), devices === "no IOMMU", said);
  assert.equal(
    log.match(/is hidden from the host: a virtio device/g)?.length ?? 0,
    devices === "no IOMMU" ? 2 : 0,
    said,
  );
  assert.doesNotMatch(log, /IOMMU: blocked/, said);
}
