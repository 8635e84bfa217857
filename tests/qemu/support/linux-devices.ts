import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { closeSync, openSync, readSync, truncateSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { buildHypervisorOnly } from "../../../tools/artifacts.ts";
import { linuxBoot } from "../../../tools/linux/boot.ts";
import type { Machine } from "../../../tools/qemu/machine.ts";
import { buildFdt, nodeAt, parseFdt } from "../../unit/support/fdt.ts";
import { flavour } from "./controlled-host.ts";
import { logIn, shell } from "./linux-shell.ts";
import { LiveMachine } from "./live-machine.ts";
import { replaceTree, treeAtEntry } from "./machine-tree.ts";
import { withTemporaryFolder } from "./workshop.ts";

/**
 * Devices of a stock Linux that do DMA behind the IOMMU: an NVMe disk and an e1000e network card with MSI-X, an e1000 card that has nothing but INTx, and a
 * bridge that makes no sense and is hidden.
 */

const MIB = 1024 * 1024;
const DISK_BYTES = 64 * MIB;
const COPY_MIB = 16;
const DOWNLOAD = randomBytes(2 * MIB);

/** Where the devices are: on the root bus, beside a bridge that has no bus number; or each behind bridges of its own. */
export type Topology = "root bus" | "behind bridges";

/**
 * Boots Debian's stable kernel with these devices on a machine with an IOMMU, and uses each.
 */
export async function devicesWork(special: Partial<Machine>, topology: Topology): Promise<void> {
  const boot = await linuxBoot({}, () => {});
  boot.hypervisor = await buildHypervisorOnly({ flavour, log: () => {} });
  await withServer(DOWNLOAD, async (port) => {
    await withTemporaryFolder(async (folder) => {
      const disk = path.join(folder, "disk");
      writeFileSync(disk, "");
      truncateSync(disk, DISK_BYTES);
      const extraArguments = [...devices(disk, topology), ...(special.extraArguments ?? [])];
      const machine: Partial<Machine> = { memoryMiB: 2048, ...special, extraArguments };
      await LiveMachine.use({ boot, machine, gdb: true }, async (live) => {
        if (topology === "root bus") await withoutBuses(live);
        await live.resume();
        await logIn(live);
        await checkDisk(live, disk);
        await checkCard(live, "e1000e", "10.0.2", port, /IMSIC|PCI-MSI/);
        await checkCard(live, "e1000", "10.0.3", port, /APLIC/);
        const seen = await shell(live, "ls /sys/bus/pci/devices");
        if (topology === "root bus") {
          assert.match(live.received, /salus: +0:0x0:0x8\.0 is hidden from the host: its registers make no sense/);
          assert.doesNotMatch(seen, /00:08/);
        } else {
          assert.match(seen, /0000:04:/, "the bridges have buses");
        }
        assert.doesNotMatch(live.received, /salus: IOMMU: blocked/);
        assert.doesNotMatch(await shell(live, "dmesg"), /BUG|WARNING:|Oops|Call Trace/);
        live.type("poweroff\n");
        assert.deepEqual(await live.exit(), { code: 0, signal: null });
      });
    });
  });
}

function devices(disk: string, topology: Topology): string[] {
  const device = (...properties: string[]): string[] => ["-device", properties.join(",")];
  const flat = topology === "root bus";
  const bridges = [
    ...device("pcie-root-port", "id=port1", "chassis=1"),
    ...device("pcie-root-port", "id=port2", "chassis=2"),
    ...device("pcie-root-port", "id=port3", "chassis=3"),
    // To conventional PCI: what is behind it has no requester id of its own.
    ...device("pcie-pci-bridge", "id=conventional", "bus=port3"),
  ];
  return [
    ...(flat ? [] : bridges),
    ...["-drive", `if=none,id=disk,format=raw,file=${disk}`],
    ...device("nvme", "serial=salus", "drive=disk", flat ? "addr=5" : "bus=port1"),
    ...["-netdev", "user,id=first,net=10.0.2.0/24"],
    ...device("e1000e", "netdev=first", flat ? "addr=6" : "bus=port2"),
    ...["-netdev", "user,id=second,net=10.0.3.0/24"],
    ...device("e1000", "netdev=second", flat ? "addr=7" : "bus=conventional,addr=3"),
    // The device tree leaves it without a bus number.
    ...(flat ? device("pcie-root-port", "id=odd", "addr=8") : []),
  ];
}

/** The root bus is the only one that the device tree knows. */
async function withoutBuses(live: LiveMachine): Promise<void> {
  const tree = parseFdt(await treeAtEntry(live));
  const bridge = nodeAt(tree.root, "/soc")?.children.find((child) => child.name.startsWith("pci@"));
  assert(bridge, "the machine has no PCI");
  bridge.properties.set("bus-range", new Uint8Array(8));
  await replaceTree(live, buildFdt(tree.root, tree.reservations));
}

/** What Linux writes to the disk is in its file, and is what Linux reads. */
async function checkDisk(live: LiveMachine, disk: string): Promise<void> {
  await shell(live, `dd if=/dev/urandom of=/tmp/data bs=1M count=${COPY_MIB} 2>/dev/null`);
  await shell(live, "dd if=/tmp/data of=/dev/nvme0n1 bs=1M 2>/dev/null; sync; echo 3 >/proc/sys/vm/drop_caches");
  const sums = await shell(
    live,
    `sha256sum </tmp/data; dd if=/dev/nvme0n1 bs=1M count=${COPY_MIB} 2>/dev/null | sha256sum`,
  );
  const [written, read] = sums.split("\n").map((line) => line.split(" ")[0]);
  assert.equal(read, written);
  const content = Buffer.alloc(COPY_MIB * MIB);
  const file = openSync(disk, "r");
  readSync(file, content, 0, content.length, 0);
  closeSync(file);
  assert.equal(createHash("sha256").update(content).digest("hex"), written);
  assert.match(await shell(live, "grep nvme0q /proc/interrupts"), /IMSIC|PCI-MSI/);
}

/** Downloads through the network card of that driver and says whether its interrupts come as they should. */
async function checkCard(
  live: LiveMachine,
  driver: string,
  network: string,
  port: number,
  interrupts: RegExp,
): Promise<void> {
  const card = await shell(live, `ls /sys/bus/pci/drivers/${driver}/0000:*/net`);
  await shell(live, `for each in /sys/class/net/e*; do ip addr flush dev \${each##*/}; done`);
  await shell(live, `ip link set ${card} up; ip addr add ${network}.15/24 dev ${card}`);
  const sum = await shell(live, `wget -q -O - http://${network}.2:${port}/ | sha256sum`);
  assert.equal(sum.split(" ")[0], createHash("sha256").update(DOWNLOAD).digest("hex"));
  const lines = await shell(live, `grep ${card} /proc/interrupts`);
  assert.match(lines, interrupts);
  const counts = lines.split("\n").flatMap((line) => line.trim().split(/ +/).slice(1, 3).map(Number));
  assert(Math.max(...counts) > 10, lines);
}

/** A web server that answers everything with `content`. */
async function withServer(content: Buffer, work: (port: number) => Promise<void>): Promise<void> {
  const server: Server = createServer((_, response) => response.end(content));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await work((server.address() as AddressInfo).port);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}
