import { InvalidArgumentError, Option, type Command } from "commander";
import { UsageError } from "../failure.ts";
import { DEFAULT_MACHINE, parseMemory, splitArguments, type Machine } from "../qemu/machine.ts";

/** The options that describe the machine and how it is run: flags first, then the environment, then the defaults. */

export interface MachineFlags {
  smp?: number;
  memory?: number;
  cpu?: string;
  numa?: number;
  iommu?: boolean;
  aia?: string;
  qemu?: string;
  qemuArgs?: string;
  append?: string;
  debug?: boolean;
}

export interface RunFlags extends MachineFlags {
  dice?: boolean;
  guestImage?: string;
  timeout: number;
  plain?: boolean;
  verbose?: boolean;
  /** Records the run in that file. */
  record?: string;
}

/** What only a Linux host has. */
export interface LinuxFlags extends RunFlags {
  kernel?: string;
  initrd?: string;
  hostMemory?: number;
  bare?: boolean;
  check?: boolean;
  sshPort?: number;
  gdb?: boolean;
}

/** Reads a whole number of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`It must be a whole number, ${least} or more.`);
    }
    return value;
  };
}

/** An amount of memory in MiB. */
export function memory(text: string): number {
  try {
    return parseMemory(text);
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`);
  }
}

/** Adds what every command that starts a machine takes. */
export function addMachineOptions(command: Command): Command {
  const { harts, memoryMiB, cpu, aia } = DEFAULT_MACHINE;
  return command
    .addOption(new Option("--smp <n>", `number of harts (NCPU; ${harts})`).argParser(wholeNumber(1)))
    .addOption(new Option("--memory <size>", `MiB, or 2G (MEM_SIZE; ${memoryMiB})`).argParser(memory))
    .addOption(new Option("--cpu <model>", `QEMU's CPU model and properties (${cpu})`))
    .addOption(new Option("--numa <n>", "divide harts and memory among n NUMA nodes").argParser(wholeNumber(1)))
    .option("--no-iommu", "a machine without IOMMU")
    .addOption(new Option("--aia <kind>", `interrupt controllers, as QEMU names them (${aia})`))
    .option("--qemu <path>", "QEMU's executable or source tree (QEMU; qemu-system-riscv64 from the PATH)")
    .option("--qemu-args <args>", "more arguments for QEMU (EXTRA_QEMU_ARGS)")
    .option("--append <args>", "boot arguments of the hypervisor, which hands them to its host")
    .option("--debug", "use the debug build");
}

/**
 * The machine that flags and environment describe.
 *
 * @throws UsageError if a variable has no meaning
 */
export function machineFrom(flags: MachineFlags, environment: NodeJS.ProcessEnv = process.env): Machine {
  const extra = flags.qemuArgs ?? environment["EXTRA_QEMU_ARGS"] ?? "";
  return {
    harts: flags.smp ?? fromVariable("NCPU", environment, wholeNumber(1)) ?? DEFAULT_MACHINE.harts,
    memoryMiB: flags.memory ?? fromVariable("MEM_SIZE", environment, memory) ?? DEFAULT_MACHINE.memoryMiB,
    cpu: flags.cpu ?? DEFAULT_MACHINE.cpu,
    numaNodes: flags.numa ?? DEFAULT_MACHINE.numaNodes,
    iommu: flags.iommu ?? DEFAULT_MACHINE.iommu,
    aia: flags.aia ?? DEFAULT_MACHINE.aia,
    extraArguments: splitArguments(extra),
  };
}

/** The QEMU that was asked for, if one was. An empty variable asks for none. */
export function qemuChoice(flags: MachineFlags, environment: NodeJS.ProcessEnv = process.env): string | undefined {
  return flags.qemu ?? (environment["QEMU"] || undefined);
}

function fromVariable<T>(name: string, environment: NodeJS.ProcessEnv, read: (text: string) => T): T | undefined {
  const text = environment[name];
  if (text === undefined || text === "") return undefined;
  try {
    return read(text);
  } catch (error) {
    throw new UsageError(`the environment variable ${name} is "${text}". ${(error as Error).message}`);
  }
}
