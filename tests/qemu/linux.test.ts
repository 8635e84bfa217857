import assert from "node:assert/strict";
import { test } from "node:test";
import { buildHypervisorOnly } from "../../tools/artifacts.ts";
import { linuxBoot } from "../../tools/linux/boot.ts";
import { flavour } from "./support/controlled-host.ts";
import { LiveMachine } from "./support/live-machine.ts";

/**
 * Debian's stable kernel, as it is, as the host: a user logs in on the console, reboots and turns the machine off. Kernel and system come from Debian's
 * archive the first time; where it cannot be reached, the file fails and says so.
 */

const boot = await linuxBoot({}, () => {});
boot.hypervisor = await buildHypervisorOnly({ flavour, log: () => {} });

/** Logs in and waits for the shell. */
async function logIn(machine: LiveMachine): Promise<void> {
  await machine.prompt("login: ");
  machine.type("root\n");
  await machine.prompt("Password: ");
  machine.type("root\n");
  await machine.prompt("# ");
  // The kernel's messages from here on would be among the answers.
  await shell(machine, "dmesg -n 1");
}

/** What a command of the shell prints. */
async function shell(machine: LiveMachine, command: string): Promise<string> {
  const from = machine.received.length;
  machine.type(`${command}; echo "status"=$?\n`);
  // First the echo of what was typed, then the answer.
  await machine.prompt('"status"=');
  await machine.prompt("status=");
  await machine.prompt("# ");
  const output = machine.received.slice(from).replaceAll("\r", "");
  const match = /\n([^]*?)status=(\d+)\n/.exec(output);
  assert(match, `no answer to "${command}" in ${output}`);
  assert.equal(match[2], "0", `"${command}" failed: ${match[1]}`);
  return match[1].trim();
}

test("a login on the console, a reboot and a power-off", async () => {
  await LiveMachine.use({ boot, whenReset: "reset" }, async (machine) => {
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
