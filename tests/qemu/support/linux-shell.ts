import assert from "node:assert/strict";
import type { LiveMachine } from "./live-machine.ts";

/** A login on the serial console of the small system (tools/linux/initramfs.ts), and its shell. */

/** Logs in as root and waits for the shell. */
export async function logIn(machine: LiveMachine): Promise<void> {
  await machine.prompt("login: ");
  machine.type("root\n");
  await machine.prompt("Password: ");
  machine.type("root\n");
  await machine.prompt("# ");
  // The kernel's messages from here on would be among the answers, and the shell breaks lines that it thinks are too long.
  await shell(machine, "dmesg -n 1");
  await shell(machine, "stty columns 1000");
}

/** What a command of the shell prints. Fails unless it ends with `status`. */
export async function shell(machine: LiveMachine, command: string, status = 0): Promise<string> {
  const from = machine.received.length;
  machine.type(`${command}; echo "status"=$?\n`);
  // First the echo of what was typed, then the answer.
  await machine.prompt('"status"=');
  await machine.prompt("status=");
  await machine.prompt("# ");
  const output = machine.received.slice(from).replaceAll("\r", "");
  const match = /\n([^]*?)status=(\d+)\n/.exec(output);
  assert(match, `no answer to "${command}" in ${output}`);
  assert.equal(match[2], String(status), `"${command}" failed: ${match[1]}`);
  return match[1].trim();
}
