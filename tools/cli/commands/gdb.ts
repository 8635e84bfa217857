import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import path from "node:path";
import { Failure, UsageError } from "../../failure.ts";
import { leaveInterruptToChildren } from "../../qemu/child-processes.ts";
import { findOnPath } from "../../qemu/locate.ts";
import { splitArguments } from "../../qemu/machine.ts";
import { startQemu } from "../../qemu/runner.ts";
import { buildFolder } from "../../repository.ts";
import type { MachineFlags } from "../machine-options.ts";
import { progress } from "../report.ts";
import { prepare } from "./run.ts";

export interface GdbFlags extends MachineFlags {
  guestImage?: string;
  port: number;
}

const DEBUGGERS = ["riscv64-unknown-elf-gdb", "gdb-multiarch"];

/**
 * `salus gdb tellus`: a machine that waits before its first instruction, and a debugger attached to it.
 *
 * The debugger has the terminal; what the machine says goes to build/gdb-serial.log. The machine ends with the debugger.
 *
 * @returns true if the debugger ended well
 */
export async function debugTellus(flags: GdbFlags): Promise<boolean> {
  const debugger_ = locateDebugger();
  const prepared = await prepare(flags);
  mkdirSync(buildFolder, { recursive: true });
  const serialFile = path.join(buildFolder, "gdb-serial.log");
  const serial = openSync(serialFile, "w");
  // In a group of its own, so that Ctrl-C reaches the debugger only.
  const qemu = startQemu(
    prepared.qemu,
    [...prepared.arguments, "-S", "-gdb", `tcp:127.0.0.1:${flags.port}`],
    ["ignore", serial, serial],
    true,
  );
  closeSync(serial);
  const ended = new Promise<never>((_, reject) => {
    qemu.on("error", (error) => reject(new Failure(`QEMU could not be started: ${error.message}`)));
    qemu.on("exit", (status) => {
      if (status !== 0) reject(new Failure(`QEMU ended with status ${status}; what it said is in ${serialFile}`));
    });
  });
  leaveInterruptToChildren();
  progress(`the machine's serial port is written to ${serialFile}`);

  if (prepared.hostElf !== undefined) progress(`to see the host's symbols: add-symbol-file ${prepared.hostElf}`);

  const args = ["-q", "-ex", `target remote 127.0.0.1:${flags.port}`];
  args.push(...splitArguments(process.env["GDB_ARGS"] ?? ""), prepared.hypervisor);
  const gdb = spawn(debugger_, args, { stdio: "inherit" });
  const debugged = new Promise<boolean>((resolve, reject) => {
    gdb.on("error", (error) => reject(new Failure(`${debugger_} could not be started: ${error.message}`)));
    gdb.on("exit", (status) => resolve(status === 0));
  });
  try {
    return await Promise.race([debugged, ended]);
  } finally {
    gdb.kill("SIGTERM");
    qemu.removeAllListeners("exit");
    qemu.kill("SIGTERM");
  }
}

function locateDebugger(): string {
  const choice = process.env["GDB"];
  if (choice) {
    const found = findOnPath(choice) ?? (choice.includes(path.sep) ? choice : undefined);
    if (found === undefined) throw new UsageError(`the environment variable GDB is "${choice}", which is no program`);
    return found;
  }
  for (const name of DEBUGGERS) {
    const found = findOnPath(name);
    if (found !== undefined) return found;
  }
  throw new Failure("a debugger for RISC-V is missing; on Debian: apt-get install gdb-multiarch");
}
