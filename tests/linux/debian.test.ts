import assert from "node:assert/strict";
import { test } from "node:test";
import { buildHypervisorOnly } from "../../tools/artifacts.ts";
import { linuxBoot } from "../../tools/linux/boot.ts";
import { debianRoot } from "../../tools/linux/debian-root.ts";
import { sshKey } from "../../tools/linux/ssh-key.ts";
import { locateQemu } from "../../tools/qemu/locate.ts";
import { flavour } from "../qemu/support/controlled-host.ts";
import { LiveMachine } from "../qemu/support/live-machine.ts";
import { OPERATING_SYSTEM_PATIENCE_SECONDS } from "../qemu/support/patience.ts";
import { Ssh } from "../qemu/support/ssh.ts";

/** Debian on a disk as the host: somebody logs in on the console and over ssh, reboots it and turns it off. The image is made the first time. */

const qemu = locateQemu(process.env["QEMU"]);
const key = sshKey();
assert(qemu !== undefined && key !== undefined, "QEMU or ssh is missing; to install it, run: node bin/salus.js setup");
const image = await debianRoot(qemu, key.publicKey, () => {});
// Nothing that the test writes stays.
const disk = { image: { file: image, format: "raw", scratch: true } as const, by: "small system" as const };
const boot = await linuxBoot({ disk }, () => {});
boot.hypervisor = await buildHypervisorOnly({ flavour, log: () => {} });
boot.sshPort = 0;
const PATIENCE_SECONDS = 2 * OPERATING_SYSTEM_PATIENCE_SECONDS;

test("Debian on a disk: logins, services, a reboot and a power-off", async () => {
  const options = { memoryMiB: 2048, iommu: true };
  await LiveMachine.use(
    { boot, machine: options, whenReset: "reset", patienceSeconds: PATIENCE_SECONDS },
    async (machine) => {
      await machine.prompt("login: ");
      machine.type("root\n");
      await machine.prompt("assword: ");
      machine.type("root\n");
      await machine.prompt("# ");
      machine.type("tty; nproc\n");
      await machine.line(/\/dev\/ttyS0$/);
      await machine.line(/^2$/);

      const ssh = await Ssh.to(machine);
      // "running": all that was to be started is, and nothing failed.
      const state = await ssh.run("systemctl is-system-running --wait; systemctl --failed --no-legend --plain");
      assert.equal(state.output.toString().trim(), "running");
      assert.equal(await ssh.text("dpkg --audit"), "");
      assert.equal(await ssh.text("dpkg-query -f '${db:Status-Abbrev}\\n' -W | sort -u"), "ii");
      assert.match(await ssh.text("networkctl status --no-pager"), /10\.0\.2\.15/);
      assert.doesNotMatch(await ssh.text("dmesg"), /BUG|WARNING:|Oops|Call Trace/);
      const sum = await ssh.text("head -c 64M /dev/urandom > /root/block; sync; sha256sum < /root/block");

      await ssh.run("systemctl reboot");
      await machine.prompt("Restarting system");
      await machine.prompt("login: ");
      assert.equal(await ssh.text("sha256sum < /root/block"), sum);
      assert.doesNotMatch(machine.received, /IOMMU: blocked/);
      await ssh.run("systemctl poweroff");
      assert.deepEqual(await machine.exit(), { code: 0, signal: null });
    },
  );
});
