import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { buildHypervisorOnly } from "../../tools/artifacts.ts";
import { linuxBoot } from "../../tools/linux/boot.ts";
import type { Boot } from "../../tools/qemu/machine.ts";
import { flavour } from "./support/controlled-host.ts";
import { logIn, shell } from "./support/linux-shell.ts";
import { LiveMachine } from "./support/live-machine.ts";
import { OPERATING_SYSTEM_PATIENCE_SECONDS as patienceSeconds } from "./support/patience.ts";
import { Ssh } from "./support/ssh.ts";
import { withTemporaryFolder } from "./support/workshop.ts";

/**
 * Debian's stable kernel, as it is, as the host: a user logs in on the console or over ssh, reboots and turns the machine off. Kernel and system come from Debian's
 * archive the first time; where it cannot be reached, the file fails and says so.
 */

const boot = await linuxBoot({}, () => {});
boot.hypervisor = await buildHypervisorOnly({ flavour, log: () => {} });

test("a login on the console, a reboot and a power-off", async () => {
  await LiveMachine.use({ boot, whenReset: "reset", patienceSeconds }, async (machine) => {
    await logIn(machine);
    assert.equal(await shell(machine, "nproc"), "2");
    assert.match(await shell(machine, "tty"), /^\/dev\/ttyS0$/);
    assert.match(await shell(machine, "grep ttyS0 /proc/interrupts"), /APLIC-MSI/);
    const seconds = Number(await shell(machine, "date +%s"));
    assert(Math.abs(seconds - Date.now() / 1000) < 3600, `the clock says ${seconds}`);
    assert.equal(await shell(machine, "echo 0 > /sys/devices/system/cpu/cpu1/online; nproc"), "1");
    assert.equal(await shell(machine, "echo 1 > /sys/devices/system/cpu/cpu1/online; nproc"), "2");
    const log = machine.received;
    assert.match(log, /earlycon: sbi0 at/, "the first console is SBI's");
    assert.match(log, /riscv-imsic: .* providing IPIs/);
    assert.match(log, /Timer interrupt in S-mode is available via sstc extension/);
    assert.doesNotMatch(log, /^\[[ .0-9]+\] .*(BUG|WARNING:|Oops|Call Trace)/m);

    machine.type("reboot\n");
    await machine.prompt("Restarting system");
    await machine.prompt("Salus, a RISC-V micro hypervisor");
    await logIn(machine);
    machine.type("poweroff\n");
    assert.deepEqual(await machine.exit(), { code: 0, signal: null });
  });
});

const MIB = 1024 * 1024;

test("a disk and a network behind the IOMMU: commands over ssh, a reboot and a power-off", async () => {
  await withTemporaryFolder(async (folder) => {
    const file = path.join(folder, "disk.img");
    writeFileSync(file, "");
    truncateSync(file, 64 * MIB);
    // More than fits into the rings of a network card.
    const sent = randomBytes(8 * MIB);
    const sum = createHash("sha256").update(sent).digest("hex");
    const devices: Boot = { ...boot, sshPort: 0, disks: [{ file, format: "raw" }] };
    const options = { boot: devices, machine: { iommu: true }, whenReset: "reset", patienceSeconds } as const;
    await LiveMachine.use(options, async (machine) => {
      await machine.prompt("login: ");
      const ssh = await Ssh.to(machine);
      assert.equal(await ssh.text("nproc"), "2");
      const interrupts = await ssh.text("grep virtio /proc/interrupts");
      for (const name of ["virtio0", "virtio1"]) assert.match(interrupts, new RegExp(`PCI-MSIX.*${name}`));

      await ssh.bytes("cat > /tmp/sent", sent);
      assert((await ssh.bytes("cat /tmp/sent")).equals(sent), "what came back over the network is not what was sent");

      const sumOfDisk = `dd if=/dev/vda bs=1M count=8 skip=8 2>/dev/null | sha256sum`;
      await ssh.text("dd if=/tmp/sent of=/dev/vda bs=1M seek=8 2>/dev/null && sync");
      await ssh.text("echo 3 > /proc/sys/vm/drop_caches");
      assert.match(await ssh.text(sumOfDisk), new RegExp(`^${sum}`));

      // The connection may be gone before the command's answer.
      await ssh.run("reboot");
      await machine.prompt("Restarting system");
      await machine.prompt("login: ");
      assert.match(await ssh.text(sumOfDisk), new RegExp(`^${sum}`), "the disk has what was written before the reset");
      assert.doesNotMatch(machine.received, /IOMMU: blocked/);
      await ssh.run("poweroff");
      assert.deepEqual(await machine.exit(), { code: 0, signal: null });
    });
    assert(
      readFileSync(file)
        .subarray(8 * MIB, 16 * MIB)
        .equals(sent),
      "QEMU's file has it too",
    );
  });
});
